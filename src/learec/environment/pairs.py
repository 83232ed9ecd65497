"""Pairs: logged actions and sampled ones beside them, in batches of windows; what the environment is trained on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learec.config import EnvironmentConfig
from learec.data.log import Bools, Ints, Sessions
from learec.data.windows import Windows, batches_by_budget
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
    """Items without an interaction by the user: uniform, or as often as they occur in training sessions."""

    def __init__(self, training: Sessions, n_items: int, config: EnvironmentConfig) -> None:
        counts = np.bincount(training.items, minlength=n_items + 1)[1:].astype(np.float64)
        weights = counts if config.negatives == "popular" else (counts > 0).astype(np.float64)
        self.cumulative = np.cumsum(weights / weights.sum())
        self.n_negatives = config.n_negatives
        self.training = training
        self.log_popularity = torch.tensor(
            np.log(np.concatenate([[1.0], counts + 1]) / (counts.sum() + (counts > 0).sum())), dtype=torch.float32
        )
        self.impossible = torch.tensor([0, *(np.flatnonzero(counts == 0) + 1)])

    def sample(self, windows: Windows, seed: int) -> Ints:
        """(W, L, n_negatives) for steps with a history, else 0. A draw that the user has interacted with is left out (0)."""
        shape = (*windows.items.shape, self.n_negatives)
        draws = np.searchsorted(self.cumulative, np.random.default_rng(seed).random(shape)) + 1
        draws = np.minimum(draws, len(self.cumulative))
        session = self.training.session_of[np.maximum(windows.steps, 0)][..., None]
        draws[np.isin(self._key(session, draws), self._interactions)] = 0
        asked = windows.scored & (np.arange(shape[1]) > 0)
        return np.where(asked[..., None], draws, 0)

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
