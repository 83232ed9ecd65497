"""Ranks, lists and metrics against hand-worked values, a slow second implementation, and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg, retrieval_reciprocal_rank

from learec.data.log import Sessions
from learec.evaluation import metrics
from learec.evaluation.metrics import hit_rate, ndcg, ranking, ranks, reciprocal_rank

NAN, INF = math.nan, math.inf


class Fixed:
    """The same scores for every history."""

    def __init__(self, *scores):
        self.row = np.array(scores, dtype=np.float32)

    def scores(self, histories, lengths):
        return np.tile(self.row, (len(histories), 1))


class ByLastItem:
    """Scores (N + 1, N + 1) by the history's last item, handed out read-only: nobody may write to them."""

    def __init__(self, table):
        self.table = table

    def scores(self, histories, lengths):
        found = self.table[histories[np.arange(len(histories)), lengths - 1]]
        found.flags.writeable = False
        return found


def sessions_of(*rows):
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Sessions(offsets, items, np.zeros(len(items), int), np.ones(len(items), np.float32))


def rank_of_last(scorer, *items, mask_seen=False):
    return int(ranks(scorer, sessions_of(items), np.array([len(items) - 1]), mask_seen=mask_seen, max_length=50)[0])


def list_at_last(scorer, *items, mask_seen=False, k=3):
    at = np.array([len(items) - 1])
    return ranking(scorer, sessions_of(items), at, mask_seen=mask_seen, max_length=50, k=k).best[0].tolist()


def test_the_best_item_ranks_first():
    assert rank_of_last(Fixed(0, 1, 5, 3), 1, 2) == 1


def test_an_item_ranks_behind_those_with_a_higher_score():
    assert rank_of_last(Fixed(0, 1, 5, 3), 2, 1) == 3


def test_ties_are_ranked_pessimistically():
    assert rank_of_last(Fixed(0, 2, 2, 2), 1, 2) == 3


def test_a_scorer_that_gives_no_numbers_gains_nothing():
    assert rank_of_last(Fixed(0, NAN, NAN, NAN), 1, 2) == 3
    assert rank_of_last(Fixed(0, 1, NAN, 1), 1, 2) == 3


def test_padding_never_ranks():
    assert rank_of_last(Fixed(99, 1, 5, 3), 1, 2) == 1
    assert list_at_last(Fixed(99, 1, 5, 3), 1, 2) == [2, 3, 1]


def test_masked_items_of_the_history_make_room():
    assert rank_of_last(Fixed(0, 5, 4, 3), 1, 2, 3) == 3
    assert rank_of_last(Fixed(0, 5, 4, 3), 1, 2, 3, mask_seen=True) == 1


def test_an_item_that_was_seen_twice_is_masked_once():
    assert rank_of_last(Fixed(0, 5, 4, 3, 3), 1, 2, 1, 3, mask_seen=True) == 2


def test_a_masked_target_ranks_last():
    assert rank_of_last(Fixed(0, 5, 4, 3), 1, 2, 1, mask_seen=True) == 3


def test_items_beyond_the_scorers_history_are_masked_too():
    session = sessions_of([1, 2, 3, 4])
    rank = ranks(Fixed(0, 9, 8, 7, 6), session, np.array([3]), mask_seen=True, max_length=1)
    assert rank.tolist() == [1]


def test_an_impossible_target_ranks_behind_all_that_are_possible_and_before_what_is_masked():
    assert rank_of_last(Fixed(0, 5, -INF, 3, -INF), 1, 2, mask_seen=False) == 4
    assert rank_of_last(Fixed(0, 5, -INF, 3, -INF), 1, 2, mask_seen=True) == 3


def test_lists_hold_the_best_that_are_left_and_of_equals_the_lower_number():
    assert list_at_last(Fixed(0, 1, 7, 7, 9), 1, 1) == [4, 2, 3]
    assert list_at_last(Fixed(0, 1, 7, 7, 9), 4, 1, mask_seen=True) == [2, 3, 1]


def test_a_list_ends_where_nothing_is_left_to_recommend():
    assert list_at_last(Fixed(0, 1, -INF, 7, NAN), 3, 1, mask_seen=True, k=5) == [1, 0, 0, 0, 0]


def test_hit_rate_ndcg_and_reciprocal_rank_by_hand():
    rank = np.array([1, 2, 3, 10, 11])
    assert hit_rate(rank, 10).tolist() == [1, 1, 1, 1, 0]
    assert ndcg(rank, 10) == pytest.approx([1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0])
    assert reciprocal_rank(rank, 10) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 10, 0])


