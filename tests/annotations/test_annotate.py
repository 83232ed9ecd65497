"""Annotations: row-aligned with training steps, never a seen item, the same after a stop; over another environment."""

import numpy as np
import pytest

from learec.annotations.annotate import annotate
from learec.annotations.candidates import propose
from learec.annotations.table import COLUMNS, load_annotations
from learec.artifacts import SCRATCH, partial_folder
from learec.config import AnnotationsConfig
from learec.data.neighbours import unit_rows
from learec.errors import LearecError


class Arithmetic:
    """A second environment: rewards are a function of step and item that a test can repeat."""

    def __init__(self, n_items, stop_after=None):
        self.item_vectors = np.vstack([np.zeros(6), unit_rows(np.random.default_rng(0).normal(size=(n_items, 6)))]).astype(
            np.float32
        )
        self.calls, self.stop_after = 0, stop_after

    def annotate(self, sessions, candidates):
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        states = unit_rows(self.item_vectors[sessions.items] + 0.1)
        return states, self.worth(sessions.items), np.where(candidates > 0, self.worth(candidates), 0)

    def worth(self, items):
        return (np.asarray(items) * 7 % 11).astype(np.float32)


def run(small_log, folder, quiet, environment=None, **settings):
    environment = environment or Arithmetic(small_log.catalog.n_items)
    config = AnnotationsConfig(**{"n_augmented": 4, "shard_sessions": 9, **settings})
    annotate(config, small_log, environment, "digest", folder, reporter=quiet)
    return load_annotations(folder)


@pytest.mark.parametrize("candidates", ["rule", "item_tokens", "item_knn", "state"])
def test_augmented_actions_are_neither_logged_nor_seen_nor_padding(small_log, tmp_path, quiet, candidates):
    found = run(small_log, tmp_path / "a", quiet, candidates=candidates, margin=100.0)
    training = small_log.training
    assert (found.augmented > 0).sum() > training.n_steps
    for step in range(training.n_steps):
        first = training.offsets[training.session_of[step]]
        seen = set(training.items[first : step + 1].tolist())
        proposed = [item for item in found.augmented[step].tolist() if item]
        assert not seen & set(proposed)
        assert len(set(proposed)) == len(proposed)


def test_rewards_are_standardised_over_annotated_steps_and_keep_their_order(small_log, tmp_path, quiet):
    found = run(small_log, tmp_path / "a", quiet)
    rewards = found.rewards[found.annotated]
    assert rewards.mean() == pytest.approx(0, abs=1e-5)
    assert rewards.std() == pytest.approx(1, abs=1e-5)
    raw = Arithmetic(small_log.catalog.n_items).worth(small_log.training.items[found.annotated])
    np.testing.assert_allclose(rewards, (raw - raw.mean()) / raw.std(), atol=1e-5)


def test_a_sessions_first_step_is_not_annotated(small_log, tmp_path, quiet):
    found = run(small_log, tmp_path / "a", quiet)
    first = small_log.training.step_of == 0
    assert (found.annotated == ~first).all()
    assert not found.augmented[first].any()
    assert not found.rewards[first].any()


def test_an_action_worth_less_than_the_margin_allows_is_dropped(small_log, tmp_path, quiet):
    strict, open_ = (run(small_log, tmp_path / str(margin), quiet, margin=margin) for margin in (0.0, 100.0))
    assert 0 < (strict.augmented > 0).sum() < (open_.augmented > 0).sum()
    kept = strict.augmented > 0
    assert (strict.augmented_rewards >= strict.rewards[:, None])[kept].all()


def test_without_a_filter_every_proposal_is_kept(small_log, tmp_path, quiet):
    every, open_ = (
        run(small_log, tmp_path / name, quiet, **how) for name, how in (("a", {"keep": "all"}), ("m", {"margin": 100.0}))
    )
    np.testing.assert_array_equal(every.augmented, open_.augmented)
    assert (run(small_log, tmp_path / "z", quiet, keep="all", margin=0.0).augmented > 0).sum() == (open_.augmented > 0).sum()


