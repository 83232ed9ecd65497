"""Kendall's tau of estimates and true values: as scipy has it, by hand where policies count several times, and its intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from learec.evaluation.agreement import Series, agreement, taus


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_tau_is_that_of_scipy_ties_included(pairs):
    left, right = np.array(pairs, dtype=float).T
    found = taus(left[None], right[None], np.ones((1, len(pairs))))[0]
    np.testing.assert_allclose(found, kendalltau(left, right).statistic, atol=1e-12)  # NaN where all are tied


def test_a_policy_drawn_twice_counts_twice_and_is_no_pair_with_itself():
    left, right = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]])
    # Pairs (1, 2) and (1, 3) agree, (2, 3) does not; the second policy stands for two, the third for none.
    assert taus(left, right, np.array([[1.0, 2.0, 0.0]]))[0] == 1
    assert taus(left, right, np.array([[1.0, 2.0, 3.0]]))[0] == pytest.approx((2 + 3 - 6) / (2 + 3 + 6))
    assert np.isnan(taus(left, right, np.array([[3.0, 0.0, 0.0]]))[0])


def series(values: np.ndarray, noise: float, seed: int) -> Series:
    return Series(values, values + noise * np.random.default_rng(seed).normal(size=(500, len(values))))


def test_an_estimate_in_the_true_order_has_1_and_noise_lowers_the_bound():
    values = np.arange(8.0)
    calm = agreement(series(values, 0.01, 0), series(3 * values, 0.01, 1), 0)
    assert (calm.over_users.mean, calm.over_users.low, calm.over_users.high) == (1, 1, 1)
    assert calm.over_both.low == 1  # whichever policies are drawn
    loud = agreement(series(values, 2.0, 0), series(3 * values, 0.01, 1), 0)
    assert loud.over_users.mean == 1 > loud.over_users.low > 0
    backwards = agreement(series(-values, 0.01, 0), series(values, 0.01, 1), 0)
    assert backwards.over_users.mean == -1


def test_other_policies_are_a_wider_question_than_other_users():
    values = np.arange(8.0)
    mixed = np.array([1.0, 0, 3, 2, 5, 4, 7, 6])
    found = agreement(series(mixed, 0.01, 0), series(values, 0.01, 1), 0)
    assert found.over_users.low == found.over_users.high == pytest.approx(found.over_users.mean)
    assert found.over_both.low < found.over_users.low < found.over_both.high


def test_estimates_that_are_all_alike_or_missing_have_no_tau():
    values = np.arange(4.0)
    for nothing in (np.zeros(4), np.full(4, np.nan)):
        found = agreement(series(nothing, 0.0, 0), series(values, 0.1, 1), 0)
        assert np.isnan(found.over_users.mean) and np.isnan(found.over_both.low)
