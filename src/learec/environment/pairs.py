"""Pairs: logged actions and sampled ones beside them, in batches of windows; what the environment is trained on."""

from dataclasses import dataclass

import numpy as np

from learec.data.log import Bools, Ints
from learec.data.windows import Windows, batches_by_budget
from learec.environment.negatives import NegativeSampler
from learec.environment.packing import tree_sizes


@dataclass(frozen=True)
class PairBatch:
    """Windows with sampled actions for every step that is learnt from."""

    windows: Windows
    negatives: Ints  # (W, L, n_negatives)

    @property
    def asked(self) -> Bools:
        """(W, L): steps that have a history and that this window answers for."""
        return self.windows.scored & (np.arange(self.windows.items.shape[1]) > 0)

    @property
    def paired(self) -> Bools:
        """(W, L): asked steps that have a negative."""
        paired: Bools = np.any(self.negatives > 0, axis=-1)
        return paired


def pair_batches(
    windows: Windows, sampler: NegativeSampler, widths: Ints, budget: int, seed: int, *, shuffle: bool
) -> list[PairBatch]:
    """Batches of at most `budget` slots with freshly sampled negatives; without shuffle, trees of like size together.

    widths (N + 1,): slots of each item.
    """
    negatives = sampler.sample(windows, seed)
    sizes = tree_sizes(windows, negatives, widths)
    order = np.random.default_rng(seed).permutation(len(sizes)) if shuffle else np.argsort(-sizes, kind="stable")
    batches = []
    for rows in batches_by_budget(sizes, order, budget):
        batch = windows.take(rows)
        batches.append(PairBatch(batch, negatives[rows, : batch.items.shape[1]]))
    return batches
