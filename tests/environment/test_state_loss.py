"""State loss: against all items, against a sample of them, and towards what other sessions chose."""

import numpy as np
import pytest
import torch

from learec.artifacts import read_manifest
from learec.config import EnvironmentConfig
from learec.data.log import Sessions
from learec.data.other_sessions import FOLDS
from learec.environment.adapt import adapt
from learec.environment.environment import Environment
from learec.environment.negatives import NegativeSampler
from learec.environment.state_loss import StateLoss, Teacher
from learec.sampled_softmax import ItemSampler

SMALL = {
    "history": 6, "epochs": 2, "patience": 2, "lora_rank": 2, "lora_layers": 1, "max_text_tokens": 16, "whitened_size": 8,
    "batch_tokens": 256,
}  # fmt: skip


def sessions_of(*items):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in items])])
    flat = np.concatenate(items).astype(np.int32)
    return Sessions(offsets, flat, np.zeros(len(flat), np.uint8), np.ones(len(flat), np.float32))


class Known:
    """A teacher whose targets are given."""

    def __init__(self, items, weights):
        self.items, self.weights = np.array(items), np.array(weights, dtype=np.float32)

    def targets(self, steps):
        return self.items[steps], self.weights[steps]


@pytest.fixture
def environment(llama_llm):
    """Of three items whose vectors are unit axes; temperature 1, popularity without weight."""
    vectors = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    tokens = torch.zeros(4, llama_llm.embeddings.shape[1])
    made = Environment(llama_llm, EnvironmentConfig(soft_targets=0.25), tokens, vectors)
    with torch.no_grad():
        made.state_model.log_temperature.zero_()
        made.state_model.popularity_weight.zero_()
    return made


def state_loss(environment, training=None, **others):
    training = sessions_of([1], [2, 3]) if training is None else training
    return StateLoss(environment, NegativeSampler(training, 3, environment.config), **others)


FIRST_STEPS = np.array([0, 1])  # of both sessions: nothing was seen before them
STATES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
# -log softmax of the first item in (1, 0, 0), of the second in (0, 2, 0), and of a zero in either
FIRST, SECOND = np.log(np.e + 2) - 1, np.log(np.e**2 + 2) - 2
ZERO_OF_FIRST, ZERO_OF_SECOND = np.log(np.e + 2), np.log(np.e**2 + 2)


def test_against_all_items_by_hand(environment):
    found = state_loss(environment)(STATES, torch.tensor([1, 2]), FIRST_STEPS)
    assert found.item() == pytest.approx((FIRST + SECOND) / 2, abs=1e-6)


def test_soft_targets_by_hand_and_a_step_of_which_the_teacher_knows_nothing_keeps_its_action(environment):
    teacher = Known([[2, 3], [0, 0]], [[0.75, 0.25], [0.0, 0.0]])
    loss = state_loss(environment, teacher=teacher)
    found = loss(STATES, torch.tensor([1, 2]), FIRST_STEPS)
    soft = 0.75 * FIRST + 0.25 * ZERO_OF_FIRST  # items 2 and 3 both have a zero in the first state
    assert found.item() == pytest.approx((soft + SECOND) / 2, abs=1e-6)
    untaught = loss(STATES, torch.tensor([1, 2]), FIRST_STEPS, taught=False)
    assert untaught.item() == pytest.approx((FIRST + SECOND) / 2, abs=1e-6)


def test_gradients_are_finite_where_the_teacher_names_impossible_items_without_weight(environment):
    states = STATES.clone().requires_grad_()
    teacher = Known([[2, 0], [0, 0]], [[1.0, 0.0], [0.0, 0.0]])
    state_loss(environment, teacher=teacher)(states, torch.tensor([1, 2]), FIRST_STEPS).backward()
    assert torch.isfinite(states.grad).all()


def test_a_sample_of_items_estimates_the_loss_against_all(environment):
    torch.manual_seed(0)
    loss = state_loss(environment, sampler=ItemSampler(np.array([1, 1, 2, 3]), 64, "cpu"))
    drawn = [loss(STATES, torch.tensor([1, 2]), FIRST_STEPS, loss.draw()).item() for _ in range(200)]
    assert np.std(drawn) > 0
    assert np.mean(drawn) == pytest.approx((FIRST + SECOND) / 2, abs=0.01)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["all items", "a sample"])
