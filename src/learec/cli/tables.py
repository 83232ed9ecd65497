"""The results of a run as tables on the screen."""

import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from learec.config import FLOORS
from learec.evaluation.decimals import decimals, interval, probability
from learec.evaluation.value_sentences import value_sentences
from learec.run import Run, costs


def print_results(job: Run) -> None:
    """Measures of agents and floors on the test part, what they cost, where the report is."""
    tables: dict[str, Any] = json.loads((job.folder("results") / "tables.json").read_text(encoding="utf-8"))
    config = job.recipe.evaluation
    seen = "seen items masked" if config.mask_seen else "seen items not masked"
    console = job.reporter.console
    title = f"{job.recipe.name}: test part, {tables['n_targets']['test']:,} targets, full ranking; {seen}"
    job.reporter.say(f"\n{title}")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    metrics = list(tables["rows"][0]["metrics"])
    main = tables["main_metric"]
    for heading in ("", *metrics, "95 % of", "seeds"):
        heading = f"{heading} {main}" if heading == "95 % of" else heading
        table.add_column(heading.replace("NDCG", "N").replace("HR", "H") if console.width < 100 else heading, no_wrap=True)
    for row in tables["rows"]:
        cells = [decimals(row["metrics"][name]["mean"]) for name in metrics]
        table.add_row(row["name"], *cells, interval(row["metrics"][main]), "" if row["kind"] == "floor" else str(row["seeds"]))
    console.print(table)
    for name in sorted(FLOORS & tables["left_out"].keys()):
        job.reporter.say(f"{name} is left out: {tables['left_out'][name]}")
    if len(tables["rows"][0]["by_event"]) > 1:
        job.reporter.say(f"\n{main} by kind of event, with its 95 % interval")
        for part in _event_tables(tables["rows"], console.width):
            console.print(part)
    for pair in tables["comparisons"]:
        _say_all(job, _comparison(pair))
    if not all(pair["covers_seeds"] for pair in tables["comparisons"]):
        job.reporter.say("p values and intervals of an agent with one seed hold for that training run alone")
    _say_all(job, value_sentences(tables["values"]))
    if tables["unreachable"]:
        job.reporter.say(
            f"{tables['unreachable']:.1%} of the targets repeat an item of the history, which is masked: nobody can hit them "
            "(drop repeats in [data], or set mask_seen = false)"
        )
    minutes = [f"{cost['stage']} {cost['seconds'] / 60:.1f}" for cost in costs(job)]
    job.reporter.say(f"minutes: {', '.join(minutes) or 'not known'}")
    if (job.folder("report") / "report.html").exists():
        job.reporter.say(f"report: {job.folder('report') / 'report.html'}")


def _say_all(job: Run, lines: list[str]) -> None:
    for line in lines:
        job.reporter.say(line)


def _event_tables(rows: list[dict[str, Any]], width: int) -> Iterator[Table]:
    """A column for every kind of event among the test targets, the interval under its value; as many side by side as fit."""
    kinds = list(rows[0]["by_event"])
    names = max(len(row["name"]) for row in rows)
    fit = max((width - names - 2) // (max(len(".0000 to .0000"), *map(len, kinds)) + 2), 1)
    for start in range(0, len(kinds), fit):
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True, min_width=names)
        for kind in kinds[start : start + fit]:
            table.add_column(f"{plain(kind)}\n{rows[0]['by_event'][kind]['n']:,} targets")
        for row in rows:
            cells = [row["by_event"][kind] for kind in kinds[start : start + fit]]
            table.add_row(row["name"], *(f"{decimals(cell['mean'])}\n{interval(cell)}" for cell in cells))
        yield table


def _comparison(pair: dict[str, Any]) -> list[str]:
    """A pair's difference with its interval, p value and, in brackets, p adjusted for the number of pairs; its placebos below."""
    p = f"p {probability(pair['p'])} (adjusted {probability(pair['p_adjusted'])})"
    told = [f"{pair['new']} against {pair['base']}: {pair['metric']} {_difference(pair)}, {p}"]
    return told + [f"  its placebo {one['name']} against the same: {_difference(one)}, not tested" for one in pair["placebos"]]


def _difference(found: dict[str, Any]) -> str:
    return f"{found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def plain(text: str) -> str:
    """Text from a catalog must not be read as rich markup."""
    return text.replace("[", r"\[")
