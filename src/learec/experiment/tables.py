"""The experiment's tables, before they are Markdown or LaTeX: one per log in the paper's shape, kinds of events, ablations.

Means over seeds with their standard deviation come from cells.parquet, intervals and tests from each recipe's tables.json.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from learec.config.experiment import BASE
from learec.evaluation.decimals import decimals, interval, probability, signed
from learec.evaluation.verdicts import LEVEL, told_apart
from learec.experiment.grid import MAIN, SUPERVISED, Cell, Plan, Planned, Point, is_placebo_of
from learec.experiment.results import ALL_EVENTS, Json

BETTER, WORSE, BEATS_PLACEBOS = "†", "↓", "‡"
MEANING = (
    f"{BETTER} better and {WORSE} worse than its base, {BEATS_PLACEBOS} better than each of its placebos: "
    f"paired test of {{metric}}, adjusted p below {LEVEL:g}. ± is the standard deviation over seeds."
)
FLOOR = "floor"
POOLED = "A run is the mean of one seed's agents, each against its own base; not adjusted together with the comparisons below. "


@dataclass(frozen=True)
class Line:
    """A line of a table."""

    cells: tuple[str, ...]
    marks: str = ""  # behind the main metric
    rule: bool = False  # a new block begins


@dataclass(frozen=True)
class Table:
    """A table with its heading and what must be known to read it."""

    name: str  # for references
    title: str
    heading: tuple[str, ...]
    lines: tuple[Line, ...]
    note: str = ""
    marked: int | None = None  # which column the marks stand in


@dataclass(frozen=True)
class Found:
    """What there is to be shown."""

    plan: Plan
    cells: pl.DataFrame
    results: Mapping[str, Json]  # tables.json by recipe; of those that could be evaluated
    pooled: Mapping[str, Sequence[Json]] = field(default_factory=dict)  # of its column sets over all agents, by recipe

    def of(self, planned: Planned, event: str = ALL_EVENTS) -> pl.DataFrame:
        """A recipe's cells on the test part: a row for every agent, seed and metric."""
        return self.cells.filter(log=planned.log, variant=planned.variant, part="test", event=event)


def tables_of(found: Found) -> Iterator[Table]:
    """All tables, log by log."""
    for planned in (run for run in found.plan.runs if run.variant == MAIN):
        if planned.name not in found.results:
            continue
        yield _main_table(found, planned)
        if pooled := found.pooled.get(planned.name):
            yield _comparisons(planned, "pooled", pooled, "over all encoders and objectives together", POOLED)
        if comparisons := found.results[planned.name]["comparisons"]:
            yield _comparisons(planned, "comparisons", comparisons, "comparisons", "")
        events = found.cells.filter(log=planned.log, variant=MAIN)["event"].unique().sort().to_list()
        for event in (event for event in events if event != ALL_EVENTS):
            yield _table(found, planned, event, {})
        yield from _ablations(found, planned)


def _main_table(found: Found, planned: Planned) -> Table:
    results = found.results[planned.name]
    intervals = {row["name"]: row["metrics"][results["main_metric"]] for row in results["rows"]}
    return _table(found, planned, ALL_EVENTS, intervals)


def _table(found: Found, planned: Planned, event: str, intervals: Mapping[str, Json]) -> Table:
    """Floors, then a block for every encoder; with the main metric's interval where there are any."""
    results, of_event = found.results[planned.name], found.of(planned, event)
    means = _means(of_event)
    metrics, main = list(results["rows"][0]["metrics"]), results["main_metric"]
    marks = marks_of(planned.cells, results["comparisons"]) if event == ALL_EVENTS else {}
    lines = []
    block = None
    for row in results["rows"]:
        cell = planned.cells.get(row["name"])
        first = cell.encoder if cell else row["kind"]
        shown = [_value(means[row["name"]][metric]) for metric in metrics]
        shown += [interval(intervals[row["name"]])] if intervals else []
        seeds = "" if row["kind"] == FLOOR else str(row["seeds"])
        label = (first if first != block else "", method(cell) if cell else row["name"])
        lines.append(Line((*label, *shown, seeds), marks.get(row["name"], ""), first != block))
        block = first
    n = int(of_event["n"].max() or 0)  # type: ignore[arg-type]
    seen = "seen items masked" if planned.recipe.evaluation.mask_seen else "seen items not masked"
    kind = "" if event == ALL_EVENTS else f", {event}"
    heading = ("encoder", "method", *metrics, *([f"95 % of {main}"] if intervals else []), "seeds")
    return Table(
        f"{planned.log}{'' if event == ALL_EVENTS else '-' + event}",
        f"{planned.log}{kind}: test part, {n:,} targets, all items ranked, {seen}",
        heading, tuple(lines), MEANING.format(metric=main) if event == ALL_EVENTS else "", 2 + metrics.index(main),
    )  # fmt: skip