def test_where_nobody_takes_an_item_twice_the_history_is_no_alternative(environment, share):
    torch.manual_seed(0)
    sampler = ItemSampler(np.array([1, 2, 3]), 3000, "cpu") if share else None
    loss, steps = state_loss(environment, sessions_of([1, 2], [3]), sampler=sampler), np.array([1, 2])
    found = loss(STATES, torch.tensor([2, 3]), steps, loss.draw()).item()
    # of the first state (1, 0, 0) without item 1 two zeros are left; the second (0, 2, 0) has seen nothing, and item 3 is a zero
    assert found == pytest.approx((np.log(2) + ZERO_OF_SECOND) / 2, abs=0.02 if share else 1e-6)
    again = state_loss(environment, sessions_of([1, 2], [3], [2, 2]), sampler=sampler)
    assert again(STATES, torch.tensor([2, 3]), steps, again.draw()).item() == pytest.approx(
        (ZERO_OF_FIRST + ZERO_OF_SECOND) / 2, abs=0.02 if share else 1e-6
    )


def test_the_teacher_says_what_others_chose_and_never_counts_the_session_itself():
    # Everybody chose 1 and 2; one session alone goes on to 3, after which its own counts would name 3.
    sessions = [[1, 2]] * 20 + [[1, 3]]
    training = sessions_of(*sessions)
    teacher = Teacher.of(training, np.arange(len(sessions)), 3, EnvironmentConfig(), 0)
    items, weights = teacher.targets(np.array([1, 41]))  # the second steps of the first and the last session
    taught = [set(items[row][weights[row] > 0].tolist()) for row in range(2)]
    same_fold = (
        teacher.others.fold_of[0] == teacher.others.fold_of[20]
    )  # whether the session with 3 is left out for the first one too
    assert taught == [{2} if same_fold else {2, 3}, {2}]
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


def test_sessions_that_are_not_taught_are_not_counted_and_seen_items_are_no_target():
    training = sessions_of(*[[1, 2]] * 20, *[[1, 3, 2]] * 20)
    teacher = Teacher.of(training, np.arange(20), 3, EnvironmentConfig(), 0)
    items, weights = teacher.targets(np.array([41, 42]))  # of a session that is not taught: after 1, and after 1 and 3
    assert items[0][weights[0] > 0].tolist() == [2]
    assert items[1][weights[1] > 0].tolist() == [2]
    _, after_all = teacher.targets(np.array([1]))
    assert after_all.sum() == pytest.approx(1)
    assert {int(fold) for fold in teacher.others.fold_of} == set(range(FOLDS))


def test_a_large_catalog_is_adapted_against_a_sample_and_soft_targets_change_the_state(family_folder, small_log, tmp_path, quiet):
    base = {**SMALL, "llm": str(family_folder("llama"))}
    losses = {}
    for name, settings in {
        "full": {}, "sampled": {"full_softmax_items": 1, "n_sampled_items": 32}, "soft": {"soft_targets": 0.5},
        "words": {"history_text_tokens": 4},
    }.items():  # fmt: skip
        adapt(
            EnvironmentConfig(**base, **settings), 0, small_log, tmp_path / name, device="cpu", reporter=quiet,
            measure=lambda ranks: {"mean rank": float(ranks.mean())},
        )  # fmt: skip
        curves = read_manifest(tmp_path / name, "environment", "x").notes["curves"]
        losses[name] = [measures["state loss"] for measures in curves["measures"]]
    assert np.isfinite(list(losses.values())).all()
    # The first is of the untrained rule: where words and targets play no part.
    assert losses["soft"][0] == losses["full"][0]
    assert losses["sampled"][0] == pytest.approx(losses["full"][0], rel=0.05)
    assert len({found[-1] for found in losses.values()}) == 4


def test_requests_of_environments_made_before_these_settings_are_the_same():
    later = EnvironmentConfig.came_later
    assert later <= EnvironmentConfig.model_fields.keys()
    assert not later & EnvironmentConfig().model_dump(mode="json").keys()
    asked = replace_all(
        EnvironmentConfig(), history_text_tokens=2, soft_targets=0.1, full_softmax_items=9, n_sampled_items=5, text_layers=1
    )
    assert later <= asked.model_dump(mode="json").keys()


def replace_all(config, **settings):
    return EnvironmentConfig(**{**config.model_dump(), **settings})
