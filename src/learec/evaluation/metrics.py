"""Ranks over the full catalog and the metrics computed from them. Ties are ranked pessimistically."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from learec.data.log import Floats, Ints, Sessions
from learec.data.windows import batches_by_budget

SELECTING = "NDCG@10"  # what chooses an agent's epoch, on the validation part
HISTORY = 200  # items that floors and agents may read; each agent keeps what its own max_length allows
SCORES = 4_000_000  # scored at once: 16 MB stay in a cache, where counting costs a fraction of fetching them from memory
FEWEST, MOST = 64, 1024  # targets in a block: with fewer a scorer reads its whole table for little, more waste padding
BLOCK_SEEN = 4_000_000  # items that were seen before a block's targets
GROUPS = 256  # of items whose best scores bound a row's k best from below


class Scorer(Protocol):
    """Anything that scores every item for a history: an agent, a floor, the raw environment."""

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Histories (B, L) padded on the right with 0, lengths (B,) -> (B, N + 1), higher is better. It is not written to."""
        ...


@dataclass(frozen=True)
class Ranking:
    """What a scorer makes of T targets."""

    ranks: Ints  # (T,) from 1, the best
    best: Ints  # (T, k) the first k items, best first, 0 where fewer are left; of equal scores the lower number first


def ranks(scorer: Scorer, sessions: Sessions, targets: Ints, *, mask_seen: bool, max_length: int) -> Ints:
    """Rank of each target step's item among all items given what came before it, (T,), 1 is best.

    An item with the target's score counts as ranked above it, so a scorer gains nothing from ties or from NaN. With
    mask_seen, items of the history rank last, the target included if it is one of them.
    """
    return ranking(scorer, sessions, targets, mask_seen=mask_seen, max_length=max_length, k=0).ranks


def ranking(scorer: Scorer, sessions: Sessions, targets: Ints, *, mask_seen: bool, max_length: int, k: int) -> Ranking:
    """The ranks of `ranks`, and from the same scores the k best items of every target.

    An item scored NaN or -inf, and with mask_seen one of the history, is in no list.
    """
    found = Ranking(np.zeros(len(targets), dtype=np.int64), np.zeros((len(targets), k), dtype=np.int32))
    width = _width(scorer, sessions, targets, max_length)
    for block, steps, seen in _blocks(width, sessions, targets, mask_seen, max_length):
        scores = scorer.scores(*sessions.histories(steps, max_length))
        found.ranks[block] = _ranks_of(scores, sessions.items[steps].astype(np.int64), seen)
        if k:
            found.best[block] = _best_of(scores, seen, k)
    return found


def ranks_of_each(
    score: Callable[[Ints, Ints], Iterable[Floats]],
    n: int,
    width: int,
    sessions: Sessions,
    targets: Ints,
    *,
    mask_seen: bool,
    max_length: int,
) -> Ints:
    """The ranks of `ranks` under n scorers of `width` columns that share most of their work: (n, T).

    `score` gives the scores of each in turn, which may be one array that is written over.
    """
    found = np.zeros((n, len(targets)), dtype=np.int64)
    for block, steps, seen in _blocks(width, sessions, targets, mask_seen, max_length):
        items = sessions.items[steps].astype(np.int64)
        for number, scores in enumerate(score(*sessions.histories(steps, max_length))):
            found[number, block] = _ranks_of(scores, items, seen)
    return found


def _width(scorer: Scorer, sessions: Sessions, targets: Ints, max_length: int) -> int:
    """Columns that it scores."""
    return scorer.scores(*sessions.histories(targets[:1], max_length)).shape[1] if len(targets) else 1


def _blocks(
    width: int, sessions: Sessions, targets: Ints, mask_seen: bool, max_length: int
) -> Iterator[tuple[Ints, Ints, tuple[Ints, Ints]]]:
    """Places among the targets, their steps, and masked (rows, items); histories of like length together: little is padded."""
    if not len(targets):
        return
    # A target with a long history stands for many: blocks are bounded in targets and in items seen before them.
    most = min(max(SCORES // width, FEWEST), MOST)
    before = sessions.step_of[targets]
    order = np.argsort(np.minimum(before, max_length), kind="stable")
    for block in batches_by_budget(np.maximum(before, BLOCK_SEEN // most), order, BLOCK_SEEN):
        steps = targets[block]
        yield block, steps, _distinct(*sessions.seen(steps), width) if mask_seen else (steps[:0], steps[:0])


def _distinct(rows: Ints, items: Ints, width: int) -> tuple[Ints, Ints]:
    """Pairs of row and item, each once."""
    pairs = np.unique(rows * width + items)
    return np.divmod(pairs, width)


def _ranks_of(scores: Floats, items: Ints, seen: tuple[Ints, Ints]) -> Ints:
    """Rank of items (B,) by scores (B, N + 1), which are read once: what must not count is taken off the count."""
    places = np.arange(len(items))
    own = scores[places, items][:, None]
    # Bits are counted in a fifth of the time in which booleans are added up.
    not_below = np.bitwise_count(np.packbits(scores >= own, axis=1)).sum(axis=1, dtype=np.int64)
    rows, masked = seen
    not_below -= scores[:, 0] >= own[:, 0]
    not_below -= np.bincount(rows[scores[rows, masked] >= own[rows, 0]], minlength=len(items))
    last = np.isnan(own[:, 0])
    last[rows[masked == items[rows]]] = True
    return np.where(last, scores.shape[1] - 1, not_below)


def _best_of(scores: Floats, seen: tuple[Ints, Ints], k: int) -> Ints:
    """The k best items by row, (B, k); of equal scores the lower number first.

    The k-th best of a few groups' best scores is a lower bound of the k-th best score: only what reaches it is sorted.
    """
    scores = scores.copy()
    scores[:, 0] = scores[seen] = -np.inf
    n_rows, width = scores.shape
    groups = min(GROUPS, width)
    grouped = scores[:, : width // groups * groups].reshape(n_rows, -1, groups)
    heads = np.fmax.reduce(grouped, axis=1, initial=-np.inf)  # NaN is nowhere the best
    bar = np.partition(heads, groups - k, axis=1)[:, [groups - k]] if k < groups else np.full((n_rows, 1), -np.inf)
    rows, items = np.nonzero((scores >= bar) & (scores > -np.inf))
    order = np.lexsort((-scores[rows, items], rows))  # stable: the lower number stays first
    rows, items = rows[order], items[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    found = np.zeros((n_rows, k), dtype=np.int32)
    found[rows[place < k], place[place < k]] = items[place < k]
    return found


def hit_rate(rank: Ints, k: int) -> npt.NDArray[np.float64]:
    """HR@k per target: 1 if it is among the first k."""
    return (rank <= k).astype(np.float64)


def ndcg(rank: Ints, k: int) -> npt.NDArray[np.float64]:
    """NDCG@k per target with one relevant item: 1 / log2(rank + 1) if it is among the first k, else 0."""
    return np.where(rank <= k, 1 / np.log2(rank + 1.0), 0.0)


def reciprocal_rank(rank: Ints, k: int) -> npt.NDArray[np.float64]:
    """MRR@k per target: 1 / rank if it is among the first k, else 0."""
    return np.where(rank <= k, 1.0 / rank, 0.0)


METRICS = {"HR": hit_rate, "NDCG": ndcg}  # of the main table
