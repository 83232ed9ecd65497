"""Controls keep the size of the columns they replace and cut their tie to the step; other columns stay as they are."""

from dataclasses import replace

import numpy as np
import pytest

from learec.annotations.annotate import annotate
from learec.annotations.controls import random, replaced, shuffled
from learec.annotations.table import Annotations, load_annotations
from learec.annotations.text_environment import TextEnvironment
from learec.config import AnnotationsConfig
from learec.data.neighbours import unit_rows
from learec.data.tfidf import tfidf_vectors

ALL = ("state", "reward", "augmented", "items")
N = 200
ITEMS = np.arange(1, 50)


@pytest.fixture
def annotations():
    rng = np.random.default_rng(0)
    annotated = np.arange(N) % 4 > 0
    augmented = np.where(annotated[:, None] & (rng.random((N, 3)) < 0.7), rng.integers(1, 50, (N, 3)), 0)
    return Annotations(
        states=rng.normal(3.0, 2.0, (N, 4)).astype(np.float32),
        rewards=np.where(annotated, rng.normal(size=N), 0).astype(np.float32),
        augmented=augmented,
        augmented_scores=np.where(augmented > 0, rng.normal(size=(N, 3)), 0).astype(np.float32),
        augmented_rewards=np.where(augmented > 0, rng.normal(size=(N, 3)), 0).astype(np.float32),
        annotated=annotated,
        item_vectors=unit_rows(np.vstack([np.zeros(4), rng.normal(size=(49, 4))])),
        digest="d",
    )


def rows_of(array):
    return sorted(map(tuple, np.atleast_2d(array.T).T.tolist()))


def test_shuffling_all_columns_moves_whole_rows_among_annotated_steps(annotations):
    placebo = shuffled(annotations, ALL, ITEMS, seed=1)
    asked = annotations.annotated
    for name in ("states", "rewards", "augmented", "augmented_rewards"):
        mine, theirs = getattr(placebo, name), getattr(annotations, name)
        assert rows_of(mine[asked]) == rows_of(theirs[asked])
        np.testing.assert_array_equal(mine[~asked], theirs[~asked])
    together = [(*row, reward) for row, reward in zip(annotations.states.tolist(), annotations.rewards.tolist(), strict=True)]
    moved = [(*row, reward) for row, reward in zip(placebo.states.tolist(), placebo.rewards.tolist(), strict=True)]
    assert sorted(moved) == sorted(together), "a step gets all columns from the same other step"
    assert (placebo.rewards != annotations.rewards)[asked].mean() > 0.9


@pytest.mark.parametrize("kind", ["shuffled", "random"])
@pytest.mark.parametrize("column", ALL)
def test_columns_that_are_not_named_stay(annotations, kind, column):
    placebo = (shuffled if kind == "shuffled" else random)(annotations, (column,), ITEMS, 1)
    arrays = {
        "state": ["states"],
        "reward": ["rewards", "augmented_rewards"],
        "augmented": ["augmented", "augmented_rewards", *(["augmented_scores"] if kind == "shuffled" else [])],
        "items": ["item_vectors"],
    }
    for name in ("states", "rewards", "augmented", "augmented_scores", "augmented_rewards", "item_vectors"):
        same = np.array_equal(getattr(placebo, name), getattr(annotations, name))
        assert same == (name not in arrays[column]), name
    np.testing.assert_array_equal(placebo.augmented_rewards != 0, placebo.augmented > 0)


def test_noise_has_the_columns_own_mean_and_spread_and_as_many_actions(annotations):
    placebo, asked = random(annotations, ALL, ITEMS, seed=2), annotations.annotated
    np.testing.assert_allclose(placebo.states[asked].mean(0), annotations.states[asked].mean(0), atol=0.7)
    np.testing.assert_allclose(placebo.states[asked].std(0), annotations.states[asked].std(0), rtol=0.25)
    np.testing.assert_array_equal(placebo.augmented > 0, annotations.augmented > 0)
    assert set(np.unique(placebo.augmented)) <= set(range(50))
    assert np.abs(np.corrcoef(placebo.rewards[asked], annotations.rewards[asked])[0, 1]) < 0.3


@pytest.mark.parametrize("column", ["items", "content"])
def test_whoever_reads_item_vectors_gets_the_controls(annotations, column):
    other = replace(annotations, item_vectors=-annotations.item_vectors)
    assert replaced(annotations, (column,), other).item_vectors is other.item_vectors
    for control in (shuffled, random):
        assert (control(annotations, (column,), ITEMS, 0).item_vectors != annotations.item_vectors).any(1).mean() > 0.5
        assert control(annotations, ("augmented",), ITEMS, 0).item_vectors is annotations.item_vectors


@pytest.mark.parametrize("control", [shuffled, random])
def test_tokens_of_items_that_no_training_step_has_reach_nobody(annotations, control):
    warm = np.arange(1, 40)
    placebo = control(annotations, ("items",), warm, 0)
    np.testing.assert_allclose(placebo.item_vectors[40:], annotations.item_vectors[40:], atol=1e-6)
    changed = annotations.item_vectors.copy()
    changed[40:] = 0
    other = control(replace(annotations, item_vectors=changed), ("items",), warm, 0)
    np.testing.assert_array_equal(placebo.item_vectors[1:40], other.item_vectors[1:40])


def test_random_actions_are_items_of_training_steps(annotations):
    placebo = random(annotations, ("augmented",), np.array([7, 9, 9]), seed=0)
    assert set(np.unique(placebo.augmented)) == {0, 7, 9}


def test_columns_of_other_annotations_take_the_place_of_the_named_ones(annotations):
    other = shuffled(annotations, ALL, ITEMS, seed=3)
    mixed = replaced(annotations, ("augmented",), other)
    assert mixed.augmented is other.augmented
    assert mixed.augmented_rewards is other.augmented_rewards
    assert mixed.states is annotations.states


def test_items_whose_words_agree_are_near_and_cold_items_change_nothing():
    texts = ["red oak table", "oak table legs", "usb cable", "black usb cable", "", "unheard words"]
    vectors = tfidf_vectors(texts, np.array([6]), size=3)
    likeness = vectors @ vectors.T
    assert likeness[1, 2] > 0.4 > 0.1 > abs(likeness[1, 3])
    assert likeness[3, 4] > 0.4
    assert not vectors[[0, 5, 6]].any(), "padding, no text, words that only a cold item has"
    other = tfidf_vectors([*texts[:5], "oak usb"], np.array([6]), size=3)
    np.testing.assert_allclose(np.abs(other[:6]), np.abs(vectors[:6]), atol=1e-6)
    assert other[6].any(), "a cold item is placed by the words of the others"


def test_an_environment_of_words_alone_annotates_a_log(small_log, tmp_path, quiet):
    environment = TextEnvironment.of(small_log, decay=0.8)
    annotate(AnnotationsConfig(), small_log, environment, "TF-IDF", tmp_path / "a", reporter=quiet)
    found = load_annotations(tmp_path / "a")
    assert found.annotated.any()
    lengths = np.linalg.norm(found.states[found.annotated], axis=1)
    assert np.all((lengths < 1e-6) | (np.abs(lengths - 1) < 1e-5))
    assert (found.augmented > 0).any()
