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
    stride = max(history // 2, 1)
    lengths = sessions.lengths[numbers]
    counts = 1 + np.maximum(-(-(lengths - history) // stride), 0)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    start = place * stride
    width = max(int(np.minimum(lengths, history).max(initial=1)), 1)
    depth = start[:, None] + np.arange(width)
    real = depth < np.repeat(lengths, counts)[:, None]
    steps = np.where(real, np.repeat(sessions.offsets[:-1][numbers], counts)[:, None] + depth, -1)
    first_new = np.where(place == 0, 0, start + history - stride)
    items = np.where(real, sessions.items[np.maximum(steps, 0)], 0).astype(np.int64)
    return Windows(items, steps, real & (depth >= first_new[:, None]))


def stretches_of(sessions: Sessions, numbers: Ints, places: int, stride: int, rng: np.random.Generator) -> Windows:
    """The given sessions cut into stretches of at most `places` steps, each with at most `stride` that are new.

    A stretch scores its new steps, and opens with as many of the ones before them as have room: between places - stride and
    places - 1, at least one. Where a long session is first cut is drawn at random, so that over many draws a step is seen
    after histories of different lengths. A large stride encodes few steps twice, a small one gives long histories to all.
    """
    lengths, longest = sessions.lengths[numbers], places - 1
    drawn = rng.integers(longest - stride + 1, longest + 1, len(numbers))
    first = np.where(lengths > places, drawn, np.maximum(lengths - 1, 0))  # place of the first stretch's last step
    counts = 1 + -(-(lengths - 1 - first) // stride)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    last = np.repeat(first, counts) + number * stride
    start = np.maximum(last - longest, 0)
    known = np.where(number == 0, -1, last - stride)  # places up to here are scored in earlier stretches
    end = np.minimum(last, np.repeat(lengths, counts) - 1)
    depth = start[:, None] + np.arange(int((end - start).max(initial=0)) + 1)
    real = depth <= end[:, None]
    steps = np.where(real, np.repeat(sessions.offsets[:-1][numbers], counts)[:, None] + depth, -1)
    items = np.where(real, sessions.items[np.maximum(steps, 0)], 0).astype(np.int64)
    return Windows(items, steps, real & (depth > known[:, None]))


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
