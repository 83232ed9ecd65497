"""Recency: how old every training step is, and the floor that counts what was popular lately."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from learec.artifacts import read_manifest
from learec.data.log import MAKE_WITH, Floats, Ints, Log, Part, Sessions, load_times


@dataclass(frozen=True)
class Recency:
    """What the times of a training log say of its E steps and S sessions."""

    ages: npt.NDArray[np.float64]  # (E,) share of the log's span that had still to come: 0 the newest step, 1 the oldest
    ended: npt.NDArray[Any] | None = None  # (S,) time of the newest step; None where times are a mere order

    @classmethod
    def of_order(cls, training: Sessions) -> "Recency":
        """Where times cannot be compared between users: a step's age is how many follow it, the span is the longest session."""
        later = training.lengths[training.session_of] - 1 - training.step_of
        return cls(later / max(int(later.max(initial=0)), 1))

    @classmethod
    def of_times(cls, training: Sessions, times: npt.NDArray[Any]) -> "Recency":
        """From the real times (E,) of the training steps."""
        filled = training.lengths > 0
        ended = np.zeros(len(filled), dtype=times.dtype)
        ended[filled] = times[training.offsets[1:][filled] - 1]
        newest, oldest = (times.max(), times.min()) if len(times) else (0, 0)
        return cls((newest - times) / max(float(newest - oldest), 1e-12), ended)


def recency(folder: Path, log: Log) -> Recency:
    """From a log and its folder, where the times are."""
    if read_manifest(folder, "log", MAKE_WITH).notes.get("time_unit", "order") == "order":
        return Recency.of_order(log.training)
    return Recency.of_times(log.training, load_times(folder)[log.parts == Part.TRAIN])


@dataclass(frozen=True)
class RecentPopularity:
    """Training events per item, an event counting half as much for every half-life of its age; whoever asks.

    After Ji et al., SIGIR 2020, arXiv:2005.13829, who count what is popular when the user comes. Here all users come when
    training ends, since nothing later may be known.
    """

    counts: Floats  # (N + 1,)

    @classmethod
    def fit(cls, training: Sessions, n_items: int, ages: npt.NDArray[np.float64], half_life: float) -> "RecentPopularity":
        """Count training events of the given ages (E,), in shares of the span as the half-life is."""
        weights = np.exp2(-ages / half_life)
        return cls(np.bincount(training.items, weights=weights, minlength=n_items + 1).astype(np.float32))

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """The same row for every history, (B, N + 1)."""
        return np.tile(self.counts, (len(histories), 1))
