"""Every loss against numbers worked out by hand."""

import math

import pytest
import torch

from learec.agents.losses import (
    advantage,
    augmented_cross_entropy,
    augmented_q_loss,
    cross_entropy,
    double_q_target,
    inverse_propensity,
    negative_q_loss,
    q_loss,
    weighted_cross_entropy,
)

LN2, LN4 = math.log(2), math.log(4)
# Two steps over padding and three items: probabilities (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2).
LOG_PROBS = torch.tensor([[-math.inf, -LN2, -LN4, -LN4], [-math.inf, -LN4, -LN4, -LN2]])


def at(values, actions):
    """Values (M, N + 1) at actions (M,) or (M, K)."""
    return values.gather(1, actions.view(len(actions), -1)).view(actions.shape)


def test_cross_entropy_is_the_mean_of_minus_log_probability():
    assert cross_entropy(at(LOG_PROBS, torch.tensor([1, 2]))).item() == pytest.approx((LN2 + LN4) / 2)


def test_augmented_cross_entropy_averages_over_actions_and_then_over_steps():
    # step 0: (ln 2 + ln 4) / 2, step 1: ln 2 alone
    actions = torch.tensor([[1, 2], [3, 0]])
    value = augmented_cross_entropy(at(LOG_PROBS, actions), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert value.item() == pytest.approx(((LN2 + LN4) / 2 + LN2) / 2)


def test_unequal_weights_make_soft_labels():
    value = augmented_cross_entropy(at(LOG_PROBS, torch.tensor([[1, 2], [1, 3]])), torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    assert value.item() == pytest.approx(((0.75 * LN2 + 0.25 * LN4) + (0.5 * LN4 + 0.5 * LN2)) / 2)


def test_a_step_without_augmented_actions_counts_for_nothing():
    actions = torch.tensor([[1, 2], [0, 0]])
    value = augmented_cross_entropy(at(LOG_PROBS, actions), torch.tensor([[0.5, 0.5], [0.0, 0.0]]))
    assert value.item() == pytest.approx((LN2 + LN4) / 2)


def test_without_any_augmented_action_the_loss_is_zero_and_its_gradient_finite():
    logits = torch.zeros(2, 4, requires_grad=True)
    mask = torch.tensor([-math.inf, 0.0, 0.0, 0.0])
    absent = torch.zeros(2, 3, dtype=torch.long)
    loss = augmented_cross_entropy(at((logits + mask).log_softmax(-1), absent), torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_double_q_target_adds_the_discounted_next_value():
    target = double_q_target(torch.tensor([1.0, 0.2]), torch.tensor([2.0, 4.0]), torch.tensor([False, False]), 0.5)
    assert target.tolist() == pytest.approx([2.0, 2.2])


def test_the_last_step_of_a_session_is_worth_its_reward_alone():
    target = double_q_target(torch.tensor([1.0]), torch.tensor([7.0]), torch.tensor([True]), 0.5)
    assert target.tolist() == [1.0]


def test_q_loss_is_half_the_mean_square():
    # errors 1 and 2: (1/2 + 4/2) / 2
    assert q_loss(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 2.0])).item() == pytest.approx(1.25)


def test_the_target_is_not_trained_through():
    target = torch.tensor([2.0], requires_grad=True)
    q = torch.tensor([1.0], requires_grad=True)
    q_loss(q, target).backward()
    assert q.grad.item() == pytest.approx(-1.0)
    assert target.grad is None


def test_negative_q_loss_sums_over_negatives_and_stays_in_the_same_state():
    # target 0 + 0.5 * 2 = 1; errors 1 and -1 -> 1/2 + 1/2 = 1; second step target 0; errors 0 and -2 -> 2
    value = negative_q_loss(torch.tensor([[0.0, 2.0], [0.0, 2.0]]), torch.tensor([2.0, 0.0]), 0.0, 0.5)
    assert value.item() == pytest.approx((1 + 2) / 2)


def test_augmented_q_loss_ignores_absent_actions():
    q, targets = torch.tensor([[1.0, 9.0], [5.0, 5.0]]), torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    present = torch.tensor([[True, False], [False, False]])
    assert augmented_q_loss(q, targets, present).item() == pytest.approx(2.0)


def test_a_weighted_cross_entropy_is_the_mean_of_weight_times_cross_entropy_and_trains_no_weight():
    weights = torch.tensor([2.0, 0.5], requires_grad=True)
    log_prob = torch.tensor([-LN2, -LN4], requires_grad=True)
    loss = weighted_cross_entropy(log_prob, weights)
    loss.backward()
    assert loss.item() == pytest.approx((2 * LN2 + 0.5 * LN4) / 2)
    assert weights.grad is None
    assert log_prob.grad.tolist() == [-1.0, -0.25]


def test_an_advantage_is_over_the_mean_of_the_action_and_the_negatives():
    # (6 + 0 + 3) / 3 = 3, and (1 + 2 + 3) / 3 = 2
    value = advantage(torch.tensor([6.0, 1.0]), torch.tensor([[0.0, 3.0], [2.0, 3.0]]))
    assert value.tolist() == [3.0, -1.0]


def test_an_inverse_propensity_is_clipped_and_off_at_zero():
    log_prob, popularity = torch.tensor([0.5, 0.5, 0.001]).log(), torch.tensor([0.25, 0.01, 0.5])
    assert inverse_propensity(log_prob, popularity, 1.0).tolist() == pytest.approx([2.0, 10.0, 0.1])
    assert inverse_propensity(log_prob, popularity, 0.5).tolist() == pytest.approx([2**0.5, 10**0.5, 0.1**0.5])
    assert inverse_propensity(log_prob, popularity, 0.0).tolist() == [1.0, 1.0, 1.0]
