"""Intervals: right on known cases, by session, as scipy has them, and covering the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from learec.evaluation import compare
from learec.evaluation.compare import Bootstrap


def test_the_interval_of_independent_targets_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=1000)
    found = Bootstrap(np.arange(1000), 4000, 1).estimate(values)
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(1000)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


def test_scipy_gives_the_same_interval_where_every_session_has_one_target():
    values = np.random.default_rng(3).gamma(0.3, size=400)
    found = Bootstrap(np.arange(400), 5000, 1).estimate(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * (theirs.high - theirs.low))


def test_targets_of_one_session_do_not_count_as_independent():
    values = np.repeat(np.random.default_rng(0).normal(size=50), 20)
    by_session = Bootstrap(np.repeat(np.arange(50), 20), 2000, 1).estimate(values)
    by_target = Bootstrap(np.arange(1000), 2000, 1).estimate(values)
    assert by_session.high - by_session.low > 3 * (by_target.high - by_target.low)


def test_a_constant_has_no_spread():
    found = Bootstrap(np.arange(10), 100, 0).estimate(np.full(10, 0.25))
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)


def test_without_targets_there_is_no_number():
    assert np.isnan(Bootstrap(np.zeros(0, int), 10, 0).estimate(np.zeros(0)).mean)
    assert np.isnan(Bootstrap(np.arange(3), 10, 0).estimate(np.ones(3), np.zeros(3)).mean)


def test_weights_decide_what_a_target_counts():
    found = Bootstrap(np.array([4, 4, 9]), 200, 0).estimate(np.array([1.0, 0.0, 1.0]), np.array([3.0, 1.0, 0.0]))
    # Session 9 weighs nothing: whenever session 4 is drawn the mean is 3 / 4.
    assert (found.mean, found.high) == (0.75, 0.75)


def test_columns_asked_for_together_are_resampled_alike_and_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    sessions, columns = rng.integers(0, 40, 100), [rng.normal(size=100) for _ in range(3)]
    alone = [Bootstrap(sessions, 300, 5).estimate(column) for column in columns]
    together = Bootstrap(sessions, 300, 5).estimates(columns)
    for one, other in zip(alone, together, strict=True):
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))
    monkeypatch.setattr(compare, "BLOCK", 1)
    assert Bootstrap(sessions, 300, 5).estimate(columns[0]).low == pytest.approx(alone[0].low)


def test_two_equal_models_differ_significantly_about_one_time_in_twenty():
    rng = np.random.default_rng(2)
    outside = 0
    for trial in range(300):
        difference = (rng.random(400) < 0.1).astype(float) - (rng.random(400) < 0.1)
        found = Bootstrap(np.arange(400), 400, trial).estimate(difference)
        outside += not found.low <= 0 <= found.high
    assert 0.02 <= outside / 300 <= 0.09
