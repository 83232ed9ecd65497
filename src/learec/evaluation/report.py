"""report: one HTML page that needs nothing else, from the numbers of a run.

`data` is a mapping of what JSON can hold; null means that a run has no such part, and the page then has no such section:

    name, version         of the recipe, of learec
    data                  sessions, items, steps, steps_by_part (training, validation, test), items_without_text, split,
                          simulated, funnel: [{step, events, users, items}]
    evaluation            mask_seen, cutoffs, resamples, n_targets: {validation, test}
    rows                  [{name, kind: floor | agent, description, seeds,
                            metrics: {"NDCG@10": {mean, low, high, seed_deviation | null}, ...},
                            by_event: {kind: {n, mean, low, high, seed_deviation | null}}, the main metric}]
    left_out              {floor: why it is in no row}
    comparisons           [{new, base, metric, difference, low, high, n, seeds}]
    agent_curves          [{name, seed, best_epoch, measures: [{"NDCG@10": ...}, one per epoch, first before training], losses}]
    environment_curves    {best_epoch, measures: [{"pairwise accuracy", "NDCG@10", ...}], losses} | null
    rewards               {edges: n + 1 numbers, observed, random, proposed: n counts each} | null
    annotations           {annotated_steps, augmented_per_step, later_items_among_augmented} | null
    examples              [{session, history: [title], next: title, recommendations: {agent: [{title, hit}]},
                            annotated: {session, history, action, reward, augmented: [{title, reward}]} | null}]
    stages                [{stage, seconds, peak_mb}]
    recipe, versions      nested settings, {package: version}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from learec.artifacts import write_text
from learec.evaluation import plots

SELECTING = "NDCG@10"
Json = Mapping[str, Any]
REWARD_LAYERS = {
    "observed": ("actions the log records", "filled"),
    "random": ("random items", "dashed"),
    "proposed": ("proposed actions", "plain"),
}
ENVIRONMENT_MEASURES = ("pairwise accuracy", "NDCG@10")


def write_report(data: Json, path: Path) -> None:
    """Write the page so that a reader sees all of it or none."""
    write_text(path, render_report(data))


def render_report(data: Json) -> str:
    """Render the page. Everything in `data` is shown as text, whatever it looks like."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, signed=signed, share=share, duration=duration)
    template = environment.from_string(files("learec.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8"))
    metric = headline_metric(data)
    return template.render(
        **data,
        summary=summary(data),
        headline=metric,
        best=best_cells(data["rows"], "metrics"),
        best_by_event=best_cells(data["rows"], "by_event"),
        verdict_of=verdict_of,
        lines=best_epochs(data["agent_curves"]),
        charts={
            "results": results_chart(data["rows"], metric),
            "comparisons": comparisons_chart(data["comparisons"]),
            "agents": agents_chart(data["agent_curves"]),
            "environment": environment_charts(data["environment_curves"]),
            "rewards": rewards_chart(data["rewards"]),
        },
    )


@dataclass(frozen=True)
class Verdict:
    """How one row stands to another, and by what that was judged."""

    words: str
    evidence: str


def verdict_of(low: float, high: float) -> str:
    """In words, what an interval of a difference allows to say."""
    return "beats" if low > 0 else "is behind" if high < 0 else "cannot be told apart from"


def verdict(data: Json, new: str, base: str) -> Verdict:
    """From the paired comparison of both rows if there is one, either way round, else, more coarsely, from their intervals."""
    for comparison in data["comparisons"]:
        if {comparison["new"], comparison["base"]} == {new, base}:
            sign = 1 if comparison["new"] == new else -1
            low, high = sorted((sign * comparison["low"], sign * comparison["high"]))
            difference = f"{comparison['metric']} {signed(sign * comparison['difference'])}"
            return Verdict(verdict_of(low, high), f"{difference} ({signed(low)} to {signed(high)})")
    metric = headline_metric(data)
    cells = {row["name"]: row["metrics"][metric] for row in data["rows"]}
    low, high = cells[new]["low"] - cells[base]["high"], cells[new]["high"] - cells[base]["low"]
    told = "do not overlap" if low > 0 or high < 0 else "overlap"
    return Verdict(verdict_of(low, high), f"their {metric} intervals {told}; the recipe asks for no paired comparison")


