"""Measures of what is recommended, whether or not it is what came next: coverage, Gini, novelty, diversity, popularity lift."""

from dataclasses import dataclass

import numpy as np

from learec.data.log import Floats, Ints, Log, Sessions
from learec.evaluation.compare import Values

BLOCK = 4096  # lists whose vectors are gathered at once


@dataclass(frozen=True)
class Shelf:
    """What is known of items and histories before anything is recommended."""

    counts: Ints  # (N + 1,) training steps
    history_popularity: float  # mean over targets of the mean training steps of the history's items
    vectors: Floats | None  # (N + 1, W) item tokens of unit length, zeros where there is no text

    @classmethod
    def of(cls, log: Log, targets: Ints, vectors: Floats | None) -> "Shelf":
        """For the targets (T,) of a log."""
        counts = log.training_counts
        return cls(counts, float(popularity_of_histories(log.sessions, targets, counts).mean()) if len(targets) else 0.0, vectors)


def list_measures(best: Ints, shelf: Shelf) -> dict[str, float]:
    """Measures of lists (T, k) of item numbers, 0 where a list has ended; NaN where there is nothing to measure.

    Popularity is training steps. Diversity is left out without vectors.
    """
    exposure = np.bincount(best.ravel(), minlength=len(shelf.counts))[1:]
    found = {
        "coverage": float((exposure > 0).mean()),
        "Gini": gini(exposure),
        "novelty": mean_over_lists(best, surprise(shelf.counts)),
        "popularity lift": mean_over_lists(best, shelf.counts.astype(np.float64)) / (shelf.history_popularity or np.nan),
    }
    return found if shelf.vectors is None else {**found, "diversity": mean_of_known(diversity(best, shelf.vectors))}


def gini(exposure: Ints) -> float:
    """Gini coefficient of how often each of N items is recommended: 0 all alike, near 1 a few have it all; NaN if none is."""
    n, total = len(exposure), exposure.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(exposure) / (n * total)) if total else float("nan")


def surprise(counts: Ints) -> Values:
    """Self-information -log2((steps + 1) / (all steps + N)) by item number, (N + 1,), in bits; each item has one step more."""
    return -np.log2((counts + 1) / (counts[1:].sum() + len(counts) - 1))


def mean_over_lists(best: Ints, value: Values) -> float:
    """Mean over lists (T, k) that are not empty of the mean value (N + 1,) of their items."""
    real = best > 0
    lengths = real.sum(axis=1)
    totals = np.where(real, value[best], 0).sum(axis=1)
    return mean_of_known(np.divide(totals, lengths, out=np.full(len(best), np.nan), where=lengths > 0))


def diversity(best: Ints, vectors: Floats) -> Values:
    """Intra-list diversity (T,): 1 - the mean cosine of all pairs of a list's items that have a vector; NaN with less than two.

    Source: Ziegler et al., WWW 2005. The sum of vectors has the pairs' cosines in its square, so no pair is looked at.
    """
    known = np.linalg.norm(vectors, axis=1) > 0
    known[0] = False
    found = np.full(len(best), np.nan)
    for start in range(0, len(best), BLOCK):
        block = best[start : start + BLOCK]
        n = known[block].sum(axis=1)
        squared = np.square(np.where(known[block][..., None], vectors[block], 0).sum(axis=1, dtype=np.float64)).sum(axis=1)
        pairs = n * (n - 1)
        np.divide(squared - n, pairs, out=found[start : start + BLOCK], where=pairs > 0)
    return 1 - found


def popularity_of_histories(sessions: Sessions, targets: Ints, counts: Ints) -> Values:
    """Mean training steps of the items that came before each target, (T,)."""
    before = np.concatenate([[0], np.cumsum(counts[sessions.items])])
    length = sessions.step_of[targets]
    return (before[targets] - before[targets - length]) / np.maximum(length, 1)


def mean_of_known(values: Values) -> float:
    """Mean of what is not NaN; NaN if all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
