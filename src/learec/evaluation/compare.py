"""Intervals: how far a mean, or the difference of two, could move if other sessions had been recorded."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learec.data.log import Ints

BLOCK = 100  # resamples at once: bounds the memory
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over targets with its 95 % interval."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Resamples sessions, not targets: the targets of one session hang together.

    The same resamples serve every column, so the difference of two columns is paired.
    """

    def __init__(self, session_of_target: Ints, resamples: int, seed: int) -> None:
        _, self._session = np.unique(session_of_target, return_inverse=True)
        n_sessions = int(self._session.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        even = np.full(max(n_sessions, 1), 1 / max(n_sessions, 1))
        # How often each session is drawn fits a byte: a mean of 1, more than 255 never happens. (resamples, S)
        self._times = np.concatenate(
            [
                rng.multinomial(n_sessions, even, size=min(BLOCK, resamples - start)).astype(np.uint8)
                for start in range(0, resamples, BLOCK)
            ]
        )
        self._targets = np.bincount(self._session, minlength=n_sessions)

    def estimate(self, values: Values) -> Estimate:
        """Mean of one value per target and its percentile interval; NaN without targets."""
        if not len(values):
            return Estimate(float("nan"), float("nan"), float("nan"))
        sums = np.bincount(self._session, weights=values, minlength=len(self._targets))
        columns = np.stack([sums, self._targets], axis=1)
        blocks = [self._times[start : start + BLOCK].astype(np.float64) @ columns for start in range(0, len(self._times), BLOCK)]
        totals = np.concatenate(blocks)
        means = totals[:, 0] / np.maximum(totals[:, 1], 1)
        low, high = np.percentile(means, [2.5, 97.5])
        return Estimate(float(values.mean()), float(low), float(high))
