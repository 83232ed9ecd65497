"""examine: figures by hand, negatives that are what they are called, and an environment that is examined as a whole."""

import numpy as np
import pytest

from learec.config import EnvironmentConfig
from learec.data.log import Sessions
from learec.environment import examination, negatives
from learec.environment.examination import NEGATIVES, SCORERS, area_under_curve, calibration, examine


def test_the_area_under_the_curve_by_hand():
    # 3 wins twice and 2 once; 2 and 1 meet their equals; 1 loses once.
    assert area_under_curve(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx((3 + 0.5 + 0.5) / 6)
    assert area_under_curve(np.array([]), np.array([])) is None


def test_calibration_by_hand(monkeypatch):
    monkeypatch.setattr(examination, "BINS", 2)
    found = calibration(np.array([0.0, 2.0, 0.5, -3.0]), np.array([0.0, 0.0, 0.0, 0.0]))
    sigmoid = 1 / (1 + np.exp(-np.array([0.0, 0.5, 2.0, 3.0])))
    assert [one["said"] for one in found] == pytest.approx([sigmoid[:2].mean(), sigmoid[2:].mean()])
    assert [one["seen"] for one in found] == [0.75, 0.5]  # a tie and a pair won; a pair won and a pair lost
    assert [one["pairs"] for one in found] == [2, 2]


def test_negatives_are_items_that_the_user_never_chose_and_of_their_kind():
    lengths = np.array([4, 3, 5])
    items = np.array([1, 2, 3, 4, 1, 2, 5, 6, 7, 1, 8, 2])
    own = Sessions(np.concatenate([[0], np.cumsum(lengths)]), items, np.zeros(12, int), np.ones(12, np.float32))
    counts = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 3], dtype=float)  # item 9 is cold
    steps = np.array([1, 3, 5, 9])
    possible = negatives.never_chosen(own, steps, len(counts))
    assert [np.flatnonzero(row).tolist() for row in possible] == [
        [5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 10], [3, 4, 6, 7, 8, 9, 10], [3, 4, 5, 9, 10],
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    drawn = negatives.drawn(possible * counts, rng, 4000)
    assert set(np.unique(drawn[0])) == {5, 6, 7, 8, 10}
    assert (drawn[0] == 10).mean() == pytest.approx(3 / 7, abs=0.03)
    assert negatives.drawn(np.zeros((2, 11)), rng, 2).tolist() == [[0, 0], [0, 0]]


def test_a_hard_negative_is_among_the_best_and_none_where_none_is_possible(monkeypatch):
    monkeypatch.setattr(negatives, "NEIGHBOURS", 2)
    scores = np.array([[-np.inf, 3, 1, 2, -np.inf], [-np.inf, -np.inf, 1, -np.inf, -np.inf], [-np.inf] * 5])
    rng = np.random.default_rng(0)
    drawn = negatives.among_best(scores, rng, 200)
    assert [set(row) for row in drawn.tolist()] == [{1, 3}, {2}, {0}]


class Oracle:
    """An environment whose reward is known: the item's number, so high numbers win."""

    def __init__(self, n_items):
        self.config = EnvironmentConfig()
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(n_items + 1, 4)).astype(np.float32)
        vectors[0] = 0
        self.item_vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def annotate(self, sessions, candidates):
        states = self.item_vectors[sessions.items]
        return states, sessions.items.astype(np.float32), candidates.astype(np.float32)


def test_scores_go_to_the_pairs_they_belong_to(small_log):
    users = np.arange(0, small_log.training.n_sessions, 3)
    found = examine(Oracle(small_log.catalog.n_items), small_log, users, 0)
    assert found["steps"] == np.maximum(small_log.training.lengths[users] - 1, 0).sum()
    assert set(found["accuracy"]) == set(NEGATIVES)
    assert all(set(row) == set(SCORERS) for row in found["accuracy"].values())
    # The state is the chosen item's own vector here, so it tells every logged action from every other.
    assert found["accuracy"]["uniform"]["state"] == found["auc"]["popular"]["state"] == 1.0
    assert 0 < found["accuracy"]["uniform"]["reward"] < 1
    assert found["ties"] == 0.0
    assert sum(one["pairs"] for one in found["calibration"]) == found["pairs"]["popular"]
    again = examine(Oracle(small_log.catalog.n_items), small_log, users, 0)
    assert again == found
    fewer = examine(Oracle(small_log.catalog.n_items), small_log, users, 0, n_steps=10)
    assert 0 < fewer["steps"] < found["steps"]


def test_examined_users_are_not_in_the_counts_they_are_scored_by(small_log):
    """item-kNN over all sessions would know what these very users chose next."""
    everybody = np.arange(small_log.training.n_sessions)
    assert examine(Oracle(small_log.catalog.n_items), small_log, everybody, 0) == {}
