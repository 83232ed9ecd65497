"""Controls keep the size of the columns they replace and cut their tie to the step; other columns stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from learec.annotations.annotate import annotate, annotations_request
from learec.annotations.controls import random, replaced, shuffled
from learec.annotations.table import Annotations, load_annotations
from learec.annotations.text_environment import TextEnvironment
from learec.config import AnnotationsConfig
from learec.data.neighbours import unit_rows
from learec.data.tfidf import fewer_directions, strongest_directions, tfidf_vectors

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


def catalog_of(n_items, n_words, rng):
    """Texts of words some of which are frequent, so that directions differ in strength."""
    share = 1 / np.arange(1, n_words + 1)
    return [" ".join(f"w{word}" for word in rng.choice(n_words, 12, p=share / share.sum())) for _ in range(n_items)]


def test_in_large_catalogs_the_directions_explain_as_much_as_the_strongest_and_no_random_number_is_taken(rng, monkeypatch):
    rows = sparse.random_array((600, 900), density=0.02, rng=rng, format="csr") * np.arange(1, 901) ** -0.5
    _, strength, right = np.linalg.svd(rows.toarray(), full_matrices=False)
    for some in (rows, rows.T.tocsr()):  # the smaller product is that of rows, then of words
        exact = strongest_directions(some, 100)
        np.testing.assert_allclose(((some @ exact) ** 2).sum(), (strength[:100] ** 2).sum(), rtol=1e-5)
    assert abs(strongest_directions(rows, 1)[:, 0] @ right[0]) == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr("learec.data.tfidf.EXACT", 0)
    state = torch.random.get_rng_state()
    found, again = (strongest_directions(rows, 100) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_allclose(found.T @ found, np.eye(100), atol=1e-4)
    explained, most = float(((rows @ found) ** 2).sum()), float((strength[:100] ** 2).sum())
    assert 0.99 * most < explained <= most * (1 + 1e-6)
    assert most < 0.99 * rows.power(2).sum()
    assert strongest_directions(rows, 700).shape == (900, 600)


@pytest.mark.parametrize("exact", [3000, 0])
def test_items_whose_words_no_direction_holds_have_zeros_and_no_noise_of_length_one(exact, rng, monkeypatch):
    monkeypatch.setattr("learec.data.tfidf.EXACT", exact)
    texts = [*catalog_of(600, 300, rng), *(f"alone{number}" for number in range(20))]
    vectors = tfidf_vectors(texts, np.array([], dtype=int), size=100)
    lengths = np.linalg.norm(vectors, axis=1)
    assert not vectors[601:].any()
    np.testing.assert_allclose(lengths[1:601], 1, atol=1e-5)
    few = fewer_directions(vectors, 30)
    assert few.shape == (621, 30)
    directly = tfidf_vectors(texts, np.array([], dtype=int), size=30)
    assert np.abs(few @ few.T - directly @ directly.T).mean() < (1e-5 if exact else 0.02)


def test_of_words_a_state_has_as_many_numbers_as_the_models_and_a_reward_is_the_cosine_in_all(small_log, monkeypatch):
    monkeypatch.setattr("learec.annotations.text_environment.STATE_SIZE", 5)
    environment = TextEnvironment.of(small_log, AnnotationsConfig(tfidf_size=9, knn_decay=0.5))
    assert environment.item_vectors.shape == (small_log.catalog.n_items + 1, 9)
    training = small_log.training
    states, rewards, of_candidates = environment.annotate(training, np.tile([3, 0], (training.n_steps, 1)))
    at = int(np.flatnonzero(training.step_of == 2)[0])
    first, second, logged = environment.item_vectors[training.items[at - 2 : at + 1]]
    profile = (0.5 * first + second) / np.linalg.norm(0.5 * first + second)
    np.testing.assert_allclose(states[at], profile[:5] / np.linalg.norm(profile[:5]), atol=1e-5)
    assert rewards[at] == pytest.approx(profile @ logged, abs=1e-5)
    np.testing.assert_allclose(of_candidates[at], [profile @ environment.item_vectors[3], 0], atol=1e-5)
    assert not states[training.step_of == 0].any() and not rewards[training.step_of == 0].any()


def test_states_of_words_propose_in_their_own_numbers(small_log, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr("learec.annotations.text_environment.STATE_SIZE", 5)
    config = AnnotationsConfig(candidates="state", keep="all", tfidf_size=9)
    environment = TextEnvironment.of(small_log, config)
    annotate(config, small_log, environment, "TF-IDF", tmp_path / "a", reporter=quiet)
    found = load_annotations(tmp_path / "a")
    step = int(np.flatnonzero(found.annotated & (found.augmented > 0).all(1))[0])
    scores = found.states[step] @ fewer_directions(environment.item_vectors, 5).T
    proposed = found.augmented[step]
    assert (np.diff(scores[proposed]) <= 1e-6).all()
    np.testing.assert_allclose(found.augmented_scores[step], scores[proposed], atol=1e-5)


def test_the_size_of_tfidf_makes_the_placebo_anew_and_nothing_of_the_language_model():
    configs = AnnotationsConfig(), AnnotationsConfig(tfidf_size=256)
    assert annotations_request(configs[0], "log", "model") == annotations_request(configs[1], "log", "model")
    names = [config.text_environment for config in configs]
    assert names == ["TF-IDF in 1024 directions", "TF-IDF in 256 directions"]


def test_an_environment_of_words_alone_annotates_a_log(small_log, tmp_path, quiet):
    config = AnnotationsConfig()
    environment = TextEnvironment.of(small_log, config)
    annotate(config, small_log, environment, "TF-IDF", tmp_path / "a", reporter=quiet)
    found = load_annotations(tmp_path / "a")
    assert found.annotated.any()
    lengths = np.linalg.norm(found.states[found.annotated], axis=1)
    assert np.all((lengths < 1e-6) | (np.abs(lengths - 1) < 1e-5))
    assert (found.augmented > 0).any()
