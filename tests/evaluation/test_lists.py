"""Measures of recommended lists by hand, and diversity against a count of all pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.data.log import Sessions
from learec.evaluation import lists
from learec.evaluation.lists import Shelf, diversity, gini, list_measures, popularity_of_histories, surprise

COUNTS = np.array([0, 6, 2, 0, 0])  # of items 1 to 4
LISTS = np.array([[1, 2], [1, 0], [0, 0]])


def test_coverage_is_the_share_of_the_catalog_that_anybody_is_shown():
    assert list_measures(LISTS, Shelf(COUNTS, 1.0, None))["coverage"] == 2 / 4


def test_gini_by_hand():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    # Of 1, 2 and 3: the mean difference of two, 8 / 9, over twice the mean.
    assert gini(np.array([2, 1, 3])) == pytest.approx(8 / 9 / 4)
    assert math.isnan(gini(np.zeros(3, int)))


def test_novelty_is_self_information_with_one_more_step_for_every_item():
    assert surprise(COUNTS)[1:] == pytest.approx([-math.log2(7 / 12), -math.log2(3 / 12), -math.log2(1 / 12), -math.log2(1 / 12)])
    first = (-math.log2(7 / 12) - math.log2(3 / 12)) / 2
    found = list_measures(LISTS, Shelf(COUNTS, 1.0, None))["novelty"]
    assert found == pytest.approx((first - math.log2(7 / 12)) / 2)  # the empty list says nothing


def test_popularity_lift_compares_what_is_shown_with_what_was_chosen():
    assert list_measures(LISTS, Shelf(COUNTS, 2.5, None))["popularity lift"] == pytest.approx((4 + 6) / 2 / 2.5)


def test_popularity_of_histories_by_hand():
    sessions = Sessions(np.array([0, 3, 5]), np.array([1, 2, 3, 2, 1]), np.zeros(5, int), np.ones(5, np.float32))
    assert popularity_of_histories(sessions, np.array([1, 2, 4]), COUNTS).tolist() == [6, 4, 2]


def test_diversity_by_hand():
    vectors = np.array([[9, 9], [1, 0], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
    best = np.array([[1, 2, 3], [1, 2, 0], [1, 4, 0], [3, 4, 1], [0, 0, 0]])
    # Cosines 0, -1, 0; then 0; then no pair, because item 4 has no vector; then -1.
    np.testing.assert_allclose(diversity(best, vectors), [1 + 1 / 3, 1, np.nan, 2, np.nan], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 6), block=st.sampled_from([1, 3, 4096]))
def test_diversity_equals_a_count_of_all_pairs(seed, k, block):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[[0, 4]] = 0
    best = np.stack([rng.permutation(np.arange(1, 9))[:k] for _ in range(7)])
    best[rng.random(best.shape) < 0.3] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "BLOCK", block)
        found = diversity(best, vectors)
    for row, value in zip(best, found, strict=True):
        known = [vectors[item] for item in row if item not in (0, 4)]
        pairs = [1 - float(a @ b) for n, a in enumerate(known) for b in known[n + 1 :]]
        assert value == pytest.approx(np.mean(pairs), abs=1e-5) if pairs else math.isnan(value)


def test_diversity_stands_among_the_measures_where_there_are_vectors():
    vectors = np.array([[0, 0], [1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)
    assert list_measures(LISTS, Shelf(COUNTS, 1.0, vectors))["diversity"] == pytest.approx(1)
    assert "diversity" not in list_measures(LISTS, Shelf(COUNTS, 1.0, None))


def test_where_nothing_is_recommended_or_known_there_is_no_number():
    found = list_measures(np.zeros((2, 3), int), Shelf(COUNTS, 0.0, None))
    assert found["coverage"] == 0
    assert all(math.isnan(found[name]) for name in ("Gini", "novelty", "popularity lift"))
