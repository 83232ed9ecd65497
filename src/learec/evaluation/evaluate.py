"""evaluate: ranks of every validation and test step under every scorer, tables with intervals, and examples to look at."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.annotations.table import Annotations
from learec.artifacts import Request, building, request_for
from learec.config import EvaluationConfig, derived_seed
from learec.data.log import Ints, Log, Part
from learec.errors import ConfigError
from learec.evaluation.baselines import left_out
from learec.evaluation.compare import Bootstrap, Values
from learec.evaluation.examples import examples
from learec.evaluation.metrics import HISTORY, METRICS, Scorer, ranks
from learec.progress import Reporter

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
    absent = left_out(config, log.catalog.n_items, annotations is not None)
    for name in (name for pair in config.compare for name in pair if name in absent):
        raise ConfigError(f"evaluation.compare names {name!r}, which is left out: {absent[name]}; drop the pair or change that")
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
        tables = _tables(config, seed, table, contestants, absent)
        tables["unreachable"] = _repeated_share(log) if config.mask_seen else 0.0
        (partial / "tables.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")
        agents = [c for c in contestants if c.seed is not None]
        first = {c.name: c.scorer for c in agents if c.seed == min(o.seed or 0 for o in agents if o.name == c.name)}
        shown = examples(log, annotations, first, config.mask_seen, seed)
        (partial / "examples.json").write_text(json.dumps(shown, ensure_ascii=False, indent=1), encoding="utf-8")
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


def _tables(
    config: EvaluationConfig, seed: int, table: pl.DataFrame, contestants: list[Contestant], absent: dict[str, str]
) -> dict[str, Any]:
    """Rows and comparisons on the test part, and validation means, from which alone anything may be chosen."""
    test = table.filter(pl.col("part") == "test")
    validation = table.filter(pl.col("part") == "validation")
    resampling = derived_seed("bootstrap", seed)
    bootstrap = Bootstrap(test["session"].to_numpy(), config.resamples, resampling)
    named: dict[str, list[Contestant]] = {}
    for contestant in contestants:
        named.setdefault(contestant.name, []).append(contestant)
    per_target = {
        name: [named_metrics(test[c.column].to_numpy(), config.cutoffs) for c in group] for name, group in named.items()
    }
    metric = main_metric(config.cutoffs)
    main = {name: [run[metric] for run in runs] for name, runs in per_target.items()}
    kinds = by_event(test["event"].to_numpy(), test["session"].to_numpy(), main, config.resamples, resampling)
    rows = [
        {
            "name": name,
            "kind": "floor" if group[0].seed is None else "agent",
            "description": group[0].description,
            "seeds": len(group),
            "metrics": {metric: _cell([run[metric] for run in per_target[name]], bootstrap) for metric in per_target[name][0]},
            "by_event": kinds[name],
            "validation": {c.column: mean_metrics(validation[c.column].to_numpy())[SELECTING] for c in group},
        }
        for name, group in named.items()
    ]
    comparisons = [
        {"new": new, "base": base, "metric": metric, "n": len(test), "seeds": len(named[new]),
         **_difference(main[new], main[base], bootstrap)}
        for new, base in config.compare
    ]  # fmt: skip
    return {
        "main_metric": metric,
        "rows": rows,
        "comparisons": comparisons,
        "left_out": absent,
        "n_targets": {"validation": len(validation), "test": len(test)},
    }


def by_event(
    events: npt.NDArray[Any], sessions: Ints, runs: Mapping[str, list[Values]], resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """A metric by row and kind of event, most frequent first: n targets, mean, interval, deviation over seeds.

    Kinds are what the log's event column (T,) says of the target, whatever an event is worth; runs hold (T,) a seed. Sessions
    without a target of the kind have no part in its interval.
    """
    kinds, counts = np.unique(events, return_counts=True)
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in runs}
    for kind, n in sorted(zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]):
        chosen = events == kind
        bootstrap = Bootstrap(sessions[chosen], resamples, seed)
        for name, values in runs.items():
            found[name][kind] = {"n": n, **_cell([run[chosen] for run in values], bootstrap)}
    return found


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


def _difference(new: list[Values], base: list[Values], bootstrap: Bootstrap) -> dict[str, float]:
    estimate = bootstrap.estimate(np.mean(new, axis=0) - np.mean(base, axis=0))
    return {"difference": estimate.mean, "low": estimate.low, "high": estimate.high}
