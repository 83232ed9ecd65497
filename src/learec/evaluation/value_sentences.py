"""The values of policies in words: for the screen and for the summary of a report."""

import math
from collections.abc import Mapping
from typing import Any

from learec.evaluation.value_table import column_name

Json = Mapping[str, Any]


def value_sentences(values: Json) -> list[str]:
    """From the `values` of tables.json (policy_values.py has their shape); empty where a run has none."""
    found, rollout = [], values["rollout"]
    if rollout is not None:
        found = [_best(rollout), *(_compared(pair) for pair in rollout["comparisons"])]
    if values["agreement"]:
        found.append(_agreement(values["agreement"]))
    if values["off_policy"] is not None:
        found += [f"Off-policy estimates of {warning}." for warning in values["off_policy"]["warnings"]]
    return found


def _best(rollout: Json) -> str:
    best = max(rollout["rows"], key=lambda row: -math.inf if math.isnan(row["value"]["mean"]) else row["value"]["mean"])
    bounds = ", ".join(f"{bound['name']} {bound['value']['mean']:.4f}" for bound in rollout["bounds"])
    shown = f"{rollout['users']:,} simulated users who are shown {rollout['steps']} lists of {rollout['k']} each"
    return f"Reward per list by rollout, {shown}: {column_name(best)} earns most, {_interval(best['value'])}; {bounds}."


def _compared(pair: Json) -> str:
    told = f"{pair['difference']:+.4f} ({pair['low']:+.4f} to {pair['high']:+.4f})"
    return f"{pair['new']} against {pair['base']}: reward per list {told}."


def _agreement(rows: list[Json]) -> str:
    most = max(row["n"] for row in rows)
    told = ", ".join(_tau(row, most) for row in rows)
    return f"How well estimates order {most} policies as the rollout does, Kendall's tau (1: alike, 0: not at all): {told}."


def _tau(row: Json, most: int) -> str:
    of = "" if row["n"] == most else f", of {row['n']} policies that it says anything of"
    return f"{row['estimate']} {row['tau']:.2f} ({row['low']:.2f} to {row['high']:.2f}{of})"


def _interval(cell: Json) -> str:
    return f"{cell['mean']:.4f} ({cell['low']:.4f} to {cell['high']:.4f})"
