"""evaluate: ranks of every validation and test step under every scorer, tables with intervals, and examples to look at."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from learec.annotations.table import Annotations
from learec.artifacts import Request, building, request_for
from learec.config import EvaluationConfig, derived_seed
from learec.data.log import Ints, Log, Part
from learec.errors import ConfigError
from learec.evaluation.compare import Bootstrap, Values
from learec.evaluation.metrics import METRICS, Scorer, ranks
from learec.progress import Reporter

HISTORY = 200  # items that floors and agents may read; each agent keeps what its own max_length allows
N_EXAMPLES, N_SHOWN = 10, 5
SELECTING = "NDCG@10"


@dataclass(frozen=True)
class Contestant:
    """A scorer in the table. Several with one name are seeds of one agent."""

    name: str
    seed: int | None  # None for a floor
    description: str
    scorer: Scorer

    @property
    def column(self) -> str:
        """Its column among the ranks."""
        return self.name if self.seed is None else f"{self.name}/{self.seed}"


def results_request(config: EvaluationConfig, seed: int, parents: dict[str, str]) -> Request:
    """What evaluate is asked for."""
    return request_for("results", config, parents, seed=seed)


def evaluate(
    request: Request,
    log: Log,
    annotations: Annotations | None,
    contestants: list[Contestant],
    folder: Path,
    *,
    reporter: Reporter,
) -> dict[str, Any]:
    """Make a results/ folder (ranks.parquet, tables.json, examples.json) for a results_request. Returns the tables."""
    settings = dict(request.config)
    seed = settings.pop("seed")
    config = EvaluationConfig(**settings)
    with building(folder, request, {}) as partial:
        frames = []
        with reporter.bar("ranking", 2 * len(contestants)) as advance:
            for part in (Part.VALIDATION, Part.TEST):
                columns = _target_columns(log, part)
                for contestant in contestants:
                    columns[contestant.column] = measured_ranks(contestant.scorer, log, part, config.mask_seen).astype(np.int32)
                    advance(1, contestant.column)
                frames.append(pl.DataFrame(columns))
        table = pl.concat(frames)
        table.write_parquet(partial / "ranks.parquet")
        tables = _tables(config, seed, table, contestants)
        tables["unreachable"] = _repeated_share(log) if config.mask_seen else 0.0
        (partial / "tables.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")
        examples = _examples(log, annotations, contestants, config, seed)
        (partial / "examples.json").write_text(json.dumps(examples, ensure_ascii=False, indent=1), encoding="utf-8")
    return tables


def measured_ranks(scorer: Scorer, log: Log, part: Part, mask_seen: bool) -> Ints:
    """Ranks of all targets of a part."""
    return ranks(scorer, log.sessions, log.targets(part), mask_seen=mask_seen, max_length=HISTORY)


def named_metrics(rank: Ints, cutoffs: tuple[int, ...]) -> dict[str, Values]:
    """HR@k and NDCG@k of every target."""
    return {f"{name}@{k}": metric(rank, k) for name, metric in METRICS.items() for k in cutoffs}


def main_metric(cutoffs: tuple[int, ...]) -> str:
    """The metric that gets intervals and comparisons: NDCG@10, or NDCG at the first cutoff if 10 is none."""
    return f"NDCG@{10 if 10 in cutoffs else cutoffs[0]}"


def mean_metrics(rank: Ints) -> dict[str, float]:
    """What training is stopped on, first, and HR@10 beside it."""
    values = named_metrics(rank, (10,))
    return {name: float(values[name].mean()) if len(rank) else 0.0 for name in (SELECTING, "HR@10")}


def _target_columns(log: Log, part: Part) -> dict[str, Any]:
    targets = log.targets(part)
    names = np.array(log.event_names)
    return {
        "part": [part.name.lower()] * len(targets),
        "session": log.sessions.session_of[targets],
        "step": log.sessions.step_of[targets],
        "item": log.sessions.items[targets],
        "event": names[log.sessions.events[targets]],
    }


def _tables(config: EvaluationConfig, seed: int, table: pl.DataFrame, contestants: list[Contestant]) -> dict[str, Any]:
    """Rows and comparisons on the test part, and validation means, from which alone anything may be chosen."""
    test = table.filter(pl.col("part") == "test")
    validation = table.filter(pl.col("part") == "validation")
    bootstrap = Bootstrap(test["session"].to_numpy(), config.resamples, derived_seed("bootstrap", seed))
    named: dict[str, list[Contestant]] = {}
    for contestant in contestants:
        named.setdefault(contestant.name, []).append(contestant)
    per_target = {
        name: [named_metrics(test[c.column].to_numpy(), config.cutoffs) for c in group] for name, group in named.items()
    }
    rows = [
        {
            "name": name,
            "kind": "floor" if group[0].seed is None else "agent",
            "description": group[0].description,
            "seeds": len(group),
            "metrics": {metric: _cell([run[metric] for run in per_target[name]], bootstrap) for metric in per_target[name][0]},
            "validation": {c.column: mean_metrics(validation[c.column].to_numpy())[SELECTING] for c in group},
        }
        for name, group in named.items()
    ]
    for name in (name for pair in config.compare for name in pair if name not in named):
        raise ConfigError(
            f"evaluation.compare names {name!r}, which needs item vectors: run `learec annotate RECIPE` or drop the pair"
        )
    metric = main_metric(config.cutoffs)
    comparisons = [
        {"new": new, "base": base, "metric": metric, "n": len(test), "seeds": len(named[new]),
         **_difference(per_target[new], per_target[base], metric, bootstrap)}
        for new, base in config.compare
    ]  # fmt: skip
    return {
        "main_metric": metric,
        "rows": rows,
        "comparisons": comparisons,
        "n_targets": {"validation": len(validation), "test": len(test)},
    }


def _repeated_share(log: Log) -> float:
    """Share of test targets that the history already holds: with seen items masked, nobody can hit them."""
    targets = log.targets(Part.TEST)
    repeated = np.ones(log.sessions.n_steps, dtype=bool)
    repeated[np.unique(log.sessions.session_of << 32 | log.sessions.items, return_index=True)[1]] = False
    return float(repeated[targets].mean()) if len(targets) else 0.0


def _cell(runs: list[Values], bootstrap: Bootstrap) -> dict[str, Any]:
    """Mean and interval of the seeds' average, and the standard deviation over seeds."""
    deviation = float(np.std([run.mean() for run in runs], ddof=1)) if len(runs) > 1 else None
    return {**asdict(bootstrap.estimate(np.mean(runs, axis=0))), "seed_deviation": deviation}


