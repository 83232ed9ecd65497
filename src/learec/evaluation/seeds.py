"""Seed luck: how much of the difference of two agents could come from the seeds that they were trained with."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learec.data.log import Ints
from learec.evaluation.compare import BySession, Values


@dataclass(frozen=True)
class Pair:
    """Two rows' values: a run per seed and a value per target, (R, T). The numbers of runs may differ."""

    new: Values
    base: Values

    @property
    def difference(self) -> Values:
        """Of the seeds' averages, (T,)."""
        return self.new.mean(axis=0) - self.base.mean(axis=0)

    def at(self, chosen: npt.NDArray[np.bool_]) -> "Pair":
        """The same on some targets (T,)."""
        return Pair(self.new[:, chosen], self.base[:, chosen])


@dataclass(frozen=True)
class SeedLuck:
    """What runs with other seeds would do to the difference of two sides.

    The variance of a difference of means has two sources: sessions on which one method is better than the other, and runs that
    would have come out otherwise. A run's mean differs from another's as a whole and because it errs on other sessions; the
    latter is seen in the sessions' values too, and is taken off there so that it counts once. Each side has a variance of its
    own, as in Welch's test (Biometrika 1947): runs of one method may vary ten times as much as those of another. What the few
    runs of both tell is counted as Satterthwaite does (Biometrics 1946).
    """

    variance: float  # that the runs give the difference
    freedom: float  # degrees of freedom behind the variance of the difference; infinite without several runs
    kept: float  # share, 0 to 1, of the variance between sessions that is not luck of the runs
    share: float  # of `variance` in the variance of the difference, 0 to 1

    def added_to(self, drawn: Values, seed: int) -> Values:
        """Draws of a difference around 0 under other sessions, (n,), turned into draws under other sessions and other seeds.

        Where the runs' part is large, they have the tails of Student's t: few runs tell little of their variance.
        """
        if not self.variance:
            return np.sqrt(self.kept) * drawn
        rng = np.random.default_rng(seed)
        both = np.sqrt(self.kept) * drawn + np.sqrt(self.variance) * rng.standard_normal(len(drawn))
        return both * np.sqrt(self.freedom / rng.chisquare(self.freedom, len(drawn)))


def seed_luck(pair: Pair, by_session: BySession) -> SeedLuck:
    """Analysis of variance of both sides, each of runs by sessions."""
    sides = [np.stack([by_session.sums(run) for run in runs]) for runs in (pair.new, pair.base) if len(runs) > 1]
    between_sessions = float(np.square(by_session.sums(pair.difference)).sum())
    if not sides or not between_sessions:
        return SeedLuck(0.0, math.inf, 1.0, 0.0)
    n = float(by_session.targets.sum())
    by_side = [_of_means(runs, by_session.targets) for runs in sides]
    variance = sum(by_side)
    kept = max(1 - sum(_of_runs(runs, by_session.targets) for runs in sides) / between_sessions, 0.0)
    whole = variance + kept * between_sessions / n**2
    unsure = sum(part**2 / (len(runs) - 1) for part, runs in zip(by_side, sides, strict=True))
    share = variance / whole if whole else 0.0
    return SeedLuck(variance, whole**2 / unsure if unsure else math.inf, kept, share)


def _of_means(runs: Values, targets: Ints) -> float:
    """Variance of the average of runs (R, S) under other seeds.

    Runs that err on other sessions have other means for that alone, which all sessions tell of: means of a few runs that happen
    to lie closer together than this are no sign of less luck. Satterthwaite counts it as known from the runs alone all the same:
    which of the two is larger is luck as well, and counting the sessions would call equal methods different too often.
    """
    of_means = float(np.var(runs.sum(axis=1) / targets.sum(), ddof=1)) / len(runs)
    return max(of_means, _of_runs(runs, targets) / float(targets.sum()) ** 2)


def _of_runs(runs: Values, targets: Ints) -> float:
    """What the luck of runs (R, S) on single sessions adds to the sum of squares of their average."""
    mean = runs.mean(axis=0)
    shift = (runs.sum(axis=1) - mean.sum()) / targets.sum()
    left = runs - mean - shift[:, None] * targets
    return float(np.square(left).sum()) / (len(runs) - 1) / len(runs)
