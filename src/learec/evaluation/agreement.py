"""Agreement: how well an offline estimate orders policies as their true values do, given the luck of users and of policies."""

from dataclasses import dataclass

import numpy as np

from learec.config import derived_seed
from learec.evaluation.compare import Estimate, Values
from learec.evaluation.drawn import with_interval


@dataclass(frozen=True)
class Series:
    """One figure of P policies: as measured, (P,), and with sessions resampled, (resamples, P)."""

    values: Values
    drawn: Values


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b between an estimate and the true value: 1 the same order, 0 none, -1 the opposite one."""

    over_users: Estimate  # other users, these policies
    over_both: Estimate  # other users, and other policies like these


def agreement(estimate: Series, truth: Series, seed: int) -> Agreement:
    """Both series are of the same policies and the same resamples of sessions; NaN where an estimate is NaN or all are tied."""
    n = len(estimate.values)
    tau = float(taus(estimate.values[None], truth.values[None], np.ones((1, n)))[0])
    times = np.random.default_rng(derived_seed("policies", seed)).multinomial(n, np.full(n, 1 / n), len(estimate.drawn))
    weights = np.ones_like(estimate.drawn), times.astype(np.float64)
    return Agreement(*(with_interval(tau, taus(estimate.drawn, truth.drawn, some)) for some in weights))


def taus(left: Values, right: Values, weights: Values) -> Values:
    """Kendall's tau-b of rows (R, P) of two figures, (R,), where policies count several times: weights (R, P).

    With weights of 1 it is scipy.stats.kendalltau, which takes one pair of rows at a time (a test compares them). A policy drawn
    twice is no pair with itself. NaN where all are tied, or for fewer than two policies.
    """
    first, second = np.triu_indices(left.shape[1], 1)
    here, there = (np.sign(side[:, first] - side[:, second]) for side in (left, right))
    pairs = weights[:, first] * weights[:, second]
    size = np.sqrt((pairs * np.abs(here)).sum(axis=1) * (pairs * np.abs(there)).sum(axis=1))
    agreed = (pairs * here * there).sum(axis=1)
    found: Values = np.divide(agreed, size, out=np.full(len(agreed), np.nan), where=size > 0)
    return found
