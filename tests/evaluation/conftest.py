"""What a report is made from, as its tests start from it, and how they read a page's tables."""

import re
from collections.abc import Callable
from typing import Any

import pytest

Json = dict[str, Any]


def table_row(html: str, section: str, name: str) -> str:
    """The words of the row with that head, in the table of a section."""
    part = html.split(f'<section id="{section}"')[1].split("</section>")[0]
    rows = [re.sub(r"<[^>]+>", " ", found) for found in re.findall(r"<tr>.*?</tr>", part, re.DOTALL)]
    return next(" ".join(found.split()) for found in rows if found.split()[: len(name.split())] == name.split())


def cell(mean: float, deviation: float | None = None) -> Json:
    return {"mean": mean, "low": mean - 0.004, "high": mean + 0.004, "seed_deviation": deviation}


def row(name: str, kind: str, ndcg: float) -> Json:
    metrics = {f"HR@{k}": cell(ndcg * (1 + k / 10)) for k in (2, 10)}
    trained = kind == "agent"
    metrics["NDCG@10"] = cell(ndcg, 0.0004 if trained else None)
    by_event = {"view": {"n": 8317, **metrics["NDCG@10"]}}
    slices = {"head item": {"n": 6000, **cell(ndcg + 0.02)}, "tail item": {"n": 2317, **cell(ndcg - 0.01)}}
    bare = {"mean": 0.25 + ndcg, "low": None, "high": None, "seed_deviation": 0.0021 if trained else None}
    beyond = {"MRR@10": cell(ndcg / 2), "coverage@10": bare, "novelty@10": {**bare, "mean": 11.5}}
    told = {"name": name, "kind": kind, "description": f"what {name} is", "is_control": False}
    told["other_by_event"] = {"HR@10": {"view": 2 * ndcg}, "MRR@10": {"view": ndcg / 2}}
    told["other_by_slice"] = {
        "HR@10": {"head item": 3 * ndcg, "tail item": ndcg},
        "MRR@10": {"head item": ndcg, "tail item": 0.5 * ndcg},
    }
    return {**told, "seeds": 3 if trained else 1, "metrics": metrics, "by_event": by_event, "slices": slices, "beyond": beyond}


def comparison(new: str, base: str, difference: float, half: float = 0.002) -> Json:
    interval = {"difference": difference, "low": difference - half, "high": difference + half}
    p = 0.0004 if abs(difference) > half else 0.31
    tested = {"p": p, "p_adjusted": 2 * p, "effect": 12 * difference, "better": 0.12, "worse": 0.034, "seed_share": 0.2}
    of_tail = {"n": 2317, "sessions": 2000, **interval, "low": -0.5, "high": 0.5}
    slices = {"head item": {"n": 6000, "sessions": 5000, **interval}, "tail item": of_tail}
    of_runs = {"n": 8317, "seeds": 3, "base_seeds": 1, "covers_seeds": True, "relative": difference / 0.08}
    return {"new": new, "base": base, "metric": "NDCG@10", **of_runs, **interval, **tested, "slices": slices}


@pytest.fixture(name="cell")
def cell_fixture() -> Callable[..., Json]:
    return cell


@pytest.fixture(name="row")
def row_fixture() -> Callable[..., Json]:
    return row


@pytest.fixture(name="comparison")
def comparison_fixture() -> Callable[..., Json]:
    return comparison


@pytest.fixture(name="table_row")
def table_row_fixture() -> Callable[[str, str, str], str]:
    return table_row


@pytest.fixture
def data() -> Json:
    measures = [{"NDCG@10": value, "HR@10": 2 * value} for value in (0.001, 0.05, 0.07, 0.06)]
    adapted = [{"score": -n, "pairwise accuracy": 0.66 - n / 50, "NDCG@10": 0.06 - n / 100} for n in (1, 0)]
    augmented = [{"title": "vice", "reward": -1.25}]
    annotated = {"session": "A1", "history": ["glue"], "action": "saw", "reward": 0.4, "augmented": augmented}
    example = {
        "session": "A0196", "history": [f"thing {n}" for n in range(1, 10)], "next": "drill",
        "recommendations": {"sasrec": [{"title": "nail", "hit": False}], "sasrec-lea": [{"title": "drill", "hit": True}]},
        "annotated": annotated,
    }  # fmt: skip
    return {
        "name": "industrial",
        "version": "0.1.0",
        "data": {
            "sessions": 8317, "items": 4344, "steps": 58492, "steps_by_part": [41858, 8317, 8317], 
            "split": "leave_one_out", "simulated": False, "items_without_text": 0,
            "funnel": [{"step": "read", "events": 59427, "users": 8442, "items": 4385}],
        },
        "evaluation": {
            "mask_seen": True, "cutoffs": [2, 10], "n_targets": {"validation": 8317, "test": 8317},
            "resamples": 2000, "permutations": 10_000, "list_length": 10, "head_share": 0.2, "short_history": 5,
        },
        "rows": [
            row("popularity", "floor", 0.0167), row("item_knn", "floor", 0.0841),
            row("sasrec", "agent", 0.0731), row("sasrec-lea", "agent", 0.0812),
        ],
        "comparisons": [comparison("sasrec-lea", "sasrec", 0.0081), comparison("sasrec-lea", "item_knn", -0.0029)],
        "leads": [],
        "left_out": {},
        "values": None,
        "agent_curves": [
            {"name": name, "seed": seed, "best_epoch": 2, "measures": measures, "losses": [{}, *[{"ce": 8.0}] * 3]}
            for name in ("sasrec", "sasrec-lea") for seed in (0, 1)
        ],
        "environment_curves": {"best_epoch": 1, "measures": adapted, "losses": [{}, {"state": 8.0}]},
        "examination": {
            "steps": 2003, "pairs": {"uniform": 1990, "popular": 1980, "item_knn": 900, "text": 1900},
            "accuracy": {
                kind: {"reward": 0.61, "state": 0.6, "text": 0.58, "item_knn": 0.55, "popularity": low}
                for kind, low in (("uniform", 0.7), ("popular", 0.5), ("item_knn", 0.52), ("text", None))
            },
            "calibration": [{"said": 0.52, "seen": 0.55, "pairs": 198}, {"said": 0.9, "seen": 0.66, "pairs": 198}],
            "spread": 1.1, "ties": 0.01, "popularity_correlation": -0.1,
        },
        "rewards": {"edges": [-1.0, 0.0, 1.0], "observed": [2, 6], "random": [5, 3], "proposed": [0, 0]},
        "annotations": {"annotated_steps": 33541, "augmented_per_step": 3.2, "later_items_among_augmented": 0.04},
        "examples": [example],
        "stages": [{"stage": "prepare", "seconds": 0.4, "peak_mb": 310}, {"stage": "adapt", "seconds": 903.0, "peak_mb": 3310.4}],
        "recipe": {
            "name": "industrial", "seed": 7, "environment": {"lora_rank": 8},
            "agents": {
                "sasrec": {"encoder": "sasrec", "objective": "snqn", "lea": [], "placebo": None},
                "sasrec-lea": {"encoder": "sasrec", "objective": "snqn", "lea": ["augmented"], "placebo": None},
            },
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }  # fmt: skip
