"""Intervals: right on known cases, by session, and covering the truth as often as they say."""

import numpy as np
import pytest

from learec.evaluation.compare import Bootstrap


def test_the_interval_of_independent_targets_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=1000)
    found = Bootstrap(np.arange(1000), 4000, 1).estimate(values)
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(1000)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


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


def test_two_equal_models_differ_significantly_about_one_time_in_twenty():
    rng = np.random.default_rng(2)
    outside = 0
    for trial in range(300):
        difference = (rng.random(400) < 0.1).astype(float) - (rng.random(400) < 0.1)
        found = Bootstrap(np.arange(400), 400, trial).estimate(difference)
        outside += not found.low <= 0 <= found.high
    assert 0.02 <= outside / 300 <= 0.09
