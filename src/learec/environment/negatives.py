"""Negatives: items that a user never chose, drawn uniformly, as often as they occur, or among the neighbours of the history."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learec.config import EnvironmentConfig
from learec.data.log import Bools, Floats, Ints, Sessions
from learec.data.neighbours import SHRINKAGE, ContentKNN, ItemKNN
from learec.data.windows import Windows

NEIGHBOURS = 20  # a hard negative is one of so many
BLOCK = 2**24  # scores held at once


@dataclass(frozen=True)
class Neighbours:
    """Who is near a history: by its text, and by what others chose with its items."""

    text: ContentKNN
    knn: ItemKNN
    counts: npt.NDArray[np.float64]  # (N + 1,) of the sessions that taught item-kNN
    history: int

    @classmethod
    def of(cls, sessions: Sessions, item_vectors: Floats, decay: float, history: int) -> "Neighbours":
        """Item-kNN and counts from these sessions."""
        n_items = len(item_vectors) - 1
        counts = np.bincount(sessions.items, minlength=n_items + 1).astype(np.float64)
        knn = ItemKNN.fit(sessions, n_items, decay, SHRINKAGE)
        return cls(ContentKNN(item_vectors, decay), knn, counts, history)

    def blocks(self, sessions: Sessions, steps: Ints) -> Iterator["Near"]:
        """The given steps, as many at once as memory allows."""
        size = max(BLOCK // len(self.counts), 1)
        for start in range(0, len(steps), size):
            block = steps[start : start + size]
            histories = sessions.histories(block, self.history)
            possible = never_chosen(sessions, block, len(self.counts)) & (self.counts > 0)
            yield Near(slice(start, start + size), possible, self.text.scores(*histories), self.knn.scores(*histories))


@dataclass(frozen=True)
class Near:
    """B steps of a longer list, what may be a negative of each, and both kinds of evidence for every item."""

    place: slice
    possible: Bools  # (B, N + 1)
    text: Floats  # (B, N + 1)
    knn: Floats  # (B, N + 1)

    def text_neighbours(self, rng: np.random.Generator, n: int = 1) -> Ints:
        """(B, n), each one of the NEIGHBOURS that the text is nearest to; 0 where no item is possible."""
        return among_best(np.where(self.possible, self.text, -np.inf), rng, n)

    def knn_neighbours(self, rng: np.random.Generator, n: int = 1) -> Ints:
        """(B, n), each one of item-kNN's NEIGHBOURS; 0 where it knows none."""
        return among_best(np.where(self.possible & (self.knn > 0), self.knn, -np.inf), rng, n)


class NegativeSampler:
    """Items without an interaction by the user: uniform, as often as they occur in training sessions, or hard ones.

    Hard ones ("neighbours") are, each with the same chance, as popular ones are drawn, one of item-kNN's nearest to the history,
    or one of those whose text is nearest.
    """

    def __init__(self, training: Sessions, n_items: int, config: EnvironmentConfig, neighbours: Neighbours | None = None) -> None:
        """`neighbours`: of whom hard negatives are drawn; None: of nobody."""
        counts = np.bincount(training.items, minlength=n_items + 1)[1:].astype(np.float64)
        weights = (counts > 0).astype(np.float64) if config.negatives == "uniform" else counts
        self.cumulative = np.cumsum(weights / weights.sum())
        self.n_negatives = config.n_negatives
        self.training = training
        self.neighbours = neighbours
        self.log_popularity = torch.tensor(
            np.log(np.concatenate([[1.0], counts + 1]) / (counts.sum() + (counts > 0).sum())), dtype=torch.float32
        )
        self.impossible = torch.tensor([0, *(np.flatnonzero(counts == 0) + 1)])

    def sample(self, windows: Windows, seed: int) -> Ints:
        """(W, L, n_negatives) for steps with a history, else 0. A draw that the user has interacted with is left out (0)."""
        shape, rng = (*windows.items.shape, self.n_negatives), np.random.default_rng(seed)
        draws = np.searchsorted(self.cumulative, rng.random(shape)) + 1
        draws = np.minimum(draws, len(self.cumulative))
        session = self.training.session_of[np.maximum(windows.steps, 0)][..., None]
        draws[np.isin(self._key(session, draws), self._interactions)] = 0
        asked = windows.scored & (np.arange(shape[1]) > 0)
        if self.neighbours is not None:
            draws[asked] = self._among_neighbours(self.neighbours, windows.steps[asked], draws[asked], rng)
        return np.where(asked[..., None], draws, 0)

    def _among_neighbours(self, neighbours: Neighbours, steps: Ints, popular: Ints, rng: np.random.Generator) -> Ints:
        """Of popular draws (M, n), a third each becomes a neighbour by item-kNN or by text, where there is one."""
        found = popular.copy()
        for near in neighbours.blocks(self.training, steps):
            here = found[near.place]
            kind = rng.integers(0, 3, here.shape)
            for number, theirs in enumerate((near.knn_neighbours, near.text_neighbours), 1):
                hard = theirs(rng, self.n_negatives)
                here[:] = np.where((kind == number) & (hard > 0), hard, here)
        return found

    @property
    def _interactions(self) -> Ints:
        return self._key(self.training.session_of, self.training.items)

    def _key(self, session: Ints, item: Ints) -> Ints:
        return session * (len(self.cumulative) + 1) + item


def never_chosen(sessions: Sessions, steps: Ints, width: int) -> Bools:
    """(M, width): items that the step's user never chose, before or after; padding is none."""
    possible = np.ones((len(steps), width), dtype=bool)
    possible[:, 0] = False
    own = sessions.session_of[steps]
    lengths = sessions.lengths[own]
    rows = np.repeat(np.arange(len(steps)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    possible[rows, sessions.items[np.repeat(sessions.offsets[own], lengths) + within]] = False
    return possible


def drawn(weights: npt.NDArray[Any], rng: np.random.Generator, n: int = 1) -> Ints:
    """(M, n) items, each as often as its row's weight says; 0 where no item has any."""
    sums = np.cumsum(weights, axis=1, dtype=np.float64)
    wanted = rng.random((len(weights), n)) * sums[:, -1:]
    found = np.stack([np.searchsorted(row, one, side="right") for row, one in zip(sums, wanted, strict=True)])
    return np.where(sums[:, -1:] > 0, np.minimum(found, weights.shape[1] - 1), 0)


def among_best(scores: Floats, rng: np.random.Generator, n: int = 1) -> Ints:
    """(M, n), each one of its row's NEIGHBOURS best items; 0 where no item is possible (-inf)."""
    k = min(NEIGHBOURS, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable"), axis=1)
    n_possible = np.isfinite(np.take_along_axis(scores, best, axis=1)).sum(axis=1, keepdims=True)
    place = (rng.random((len(scores), n)) * n_possible).astype(np.int64)
    return np.where(n_possible > 0, np.take_along_axis(best, np.minimum(place, k - 1), axis=1), 0)
