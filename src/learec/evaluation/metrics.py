"""Ranks over the full catalog and the metrics computed from them. Ties are ranked pessimistically."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from learec.data.log import Floats, Ints, Sessions

BLOCK = 1024  # targets scored at once: bounds the (B, N + 1) scores in memory


class Scorer(Protocol):
    """Anything that scores every item for a history: an agent, a floor, the raw environment."""

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Histories (B, L) padded on the right with 0, lengths (B,) -> (B, N + 1), higher is better."""
        ...


def ranks(scorer: Scorer, sessions: Sessions, targets: Ints, *, mask_seen: bool, max_length: int) -> Ints:
    """Rank of each target step's item among all items given what came before it, (T,), 1 is best.

    An item with the target's score counts as ranked above it, so a scorer gains nothing from ties or from NaN. With
    mask_seen, items of the history rank last, the target included if it is one of them.
    """
    return np.concatenate(
        [
            _block_ranks(scorer, sessions, targets[start : start + BLOCK], mask_seen, max_length)
            for start in range(0, len(targets), BLOCK)
        ]
        or [np.zeros(0, dtype=np.int64)]
    )


def _block_ranks(scorer: Scorer, sessions: Sessions, targets: Ints, mask_seen: bool, max_length: int) -> Ints:
    histories, lengths = sessions.histories(targets, max_length)
    scores = np.nan_to_num(scorer.scores(histories, lengths), copy=True, nan=-np.inf)
    if mask_seen:
        everything, _ = sessions.histories(targets, int(sessions.lengths.max()))
        np.put_along_axis(scores, everything, -np.inf, axis=1)
    scores[:, 0] = -np.inf
    own = np.take_along_axis(scores, sessions.items[targets].astype(np.int64)[:, None], axis=1)
    # Items at -inf (padding, masked) tie with a masked target: it ranks behind all of them but padding.
    above_or_equal = (scores >= own).sum(axis=1)
    return np.where(np.isneginf(own[:, 0]), scores.shape[1] - 1, above_or_equal)


def hit_rate(rank: Ints, k: int) -> npt.NDArray[np.float64]:
    """HR@k per target: 1 if it is among the first k."""
    return (rank <= k).astype(np.float64)


def ndcg(rank: Ints, k: int) -> npt.NDArray[np.float64]:
    """NDCG@k per target with one relevant item: 1 / log2(rank + 1) if it is among the first k, else 0."""
    return np.where(rank <= k, 1 / np.log2(rank + 1.0), 0.0)


METRICS = {"HR": hit_rate, "NDCG": ndcg}
