"""Intervals: how far a mean, or the difference of two, could move if other sessions had been recorded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learec.data.log import Ints

BLOCK = 2**22  # draws of sessions at once: bounds the memory
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over targets with its 95 % interval."""

    mean: float
    low: float
    high: float


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class BySession:
    """Which of S sessions each of T targets belongs to: what is measured on one session hangs together."""

    session: Ints  # (T,) from 0
    targets: Ints  # (S,) how many it has, at least 1

    @classmethod
    def of(cls, session_of_target: Ints) -> "BySession":
        """From any numbers of sessions (T,)."""
        _, session, targets = np.unique(session_of_target, return_inverse=True, return_counts=True)
        return cls(session, targets)

    def sums(self, values: Values) -> Values:
        """Sum of one value per target (T,) by session, (S,)."""
        return np.bincount(self.session, weights=values, minlength=len(self.targets)).astype(np.float64)


class Bootstrap:
    """Resamples sessions, not targets.

    The same resamples serve every column, so the difference of two columns is paired. They are drawn anew by every call, from
    the seed, so that a million sessions need no table of them: ask for many columns at once. Percentile intervals; unlike
    scipy.stats.bootstrap this weighs sessions by their targets and draws once for all columns.
    """

    def __init__(self, session_of_target: Ints, resamples: int, seed: int) -> None:
        self.by_session = BySession.of(session_of_target)
        self._resamples, self._seed = resamples, seed

    @property
    def n_sessions(self) -> int:
        """How many sessions are resampled."""
        return len(self.by_session.targets)

    def draws(self, columns: Iterable[Values], weights: Values | None = None) -> tuple[Values, Values]:
        """Means of columns (T,) over all targets, (C,), and over those of resampled sessions, (resamples, C).

        Targets may have weights (T,), none below 0.
        """
        weights = np.ones(len(self.by_session.session)) if weights is None else weights
        sums = np.stack([self.by_session.sums(weights), *(self.by_session.sums(column * weights) for column in columns)], axis=1)
        totals = np.concatenate([sums.sum(axis=0, keepdims=True), *(times @ sums for times in self._times())])
        means = totals[:, 1:] / np.where(totals[:, :1] == 0, 1, totals[:, :1])
        return means[0], means[1:]

    def estimates(self, columns: Iterable[Values], weights: Values | None = None) -> list[Estimate]:
        """Mean of every column (T,) and its percentile interval; NaN without targets, or where all weights (T,) are 0."""
        if not len(self.by_session.session) or (weights is not None and not weights.any()):
            return [NOTHING for _ in columns]
        means, drawn = self.draws(columns, weights)
        return [interval(float(mean), column) for mean, column in zip(means, drawn.T, strict=True)]

    def estimate(self, values: Values, weights: Values | None = None) -> Estimate:
        """What `estimates` says of one column."""
        return self.estimates([values], weights)[0]

    def _times(self) -> Iterator[Values]:
        """How often each session is drawn, (block, S)."""
        rng, n = np.random.default_rng(self._seed), len(self.by_session.targets)
        size = max(min(BLOCK // n, self._resamples), 1)
        for start in range(0, self._resamples, size):
            rows = min(size, self._resamples - start)
            drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
            yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def interval(mean: float, drawn: Values) -> Estimate:
    """A mean with the percentiles of draws of it, (resamples,)."""
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return Estimate(mean, low, high)
