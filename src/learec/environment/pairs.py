"""Pairs: logged actions and sampled ones beside them, in batches of windows; what the environment is trained on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learec.config import EnvironmentConfig
from learec.data.log import Bools, Floats, Ints, Sessions
from learec.data.windows import Windows, batches_by_budget
from learec.environment.negatives import Neighbours
from learec.environment.packing import tree_sizes


@dataclass(frozen=True)
class PairBatch:
    """Windows with sampled actions for every step that is learnt from."""

    windows: Windows
    negatives: Ints  # (W, L, n_negatives)
    log_popularity: Tensor  # (N + 1,) of training events
    impossible: Tensor  # (1 + cold items,) padding and the items that no training step has

    @property
    def asked(self) -> Bools:
        """(W, L): steps that have a history and that this window answers for."""
        return self.windows.scored & (np.arange(self.windows.items.shape[1]) > 0)

    @property
    def paired(self) -> Bools:
        """(W, L): asked steps that have a negative."""
        paired: Bools = np.any(self.negatives > 0, axis=-1)
        return paired


class NegativeSampler:
    """Items without an interaction by the user: uniform, as often as they occur in training sessions, or hard ones.

    Hard ones ("neighbours") are, each with the same chance, as popular ones are drawn, one of item-kNN's nearest to the history,
    or one of those whose text is nearest.
    """

    def __init__(self, training: Sessions, n_items: int, config: EnvironmentConfig, item_vectors: Floats) -> None:
        counts = np.bincount(training.items, minlength=n_items + 1)[1:].astype(np.float64)
        weights = (counts > 0).astype(np.float64) if config.negatives == "uniform" else counts
        self.cumulative = np.cumsum(weights / weights.sum())
        self.n_negatives = config.n_negatives
        self.training = training
        self.neighbours = None
        if config.negatives == "neighbours":
            self.neighbours = Neighbours.of(training, item_vectors, config.decay, config.history)
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


def pair_batches(windows: Windows, sampler: NegativeSampler, budget: int, seed: int, *, shuffle: bool) -> list[PairBatch]:
    """Batches of at most `budget` slots with freshly sampled negatives; without shuffle, trees of like size together."""
    negatives = sampler.sample(windows, seed)
    sizes = tree_sizes(windows, negatives)
    order = np.random.default_rng(seed).permutation(len(sizes)) if shuffle else np.argsort(-sizes, kind="stable")
    batches = []
    for rows in batches_by_budget(sizes, order, budget):
        batch = windows.take(rows)
        batches.append(PairBatch(batch, negatives[rows, : batch.items.shape[1]], sampler.log_popularity, sampler.impossible))
    return batches
