"""What an experiment file may say: a grid of agents over logs, and ablations of what is before the agents; and its loader.

docs/experiments.md explains the file, experiment/grid.py makes ordinary recipes of it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from learec.config.agents import AgentConfig, Encoder, LeaColumn, Objective, Placebo
from learec.config.annotations import AnnotationsConfig
from learec.config.data import DataConfig, SimulateConfig
from learec.config.environment import EnvironmentConfig
from learec.config.evaluation import EvaluationConfig
from learec.config.records import Name, Record, first_message, suggest, written_place
from learec.config.toml_file import read_toml
from learec.errors import ConfigError

BASE = "none"  # the column set of an agent that reads no annotations
OF_THE_GRID = {"encoder", "objective", "lea", "placebo", "placebo_columns", "seeds"}
ABLATED: dict[str, type[Record]] = {"environment": EnvironmentConfig, "annotations": AnnotationsConfig}


def _settings_of_agents(seen: dict[str, Any]) -> dict[str, Any]:
    for key in seen:
        if key in OF_THE_GRID:
            raise ValueError(f"sets {key}, which the grid decides; name it in [experiment] or [columns], or drop it here")
        if key not in AgentConfig.model_fields:
            raise ValueError(f"unknown key {key}; {suggest(key, AgentConfig.model_fields.keys() - OF_THE_GRID)}")
    return seen


def _no_name_twice(seen: Any) -> Any:
    if isinstance(seen, list) and (twice := [one for place, one in enumerate(seen) if one in seen[:place]]):
        raise ValueError(f"names {twice[0]!r} twice")
    return seen


OnlyOnce = BeforeValidator(_no_name_twice)
AgentSettings = Annotated[dict[str, Any], AfterValidator(_settings_of_agents)]


class Grid(Record):
    """The axes that every log has in common."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1), OnlyOnce] = (0,)
    encoders: Annotated[tuple[Encoder, ...], Field(min_length=1), OnlyOnce] = ("sasrec",)
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1), OnlyOnce] = ("supervised", "snqn")


class ColumnSet(Record):
    """Annotation columns that agents read together, and the controls that they are held against."""

    lea: tuple[LeaColumn, ...] = Field((), description="as in an agent; empty: a base with other settings, such as gamma = 0")
    placebos: Annotated[tuple[Placebo, ...], OnlyOnce] = ()
    objectives: Annotated[tuple[Objective, ...], OnlyOnce] = Field((), description="empty: all that can read the columns")
    encoders: Annotated[tuple[Encoder, ...], OnlyOnce] = Field((), description="empty: all of the grid")
    agent: AgentSettings = Field({}, description="settings of these agents alone")

    @model_validator(mode="after")
    def _placebos_have_columns(self) -> "ColumnSet":
        if self.placebos and not self.lea:
            raise ValueError("placebos replace the columns that lea names, and lea is empty; name them or drop placebos")
        return self


class LogSection(Record):
    """One log: its own part of a recipe, laid over what the experiment says for all logs."""

    simulate: SimulateConfig | None = None
    data: DataConfig
    environment: EnvironmentConfig = EnvironmentConfig()
    annotations: AnnotationsConfig = AnnotationsConfig()
    agent: AgentSettings = {}
    encoders: dict[Encoder, AgentSettings] = Field({}, description="settings of the agents with this encoder")
    evaluation: EvaluationConfig = EvaluationConfig()


class Ablation(Record):
    """One setting of the environment or the annotations tried at several values, for some cells of the grid."""

    setting: str = Field(description="such as annotations.n_augmented or environment.users")
    values: Annotated[tuple[Any, ...], Field(min_length=1), OnlyOnce]
    logs: Annotated[tuple[str, ...], OnlyOnce] = Field((), description="empty: all; so for the next three")
    encoders: Annotated[tuple[Encoder, ...], OnlyOnce] = ()
    objectives: Annotated[tuple[Objective, ...], OnlyOnce] = ()
    columns: Annotated[tuple[str, ...], OnlyOnce] = Field((), description="column sets; their placebos are not repeated")

    @field_validator("setting")
    @classmethod
    def _there_is_such_a_setting(cls, seen: str) -> str:
        section, _, field = seen.partition(".")
        if section not in ABLATED:
            raise ValueError(
                f"wanted a setting of {' or '.join(ABLATED)}, such as annotations.n_augmented; agents vary by [columns]"
            )
        if field not in ABLATED[section].model_fields:
            raise ValueError(f"no such setting; {suggest(field, set(ABLATED[section].model_fields))}")
        return seen


class Experiment(Record):
    """A whole experiment."""

    name: Name
    seed: int = 0
    experiment: Grid = Grid()
    columns: dict[Name, ColumnSet] = Field({}, description='by name; the base, "none", is always part of the grid')
    logs: Annotated[dict[Name, LogSection], Field(min_length=1)]
    environment: EnvironmentConfig = EnvironmentConfig()
    annotations: AnnotationsConfig = AnnotationsConfig()
    agent: AgentSettings = {}
    evaluation: EvaluationConfig = EvaluationConfig()
    ablations: dict[Name, Ablation] = {}

    @model_validator(mode="after")
    def _names_are_free(self) -> "Experiment":
        if BASE in self.columns:
            raise ValueError(f"[columns.{BASE}] is the base, which is always part of the grid; drop the table or rename it")
        if "experiment" in self.logs:
            raise ValueError("[logs.experiment] would lie where the experiment's tables do; choose another name")
        if "main" in self.ablations:
            raise ValueError("[ablations.main] has the name of the grid itself; choose another name")
        return self

    @model_validator(mode="after")
    def _ablations_are_of_cells_that_exist(self) -> "Experiment":
        grid = self.experiment
        for name, ablation in self.ablations.items():
            known: dict[str, Sequence[str]] = {"logs": tuple(self.logs), "columns": tuple(self.columns)}
            known |= {"encoders": grid.encoders, "objectives": grid.objectives}
            for axis, names in known.items():
                for one in getattr(ablation, axis):
                    if one not in names:
                        raise ValueError(
                            f"[ablations.{name}] {axis} names {one!r}, which the grid lacks; {suggest(one, set(names))}"
                        )
            if not any(self.columns[one].lea for one in ablation.columns or self.columns):
                raise ValueError(f"[ablations.{name}] has no cell that reads annotations; name a column set with lea")
        return self


def load_experiment(path: Path) -> Experiment:
    """Read and check an experiment file. Raises ConfigError with one sentence."""
    raw = read_toml(path, "experiment", "recipes/paper.toml")
    if "logs" not in raw and "data" in raw:
        raise ConfigError(f"{path}: has no [logs.NAME.data] but one [data], so it is a recipe; run it with `learec run {path}`")
    raw.setdefault("name", path.stem)
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_sentence(error, raw)}") from None


def _first_sentence(error: ValidationError, raw: dict[str, Any]) -> str:
    first = error.errors()[0]
    where = ".".join(written_place(first["loc"], raw))
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}; {suggest(str(first['loc'][-1]), _known_keys(first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{where} is missing; add it to the file"
    seen = "" if isinstance(first["input"], dict) else f"{first['input']!r}: "
    return f"{where + ' = ' if where else ''}{seen}{first_message(error)}; change it in the file"


def _known_keys(location: Sequence[int | str]) -> set[str]:
    """Keys of the record that a location leads to; a name in a table of tables is passed over."""
    kind: Any = Experiment
    for part in location:
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[str(part)].annotation
        if get_origin(kind) is not dict:
            kind = next((one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)), kind)
    return set(getattr(kind, "model_fields", {}))
