"""The grid: an experiment becomes one ordinary recipe for each log, and one for each value of an ablation there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from learec.config import Recipe
from learec.config.agents import Encoder, Objective
from learec.config.experiment import BASE, Ablation, ColumnSet, Experiment, LogSection
from learec.config.records import first_message
from learec.errors import ConfigError

MAIN = "main"
SUPERVISED: Objective = "supervised"
WITHOUT_CRITIC = {"augmented", "items", "content"}  # what reaches an agent that has no critic


@dataclass(frozen=True)
class Cell:
    """One agent of the grid, with all of its seeds."""

    encoder: Encoder
    objective: Objective
    columns: str
    placebo: str | None = None

    @property
    def name(self) -> str:
        """As agents are named: sasrec, sasrec-snqn, sasrec-snqn-LEA, sasrec-snqn-LEA-shuffled."""
        parts = (self.objective, SUPERVISED), (self.columns, BASE), (self.placebo, None)
        return "-".join([self.encoder, *(str(part) for part, silent in parts if part != silent)])

    @property
    def base(self) -> "Cell":
        """The same agent without annotations."""
        return Cell(self.encoder, self.objective, BASE)


@dataclass(frozen=True)
class Planned:
    """A recipe of the experiment and the cells that are its agents."""

    log: str
    variant: str  # main, or ABLATION-VALUE
    recipe: Recipe
    cells: Mapping[str, Cell]  # by name

    @property
    def name(self) -> str:
        """Its folder within the experiment's."""
        return f"{self.log}/{self.variant}"


@dataclass(frozen=True)
class Point:
    """A value of an ablation on one log, and the variant whose agents were made with it."""

    ablation: str
    setting: str
    value: Any
    log: str
    variant: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Plan:
    """All recipes of an experiment, main ones first, and the ablations that they answer."""

    runs: tuple[Planned, ...]
    points: tuple[Point, ...]

    @property
    def n_cells(self) -> int:
        """Agents by seeds, over all recipes."""
        return sum(len(run.recipe.entries) for run in self.runs)


def plan_of(experiment: Experiment) -> Plan:
    """Expand an experiment. Raises ConfigError where what it says for a log is no recipe."""
    cells = _by_name(cells_of(experiment))
    runs = {log: Planned(log, MAIN, _recipe(experiment, log, MAIN, cells), cells) for log in experiment.logs}
    ablated: dict[str, Planned] = {}
    points = []
    for name, ablation in experiment.ablations.items():
        for log in ablation.logs or experiment.logs:
            for value in ablation.values:
                point = _point(experiment, name, log, value, runs[log].recipe)
                points.append(point)
                if point.variant != MAIN:
                    planned = _variant(experiment, point)
                    _refuse_clash(ablated.setdefault(planned.name, planned), planned)
    return Plan((*runs.values(), *ablated.values()), tuple(points))


def cells_of(experiment: Experiment) -> Iterator[Cell]:
    """Base, column sets and placebos of every encoder and objective; a set that needs a critic has none without one."""
    grid = experiment.experiment
    for encoder in grid.encoders:
        for objective in grid.objectives:
            yield Cell(encoder, objective, BASE)
            for name, columns in experiment.columns.items():
                if _fits(encoder, objective, columns):
                    yield from (Cell(encoder, objective, name, placebo) for placebo in (None, *columns.placebos))


def comparisons(cells: Mapping[str, Cell]) -> Iterator[tuple[str, str]]:
    """Each column set against its base and its placebos, each objective's base against the supervised one."""
    for name, cell in cells.items():
        if cell.columns == BASE:
            pairs = [Cell(cell.encoder, SUPERVISED, BASE)] if cell.objective != SUPERVISED else []
        elif cell.placebo is None:
            alike = (other for other in cells.values() if is_placebo_of(other, cell))
            pairs = [cell.base, *alike]
        else:
            continue
        yield from ((name, other.name) for other in pairs if other.name in cells)


def is_placebo_of(other: Cell, cell: Cell) -> bool:
    """Whether it is the same agent with a control in the place of its annotations."""
    return other.placebo is not None and Cell(other.encoder, other.objective, other.columns) == cell


