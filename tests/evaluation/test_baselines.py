"""Floors against hand-worked values, V-SKNN against a slow second implementation, EASE against its normal equations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.data import ease
from learec.data.ease import Explained
from learec.data.log import Sessions
from learec.errors import ConfigError
from learec.evaluation import literature
from learec.evaluation.baselines import LastItem, Popularity
from learec.evaluation.literature import EASE, VSKNN, newest_places


def sessions_of(*rows: list[int]) -> Sessions:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Sessions(offsets, items, np.zeros(len(items), int), np.ones(len(items), np.float32))


def padded(*histories: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Histories padded on the right, and their lengths."""
    width = max(1, *map(len, histories))
    return np.array([[*h, *[0] * (width - len(h))] for h in histories]), np.array([len(h) for h in histories])


TRAINING = sessions_of([1, 2, 3], [2, 4], [1, 1, 4], [5])


def v_sknn(training: Sessions = TRAINING, n_items: int = 5, neighbours: int = 100, sample: int = 1000, ended=None) -> VSKNN:
    return VSKNN.fit(training, n_items, neighbours, sample, ended)


def test_popularity_counts_training_events_with_repeats():
    assert Popularity.fit(TRAINING, 6).scores(*padded([1], [])).tolist() == [[0, 3, 2, 1, 2, 1, 0]] * 2


def test_last_item_counts_what_followed_it_and_breaks_ties_by_popularity():
    scores = LastItem.fit(TRAINING, 5).scores(*padded([3, 1], [2]))
    np.testing.assert_allclose(scores[0], [0, 1 + 0.3, 1 + 0.2, 0.1, 1 + 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(scores[1], [0, 0.3, 0.2, 1 + 0.1, 1 + 0.2, 0.1], rtol=1e-6)


def test_places_count_from_the_oldest_and_an_item_that_comes_back_stands_at_its_newest():
    assert newest_places(*padded([7, 8, 7, 9], [5], [])).tolist() == [[0, 2, 3, 4], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_v_sknn_sums_similarity_times_the_place_of_the_newest_shared_item():
    # History 1, 2: places 1 and 2. Sessions {1, 2, 3}: similarity 1 + 2, newest shared place 2; {2, 4}: 2 and 2; {1, 4}: 1 and 1.
    assert v_sknn().scores(*padded([1, 2])).tolist() == [[0, 6 + 1, 6 + 4, 6, 4 + 1, 0]]
    assert v_sknn().scores(*padded([2, 1])).tolist() == [[0, 6 + 4, 6 + 1, 6, 1 + 4, 0]]


def test_v_sknn_counts_an_item_that_comes_back_once_at_its_newest_place():
    # History 2, 1, 2: item 1 at place 2, item 2 at place 3.
    assert v_sknn().scores(*padded([2, 1, 2])).tolist() == [[0, 5 * 3 + 2 * 2, 5 * 3 + 3 * 3, 5 * 3, 3 * 3 + 2 * 2, 0]]


def test_v_sknn_keeps_the_most_similar_neighbours():
    assert v_sknn(neighbours=1).scores(*padded([1, 2])).tolist() == [[0, 6, 6, 6, 0, 0]]
    assert v_sknn(neighbours=2).scores(*padded([1, 2])).tolist() == [[0, 6, 6 + 4, 6, 4, 0]]


def test_v_sknn_prefers_the_newer_of_equally_similar_sessions():
    training = sessions_of([1, 2], [1, 3], [1, 4])
    assert v_sknn(training, neighbours=2).scores(*padded([1])).tolist() == [[0, 2, 0, 1, 1, 0]]
    ended = np.array([30, 10, 20])
    assert v_sknn(training, neighbours=2, ended=ended).scores(*padded([1])).tolist() == [[0, 2, 1, 0, 1, 0]]


def test_v_sknn_looks_for_neighbours_among_the_newest_sessions_that_share_an_item():
    # The oldest session is the most similar one; session 5 shares nothing and takes nobody's place.
    assert v_sknn(sample=2).scores(*padded([1, 2])).tolist() == [[0, 1, 4, 0, 4 + 1, 0]]
    newest_first = np.array([4, 3, 2, 1])
    assert v_sknn(sample=1, ended=newest_first).scores(*padded([1, 2])).tolist() == [[0, 6, 6, 6, 0, 0]]


def test_a_history_that_shares_nothing_with_any_session_has_no_evidence():
    assert v_sknn(n_items=6).scores(*padded([6], [])).tolist() == [[0] * 7] * 2


def slow_v_sknn(rows: list[list[int]], history: list[int], n_items: int, neighbours: int, sample: int) -> list[float]:
    """As the paper tells it, session by session."""
    place = {item: number for number, item in enumerate(history, 1)}  # the newest stays
    sharing = [number for number, row in enumerate(rows) if set(row) & set(history)]
    newest = sorted(sharing, reverse=True)[:sample]
    similar = {number: sum(place[item] for item in set(rows[number]) & set(history)) for number in newest}
    nearest = sorted(newest, key=lambda number: (-similar[number], -number))[:neighbours]
    scores = [0.0] * (n_items + 1)
    for number in nearest:
        last = max(place[item] for item in set(rows[number]) & set(history))
        for item in set(rows[number]):
            scores[item] += similar[number] * last
    return scores


items = st.integers(1, 7)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.lists(items, max_size=6), min_size=1, max_size=12),
    histories=st.lists(st.lists(st.integers(1, 8), max_size=9), min_size=1, max_size=5),
    neighbours=st.integers(1, 6),
    sample=st.integers(1, 8),
    budget=st.sampled_from([1, 7, 4_000_000]),
)
def test_v_sknn_equals_a_slow_direct_implementation_whatever_the_blocks(rows, histories, neighbours, sample, budget):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(literature, "BUDGET", budget)
        found = v_sknn(sessions_of(*rows), 8, neighbours, sample).scores(*padded(*histories))
    assert found.tolist() == [slow_v_sknn(rows, history, 8, neighbours, sample) for history in histories]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(items, min_size=1, max_size=5), min_size=2, max_size=10), st.randoms(use_true_random=False))
