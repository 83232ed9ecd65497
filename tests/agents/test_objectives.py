"""Objectives: which losses they name, what they add up to, and what they must not read."""

import math
from dataclasses import replace

import pytest
import torch

from learec.agents.batches import Steps
from learec.agents.objectives import LEA, SA2C, SAC, SNQN, SQN, Outputs, Supervised, Values, draw_negatives, objective_for
from learec.config import AgentConfig

LN3 = math.log(3)
SQN_1, SNQN_1 = SQN(0.5, 1.0), SNQN(SQN(0.5, 1.0), 0.0)


def steps(augmented=((2, 0), (0, 0))):
    augmented = torch.tensor(augmented)
    return Steps(
        actions=torch.tensor([1, 2]),
        rewards=torch.tensor([1.0, 0.5]),
        terminal=torch.tensor([False, True]),
        next_actions=torch.tensor([3, 0]),
        popularity=torch.tensor([0.25, 2 / 3]),
        augmented=augmented,
        augmented_weights=(augmented > 0) / (augmented > 0).sum(1, keepdim=True).clamp(min=1),
        augmented_rewards=torch.full(augmented.shape, 0.5),
    )


def outputs(batches_done=0, critic=True):
    """Uniform over three items; Q = item number in both states; other network's values 2 now, 4 or (if taken) 6 afterwards."""
    values = Values(
        q=lambda actions: actions.float(),
        same=torch.full((2,), 2.0),
        next=torch.full((2,), 4.0),
        next_taken=torch.full((2,), 6.0),
        negatives=torch.tensor([[2, 3], [1, 1]]),
    )
    log_prob = lambda actions: torch.where(actions > 0, -LN3, -math.inf)  # noqa: E731
    return Outputs(log_prob, values if critic else None, batches_done)


def values_of(losses):
    return {name: loss.item() for name, loss in losses.items()}


def test_supervised_needs_no_critic():
    assert values_of(Supervised()(outputs(critic=False), steps())) == pytest.approx({"ce": LN3})


@pytest.mark.parametrize("objective", [SQN_1, SNQN_1, SAC(SQN_1, 5), SA2C(SNQN_1, 5, 10.0, 0.0)], ids=lambda o: type(o).__name__)
def test_an_rl_objective_without_a_critic_is_refused(objective):
    with pytest.raises(ValueError, match="critic"):
        objective(outputs(critic=False), steps())


def test_sqn_is_worked_out_by_hand():
    # step 0: y = 1 + 0.5 * 4 = 3, Q = 1 -> 2; step 1 is terminal: y = 0.5, Q = 2 -> 1.125
    assert values_of(SQN_1(outputs(), steps())) == pytest.approx({"ce": LN3, "q": (2 + 1.125) / 2})


def test_eval_bootstraps_from_the_action_really_taken_next():
    # step 0: y = 1 + 0.5 * 6 = 4, Q = 1 -> 4.5; the terminal step as in SQN
    assert values_of(SQN(0.5, 1.0, taken=True)(outputs(), steps())) == pytest.approx({"ce": LN3, "q": (4.5 + 1.125) / 2})


def test_snqn_adds_the_q_loss_of_negatives_in_the_same_state():
    # y = 0.5 * 2 = 1; step 0: Q 2 and 3 -> 0.5 + 2; step 1: Q 1 and 1 -> 0
    assert values_of(SNQN_1(outputs(), steps())) == pytest.approx({"ce": LN3, "q": 1.5625, "negative": 1.25})


def test_q_weight_scales_every_q_loss_and_not_the_cross_entropy():
    three = values_of(SNQN(SQN(0.5, 3.0), 0.0)(outputs(), steps()))
    assert three == pytest.approx({"ce": LN3, "q": 3 * 1.5625, "negative": 3 * 1.25})


def test_sac_is_sqn_and_after_the_switch_weighs_the_cross_entropy_by_q():
    sac = SAC(SQN_1, switch_after=5)
    assert values_of(sac(outputs(4), steps())) == pytest.approx(values_of(SQN_1(outputs(), steps())))
    assert values_of(sac(outputs(5), steps())) == pytest.approx({"ce": (1 + 2) / 2 * LN3, "q": 1.5625})