def _difference(
    new: list[dict[str, Values]], base: list[dict[str, Values]], metric: str, bootstrap: Bootstrap
) -> dict[str, float]:
    gain = np.mean([run[metric] for run in new], axis=0) - np.mean([run[metric] for run in base], axis=0)
    estimate = bootstrap.estimate(gain)
    return {"difference": estimate.mean, "low": estimate.low, "high": estimate.high}


def _examples(
    log: Log, annotations: Annotations | None, contestants: list[Contestant], config: EvaluationConfig, seed: int
) -> list[dict[str, Any]]:
    """Sessions drawn at random, with titles: history, next item, recommendations, and one annotated training step."""
    targets = log.targets(Part.TEST)
    rng = np.random.default_rng(derived_seed("examples", seed))
    steps = np.sort(rng.choice(targets, min(N_EXAMPLES, len(targets)), replace=False))
    shown = [c for c in contestants if c.seed is not None and c.seed == min(o.seed or 0 for o in contestants if o.name == c.name)]
    histories, lengths = log.sessions.histories(steps, HISTORY)
    best = {c.name: top_items(c.scorer, histories, lengths, N_SHOWN, config.mask_seen) for c in shown}
    titles = log.catalog.titles
    examples = []
    for row, step in enumerate(steps):
        item = int(log.sessions.items[step])
        examples.append(
            {
                "session": log.session_ids[int(log.sessions.session_of[step])],
                "history": [titles[number] for number in histories[row][: lengths[row]]],
                "next": titles[item],
                "recommendations": {
                    name: [{"title": titles[number], "hit": int(number) == item} for number in rows[row] if number]
                    for name, rows in best.items()
                },
                "annotated": _annotated_step(log, annotations, int(log.sessions.session_of[step]), rng),
            }
        )
    return examples


def _annotated_step(log: Log, annotations: Annotations | None, session: int, rng: np.random.Generator) -> dict[str, Any] | None:
    """The newest annotated step of the session, or, if it has none, of a random one that has."""
    if annotations is None or not annotations.annotated.any():
        return None
    training = log.training
    steps = np.flatnonzero(annotations.annotated & (training.session_of == session))
    step = int(steps[-1]) if len(steps) else int(rng.choice(np.flatnonzero(annotations.annotated)))
    histories, lengths = training.histories(np.array([step]), HISTORY)
    titles = log.catalog.titles
    proposed = zip(annotations.augmented[step], annotations.augmented_rewards[step], strict=True)
    return {
        "session": log.session_ids[int(training.session_of[step])],
        "history": [titles[number] for number in histories[0][: lengths[0]]],
        "action": titles[int(training.items[step])],
        "reward": float(annotations.rewards[step]),
        "augmented": [{"title": titles[int(number)], "reward": float(reward)} for number, reward in proposed if number],
    }


def top_items(scorer: Scorer, histories: Ints, lengths: Ints, k: int, mask_seen: bool) -> Ints:
    """The k best items, best first, (B, k); 0 where fewer are left."""
    scores = scorer.scores(histories, lengths).copy()
    if mask_seen:
        np.put_along_axis(scores, histories, -np.inf, axis=1)
    scores[:, 0] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isneginf(np.take_along_axis(scores, best, axis=1)), 0, best)