def _fits(encoder: Encoder, objective: Objective, columns: ColumnSet) -> bool:
    wanted = objective in (columns.objectives or (objective,)) and encoder in (columns.encoders or (encoder,))
    return wanted and (objective != SUPERVISED or set(columns.lea) <= WITHOUT_CRITIC)


def _by_name(cells: Iterator[Cell]) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.name in found:
            raise ConfigError(f"two cells of the grid are named {cell.name}; rename the column set {cell.columns}")
        found[cell.name] = cell
    return found


def _point(experiment: Experiment, name: str, log: str, value: Any, main: Recipe) -> Point:
    """Where the value is the grid's own, its cells are those of the grid."""
    ablation = experiment.ablations[name]
    section, _, field = ablation.setting.partition(".")
    same = getattr(getattr(main, section), field) == value
    variant = MAIN if same else f"{name}-{re.sub(r'[^A-Za-z0-9._-]+', '-', str(value)).rstrip('-').strip('.')}"
    return Point(name, ablation.setting, value, log, variant, tuple(_ablated_cells(experiment, ablation)))


def _ablated_cells(experiment: Experiment, ablation: Ablation) -> Iterator[Cell]:
    columns = {name for name in ablation.columns or experiment.columns if experiment.columns[name].lea}
    for cell in cells_of(experiment):
        wanted = (ablation.encoders, cell.encoder), (ablation.objectives, cell.objective)
        if cell.placebo is None and cell.columns in columns and all(not names or one in names for names, one in wanted):
            yield cell


def _variant(experiment: Experiment, point: Point) -> Planned:
    section, _, field = point.setting.partition(".")
    cells = _by_name(iter(point.cells))
    if not cells:
        raise ConfigError(f"[ablations.{point.ablation}] has no cell; its objectives and columns do not go together")
    recipe = _recipe(experiment, point.log, point.variant, cells, {section: {field: point.value}})
    return Planned(point.log, point.variant, recipe, cells)


def _refuse_clash(first: Planned, second: Planned) -> None:
    if first.recipe != second.recipe:
        raise ConfigError(f"two ablations share the folder {first.name}; rename one of them")


def _recipe(
    experiment: Experiment,
    log: str,
    variant: str,
    cells: Mapping[str, Cell],
    changed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recipe:
    own = experiment.logs[log]
    sections = {
        section: {**_set(getattr(experiment, section)), **_set(getattr(own, section)), **(changed or {}).get(section, {})}
        for section in ("environment", "annotations", "evaluation")
    }
    wanted = (
        [*comparisons(cells), *(tuple(pair) for pair in sections["evaluation"].pop("compare", ()))] if variant == MAIN else []
    )
    sections["evaluation"]["compare"] = list(dict.fromkeys(wanted))
    if variant != MAIN:
        sections["evaluation"].pop("hybrids", None)
    raw = {
        "name": f"{experiment.name}-{log}" + (f"-{variant}" if variant != MAIN else ""),
        "seed": experiment.seed,
        "data": _set(own.data),
        **({"simulate": _set(own.simulate)} if own.simulate else {}),
        **sections,
        "agents": {name: _agent(experiment, own, cell) for name, cell in cells.items()},
    }
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ConfigError(
            f"log {log}, {variant}: {place}{' ' * bool(place)}{first_message(error)}; change it in the file"
        ) from None


def _agent(experiment: Experiment, own: LogSection, cell: Cell) -> dict[str, Any]:
    """Settings of a cell: what is said for all, for the log, for the log's encoder, for the column set; the later wins."""
    columns = experiment.columns.get(cell.columns, ColumnSet())
    return {
        **experiment.agent, **own.agent, **own.encoders.get(cell.encoder, {}), **columns.agent,
        "encoder": cell.encoder, "objective": cell.objective, "seeds": experiment.experiment.seeds,
        **({"lea": columns.lea} if columns.lea else {}), **({"placebo": cell.placebo} if cell.placebo else {}),
    }  # fmt: skip


def _set(record: BaseModel) -> dict[str, Any]:
    """What a record was told, without its defaults."""
    return record.model_dump(exclude_unset=True)
