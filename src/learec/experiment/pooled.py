"""What a column set is worth over all encoders and objectives of a grid together: one test where comparisons ask many times.

A grid asks the same of every encoder and objective, and Holm's correction for so many questions hides what all answers have in
common. Here a run is the mean over them of one seed's agents, so the luck of training is what these runs differ by. Ours.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from learec.config.experiment import BASE
from learec.evaluation.compare import Values
from learec.evaluation.metrics import METRICS
from learec.evaluation.tables import Json, Tables, Targets
from learec.experiment.grid import Cell, Planned, comparisons

Question = tuple[str, str]  # a column set or an objective, against what
Pair = tuple[str, str]  # agents


def pooled_comparisons(planned: Planned, ranks: pl.DataFrame) -> list[Json]:
    """Comparisons as in tables.json on the test part of ranks.parquet, adjusted among themselves.

    Of questions that two finished agents or more answer, by seeds that all of these and their bases have.
    """
    test = ranks.filter(part="test")
    targets = Targets(test["session"].to_numpy(), test["event"].to_numpy(), np.ones(len(test), dtype=np.float32), {})
    tables = Tables(planned.recipe.evaluation, planned.recipe.seed, targets)
    asked: dict[Question, list[Pair]] = {}
    for new, base in comparisons(planned.cells):
        asked.setdefault(_question(planned.cells[new], planned.cells[base]), []).append((new, base))
    runs = _seeds(test)
    told: list[dict[str, str]] = []
    main: dict[str, list[Values]] = {}
    for (new, base), cells in asked.items():
        pairs, seeds = _answering({pair: runs.get(pair[0], set()) & runs.get(pair[1], set()) for pair in cells})
        if len(pairs) > 1 and seeds:
            for side, agents in enumerate(zip(*pairs, strict=True)):
                main[f"{len(told)}/{side}"] = [_mean(test, tables.cutoff, agents, seed) for seed in seeds]
            told.append({"new": f"{new} ({len(pairs)} agents)", "base": base})
    rows = [(f"{number}/0", f"{number}/1") for number in range(len(told))]
    found = tables.comparisons(rows, main, {row: len(values) > 1 for row, values in main.items()})
    return [{**one, **names} for one, names in zip(found, told, strict=True)] if found else []


def _answering(there: Mapping[Pair, set[int]]) -> tuple[list[Pair], list[int]]:
    """Pairs that have been trained and the seeds that all of these have, if that is two or more.

    Otherwise the pairs and seeds that are most, multiplied: one that lags behind would leave all the others one seed, or none.
    """
    finished = {pair: seeds for pair, seeds in there.items() if seeds}
    shared = set.intersection(*finished.values()) if finished else set()
    best: tuple[list[Pair], list[int]] = (list(finished), sorted(shared))
    if len(shared) > 1:
        return best
    for seeds in finished.values():
        pairs = [pair for pair, own in finished.items() if own >= seeds]
        if len(pairs) > 1 and len(pairs) * len(seeds) > len(best[0]) * len(best[1]):
            best = pairs, sorted(seeds)
    return best


def _question(new: Cell, base: Cell) -> Question:
    if new.columns == BASE:
        return new.objective, base.objective
    return new.columns, base.columns if base.placebo is None else f"{base.columns} ({base.placebo})"


def _seeds(test: pl.DataFrame) -> dict[str, set[int]]:
    """Of every agent that was ranked."""
    found: dict[str, set[int]] = {}
    for name, _, seed in (column.rpartition("/") for column in test.columns if "/" in column):
        found.setdefault(name, set()).add(int(seed))
    return found


def _mean(test: pl.DataFrame, cutoff: int, agents: Sequence[str], seed: int) -> Values:
    """The main metric of every target, averaged over agents."""
    values: Values = np.mean([METRICS["NDCG"](test[f"{name}/{seed}"].to_numpy(), cutoff) for name in agents], axis=0)
    return values
