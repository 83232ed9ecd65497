"""Objectives: which losses they name, what they add up to, and what they must not read."""

import math

import pytest
import torch

from learec.agents.batches import Steps
from learec.agents.objectives import LEA, SNQN, Outputs, Supervised, Values, draw_negatives, objective_for
from learec.config import AgentConfig


def steps(augmented=((2, 0), (0, 0))):
    augmented = torch.tensor(augmented)
    return Steps(
        actions=torch.tensor([1, 2]),
        rewards=torch.tensor([1.0, 0.5]),
        terminal=torch.tensor([False, True]),
        augmented=augmented,
        augmented_rewards=torch.full(augmented.shape, 0.5),
    )


def outputs():
    """Uniform over three items; Q = item number in both states; target values 2 now and 4 afterwards."""
    log_probs = torch.full((2, 4), -math.log(3))
    log_probs[:, 0] = -math.inf
    items = torch.tensor([1, 2, 3])
    return Outputs(log_probs, Values(items, lambda actions: actions.float(), torch.full((2,), 2.0), torch.full((2,), 4.0)))


def test_supervised_needs_no_critic():
    losses = Supervised()(Outputs(outputs().log_probs, None), steps())
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx({"ce": math.log(3)})


def test_snqn_without_a_critic_is_refused():
    with pytest.raises(ValueError, match="critic"):
        SNQN(0.5, 2, 0.0, 1.0)(Outputs(outputs().log_probs, None), steps())


def test_snqn_q_loss_is_worked_out_by_hand():
    # step 0: y = 1 + 0.5 * 4 = 3, Q = 1 -> 2; step 1 is terminal: y = 0.5, Q = 2 -> 1.125
    losses = SNQN(0.5, 2, 0.0, 1.0)(outputs(), steps())
    assert losses["q"].item() == pytest.approx((2 + 1.125) / 2)


def test_q_weight_scales_every_q_loss_and_not_the_cross_entropy():
    torch.manual_seed(0)
    one = SNQN(0.5, 2, 0.0, 1.0)(outputs(), steps())
    torch.manual_seed(0)
    three = SNQN(0.5, 2, 0.0, 3.0)(outputs(), steps())
    assert three["ce"].item() == pytest.approx(one["ce"].item())
    assert three["q"].item() == pytest.approx(3 * one["q"].item())
    assert three["negative"].item() == pytest.approx(3 * one["negative"].item())


def test_lea_adds_the_same_kinds_of_loss_on_augmented_actions():
    losses = LEA(SNQN(0.5, 2, 0.0, 1.0), 0.5, 0.5, 1.0)(outputs(), steps())
    # step 0: y = 0.5 + 0.5 * 4 = 2.5, Q(2) = 2 -> 0.125; step 1 has no augmented action; weight 0.5
    assert losses["augmented_q"].item() == pytest.approx(0.5 * 0.125)
    assert losses["augmented_ce"].item() == pytest.approx(0.5 * math.log(3))


def test_lea_over_supervised_has_no_q_loss():
    losses = LEA(Supervised(), 0.5, 0.5, 1.0)(Outputs(outputs().log_probs, None), steps())
    assert set(losses) == {"ce", "augmented_ce"}


def test_negatives_are_never_the_logged_action_nor_padding_and_reach_every_other_item():
    actions = torch.tensor([1, 3, 5]).repeat(400)
    draws = draw_negatives(actions, 10, torch.arange(1, 6))
    assert not (draws == actions[:, None]).any()
    for action in (1, 3, 5):
        assert set(draws[actions == action].unique().tolist()) == {1, 2, 3, 4, 5} - {action}


def test_columns_of_different_lengths_are_refused_with_their_shapes():
    with pytest.raises(ValueError, match="rewards"):
        Steps(torch.ones(3), torch.ones(3, 1), torch.ones(3), torch.ones(3, 0), torch.ones(3, 0))


def test_the_config_chooses_the_objective():
    assert isinstance(objective_for(AgentConfig()), Supervised)
    assert isinstance(objective_for(AgentConfig(objective="snqn", lea=("reward",))), SNQN)
    wrapped = objective_for(AgentConfig(objective="snqn", lea=("augmented",)))
    assert isinstance(wrapped, LEA) and isinstance(wrapped.base, SNQN)
