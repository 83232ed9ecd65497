"""item-kNN by EASE's weights, against the weights in full. The weights themselves: tests/evaluation/test_baselines.py."""

import numpy as np
import pytest

from learec.data import ease
from learec.data.ease import ease_weights, inverted, item_knn_by_ease
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
    found = item_knn_by_ease(training, 12, 0.5, 4.0)
    kept = found.similarity.toarray()
    for item in range(1, 13):
        largest = np.argsort(-weights[item])[:3]
        expected = np.zeros(13, dtype=np.float32)
        expected[largest] = np.maximum(weights[item, largest], 0)
        np.testing.assert_array_equal(kept[item], expected)
    assert (np.diff(found.similarity.indptr) <= 3).all()
    assert not kept[0].any() and not kept[:, 0].any() and not kept.diagonal().any()


def test_scores_are_the_sum_of_the_kept_weights_by_age(training):
    found = item_knn_by_ease(training, 12, 0.5, 4.0)
    weights = np.maximum(ease_weights(counted_together(training, 12), 4.0, "x"), 0)
    scores = found.scores(np.array([[3, 5, 0]]), np.array([2]))
    np.testing.assert_allclose(scores[0], 0.5 * weights[3] + weights[5], rtol=1e-6)


def test_too_little_regularisation_is_named_with_the_next_step(training):
    assert inverted(np.asfortranarray([[1, 2], [2, 1]], dtype=np.float32)) is None
    with pytest.raises(ConfigError, match=r"an agent's ease_regularisation has 1e-30: so little .* of 12 items .*; raise that"):
        item_knn_by_ease(training, 12, 0.5, 1e-30)
