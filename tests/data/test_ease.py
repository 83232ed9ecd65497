"""item-kNN by EASE's weights, against the weights in full. The weights themselves: tests/evaluation/test_baselines.py."""

import numpy as np
import pytest

from learec.data import ease
from learec.data.ease import GRID, NEAREST, Explained, ease_weights, inverted, item_knn_by, item_knn_by_ease
from learec.data.log import Sessions
from learec.data.neighbours import counted_together
from learec.errors import ConfigError


@pytest.fixture
def training():
    rng = np.random.default_rng(0)
    sessions = [rng.choice(np.arange(1, 13), rng.integers(2, 7), replace=False) for _ in range(60)]
    items = np.concatenate(sessions).astype(np.int32)
    offsets = np.cumsum([0, *map(len, sessions)])
    return Sessions(offsets, items, np.zeros(len(items), dtype=np.int8), np.ones(len(items), dtype=np.float32))


def test_of_every_item_the_largest_weights_above_zero_are_its_neighbours(training, monkeypatch):
    monkeypatch.setattr(ease, "NEAREST", 3)
    weights = ease_weights(counted_together(training, 12), 4.0, "x")
    assert (weights < -0.01).sum() > 10, "some items speak against others"
    found = item_knn_by_ease(training, 12, 0.5, 4.0, named="x")
    kept = found.similarity.toarray()
    for item in range(1, 13):
        largest = np.argsort(-weights[item])[:3]
        expected = np.zeros(13, dtype=np.float32)
        expected[largest] = np.maximum(weights[item, largest], 0)
        np.testing.assert_allclose(kept[item], expected, atol=1 / GRID)
        assert (kept[item] > 0).tolist() == (expected > 0).tolist()
    assert not kept[0].any() and not kept[:, 0].any() and not kept.diagonal().any()


def test_of_level_neighbours_the_lower_numbers_are_nearer_whatever_rounding_says():
    weights = np.zeros((400, 400), dtype=np.float32)
    weights[1, 2:] = 0.01 + np.random.default_rng(0).uniform(-2e-7, 2e-7, 398).astype(np.float32)
    weights[1, 399] = 0.02
    similarity = item_knn_by(weights, 0.5).similarity
    assert similarity.indices.tolist() == [*range(2, NEAREST + 1), 399]
    assert set(similarity.data.tolist()) == {np.float32(0.01), np.float32(0.02)}
    assert weights[1, 300] != np.float32(0.01), "what was given is not written to"


def test_scores_are_the_sum_of_the_kept_weights_by_age(training):
    found = item_knn_by_ease(training, 12, 0.5, 4.0, named="x")
    weights = np.maximum(ease_weights(counted_together(training, 12), 4.0, "x"), 0)
    scores = found.scores(np.array([[3, 5, 0]]), np.array([2]))
    np.testing.assert_allclose(scores[0], 0.5 * weights[3] + weights[5], atol=2 / GRID)


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_texts_of_items_without_a_session_change_nothing(training, weight):
    vectors = np.random.default_rng(1).normal(size=(15, 4)).astype(np.float32)  # items 13 and 14 are held out
    others = np.array(vectors)
    others[13:] = vectors[1]
    found, expected = (
        ease_weights(counted_together(training, 14), 4.0, "x", Explained(texts, weight)) for texts in (vectors, others)
    )
    np.testing.assert_array_equal(found, expected)


def test_too_little_regularisation_is_named_with_the_next_step(training):
    assert inverted(np.asfortranarray([[1, 2], [2, 1]], dtype=np.float32)) is None
    with pytest.raises(ConfigError, match=r"an agent's ease_regularisation has 1e-30: so little .* of 12 items .*; raise that"):
        item_knn_by_ease(training, 12, 0.5, 1e-30, named="an agent's ease_regularisation")
    with pytest.raises(ConfigError, match=r"x has 4: .*; raise that value in the recipe, or lower ease_text_weight"):
        ease_weights(counted_together(training, 12), 4.0, "x", Explained(np.ones((13, 2), dtype=np.float32), 1e9))
