"""Windows: sessions cut into stretches of bounded length, for models that read a whole stretch at once."""

from dataclasses import dataclass

import numpy as np

from learec.data.log import Bools, Ints, Sessions


@dataclass(frozen=True)
class Windows:
    """Stretches of sessions short enough for a model: W windows of at most L steps."""

    items: Ints  # (W, L) item numbers, 0 where a window has ended
    steps: Ints  # (W, L) index of the step in its Sessions, -1 where a window has ended
    scored: Bools  # (W, L) whether this window is the one that answers for the step

    @property
    def lengths(self) -> Ints:
        """Steps per window, (W,)."""
        return (self.steps >= 0).sum(axis=1)

    def take(self, rows: Ints) -> "Windows":
        """Some windows, cut to the longest of them."""
        width = max(int(self.lengths[rows].max(initial=0)), 1)
        return Windows(self.items[rows, :width], self.steps[rows, :width], self.scored[rows, :width])


def windows_of(sessions: Sessions, numbers: Ints, history: int) -> Windows:
    """The given sessions cut into windows of at most `history` steps.

    Windows of a long session overlap by half, and a step is scored in the first window that holds it: a state has seen
    between half and all of `history` items, or the whole session so far.
    """
    return _cut(sessions, numbers, history, max(history // 2, 1), np.full(len(numbers), history - 1))


def stretches_of(sessions: Sessions, numbers: Ints, places: int, stride: int, rng: np.random.Generator) -> Windows:
    """The given sessions cut into stretches of at most `places` steps, where a long session is first cut at random.

    All steps of a session's first stretch are new. Later ones have at most `stride` new steps, after exactly places - stride
    older ones, so each new step has between places - stride and places - 1 steps before it. Over many draws a step is seen
    after histories of different lengths. A large stride encodes few steps twice, a small one gives long histories to all.
    """
    return _cut(sessions, numbers, places, stride, rng.integers(places - stride, places, len(numbers)))


def _cut(sessions: Sessions, numbers: Ints, places: int, stride: int, first: Ints) -> Windows:
    """Windows of which each scores up to `stride` steps after the one before; `first`: place of a long session's first end."""
    lengths = sessions.lengths[numbers]
    first = np.where(lengths > places, first, np.maximum(lengths - 1, 0))
    counts = 1 + np.maximum(-(-(lengths - 1 - first) // stride), 0)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    last = np.repeat(first, counts) + number * stride
    start = np.maximum(last - places + 1, 0)
    known = np.where(number == 0, -1, last - stride)  # places up to here are scored in earlier windows
    end = np.minimum(last, np.repeat(lengths, counts) - 1)
    depth = start[:, None] + np.arange(max(int((end - start).max(initial=0)), 0) + 1)
    real = depth <= end[:, None]
    steps = np.where(real, np.repeat(sessions.offsets[:-1][numbers], counts)[:, None] + depth, -1)
    items = np.where(real, sessions.items[np.maximum(steps, 0)], 0).astype(np.int64)
    return Windows(items, steps, real & (depth > known[:, None]))


def newest(histories: Ints, lengths: Ints, max_length: int) -> tuple[Ints, Ints]:
    """The newest `max_length` items of every padded history, and how many they are."""
    if histories.shape[1] <= max_length:
        return histories.astype(np.int64), np.asarray(lengths)
    start = np.maximum(lengths - max_length, 0)
    index = np.minimum(start[:, None] + np.arange(max_length), histories.shape[1] - 1)
    kept_lengths = np.minimum(lengths, max_length)
    real = np.arange(max_length) < kept_lengths[:, None]
    return np.where(real, np.take_along_axis(histories, index, axis=1), 0).astype(np.int64), kept_lengths


def batches_by_budget(sizes: Ints, order: Ints, budget: int) -> list[Ints]:
    """Pieces of work in the given order, cut into batches that hold at most `budget` (slots, items) and one piece at least."""
    batches: list[Ints] = []
    ends = np.cumsum(sizes[order])
    start = 0
    while start < len(order):
        limit = (ends[start - 1] if start else 0) + budget
        stop = max(int(np.searchsorted(ends, limit, side="right")), start + 1)
        batches.append(order[start:stop])
        start = stop
    return batches