def _comparisons(planned: Planned, name: str, comparisons: Sequence[Json], told: str, note: str) -> Table:
    """What was tested: differences, their intervals, and what the tests say."""
    lines = []
    for number, one in enumerate(comparisons):
        range_ = f"{signed(one['low'])} to {signed(one['high'])}"
        tested = (probability(one["p"]), probability(one["p_adjusted"]), signed(one["effect"], 2))
        seeds = f"{one['seeds']}, {one['base_seeds']}" + ("" if one["covers_seeds"] else " (these runs alone)")
        lines.append(Line((one["new"], one["base"], signed(one["difference"]), range_, *tested, seeds), rule=not number))
    heading = ("new", "against", f"difference of {comparisons[0]['metric']}", "95 %", "p", "adjusted p", "effect", "seeds")
    title = f"{planned.log}: {told}, test part"
    tests = (
        f"Two-sided permutation tests; adjusted for {len(lines)} comparisons (Holm). Intervals hold the luck of several seeds."
    )
    return Table(f"{planned.log}-{name}", title, heading, tuple(lines), f"{note}{tests}")


def method(cell: Cell) -> str:
    """What distinguishes a cell from others of its encoder."""
    columns = f" + {cell.columns}" if cell.columns != BASE else ""
    return f"{cell.objective}{columns}{f' ({cell.placebo})' if cell.placebo else ''}"


def marks_of(cells: Mapping[str, Cell], comparisons: Sequence[Json]) -> dict[str, str]:
    """What the tests say of each agent against its base and against its placebos."""
    tested = {(one["new"], one["base"]): one for one in comparisons if one["new"] in cells}
    marks: dict[str, str] = {}
    for name, cell in cells.items():
        base = cell.base if cell.base != cell else Cell(cell.encoder, SUPERVISED, BASE)
        placebos = [other for other, placebo in cells.items() if is_placebo_of(placebo, cell)]
        mark = _mark(tested.get((name, base.name)))
        if placebos and all(_mark(tested.get((name, other))) == BETTER for other in placebos):
            mark += BEATS_PLACEBOS
        marks[name] = mark
    return marks


def _mark(comparison: Json | None) -> str:
    if comparison is None or not told_apart(comparison):
        return ""
    return BETTER if comparison["difference"] > 0 else WORSE


def _ablations(found: Found, main: Planned) -> Iterator[Table]:
    points = [point for point in found.plan.points if point.log == main.log]
    for name in dict.fromkeys(point.ablation for point in points):
        yield _ablation(found, main, [point for point in points if point.ablation == name])


def _ablation(found: Found, main: Planned, points: Sequence[Point]) -> Table:
    """Bases first, then every value's cells; a dash for what is missing."""
    runs = {(run.log, run.variant): run for run in found.plan.runs}
    means = _means(found.of(main))
    metrics = list(found.results[main.name]["rows"][0]["metrics"])
    lines = []
    for number, base in enumerate(dict.fromkeys(cell.base for cell in points[0].cells)):
        lines.append(Line(_ablated("none" if not number else "", base, means, metrics), rule=not number))
    for point in points:
        means = _means(found.of(runs[point.log, point.variant]))
        for number, cell in enumerate(point.cells):
            lines.append(Line(_ablated(str(point.value) if not number else "", cell, means, metrics), rule=not number))
    setting = points[0].setting
    title = f"{main.log}: {points[0].ablation} ({setting}), test part"
    return Table(f"{main.log}-{points[0].ablation}", title, (setting, "agent", *metrics), tuple(lines))


def _ablated(
    value: str, cell: Cell, means: Mapping[str, Mapping[str, Sequence[float]]], metrics: Sequence[str]
) -> tuple[str, ...]:
    there = means.get(cell.name, {})
    return (value, cell.name, *(_value(there.get(metric, ())) for metric in metrics))


def _means(cells: pl.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Values of all seeds by agent and metric, in the order of the cells."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, metric, value in cells.select("agent", "metric", "value").iter_rows():
        found.setdefault(name, {}).setdefault(metric, []).extend([] if value is None else [value])
    return found


def _value(values: Sequence[float]) -> str:
    if not values:
        return "–"
    series = pl.Series(values)
    mean, deviation = float(series.mean() or 0.0), series.std()  # type: ignore[arg-type]
    return decimals(mean) + (f" ± {decimals(float(deviation))}" if deviation is not None and len(values) > 1 else "")  # type: ignore[arg-type]
