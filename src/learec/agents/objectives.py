"""Objectives: from what an agent computed for a batch of steps to named losses. The methods differ in these lines alone.

Supervised   CE
SQN          CE + w L_q                                      y = r + gamma Q'(s', argmax_b Q(s', b))
EVAL         CE + w L_q                                      y = r + gamma Q'(s', the action really taken next)
SAC          SQN for a while, then  Q(s, a) CE + w L_q
SNQN         CE + w (L_q + L_negatives)
SA2C         SNQN for a while, then  clip(A, 0, 10) ips CE + w (L_q + L_negatives)
LEA          any of them, plus CE and L_q on the actions that the environment proposed

Xin et al., SIGIR 2020 (arXiv:2006.05779) for SQN and SAC, WSDM 2022 (arXiv:2111.03474) for SNQN and SA2C; EVAL is the control
of Labarca et al., ICML 2024; LEA after Wang et al., SIGIR 2024 (arXiv:2403.16948). w is ours (q_weight; 1 in the papers).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learec.agents.batches import Steps
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
from learec.config import AgentConfig

Losses = dict[str, Tensor]
Choose = Callable[[Tensor], Tensor]  # actions (M,) or (M, K) -> a number for each, of the same shape


@dataclass(frozen=True)
class Values:
    """The critic's view of M steps. Q is of the network that is trained, Q' of the other one (double Q-learning).

    Only a few actions of a step enter the losses, so Q is trained through those alone: the whole (M, N + 1) matrix is
    needed for its maximum, never for a gradient.
    """

    q: Choose  # Q(s, a)
    same: Tensor  # (M,) Q'(s, argmax_b Q(s, b)) in the step's own state
    next: Tensor  # (M,) Q'(s', argmax_b Q(s', b)) in the state after the action
    next_taken: Tensor  # (M,) Q'(s', a') of the action that was really taken next; any number on a terminal step
    negatives: Tensor  # (M, n_negatives) other items drawn from those of training steps


@dataclass(frozen=True)
class Outputs:
    """What an agent computed for M steps."""

    log_prob: Choose  # of the actor
    values: Values | None  # None where no objective asks for the critic
    batches_done: int = 0  # batches trained before this one


class Objective(Protocol):
    """Outputs of the agent and what was logged -> named losses."""

    @property
    def needs_critic(self) -> bool:
        """Whether outputs must hold the critic's values."""
        ...

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """Named scalars; their sum is minimised."""
        ...


@dataclass(frozen=True)
class Supervised:
    """Next-item prediction."""

    needs_critic = False

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """Cross-entropy of the logged action."""
        return {"ce": cross_entropy(outputs.log_prob(steps.actions))}


@dataclass(frozen=True)
class SQN:
    """Self-supervised Q-learning; with `taken`, the EVAL control, which learns the value of what people did."""

    gamma: float
    q_weight: float
    taken: bool = False
    needs_critic = True

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """Cross-entropy and Q loss of the logged action."""
        values = required(outputs)
        bootstrap = values.next_taken if self.taken else values.next
        targets = double_q_target(steps.rewards, bootstrap, steps.terminal, self.gamma)
        return {
            "ce": cross_entropy(outputs.log_prob(steps.actions)),
            "q": self.q_weight * q_loss(values.q(steps.actions), targets),
        }


@dataclass(frozen=True)
class SNQN:
    """SQN in which the critic also learns what was not chosen."""

    base: SQN
    negative_reward: float
    needs_critic = True

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """SQN's losses, and the Q loss of uniformly drawn other actions."""
        values = required(outputs)
        loss = negative_q_loss(values.q(values.negatives), values.same, self.negative_reward, self.base.gamma)
        return {**self.base(outputs, steps), "negative": self.base.q_weight * loss}