def test_the_best_of_more_proposals_are_kept_by_reward_in_the_order_of_their_source(small_log, tmp_path, quiet):
    every = run(small_log, tmp_path / "all", quiet, keep="all", n_augmented=9)
    best = run(small_log, tmp_path / "best", quiet, keep="best", n_augmented=3, n_proposed=9)
    assert best.augmented.shape == (small_log.training.n_steps, 3)
    for step in np.flatnonzero(best.annotated)[:100]:
        order = np.argsort(-every.augmented_rewards[step], kind="stable")
        wanted = np.sort(order[every.augmented[step][order] > 0][:3])
        assert best.augmented[step].tolist() == every.augmented[step][wanted].tolist()
        np.testing.assert_array_equal(best.augmented_scores[step], every.augmented_scores[step][wanted])
        np.testing.assert_array_equal(best.augmented_rewards[step], every.augmented_rewards[step][wanted])


def test_without_steps_nothing_is_asked_of_the_environment_but_item_vectors(small_log, tmp_path, quiet):
    environment = Arithmetic(small_log.catalog.n_items)
    made = run(small_log, tmp_path / "made", quiet, environment, steps=False)
    assert environment.calls == 0
    np.testing.assert_array_equal(made.item_vectors, environment.item_vectors)
    assert not made.annotated.any()
    assert {name: getattr(made, name).shape for name in ("states", "augmented", "augmented_scores", "augmented_rewards")} == (
        dict.fromkeys(("states", "augmented", "augmented_scores", "augmented_rewards"), (small_log.training.n_steps, 0))
    )


def test_requests_of_annotations_made_before_keep_and_steps_are_the_same():
    assert not AnnotationsConfig.came_later & AnnotationsConfig().model_dump().keys()


def test_a_stopped_annotation_goes_on_after_its_last_shard_and_ends_the_same(small_log, tmp_path, quiet):
    n_items = small_log.catalog.n_items
    run(small_log, tmp_path / "whole", quiet)
    with pytest.raises(KeyboardInterrupt):
        run(small_log, tmp_path / "stopped", quiet, Arithmetic(n_items, stop_after=3))
    assert len(list((partial_folder(tmp_path / "stopped") / SCRATCH).iterdir())) == 3
    again = Arithmetic(n_items)
    run(small_log, tmp_path / "stopped", quiet, again)
    assert (
        again.calls == -(-small_log.training.n_sessions // 9) - 3 + 1
    )  # missing shards, and the random actions of the histogram
    for name in (*COLUMNS, "item_vectors"):
        assert (tmp_path / f"whole/{name}.npy").read_bytes() == (tmp_path / f"stopped/{name}.npy").read_bytes()


def test_constant_rewards_stop_the_run(small_log, tmp_path, quiet):
    environment = Arithmetic(small_log.catalog.n_items)
    environment.worth = lambda items: np.ones(np.shape(items), np.float32)
    with pytest.raises(LearecError, match="same reward"):
        run(small_log, tmp_path / "a", quiet, environment)


def test_rewards_that_are_no_numbers_stop_the_run(small_log, tmp_path, quiet):
    environment = Arithmetic(small_log.catalog.n_items)
    environment.worth = lambda items: np.full(np.shape(items), np.nan, np.float32)
    with pytest.raises(LearecError, match="not a finite number"):
        run(small_log, tmp_path / "a", quiet, environment)


def test_the_best_scored_items_are_proposed_best_first(small_log):
    training, n_items = small_log.training, small_log.catalog.n_items

    def by_number(steps):
        return np.tile(np.arange(n_items + 1, dtype=np.float32), (len(steps), 1))

    proposed, scores = propose(by_number, training, 3, np.array([], dtype=np.int64))
    step = int(np.flatnonzero(training.step_of == 2)[0])
    seen = training.items[training.offsets[training.session_of[step]] : step + 1]
    assert proposed[step].tolist() == [item for item in range(n_items, 0, -1) if item not in seen][:3]
    assert scores[step].tolist() == proposed[step].tolist(), "by_number scores an item by its number"
