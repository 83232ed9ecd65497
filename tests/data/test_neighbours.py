"""Nearest neighbours: cosine, decay and the rule, worked out on three items."""

import math

import numpy as np
import pytest

from learec.data.log import Sessions
from learec.data.neighbours import UNSEEN, ContentKNN, ItemKNN, Rule, recency_weights, unit_rows

# Sessions 1 2, 1 2 3, 1 1: item 1 is in three of them, item 2 in two, item 3 in one.
TRAINING = Sessions(np.array([0, 2, 5, 7]), np.array([1, 2, 1, 2, 3, 1, 1]), np.zeros(7, int), np.ones(7, np.float32))
C12, C13, C23 = 2 / math.sqrt(3 * 2), 1 / math.sqrt(3 * 1), 1 / math.sqrt(2 * 1)
VECTORS = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)  # padding, then items 1 to 3


def rows(*histories: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Histories padded on the right, and their lengths."""
    width = max(map(len, histories))
    return np.array([[*h, *[0] * (width - len(h))] for h in histories]), np.array([len(h) for h in histories])


@pytest.fixture
def knn():
    return ItemKNN.fit(TRAINING, n_items=3, decay=0.5, shrinkage=0.0)


@pytest.fixture
def content():
    return ContentKNN(VECTORS, decay=0.5)


def test_the_newest_item_weighs_one_and_each_step_of_age_multiplies_by_the_decay():
    weights = recency_weights(np.array([3, 1, 0]), width=4, decay=0.5)
    assert weights.tolist() == [[0.25, 0.5, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_item_knn_is_the_cosine_of_who_bought_both_and_a_repeat_counts_once(knn):
    expected = [[0, 0, 0, 0], [0, 0, C12, C13], [0, C12, 0, C23], [0, C13, C23, 0]]
    np.testing.assert_allclose(knn.similarity.toarray(), expected, rtol=1e-6)


def test_shrinkage_trusts_a_pair_the_less_the_fewer_counts_it_has():
    # sessions {1, 2} and {1, 2, 3}: n = 2, 2, 1; together 2, 1, 1
    training = Sessions(np.array([0, 2, 5]), np.array([1, 2, 1, 2, 3]), np.zeros(5, int), np.ones(5, np.float32))
    shrunk = ItemKNN.fit(training, n_items=3, decay=0.5, shrinkage=3.0).similarity.toarray()
    assert shrunk[1, 2] == pytest.approx(2 / (2 + 3))
    assert shrunk[1, 3] == pytest.approx(1 / (math.sqrt(2) + 3))


def test_item_knn_sums_over_the_history_with_decay(knn):
    scores = knn.scores(*rows([1, 2], [2, 1], [3]))
    expected = [
        [0, C12, 0.5 * C12, 0.5 * C13 + C23],
        [0, 0.5 * C12, C12, 0.5 * C23 + C13],
        [0, C13, C23, 0],
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_an_item_that_comes_back_in_a_history_counts_each_time(knn):
    np.testing.assert_allclose(knn.scores(*rows([1, 2, 1]))[0], [0, 0.5 * C12, 1.25 * C12, 1.25 * C13 + 0.5 * C23], rtol=1e-6)


def test_content_knn_is_the_cosine_with_the_decayed_sum_of_the_history(content):
    # 0.5 * (1, 0) + (0, 1) has the length sqrt(1.25).
    scores = content.scores(*rows([1, 2], [3]))
    length = math.sqrt(1.25)
    np.testing.assert_allclose(scores, [[0, 0.5 / length, 1 / length, (0.3 + 0.8) / length], [0, 0.6, 0.8, 1]], rtol=1e-6)


def test_the_rule_adds_weighted_text_and_the_logarithm_of_item_knn(content, knn):
    histories = rows([1, 2], [3])
    rule = Rule(content, knn, text_weight=4).scores(*histories)
    np.testing.assert_allclose(rule, 4 * content.scores(*histories) + np.log(knn.scores(*histories) + UNSEEN), rtol=1e-6)
    assert rule[1, 3] == pytest.approx(4 * 1 + math.log(0.01))  # an item is no neighbour of itself
    assert rule[1, 1] == pytest.approx(4 * 0.6 + math.log(C13 + 0.01))


def test_padding_has_no_effect(content, knn):
    histories, lengths = rows([1, 2], [3])
    wider = np.pad(histories, ((0, 0), (0, 3)))
    for scorer in (content, knn, Rule(content, knn, 4)):
        np.testing.assert_allclose(scorer.scores(wider, lengths), scorer.scores(histories, lengths), rtol=1e-6)


def test_what_stands_behind_the_length_is_not_read(content, knn):
    histories, lengths = rows([1, 2], [3])
    histories[1, 1] = 2
    clean = rows([1, 2], [3])
    for scorer in (content, knn):
        np.testing.assert_allclose(scorer.scores(histories, lengths), scorer.scores(*clean), rtol=1e-6)


def test_an_empty_history_or_one_without_text_says_nothing(content, knn):
    nothing = np.array([[0]]), np.array([0])
    assert content.scores(*nothing).tolist() == knn.scores(*nothing).tolist() == [[0, 0, 0, 0]]
    silent = ContentKNN(np.zeros((4, 2), dtype=np.float32), decay=0.5)
    assert silent.scores(*rows([1, 2])).tolist() == [[0, 0, 0, 0]]


def test_rows_of_zeros_stay_zero_when_rows_are_brought_to_unit_length():
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)