@dataclass(frozen=True)
class SAC:
    """SQN, whose critic weighs the cross-entropy once it has learnt for `switch_after` batches."""

    base: SQN
    switch_after: int
    needs_critic = True

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """SQN's losses; after the switch, cross-entropy times Q(s, a)."""
        losses = self.base(outputs, steps)
        if outputs.batches_done >= self.switch_after:
            q = required(outputs).q(steps.actions)
            losses["ce"] = weighted_cross_entropy(outputs.log_prob(steps.actions), q)
        return losses


@dataclass(frozen=True)
class SA2C:
    """SNQN, whose critic's advantage weighs the cross-entropy once it has learnt for `switch_after` batches."""

    base: SNQN
    switch_after: int
    clip: float
    ips_smooth: float
    needs_critic = True

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """SNQN's losses; after the switch, cross-entropy times clip(A, 0, clip) * ips ** smooth."""
        losses = self.base(outputs, steps)
        if outputs.batches_done >= self.switch_after:
            values, log_prob = required(outputs), outputs.log_prob(steps.actions)
            weights = advantage(values.q(steps.actions), values.q(values.negatives)).clamp(0, self.clip)
            if self.ips_smooth:
                weights = weights * inverse_propensity(log_prob, steps.popularity, self.ips_smooth)
            losses["ce"] = weighted_cross_entropy(log_prob, weights)
        return losses


@dataclass(frozen=True)
class LEA:
    """The LE augmentation over any objective: proposed actions count as positive, in both kinds of loss.

    The next state of an action that nobody took is unknown; we take the one that followed the logged action.
    """

    base: Objective
    weight: float
    gamma: float
    q_weight: float

    @property
    def needs_critic(self) -> bool:
        """As the objective it wraps."""
        return self.base.needs_critic

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """The base's losses, and the weighted losses of augmented actions."""
        losses, present = self.base(outputs, steps), steps.augmented > 0
        losses["augmented_ce"] = self.weight * augmented_cross_entropy(outputs.log_prob(steps.augmented), steps.augmented_weights)
        if outputs.values is not None:
            shape = steps.augmented.shape
            following, terminal = outputs.values.next[:, None].expand(shape), steps.terminal[:, None].expand(shape)
            targets = double_q_target(steps.augmented_rewards, following, terminal, self.gamma)
            loss = augmented_q_loss(outputs.values.q(steps.augmented), targets, present)
            losses["augmented_q"] = self.weight * self.q_weight * loss
        return losses


def draw_negatives(actions: Tensor, n_negatives: int, items: Tensor) -> Tensor:
    """Of `items` (n,), ascending, drawn uniformly without the logged action, (M, n_negatives)."""
    shape = (len(actions), n_negatives)
    places = torch.randint(0, max(len(items) - 1, 1), shape, device=actions.device)
    # n - 1 numbers stand for the n items but one: those at or above the action's place move up by one.
    own = torch.searchsorted(items, actions)[:, None]
    return items[torch.where(places >= own, places + 1, places).clamp(max=len(items) - 1)]


def required(outputs: Outputs) -> Values:
    """The critic's values, which an RL objective cannot do without."""
    if outputs.values is None:
        raise ValueError("this objective needs the critic's values, and the agent computed none")
    return outputs.values


def objective_for(config: AgentConfig) -> Objective:
    """The objective that an agent's config names."""
    sqn = SQN(config.gamma, config.q_weight, taken=config.objective == "eval")
    snqn = SNQN(sqn, config.negative_reward)
    objectives: dict[str, Objective] = {
        "supervised": Supervised(),
        "sqn": sqn,
        "eval": sqn,
        "sac": SAC(sqn, config.switch_after),
        "snqn": snqn,
        "sa2c": SA2C(snqn, config.switch_after, config.advantage_clip, config.ips_smooth),
    }
    objective = objectives[config.objective]
    if "augmented" in config.lea:
        objective = LEA(objective, config.augmented_weight, config.gamma, config.q_weight)
    return objective
