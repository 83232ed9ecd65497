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
    latter is seen in the sessions' values too, and is taken off there so that it counts once. What the variance of a few runs
    tells of both is counted as Satterthwaite does (Biometrics 1946).
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
    of_runs = sum(len(runs) - 1 for runs in sides)
    # Under the null hypothesis the runs of both sides vary alike: one variance from all of them.
    means = [runs.sum(axis=1) / n for runs in sides]
    pooled = sum(float(np.square(run_means - run_means.mean()).sum()) for run_means in means) / of_runs
    variance = pooled * sum(1 / len(runs) for runs in sides)
    kept = max(1 - sum(_of_runs(runs, by_session.targets) for runs in sides) / between_sessions, 0.0)
    whole = variance + kept * between_sessions / n**2
    share = variance / whole if whole else 0.0
    return SeedLuck(variance, of_runs / share**2 if share else math.inf, kept, share)


def _of_runs(runs: Values, targets: Ints) -> float:
    """What the luck of runs (R, S) on single sessions adds to the sum of squares of their average."""
    mean = runs.mean(axis=0)
    shift = (runs.sum(axis=1) - mean.sum()) / targets.sum()
    left = runs - mean - shift[:, None] * targets
    return float(np.square(left).sum()) / (len(runs) - 1) / len(runs)