def slow_rank(scores, target, seen):
    """As it is defined: masked items and NaN below all others, ties above the target."""
    if target in seen or math.isnan(scores[target]):
        return len(scores) - 1
    rivals = [item for item in range(1, len(scores)) if item != target and item not in seen]
    return 1 + sum(scores[item] >= scores[target] for item in rivals)


def slow_list(scores, seen, k):
    possible = [item for item in range(1, len(scores)) if item not in seen and scores[item] > -INF]
    best = sorted(possible, key=lambda item: (-scores[item], item))[:k]
    return best + [0] * (k - len(best))


@settings(max_examples=300, deadline=None)
@given(
    n_items=st.integers(1, 30),
    mask_seen=st.booleans(),
    k=st.integers(0, 12),
    block=st.sampled_from([(4_000_000, 1024), (1, 1), (60, 2)]),
    groups=st.sampled_from([1, 4, 256]),
    values=st.lists(st.sampled_from([-2, -1, 0, 0.5, 1, 2, 3, NAN, -INF, INF]), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
)
def test_ranks_and_lists_equal_a_slow_count_whatever_ties_and_blocks(n_items, mask_seen, k, block, groups, values, seed):
    rng = np.random.default_rng(seed)
    table = rng.choice(np.array(values, dtype=np.float32), (n_items + 1, n_items + 1))
    rows = [rng.integers(1, n_items + 1, length).tolist() for length in rng.integers(0, 10, 8)]
    sessions = sessions_of(*rows)
    targets = np.flatnonzero(sessions.step_of > 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "SCORES", block[0])
        patch.setattr(metrics, "FEWEST", block[1])
        patch.setattr(metrics, "BLOCK_SEEN", block[0])
        patch.setattr(metrics, "GROUPS", groups)
        found = ranking(ByLastItem(table), sessions, targets, mask_seen=mask_seen, max_length=4, k=k)
    histories = [rows[sessions.session_of[step]][: sessions.step_of[step]] for step in targets]
    seen = [set(history) if mask_seen else set() for history in histories]
    scores = [table[history[-1]].tolist() for history in histories]
    expected = [slow_rank(*row) for row in zip(scores, sessions.items[targets].tolist(), seen, strict=True)]
    assert found.ranks.tolist() == expected
    assert found.best.tolist() == [slow_list(row, masked, k) for row, masked in zip(scores, seen, strict=True)]


def test_without_targets_there_are_no_ranks():
    found = ranking(Fixed(0, 1), sessions_of([1]), np.zeros(0, int), mask_seen=True, max_length=5, k=3)
    assert found.ranks.shape == (0,) and found.best.shape == (0, 3)


@pytest.mark.parametrize("k", [1, 5, 10, 30])
def test_torchmetrics_finds_the_same_where_no_scores_are_equal(rng, k):
    n_items = 25
    table = 1 + np.stack([rng.permutation(n_items + 1) for _ in range(n_items + 1)]).astype(np.float32)  # 0 counts as not found
    sessions = sessions_of(*([int(a), int(b)] for a, b in rng.integers(1, n_items + 1, (200, 2))))
    targets = np.flatnonzero(sessions.step_of == 1)
    rank = ranks(ByLastItem(table), sessions, targets, mask_seen=False, max_length=5)
    ours = {"hit": hit_rate(rank, k), "ndcg": ndcg(rank, k), "mrr": reciprocal_rank(rank, k)}
    for row, step in enumerate(targets):
        scores = torch.from_numpy(table[sessions.items[step - 1], 1:])
        relevant = torch.arange(1, n_items + 1) == int(sessions.items[step])
        at = min(k, n_items)
        assert ours["hit"][row] == pytest.approx(float(retrieval_hit_rate(scores, relevant, top_k=at)))
        assert ours["ndcg"][row] == pytest.approx(float(retrieval_normalized_dcg(scores, relevant, top_k=at)), rel=1e-5)
        assert ours["mrr"][row] == pytest.approx(float(retrieval_reciprocal_rank(scores, relevant, top_k=at)), rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=12), st.data())
def test_with_ties_nothing_is_better_than_what_torchmetrics_averages_over_them(scores, data):
    target = data.draw(st.integers(1, len(scores) - 1))
    rank = np.array([rank_of_last(Fixed(*scores), 1, target)])
    relevant = torch.arange(1, len(scores)) == target
    theirs = float(retrieval_normalized_dcg(torch.tensor(scores[1:], dtype=torch.float32), relevant))
    assert ndcg(rank, len(scores))[0] <= theirs + 1e-6
