"""report: one HTML page that needs nothing else, from the numbers of a run.

`data` is a mapping of what JSON can hold; null means that a run has no such part, and the page then has no such section:

    name, version         of the recipe, of learec
    data                  sessions, items, steps, steps_by_part (training, validation, test), items_without_text, split,
                          simulated, funnel: [{step, events, users, items}]
    evaluation            mask_seen, cutoffs, resamples, n_targets: {validation, test}
    rows                  [{name, kind: floor | agent | hybrid, description, seeds, is_control: whether it is a placebo,
                            metrics: {"NDCG@10": {mean, low, high, seed_deviation | null}, ...},
                            by_event: {kind: {n, mean, low, high, seed_deviation | null}}, the main metric,
                            slices: the same by slice (slices.py), as far as they tell targets apart,
                            other_by_event, other_by_slice: {"HR@10": {kind or slice: mean}, "MRR@10": ...},
                            beyond: {"MRR@10": {mean, low | null, high | null, seed_deviation | null}, ...}}]
    left_out              {floor or measure: why it is in no row}
    comparisons           [{new, base, metric, difference, low, high, relative | null, n, seeds, base_seeds, covers_seeds,
                            p, p_adjusted, effect, better, worse, seed_share,
                            slices: {slice: {n, sessions, difference, low, high}},
                            placebos: [{name, seeds, covers_seeds, difference, low, high}], of the new row, against the
                            same base}]
    leads                 the same of the best agent and the best hybrid, by validation, against the best floor
    values                policy_values.py has the shape | null
    agent_curves          [{name, seed, best_epoch, measures: [{"NDCG@10": ...}, one per epoch, first before training], losses}]
    environment_curves    {best_epoch, measures: [{"pairwise accuracy", "NDCG@10", ...}], losses} | null
    examination           of the reward model on held-out users (environment/examination.py): {steps, pairs: {negative: n},
                          accuracy: {negative: {scorer: share | null}}, calibration: [{said, seen, pairs}], spread, ties,
                          popularity_correlation | null} | null
    rewards               {edges: n + 1 numbers, observed, random, proposed: n counts each} | null
    annotations           {annotated_steps, augmented_per_step, later_items_among_augmented} | null
    examples              [{session, history: [title], next: title, recommendations: {agent: [{title, hit}]},
                            annotated: {session, history, action, reward, augmented: [{title, reward}]} | null}]
    stages                [{stage, seconds, peak_mb}]
    recipe, versions      nested settings, {package: version}
"""

import math
from pathlib import Path
from typing import Any

from learec.artifacts import write_text
from learec.config import FLOORS
from learec.evaluation.charts import (
    agents_chart,
    calibration_chart,
    comparisons_chart,
    environment_charts,
    results_chart,
    rewards_chart,
    values_chart,
)
from learec.evaluation.figures import number
from learec.evaluation.metrics import SELECTING
from learec.evaluation.pages import render_page
from learec.evaluation.value_sentences import value_sentences
from learec.evaluation.value_table import value_table
from learec.evaluation.verdicts import FEW_SESSIONS, Json, headline_metric, summary, words_of


def write_report(data: Json, path: Path) -> None:
    """Write the page so that a reader sees all of it or none."""
    write_text(path, render_report(data))


def render_report(data: Json) -> str:
    """Render the page. Everything in `data` is shown as text, whatever it looks like."""
    metric = headline_metric(data)
    values = {
        **data,
        "floors_left_out": {name: reason for name, reason in data["left_out"].items() if name in FLOORS},
        "measures_left_out": {name: reason for name, reason in data["left_out"].items() if name not in FLOORS},
        "summary": summary(data),
        "headline": metric,
        "best": best_cells(data["rows"], "metrics"),
        "best_by_event": best_cells(data["rows"], "by_event"),
        "best_by_slice": best_cells(data["rows"], "slices"),
        "words_of": words_of,
        "few_sessions": FEW_SESSIONS,
        "value_sentences": value_sentences(data["values"]) if data["values"] else [],
        "value_table": value_table(data["values"]) if data["values"] else None,
        "lines": best_epochs(data["agent_curves"]),
        "charts": {
            "results": results_chart(data["rows"], metric),
            "comparisons": comparisons_chart(data["comparisons"]),
            "agents": agents_chart(data["agent_curves"]),
            "environment": environment_charts(data["environment_curves"]),
            "calibration": calibration_chart(data["examination"]),
            "rewards": rewards_chart(data["rewards"]),
            "policies": values_chart(data["values"]),
        },
    }
    return render_page("report", values)


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