def summary(data: Json) -> list[Markup]:
    """Sentences that say who leads, by how much, and what cannot be said. Brackets hold 95 % intervals."""
    metric = headline_metric(data)
    if metric is None:
        return [Markup("Nothing was measured.")]
    floor, agent = (_best(data["rows"], kind, metric) for kind in ("floor", "agent"))
    sentences = [_top_sentence(row, metric) for row in (floor, agent) if row is not None]
    if floor is not None and agent is not None:
        sentences.append(_sentence(data, agent["name"], floor["name"], "the floor"))
    return sentences + lea_sentences(data)


def lea_sentences(data: Json) -> list[Markup]:
    """Whether annotations helped: agents that read them against those of the same encoder and objective that do not."""
    agents = data["recipe"].get("agents", {})
    names = [row["name"] for row in data["rows"] if row["name"] in agents]
    pairs = [(new, base) for new in names for base in names if _differs_by_lea(agents[new], agents[base])]
    if len(pairs) <= 3:
        return [_sentence(data, new, base, "its placebo" if agents[base].get("placebo") else "its base") for new, base in pairs]
    words = [verdict(data, new, base).words for new, base in pairs]
    told = "An agent with annotations meets one without, or with shuffled ones, in {} pairs: it beats it in {}, is behind in {}, "
    counts = [words.count(word) for word in ("beats", "is behind", "cannot be told apart from")]
    return [Markup(told + "and cannot be told apart in {}.").format(len(pairs), *counts)]


def _differs_by_lea(new: Json, base: Json) -> bool:
    if not new.get("lea") or new.get("placebo"):
        return False
    same_method = all(new.get(key) == base.get(key) for key in ("encoder", "objective"))
    is_base = not base.get("lea") or (base.get("placebo") and base["lea"] == new["lea"])
    return same_method and bool(is_base)


def _top_sentence(row: Json, metric: str) -> Markup:
    cell = row["metrics"][metric]
    seeds = "" if row["kind"] == "floor" else f"; {row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"
    told = f"{metric} {number(cell['mean'])} ({number(cell['low'])} to {number(cell['high'])}{seeds})"
    return Markup("The best {} is <b>{}</b> with {}.").format(row["kind"], row["name"], told)


def _sentence(data: Json, new: str, base: str, role: str) -> Markup:
    found = verdict(data, new, base)
    return Markup("<b>{}</b> {} {} <b>{}</b>: {}.").format(new, found.words, role, base, found.evidence)


def _best(rows: list[Json], kind: str, metric: str) -> Json | None:
    finite = [row for row in rows if row["kind"] == kind and math.isfinite(row["metrics"][metric]["mean"])]
    return max(finite, key=lambda row: row["metrics"][metric]["mean"], default=None)


def headline_metric(data: Json) -> str | None:
    """NDCG@10, or the first NDCG where the recipe cuts elsewhere; none without rows."""
    names = [name for row in data["rows"][:1] for name in row["metrics"]]
    return SELECTING if SELECTING in names else next((name for name in names if name.startswith("NDCG")), None)


def best_cells(rows: list[Json], part: str) -> dict[str, str]:
    """Find the best value by column of a part of the rows as it is printed: values that look equal are equally best."""
    names = [name for row in rows[:1] for name in row[part]]
    means = {name: [row[part][name]["mean"] for row in rows] for name in names}
    return {name: number(max((mean for mean in column if math.isfinite(mean)), default=None)) for name, column in means.items()}