def test_the_number_of_a_session_does_not_matter_where_times_are_known(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = sessions_of(*(rows[number] for number in order))
    first = v_sknn(sessions_of(*rows), 7, 3, 4, np.arange(len(rows)))
    second = v_sknn(shuffled, 7, 3, 4, np.array(order))
    histories = padded([1, 2, 3], [4, 5], [7])
    np.testing.assert_array_equal(first.scores(*histories), second.scores(*histories))


def test_ease_of_two_items_by_hand():
    # X'X = [[2, 1], [1, 2]], regularisation 1: the weight of one item for the other is 1 / (2 + 1).
    fitted = EASE.fit(sessions_of([1, 2, 2], [1], [2]), 3, regularisation=1.0, decay=1.0)
    expected = [[0, 0, 0, 0], [0, 0, 1 / 3, 0], [0, 1 / 3, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(fitted.weights, expected, atol=1e-7)
    np.testing.assert_allclose(
        fitted.scores(*padded([1], [1, 2, 1], [3], [])), [expected[1], [0, 1 / 3, 1 / 3, 0], [0] * 4, [0] * 4]
    )


def test_with_a_decay_ease_counts_an_item_by_the_age_of_its_newest_place():
    fitted = EASE.fit(sessions_of([1, 2], [2, 3], [1, 3, 4]), 4, regularisation=0.5, decay=0.5)
    expected = 0.25 * fitted.weights[3] + 0.5 * fitted.weights[1] + fitted.weights[2]
    np.testing.assert_allclose(fitted.scores(*padded([1, 3, 1, 2]))[0], expected, rtol=1e-6)


@pytest.mark.parametrize("mirrored", [2, 3, 1024])
def test_ease_solves_the_normal_equations_of_every_item_without_itself(rng, monkeypatch, mirrored):
    monkeypatch.setattr(ease, "MIRRORED", mirrored)
    rows = [rng.choice(np.arange(1, 10), rng.integers(1, 6), replace=False).tolist() for _ in range(40)]
    weights = EASE.fit(sessions_of(*rows), 9, regularisation=2.0, decay=1.0).weights
    seen = np.zeros((40, 10))
    for number, row in enumerate(rows):
        seen[number, row] = 1
    assert weights.dtype == np.float32
    assert not weights.diagonal().any()
    for item in range(10):
        others = np.delete(np.arange(10), item)
        inputs = seen[:, others]
        expected = np.linalg.solve(inputs.T @ inputs + 2.0 * np.eye(9), inputs.T @ seen[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=2e-6)


def test_cease_solves_the_normal_equations_of_sessions_and_texts_together(rng):
    rows = [rng.choice(np.arange(1, 10), rng.integers(1, 6), replace=False).tolist() for _ in range(40)]
    vectors = rng.normal(size=(11, 3)).astype(np.float32)
    weights = EASE.fit(sessions_of(*rows), 10, 2.0, 1.0, Explained(vectors, 5.0)).weights
    vectors[[0, 10]] = 0  # item 10 is in no session: nobody learns from its text
    seen = np.zeros((40, 11))
    for number, row in enumerate(rows):
        seen[number, row] = 1
    both = np.concatenate([seen, np.sqrt(5.0) * vectors.T])
    for item in range(11):
        others = np.delete(np.arange(11), item)
        inputs = both[:, others]
        expected = np.linalg.solve(inputs.T @ inputs + 2.0 * np.eye(10), inputs.T @ both[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-5)
    assert not weights[10].any() and not weights[:, 10].any()


def test_an_item_that_no_training_session_has_neither_gives_nor_gets_a_weight():
    weights = EASE.fit(sessions_of([1, 2], [1, 2]), 3, regularisation=1.0, decay=1.0).weights
    assert not weights[3].any() and not weights[:, 3].any() and not weights[0].any() and not weights[:, 0].any()


def test_a_regularisation_too_small_to_invert_is_refused_with_the_next_step():
    with pytest.raises(ConfigError, match=r"evaluation\.ease_regularisation has 1e-30: so little .* of 2 items .*; raise that"):
        EASE.fit(sessions_of([1, 2], [1, 2]), 2, regularisation=1e-30, decay=1.0)


@pytest.mark.parametrize("scorer", [v_sknn(), EASE.fit(TRAINING, 5, 10.0, 0.9)], ids=["v_sknn", "ease"])
def test_padding_what_stands_behind_the_length_and_other_rows_have_no_effect(scorer):
    histories, lengths = padded([1, 2, 1], [4], [5, 3])
    scores = scorer.scores(histories, lengths)
    assert (scores.dtype, scores.shape) == (np.float32, (3, 6))
    wider = np.pad(histories, ((0, 0), (0, 2)), constant_values=2)
    wider[1, 1:] = 3
    np.testing.assert_array_equal(scorer.scores(wider, lengths), scores)
    for row in range(3):
        np.testing.assert_array_equal(scorer.scores(histories[[row]], lengths[[row]]), scores[[row]])
    assert scorer.scores(histories[:0], lengths[:0]).shape == (0, 6)
