"""Ranks and metrics against hand-worked values and a slow second implementation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.data.log import Sessions
from learec.evaluation.metrics import hit_rate, ndcg, ranks


class Fixed:
    """The same scores for every history."""

    def __init__(self, *scores):
        self.row = np.array(scores, dtype=np.float32)

    def scores(self, histories, lengths):
        return np.tile(self.row, (len(histories), 1))


def one_session(*items):
    n = len(items)
    return Sessions(np.array([0, n]), np.array(items), np.zeros(n, int), np.ones(n, np.float32))


def rank_of_last(scorer, *items, mask_seen=False):
    return int(ranks(scorer, one_session(*items), np.array([len(items) - 1]), mask_seen=mask_seen, max_length=50)[0])


def test_the_best_item_ranks_first():
    assert rank_of_last(Fixed(0, 1, 5, 3), 1, 2) == 1


def test_an_item_ranks_behind_those_with_a_higher_score():
    assert rank_of_last(Fixed(0, 1, 5, 3), 2, 1) == 3


def test_ties_are_ranked_pessimistically():
    assert rank_of_last(Fixed(0, 2, 2, 2), 1, 2) == 3


def test_a_scorer_that_gives_no_numbers_gains_nothing():
    assert rank_of_last(Fixed(0, math.nan, math.nan, math.nan), 1, 2) == 3
    assert rank_of_last(Fixed(0, 1, math.nan, 1), 1, 2) == 3


def test_padding_never_ranks():
    assert rank_of_last(Fixed(99, 1, 5, 3), 1, 2) == 1


def test_masked_items_of_the_history_make_room():
    assert rank_of_last(Fixed(0, 5, 4, 3), 1, 2, 3) == 3
    assert rank_of_last(Fixed(0, 5, 4, 3), 1, 2, 3, mask_seen=True) == 1


def test_a_masked_target_ranks_last():
    assert rank_of_last(Fixed(0, 5, 4, 3), 1, 2, 1, mask_seen=True) == 3


def test_items_beyond_the_scorers_history_are_masked_too():
    session = one_session(1, 2, 3, 4)
    rank = ranks(Fixed(0, 9, 8, 7, 6), session, np.array([3]), mask_seen=True, max_length=1)
    assert rank.tolist() == [1]


def test_hit_rate_and_ndcg_by_hand():
    rank = np.array([1, 2, 3, 10, 11])
    assert hit_rate(rank, 10).tolist() == [1, 1, 1, 1, 0]
    assert ndcg(rank, 10) == pytest.approx([1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=3, max_size=12), st.data())
def test_ranks_equal_a_slow_count_with_ties(scores, data):
    n_items = len(scores) - 1
    target = data.draw(st.integers(1, n_items))
    worse = sum(1 for item in range(1, n_items + 1) if item != target and scores[item] >= scores[target])
    assert rank_of_last(Fixed(*scores), 1, target) == worse + 1