def best_epochs(curves: list[Json]) -> list[dict[str, Any]]:
    """Put learning curves in figures: before training, at the chosen epoch, and how many epochs there were."""
    return [
        {**curve, "epochs": len(curve["measures"]) - 1, "before": curve["measures"][0].get(SELECTING),
         "chosen": curve["measures"][curve["best_epoch"]].get(SELECTING)}
        for curve in curves
    ]  # fmt: skip


def results_chart(rows: list[Json], metric: str | None) -> Markup:
    """Every row's interval, best first; agents are filled dots."""
    if metric is None:
        return plots.NONE
    shown = sorted(rows, key=lambda row: -row["metrics"][metric]["mean"])
    told = [(row["name"], row["metrics"][metric], row["kind"] == "agent") for row in shown]
    dots = [_interval_row(name, cell["mean"], cell, number, strong) for name, cell, strong in told]
    return plots.interval_plot(dots, f"{metric} with 95\u00a0% interval, best first")


def comparisons_chart(comparisons: list[Json]) -> Markup:
    """Differences around the line of no difference; those whose interval excludes 0 are filled dots."""
    rows = [
        _interval_row(f"{c['new']} \N{MINUS SIGN} {c['base']}", c["difference"], c, signed, c["low"] > 0 or c["high"] < 0)
        for c in comparisons
    ]
    return plots.interval_plot(rows, "Differences with 95\u00a0% interval", zero=True)


def _interval_row(label: str, mean: float, cell: Json, told: Any, strong: bool) -> plots.IntervalRow:
    text = f"{told(mean)} ({told(cell['low'])} to {told(cell['high'])})"
    return plots.IntervalRow(label, mean, cell["low"], cell["high"], text, strong)


def agents_chart(curves: list[Json]) -> Markup:
    """Draw validation NDCG@10 by epoch: a colour per agent, a line per seed."""
    slots = {name: slot for slot, name in enumerate(dict.fromkeys(curve["name"] for curve in curves))}
    lines = [
        plots.Line(f"{c['name']}, seed {c['seed']}", slots[c["name"]], [m[SELECTING] for m in c["measures"]], c["best_epoch"])
        for c in curves
        if all(SELECTING in m for m in c["measures"])
    ]
    chart = plots.line_chart(lines, f"Validation {SELECTING} by epoch")
    return plots.legend(list(slots)) + chart if chart else plots.NONE


def environment_charts(curves: Json | None) -> dict[str, Markup]:
    """One small chart per measure, because their scales differ."""
    found = {name: [m[name] for m in curves["measures"] if name in m] for name in ENVIRONMENT_MEASURES} if curves else {}
    return {
        name: plots.line_chart([plots.Line(name, 0, values, curves["best_epoch"])], f"{name} by epoch", half=True)
        for name, values in found.items()
        if values and curves
    }


def rewards_chart(rewards: Json | None) -> Markup:
    """Shares of observed, random and proposed actions by standardised reward."""
    if not rewards:
        return plots.NONE
    layers = [plots.Layer(*REWARD_LAYERS[name], rewards[name]) for name in REWARD_LAYERS if any(rewards.get(name, ()))]
    chart = plots.histogram(rewards["edges"], layers, "Standardised rewards, share of actions per bin")
    return plots.histogram_legend(layers) + chart if chart else plots.NONE


def number(value: float | None, decimals: int = 4) -> str:
    """Print a fixed number of decimals; a dash for what is missing."""
    return "\N{EN DASH}" if value is None or not math.isfinite(value) else plots.signless_zero(f"{value:.{decimals}f}")


def signed(value: float | None, decimals: int = 4) -> str:
    """Print a difference: with its sign."""
    told = number(value, decimals)
    return f"+{told}" if value is not None and value > 0 and told.strip("0.") else told


def share(value: float) -> str:
    """Print a share as per cent."""
    return f"{100 * value:.1f}\u00a0%"


def duration(seconds: float) -> str:
    """Seconds below a minute, else minutes."""
    return f"{seconds:.1f}\u00a0s" if seconds < 60 else f"{seconds / 60:,.1f}\u00a0min"
