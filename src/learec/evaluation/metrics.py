"""Ranks over the full catalog and the metrics computed from them. Ties are ranked pessimistically."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from learec.data.log import Floats, Ints, Sessions
from learec.data.windows import batches_by_budget

HISTORY = 200  # items that floors and agents may read; each agent keeps what its own max_length allows
BLOCK = 1024  # targets scored at once: bounds the (B, N + 1) scores in memory
BLOCK_SEEN = 4_000_000  # and the items that were seen before them


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
    # A target with a long history stands for many: blocks are bounded in targets and in items seen before them.
    sizes = np.maximum(sessions.step_of[targets], BLOCK_SEEN // BLOCK)
    blocks = batches_by_budget(sizes, np.arange(len(targets)), BLOCK_SEEN)
    found = [_block_ranks(scorer, sessions, targets[block], mask_seen, max_length) for block in blocks]
    return np.concatenate(found or [np.zeros(0, dtype=np.int64)])


def _block_ranks(scorer: Scorer, sessions: Sessions, targets: Ints, mask_seen: bool, max_length: int) -> Ints:
    histories, lengths = sessions.histories(targets, max_length)
    scores = np.nan_to_num(scorer.scores(histories, lengths), copy=True, nan=-np.inf)
    if mask_seen:
        scores[sessions.seen(targets)] = -np.inf
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
