"""The report's charts, drawn by plots.py from what the report shows."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup
from scipy.stats import binomtest

from learec.evaluation import plots
from learec.evaluation.figures import number, signed
from learec.evaluation.metrics import SELECTING
from learec.evaluation.value_table import column_name
from learec.evaluation.verdicts import Json, told_apart

REWARD_LAYERS = {
    "observed": ("actions the log records", "filled"),
    "random": ("random items", "dashed"),
    "proposed": ("proposed actions", "plain"),
}
ENVIRONMENT_MEASURES = ("pairwise accuracy", "NDCG@10")


def results_chart(rows: list[Json], metric: str | None) -> Markup:
    """Every row's interval, best first; agents and hybrids are filled dots."""
    if metric is None:
        return plots.NONE
    shown = sorted(rows, key=lambda row: -row["metrics"][metric]["mean"])
    told = [(row["name"], row["metrics"][metric], row["kind"] != "floor") for row in shown]
    dots = [interval_row(name, cell["mean"], cell, number, strong) for name, cell, strong in told]
    return plots.interval_plot(dots, f"{metric} with 95\u00a0% interval, best first")


def comparisons_chart(comparisons: Sequence[Json]) -> Markup:
    """Differences around the line of no difference; those that a test tells from it are filled dots, placebos' dashed beneath."""
    rows = []
    for c in comparisons:
        rows.append(interval_row(_minus(c["new"], c["base"]), c["difference"], c, signed, told_apart(c)))
        for one in c.get("placebos", ()):  # results that were made before these were have none
            row = interval_row(_minus(one["name"], c["base"]), one["difference"], one, signed, False)
            rows.append(replace(row, control=True))
    return plots.interval_plot(rows, "Differences with 95\u00a0% interval", zero=True)


def _minus(new: str, base: str) -> str:
    return f"{new} \N{MINUS SIGN} {base}"


def values_chart(values: Json | None) -> Markup:
    """Policies' true values by rollout and what they lie between, best first; agents are filled dots. Empty without a rollout."""
    if not values or values["rollout"] is None:
        return plots.NONE
    rollout = values["rollout"]
    told = [(column_name(row), row["value"], row["seed"] is not None) for row in rollout["rows"]]
    told += [(bound["name"], bound["value"], False) for bound in rollout["bounds"]]
    shown = sorted((entry for entry in told if math.isfinite(entry[1]["mean"])), key=lambda entry: -entry[1]["mean"])
    dots = [interval_row(name, cell["mean"], cell, number, strong) for name, cell, strong in shown]
    return plots.interval_plot(dots, "Reward per list by rollout with 95\u00a0% interval, best first")


def interval_row(label: str, mean: float, cell: Json, told: Any, strong: bool) -> plots.IntervalRow:
    """A mean with its interval, told in numbers as `told` writes them; `strong` fills the dot."""
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


def calibration_chart(examination: Json | None) -> Markup:
    """How often what rewards say of a pair is so, with Wilson's 95 % interval; a filled dot's interval holds what was said."""
    rows = []
    for one in examination["calibration"] if examination else []:
        interval = binomtest(round(one["seen"] * one["pairs"]), one["pairs"]).proportion_ci(method="wilson")
        cell = {"low": float(interval.low), "high": float(interval.high)}
        holds = cell["low"] <= one["said"] <= cell["high"]
        rows.append(interval_row(f"said {number(one['said'], 2)}", one["seen"], cell, number, holds))
    return plots.interval_plot(rows, "How often the logged action is the better one, by what rewards say")


def rewards_chart(rewards: Json | None) -> Markup:
    """Shares of observed, random and proposed actions by standardised reward."""
    if not rewards:
        return plots.NONE
    layers = [plots.Layer(*REWARD_LAYERS[name], rewards[name]) for name in REWARD_LAYERS if any(rewards.get(name, ()))]
    chart = plots.histogram(rewards["edges"], layers, "Standardised rewards, share of actions per bin")
    return plots.histogram_legend(layers) + chart if chart else plots.NONE
