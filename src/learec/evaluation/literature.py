"""Floors from the literature: V-SKNN, neighbouring sessions, and EASE, a regression between items in closed form."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from learec.data.ease import Explained, ease_weights
from learec.data.log import Floats, Ints, Sessions
from learec.data.neighbours import binary, counted_together, recency_weights
from learec.data.windows import batches_by_budget

BUDGET = 4_000_000  # counts held at once: candidate sessions of a block of histories, items of its neighbours


@dataclass(frozen=True)
class VSKNN:
    """V-SKNN: the next items of the sessions nearest to the history (Ludewig & Jannach, UMUAI 2018, arXiv:1803.09587).

    Candidates are the `sample` newest training sessions that share an item with the history; similarity is the dot product
    of binary sessions with the history's places x / n; the score of an item is the sum, over the `neighbours` most similar
    sessions that hold it, of similarity * x / n of the newest item that session and history share.

    Differs from the source: places count 1 .. n instead of 1 / n .. 1, which changes no order and keeps sums exact; a history
    is all that a user did, and what of it is for training is a candidate too, though the only items that it brings are the
    history's own; of equally similar sessions the newer is nearer. As in the authors' code, an item that comes back counts
    once, at its newest place. No idf, dwelling time or reminders.
    """

    seen: sparse.csr_array  # (S, N + 1) binary, the newest session first
    sessions_of: sparse.csr_array  # (N + 1, S) the newest sessions of every item, at most `sample`
    neighbours: int
    sample: int

    @classmethod
    def fit(
        cls, training: Sessions, n_items: int, neighbours: int, sample: int, ended: npt.NDArray[np.number] | None = None
    ) -> "VSKNN":
        """Index training sessions; ended (S,) says which are new, and without it the one of the highest number is the newest."""
        number = np.arange(training.n_sessions)
        order = np.lexsort((number, number if ended is None else ended))[::-1]
        place = np.empty_like(order)
        place[order] = number
        seen = binary(place[training.session_of], training, n_items)
        # A session among the newest that share any item is among the newest that share that one: the rest is never asked for.
        by_item = seen.T.tocsr()
        by_item.sort_indices()
        counts = np.diff(by_item.indptr)
        kept = _within(counts) < sample
        offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, sample))])
        sessions_of = sparse.csr_array((by_item.data[kept], by_item.indices[kept], offsets), shape=by_item.shape)
        return cls(seen, sessions_of, neighbours, sample)

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Evidence for every item, (B, N + 1)."""
        places = newest_places(histories, lengths)
        candidates = np.where(places > 0, np.diff(self.sessions_of.indptr)[histories], 0).sum(axis=1)
        blocks = batches_by_budget(candidates, np.arange(len(histories)), BUDGET)
        none = np.zeros((0, self.seen.shape[1]), dtype=np.float32)
        return np.concatenate([none, *(self._block_scores(histories[block], places[block]) for block in blocks)])

    def nearest(self, histories: Ints, places: Ints) -> tuple[Ints, Ints, Ints]:
        """Neighbours of every history: its row, their row of `seen` and their similarity, all (P,), sorted by history."""
        near = _places_by_item(histories, places, self.seen.shape[1]) @ self.sessions_of
        near.sort_indices()  # newest first
        counts = np.diff(near.indptr)
        age = _within(counts)
        kept = age < self.sample
        rows = np.repeat(np.arange(len(counts)), counts)[kept]
        # Similarity and, where it is equal, age in one number: what is largest is nearest, and no two are the same.
        base = self.sample + 1
        keys = np.zeros((len(counts), min(int(counts.max(initial=0)), self.sample)), dtype=np.int64)
        keys[rows, age[kept]] = near.data[kept].astype(np.int64) * base + self.sample - age[kept]
        if keys.shape[1] > self.neighbours:
            keys = -np.partition(-keys, self.neighbours - 1, axis=1)[:, : self.neighbours]
        rows, columns = np.nonzero(keys)
        similarity, youth = np.divmod(keys[rows, columns], base)
        return rows, near.indices[near.indptr[rows] + self.sample - youth], similarity

    def _block_scores(self, histories: Ints, places: Ints) -> Floats:
        rows, sessions, similarity = self.nearest(histories, places)
        place_of = _places_by_item(histories, places, self.seen.shape[1]).toarray()
        blocks = batches_by_budget(np.diff(self.seen.indptr)[sessions], np.arange(len(rows)), BUDGET)
        shared = [self._newest_shared(place_of, rows[block], sessions[block]) for block in blocks]
        weights = similarity * np.concatenate([np.zeros(0, dtype=np.float32), *shared])
        shape = (len(histories), self.seen.shape[0])
        return (sparse.csr_array((weights.astype(np.float32), (rows, sessions)), shape=shape) @ self.seen).toarray()

    def _newest_shared(self, place_of: Floats, rows: Ints, sessions: Ints) -> Floats:
        """Place in the history of the newest item that it shares with the session, (P,)."""
        counts = np.diff(self.seen.indptr)[sessions]
        items = self.seen.indices[_within(counts) + np.repeat(self.seen.indptr[sessions], counts)]
        return np.maximum.reduceat(place_of[np.repeat(rows, counts), items], np.cumsum(counts) - counts)


@dataclass(frozen=True)
class EASE:
    """EASE: linear regression of every item on all others, in closed form (Steck, WWW 2019, arXiv:1905.03375).

    A history's scores are the sum of its items' rows of weights (data/ease.py), each item once. Differs from the source: with
    a decay below 1 an item counts decay ** age of its newest place.
    """

    weights: Floats  # (N + 1, N + 1)
    decay: float

    @classmethod
    def fit(cls, training: Sessions, n_items: int, regularisation: float, decay: float, texts: Explained | None = None) -> "EASE":
        """Solve it, as data/ease.py does; with texts it is CEASE. Raises ConfigError if it is singular."""
        together = counted_together(training, n_items)
        weights = ease_weights(together, regularisation, "evaluation.ease_regularisation", texts)
        return cls(weights, decay)

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Sum of the history's rows, (B, N + 1)."""
        places = newest_places(histories, lengths)
        weights = np.where(places > 0, recency_weights(lengths, histories.shape[1], self.decay), 0)
        found: Floats = _places_by_item(histories, weights, len(self.weights)) @ self.weights
        return found


def newest_places(histories: Ints, lengths: Ints) -> Ints:
    """Places of padded histories from 1, the oldest, (B, L); 0 for padding and where the same item comes again later."""
    column = np.arange(histories.shape[1])
    real = column < lengths[:, None]
    items = np.where(real, histories, 0)
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    is_last = np.ones_like(real)
    is_last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    newest = np.zeros_like(real)
    np.put_along_axis(newest, order, is_last, axis=1)
    return np.where(newest & real, column + 1, 0)


def _places_by_item(histories: Ints, weights: npt.NDArray[np.number], width: int) -> sparse.csr_array:
    """Weights (B, L) of the histories' items as a matrix (B, N + 1) float32; zeros are left out."""
    rows, columns = np.nonzero(weights)
    values = weights[rows, columns].astype(np.float32)
    return sparse.csr_array((values, (rows, histories[rows, columns])), shape=(len(histories), width))


def _within(counts: Ints) -> Ints:
    """0 .. n - 1 for every n of the counts, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
