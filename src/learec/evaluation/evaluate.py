"""evaluate: ranks of every validation and test step under every scorer, tables with intervals and tests, and examples."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from learec.annotations.table import Annotations
from learec.artifacts import Request, building, request_for
from learec.config import EvaluationConfig
from learec.data.log import Ints, Log, Part
from learec.errors import ConfigError
from learec.evaluation.compare import Values
from learec.evaluation.examples import examples
from learec.evaluation.floors import Floor, has_texts, left_out
from learec.evaluation.hybrid import Hybrid
from learec.evaluation.lists import Shelf, list_measures
from learec.evaluation.metrics import HISTORY, METRICS, SELECTING, Scorer, ranking, ranks
from learec.evaluation.policy_values import Knowledge, PolicyValues
from learec.evaluation.slices import repeated, slices_of
from learec.evaluation.tables import Row, Tables, Targets, weightless
from learec.progress import Reporter

NOTHING_ELSE = Knowledge()
HYBRIDS_FILE, FLOORS_FILE = "hybrids.json", "floors.json"  # the weights, and the settings, that validation chose


@dataclass(frozen=True)
class Contestant:
    """A scorer in the table. Several with one name are seeds of one agent."""

    name: str
    seed: int | None  # None for a floor
    description: str
    scorer: Scorer
    is_control: bool = False  # a placebo, which is there to be compared with and leads nothing
    placebo_of: str | None = None  # the agent whose annotations it has a placebo of, where that is in the table
    floor: Floor[Scorer] | None = None  # how the settings of a floor were chosen

    @property
    def column(self) -> str:
        """Its column among the ranks."""
        return self.name if self.seed is None else f"{self.name}/{self.seed}"

    @property
    def kind(self) -> str:
        """Floor, agent or hybrid."""
        return "floor" if self.seed is None else "hybrid" if isinstance(self.scorer, Hybrid) else "agent"


@dataclass(frozen=True)
class Measured:
    """What a contestant did."""

    contestant: Contestant
    validation: Ints  # ranks of the validation targets
    test: Ints  # and of the test targets
    lists: dict[str, float]  # measures of what it recommends at the test targets


# What a test counts as the luck of seeds: results of before it counted each side's own are made again.
TESTED = {"seed luck": "of each side by itself, at least that of its sessions"}


def results_request(config: EvaluationConfig, seed: int, parents: dict[str, str]) -> Request:
    """What evaluate is asked for."""
    return request_for("results", config, parents, seed=seed, **TESTED)


def config_of(request: Request) -> EvaluationConfig:
    """The settings that a results_request was made from."""
    beside = {"seed", *TESTED}
    return EvaluationConfig(**{name: value for name, value in request.config.items() if name not in beside})


def evaluate(
    request: Request,
    log: Log,
    annotations: Annotations | None,
    contestants_of: Callable[[], Sequence[Contestant]],
    folder: Path,
    *,
    reporter: Reporter,
    known: Knowledge = NOTHING_ELSE,
) -> dict[str, Any]:
    """Make a results/ folder (ranks.parquet and four JSON files) for a results_request. Returns the tables.

    contestants_of is called once, when the clock runs.
    """
    config, seed = config_of(request), request.config["seed"]
    absent = left_out(config, log.catalog.n_items, annotations is not None, has_texts(log.catalog))
    for name in (name for pair in config.compare for name in pair if name in absent):
        raise ConfigError(f"evaluation.compare names {name!r}, which is left out: {absent[name]}; drop the pair or change that")
    with building(folder, request, {}) as partial:
        contestants = contestants_of()  # its settings and weights are chosen there, which takes time and memory
        values = PolicyValues(log, config, seed, {c.name: c.scorer for c in contestants if c.seed is None}, known)
        measured = _measure(log, annotations, contestants, config, values, reporter=reporter)
        _rank_table(log, measured).write_parquet(partial / "ranks.parquet")
        tables = {**_tables(config, seed, log, measured, absent), "values": values.tables()}
        (partial / "tables.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")
        floors = {c.name: c.floor for c in contestants if c.floor is not None}
        told = {name: floor.as_json() for name, floor in floors.items()}
        (partial / FLOORS_FILE).write_text(json.dumps(told, indent=1), encoding="utf-8")
        agents = [c for c in contestants if c.seed is not None]
        hybrids = {c.column: c.scorer for c in agents if isinstance(c.scorer, Hybrid)}
        weights = {column: hybrid.chosen for column, hybrid in hybrids.items()}
        (partial / HYBRIDS_FILE).write_text(json.dumps(weights, indent=1), encoding="utf-8")
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


def mean_metrics(rank: Ints) -> dict[str, float]:
    """What training is stopped on, first, and HR@10 beside it."""
    values = named_metrics(rank, (10,))
    return {name: float(values[name].mean()) if len(rank) else 0.0 for name in (SELECTING, "HR@10")}


def _measure(
    log: Log,
    annotations: Annotations | None,
    contestants: Sequence[Contestant],
    config: EvaluationConfig,
    values: PolicyValues,
    *,
    reporter: Reporter,
) -> list[Measured]:
    """Rank both parts under every contestant. Its lists are measured and let go: those of all would fill the memory."""
    targets = log.targets(Part.TEST)
    shelf = Shelf.of(log, targets, None if annotations is None else annotations.item_vectors)
    found = []
    with reporter.bar("ranking", 2 * len(contestants)) as advance:
        for contestant in contestants:
            validation = measured_ranks(contestant.scorer, log, Part.VALIDATION, config.mask_seen)
            advance(1, contestant.column)
            test = ranking(
                contestant.scorer, log.sessions, targets,
                mask_seen=config.mask_seen, max_length=HISTORY, k=config.list_length,
            )  # fmt: skip
            found.append(Measured(contestant, validation, test.ranks, list_measures(test.best, shelf)))
            values.add(contestant.name, contestant.seed, contestant.scorer, test)
            advance(1, contestant.column)
    return found


def _rank_table(log: Log, measured: Sequence[Measured]) -> pl.DataFrame:
    """A line per target of both parts, a column per contestant."""
    frames = []
    for part, name in ((Part.VALIDATION, "validation"), (Part.TEST, "test")):
        found = {m.contestant.column: getattr(m, name).astype(np.int32) for m in measured}
        frames.append(pl.DataFrame({**_target_columns(log, part), **found}))
    return pl.concat(frames)


def _target_columns(log: Log, part: Part) -> dict[str, Any]:
    targets = log.targets(part)
    names = np.array(log.event_names)
    return {
        "part": pl.Series([part.name.lower()] * len(targets), dtype=pl.String),
        "session": log.sessions.session_of[targets],
        "step": log.sessions.step_of[targets],
        "item": log.sessions.items[targets],
        "event": names[log.sessions.events[targets]],
    }


def _tables(
    config: EvaluationConfig, seed: int, log: Log, measured: Sequence[Measured], absent: dict[str, str]
) -> dict[str, Any]:
    """Rows and comparisons on the test part, and validation means, from which alone anything may be chosen."""
    at = log.targets(Part.TEST)
    sessions = log.sessions
    kinds = np.array(log.event_names)[sessions.events[at]]
    targets = Targets(sessions.session_of[at], kinds, np.asarray(sessions.rewards[at]), slices_of(log, at, config))
    tables = Tables(config, seed, targets)
    named: dict[str, list[Measured]] = {}
    for found in measured:
        named.setdefault(found.contestant.name, []).append(found)
    reasons = {
        "diversity": None
        if any("diversity" in m.lists for m in measured)
        else "it needs item vectors, which learec annotate makes",
        f"reward HR@{tables.cutoff}": weightless(targets.rewards),
    }
    return {
        **tables.made([_row(name, runs) for name, runs in named.items()]),
        "left_out": {**absent, **{name: reason for name, reason in reasons.items() if reason}},
        "n_targets": {"validation": len(log.targets(Part.VALIDATION)), "test": len(at)},
        # With seen items masked, nobody can hit what the history already holds.
        "unreachable": float(repeated(sessions)[at].mean()) if config.mask_seen and len(at) else 0.0,
    }


def _row(name: str, runs: Sequence[Measured]) -> Row:
    first = runs[0].contestant
    return Row(
        name, first.kind, first.description, [m.test for m in runs], [m.lists for m in runs],
        {m.contestant.column: mean_metrics(m.validation)[SELECTING] for m in runs}, first.is_control, first.placebo_of,
    )  # fmt: skip
