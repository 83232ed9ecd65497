"""Seed luck: how much of the difference of two agents could come from the seeds that they were trained with."""

from dataclasses import dataclass, replace

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


@dataclass(frozen=True, order=True)
class SideLuck:
    """What other seeds would do to the average of one side's runs, as its few runs tell it."""

    variance: float  # of the average, as the runs' means have it
    least: float  # no less than runs that err on other sessions must have, of which all sessions tell
    freedom: int  # runs - 1

    @property
    def seen(self) -> float:
        """The variance that is at hand."""
        return max(self.variance, self.least)

    def drawn(self, n: int, rng: np.random.Generator) -> Values:
        """What the luck of runs adds to the average, n times: normal, with a variance that the runs leave open.

        A variance that R runs show could come from any that is R - 1 over a draw of chi-square times as large.
        """
        variances = np.maximum(self.variance * self.freedom / rng.chisquare(self.freedom, n), self.least)
        return np.sqrt(variances) * rng.standard_normal(n)


@dataclass(frozen=True)
class SeedLuck:
    """What runs with other seeds would do to the difference of two sides.

    The variance of a difference of means has two sources: sessions on which one method is better than the other, and runs that
    would have come out otherwise. A run's mean differs from another's as a whole and because it errs on other sessions; the
    latter is seen in the sessions' values too, and is taken off there so that it counts once. Each side has a variance of its
    own, and what its few runs leave open of it is drawn for each side by itself (Behrens 1929; Fisher, Ann. Eugenics 1935):
    Student's t with R - 1 degrees of freedom a side, which tells equal means apart no more often than its level says (Robinson,
    Ann. Statist. 1976). Satterthwaite's one t for the whole does: where runs happen to agree it takes their luck for small.
    """

    sides: tuple[SideLuck, ...]  # of those with several runs
    kept: float  # share, 0 to 1, of the variance between sessions that is not luck of the runs
    share: float  # of the runs' variance in the variance of the difference, 0 to 1

    @property
    def variance(self) -> float:
        """That the runs give the difference."""
        return sum(side.seen for side in self.sides)

    def added_to(self, drawn: Values, seed: int) -> Values:
        """Draws of a difference around 0 under other sessions, (n,), turned into draws under other sessions and other seeds."""
        rng = np.random.default_rng(seed)
        return np.sqrt(self.kept) * drawn + sum(side.drawn(len(drawn), rng) for side in self.sides)


def seed_luck(pair: Pair, by_session: BySession) -> SeedLuck:
    """Analysis of variance of both sides, each of runs by sessions."""
    sides = [np.stack([by_session.sums(run) for run in runs]) for runs in (pair.new, pair.base) if len(runs) > 1]
    between_sessions = float(np.square(by_session.sums(pair.difference)).sum())
    if not sides or not between_sessions:
        return SeedLuck((), 1.0, 0.0)
    n = float(by_session.targets.sum())
    of_runs = [_of_runs(runs, by_session.targets) for runs in sides]
    kept = max(1 - sum(of_runs) / between_sessions, 0.0)
    found = (
        SideLuck(float(np.var(runs.sum(axis=1) / n, ddof=1)) / len(runs), least / n**2, len(runs) - 1)
        for runs, least in zip(sides, of_runs, strict=True)
    )
    luck = SeedLuck(tuple(sorted(found)), kept, 0.0)  # whichever side comes first, what is drawn is the same
    whole = luck.variance + kept * between_sessions / n**2
    return replace(luck, share=luck.variance / whole if whole else 0.0)


def _of_runs(runs: Values, targets: Ints) -> float:
    """What the luck of runs (R, S) on single sessions adds to the sum of squares of their average."""
    mean = runs.mean(axis=0)
    shift = (runs.sum(axis=1) - mean.sum()) / targets.sum()
    left = runs - mean - shift[:, None] * targets
    return float(np.square(left).sum()) / (len(runs) - 1) / len(runs)
