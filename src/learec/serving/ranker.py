"""What ranks: the side of a model that serving sees, whatever library runs it; and ranking some items alone."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from learec.data.log import Catalog, Floats, Ints

BLOCK = 2**16  # candidates scored at once: their rows are copied


class Ranker(Protocol):
    """A model that is ready to rank. Items (B, L) are padded on the right with 0, oldest first, L at most max_length."""

    n_items: int
    max_length: int
    bias: Floats  # (N + 1,), -inf for padding and cold items

    def top(self, items: Ints, blocked: Ints, k: int) -> tuple[Ints, Floats]:
        """Item numbers (B, k) and scores (B, k), best first, the lower number of two equals first.

        Blocked numbers (B, P), padded with 0, score -inf, as padding and cold items do. k is at most N.
        """
        ...

    def scores(self, items: Ints, candidates: list[Ints]) -> list[Floats]:
        """Scores of some items alone, for every history its own: (B, L) and (C,) of each -> (C,) of each."""
        ...


class VectorRanker(Ranker, Protocol):
    """An actor: its scores are products of a history's hidden vector with the items' rows."""

    table: Floats  # (N + 1, H)

    def hidden(self, items: Ints) -> Floats:
        """What each history comes to, at its last item: (B, H)."""
        ...

    def scores(self, items: Ints, candidates: list[Ints]) -> list[Floats]:
        """As in Ranker; rows of the candidates alone are read."""
        return [self._products(hidden, some) for hidden, some in zip(self.hidden(items), candidates, strict=True)]

    def _products(self, hidden: Floats, items: Ints) -> Floats:
        blocks = (items[start : start + BLOCK] for start in range(0, len(items), BLOCK))
        return np.concatenate([np.zeros(0, np.float32), *(self.table[block] @ hidden + self.bias[block] for block in blocks)])


@dataclass(frozen=True)
class Served:
    """What is known of a model beside its weights."""

    name: str  # agent and seed: sasrec/0
    version: str  # changes when the model changes
    mask_seen: bool  # as in training: what the history has is not recommended
    counts: Ints  # (N + 1,) training steps of every item


Loaded = tuple[Ranker, Catalog, Served]


def best(scores: npt.NDArray[np.floating], k: int) -> Ints:
    """Places of the k largest of (C,), best first; of equals the earlier place. None that is -inf, so maybe fewer."""
    k = min(k, len(scores))
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    bar = np.partition(scores, len(scores) - k)[len(scores) - k]
    places = np.flatnonzero((scores >= bar) & (scores > -np.inf))
    return places[np.argsort(-scores[places], kind="stable")][:k]


def best_of_rows(scores: Floats, k: int) -> tuple[Ints, Floats]:
    """The k best of every row of (B, N + 1), as `top` gives them; where fewer are possible, the rest is padding with -inf."""
    numbers = np.zeros((len(scores), k), dtype=np.int64)
    for line, row in zip(numbers, scores, strict=True):
        found = best(row, k)
        line[: len(found)] = found
    return numbers, np.take_along_axis(scores, numbers, axis=1)


def padded(rows: list[Ints], width: int | None = None) -> Ints:
    """Rows of item numbers as one array, padded on the right with 0; the newest `width` of each. At least one column."""
    rows = rows if width is None else [row[-width:] for row in rows]
    found = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int64)
    for line, row in zip(found, rows, strict=True):
        line[: len(row)] = row
    return found
