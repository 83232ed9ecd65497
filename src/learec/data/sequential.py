"""Sequentialness: how much the order of a history tells of what comes next, by a count that reads the last item alone."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from learec.config import derived_seed
from learec.data import events
from learec.data.audited import Split
from learec.data.log import Bools, Floats, Ints, Part

K = 10
MAX_TARGETS = 20_000
SHUFFLES = 5
FEW = 1.1  # a smaller gain from order than this is called little


@dataclass(frozen=True)
class Sequentialness:
    """HR@10 of what followed the last item in training, over held-out targets with two items of history or more.

    Seen items are not masked, and an item that never followed is no hit: nothing but order can help.
    """

    targets: int
    true: float  # with the history as it was
    shuffled: float  # mean over shuffles
    error: float  # standard error of the difference of the two

    @property
    def ratio(self) -> float:
        """True over shuffled; NaN where no shuffle hits."""
        return self.true / self.shuffled if self.shuffled else float("nan")

    @property
    def meaning(self) -> str:
        """What the two mean, in a sentence."""
        if abs(self.true - self.shuffled) < 2 * self.error or self.true == self.shuffled:
            return "the difference is within what so many targets give by chance: no sign that order matters"
        if self.true < self.shuffled:
            return "the last item says less than another: order misleads, look at how ties and times were written"
        if self.shuffled and self.ratio < FEW:
            return "order matters little: a model that takes the history for a set loses next to nothing"
        return "order matters: a model that reads the history as a sequence has something to learn"


def sequentialness(split: Split) -> Sequentialness:
    """Measured on at most MAX_TARGETS validation and test steps, drawn at random.

    The last item of a shuffled history is any of its items with equal chance, so a shuffle is one draw.
    """
    targets, place = _targets(split)
    if not len(targets):
        return Sequentialness(0, float("nan"), float("nan"), float("nan"))
    items = split.log.sessions.items
    lasts = [items[targets - 1]]
    for shuffle in range(SHUFFLES):
        rng = np.random.default_rng(derived_seed("shuffled histories", shuffle))
        lasts.append(items[targets - 1 - rng.integers(0, place)])
    hits = _hits(split, np.stack(lasts), items[targets])
    shuffled = hits[1:].mean(axis=0)
    error = float((hits[0] - shuffled).std() / np.sqrt(len(targets)))
    return Sequentialness(len(targets), float(hits[0].mean()), float(shuffled.mean()), error)


def _targets(split: Split) -> tuple[Ints, Ints]:
    """Held-out steps with two items before them, (T,), and how many are before."""
    offsets = split.log.sessions.offsets
    steps = np.flatnonzero(split.log.parts != Part.TRAIN)
    place = steps - offsets[np.searchsorted(offsets, steps, side="right") - 1]
    rows = np.flatnonzero(place >= 2)
    if len(rows) > MAX_TARGETS:
        rows = np.sort(np.random.default_rng(derived_seed("audited targets")).choice(rows, MAX_TARGETS, replace=False))
    return steps[rows], place[rows]


def _hits(split: Split, lasts: Ints, targets: Ints) -> Floats:
    """Whether each target (T,) is among the K that most often followed, for last items (R, T): (R, T) of 0 and 1."""
    n = split.log.catalog.n_items + 1
    wanted = np.zeros(n, dtype=bool)
    wanted[lasts] = True
    follows = _follows(split, wanted)
    # Among items that followed equally often the popular one is first; what is still equal counts as ranked above.
    popularity = split.by_item[:, Part.TRAIN] / (split.by_item[:, Part.TRAIN].sum() + 1)
    scores = follows.data + popularity[follows.indices]
    bar = np.zeros(n)
    for last in np.flatnonzero(wanted & (np.diff(follows.indptr) > K)):
        row = scores[follows.indptr[last] : follows.indptr[last + 1]]
        bar[last] = np.partition(row, len(row) - K - 1)[len(row) - K - 1]
    flat = lasts.ravel()
    wide = np.tile(targets, len(lasts))
    times = np.asarray(follows[flat, wide]).ravel()
    hit = (times > 0) & (times + popularity[wide] > bar[flat])
    return hit.reshape(lasts.shape).astype(np.float32)


def _follows(split: Split, wanted: Bools) -> sparse.csr_array:
    """How often an item came right after a wanted one among training steps, (N + 1, N + 1)."""
    items, parts, offsets = split.log.sessions.items, split.log.parts, split.log.sessions.offsets
    starts = np.zeros(len(items) + 1, dtype=bool)
    starts[offsets] = True
    pairs = []
    for first in range(1, len(items), events.CHUNK_EVENTS):
        rows = slice(first, first + events.CHUNK_EVENTS)
        before = slice(first - 1, min(first + events.CHUNK_EVENTS, len(items)) - 1)
        kept = (parts[rows] == Part.TRAIN) & (parts[before] == Part.TRAIN) & ~starts[:-1][rows] & wanted[items[before]]
        pairs.append((items[before][kept], items[rows][kept]))
    columns = [np.concatenate([pair[side] for pair in pairs]) if pairs else np.zeros(0, dtype=np.int32) for side in (0, 1)]
    ones = np.ones(len(columns[0]), dtype=np.int32)
    return sparse.csr_array((ones, (columns[0], columns[1])), shape=(len(wanted), len(wanted)))