def test_sa2c_is_snqn_and_after_the_switch_weighs_the_cross_entropy_by_the_clipped_advantage():
    sa2c = SA2C(SNQN_1, switch_after=5, clip=10.0, ips_smooth=0.0)
    assert values_of(sa2c(outputs(4), steps())) == pytest.approx(values_of(SNQN_1(outputs(), steps())))
    # A: 1 - (1 + 2 + 3) / 3 = -1, clipped to 0; 2 - (2 + 1 + 1) / 3 = 2/3
    assert values_of(sa2c(outputs(5), steps())) == pytest.approx({"ce": 2 / 3 * LN3 / 2, "q": 1.5625, "negative": 1.25})
    assert values_of(SA2C(SNQN_1, 5, 0.5, 0.0)(outputs(5), steps()))["ce"] == pytest.approx(0.5 * LN3 / 2)


def test_sa2c_divides_by_popularity_where_ips_is_on():
    # p / popularity = (1/3) / (2/3) = 1/2 for the only step with a weight
    assert values_of(SA2C(SNQN_1, 5, 10.0, 1.0)(outputs(5), steps()))["ce"] == pytest.approx(2 / 3 * 0.5 * LN3 / 2)


def test_weights_after_the_switch_train_no_critic():
    q = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    made = outputs(5)
    values = replace(made.values, q=lambda actions: q[actions])
    log_prob = torch.full((2,), -LN3, requires_grad=True)
    for objective in (SAC(SQN_1, 5), SA2C(SNQN_1, 5, 10.0, 1.0)):
        objective(Outputs(lambda actions: log_prob, values, 5), steps())["ce"].backward()
        assert q.grad is None
        assert log_prob.grad is not None


@pytest.mark.parametrize("base", [SQN_1, SNQN_1, SAC(SQN_1, 5), SA2C(SNQN_1, 5, 10.0, 0.0)], ids=lambda o: type(o).__name__)
def test_lea_adds_the_same_kinds_of_loss_on_augmented_actions_over_any_objective(base):
    losses = values_of(LEA(base, 0.5, 0.5, 1.0)(outputs(), steps()))
    # step 0: y = 0.5 + 0.5 * 4 = 2.5, Q(2) = 2 -> 0.125; step 1 has no augmented action; weight 0.5
    assert losses.pop("augmented_q") == pytest.approx(0.5 * 0.125)
    assert losses.pop("augmented_ce") == pytest.approx(0.5 * LN3)
    assert losses == pytest.approx(values_of(base(outputs(), steps())))


def test_lea_over_supervised_has_no_q_loss():
    assert set(LEA(Supervised(), 0.5, 0.5, 1.0)(outputs(critic=False), steps())) == {"ce", "augmented_ce"}


def test_negatives_are_never_the_logged_action_nor_padding_and_reach_every_other_item():
    actions = torch.tensor([1, 3, 5]).repeat(400)
    draws = draw_negatives(actions, 10, torch.arange(1, 6))
    assert not (draws == actions[:, None]).any()
    for action in (1, 3, 5):
        assert set(draws[actions == action].unique().tolist()) == {1, 2, 3, 4, 5} - {action}


def test_columns_of_different_lengths_are_refused_with_their_shapes():
    with pytest.raises(ValueError, match="rewards"):
        ones = torch.ones(3)
        Steps(ones, torch.ones(3, 1), ones, ones, ones, *[torch.ones(3, 0)] * 3)


def test_the_config_chooses_the_objective():
    kinds = {"supervised": Supervised, "sqn": SQN, "eval": SQN, "sac": SAC, "snqn": SNQN, "sa2c": SA2C}
    for name, kind in kinds.items():
        assert type(objective_for(AgentConfig(objective=name))) is kind
    assert objective_for(AgentConfig(objective="eval")).taken
    assert not objective_for(AgentConfig(objective="sqn")).taken
    wrapped = objective_for(AgentConfig(objective="sa2c", lea=("augmented",)))
    assert isinstance(wrapped, LEA) and isinstance(wrapped.base, SA2C)
