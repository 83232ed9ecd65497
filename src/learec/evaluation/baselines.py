"""The plainest floors: what is popular, and what followed the last item."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from learec.data.log import Floats, Ints, Sessions


@dataclass(frozen=True)
class Popularity:
    """Training events per item; whoever asks."""

    counts: Floats  # (N + 1,)

    @classmethod
    def fit(cls, training: Sessions, n_items: int) -> "Popularity":
        """Count training events."""
        return cls(np.bincount(training.items, minlength=n_items + 1).astype(np.float32))

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """The same row for every history, (B, N + 1)."""
        return np.tile(self.counts, (len(histories), 1))


@dataclass(frozen=True)
class LastItem:
    """How often each item came right after the history's last one; among those that never did, the popular first."""

    follows: sparse.csr_array  # (N + 1, N + 1) counts
    popularity: Floats  # (N + 1,) below 1 in sum, so that it only breaks ties

    @classmethod
    def fit(cls, training: Sessions, n_items: int) -> "LastItem":
        """Count neighbouring pairs of training steps."""
        second = np.flatnonzero(training.step_of > 0)
        pairs = (training.items[second - 1], training.items[second])
        shape = (n_items + 1, n_items + 1)
        follows = sparse.csr_array((np.ones(len(second), dtype=np.float32), pairs), shape=shape)
        counts = np.bincount(training.items, minlength=n_items + 1).astype(np.float32)
        return cls(follows, counts / (counts.sum() + 1))

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Counts after the last item, (B, N + 1)."""
        last = np.take_along_axis(histories, np.maximum(lengths - 1, 0)[:, None], axis=1)[:, 0]
        after: Floats = self.follows[last].toarray()
        return after + self.popularity
