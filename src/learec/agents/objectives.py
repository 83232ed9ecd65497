"""Objectives: from what an agent computed for a batch of steps to named losses. The methods differ in these lines alone.

Supervised   CE
SNQN         CE + w * (L_q + L_negatives)
LEA          an objective, plus the same losses on the actions that the environment proposed
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learec.agents.batches import Steps
from learec.agents.losses import (
    augmented_cross_entropy,
    augmented_q_loss,
    cross_entropy,
    double_q_target,
    negative_q_loss,
    q_loss,
)
from learec.config import AgentConfig

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Values:
    """The critic's view of M steps. `same` and `next` are Q'(s, argmax Q(s, .)) from the target network.

    Only a few actions of a step enter the losses, so Q is trained through those alone: the whole (M, N + 1) matrix is
    needed for its maximum, never for a gradient.
    """

    items: Tensor  # (n,) items of training steps, ascending: what may be drawn as a negative
    q: Callable[[Tensor], Tensor]  # actions (M,) or (M, K) -> Q(s, a) of the trained network
    same: Tensor  # (M,) in the step's own state
    next: Tensor  # (M,) in the state after the action


@dataclass(frozen=True)
class Outputs:
    """What an agent computed for M steps."""

    log_probs: Tensor  # (M, N + 1) of the actor
    values: Values | None  # None where no objective asks for the critic


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
        return {"ce": cross_entropy(outputs.log_probs, steps.actions)}


@dataclass(frozen=True)
class SNQN:
    """Supervised negative Q-learning (Xin et al., WSDM 2022): the critic also learns what was not chosen.

    Differs from the authors' code: values come from one target network that follows slowly, not from a second copy that
    a coin chooses for each batch.
    """

    gamma: float
    n_negatives: int
    negative_reward: float
    q_weight: float
    needs_critic = True

    def __call__(self, outputs: Outputs, steps: Steps) -> Losses:
        """Cross-entropy, Q loss of the logged action, and Q loss of uniformly drawn other actions."""
        values = required(outputs)
        targets = double_q_target(steps.rewards, values.next, steps.terminal, self.gamma)
        negatives = draw_negatives(steps.actions, self.n_negatives, values.items)
        negative_loss = negative_q_loss(values.q(negatives), values.same, self.negative_reward, self.gamma)
        return {
            "ce": cross_entropy(outputs.log_probs, steps.actions),
            "q": self.q_weight * q_loss(values.q(steps.actions), targets),
            "negative": self.q_weight * negative_loss,
        }


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
        losses = self.base(outputs, steps)
        losses["augmented_ce"] = self.weight * augmented_cross_entropy(outputs.log_probs, steps.augmented)
        if outputs.values is not None:
            shape = steps.augmented.shape
            following, terminal = outputs.values.next[:, None].expand(shape), steps.terminal[:, None].expand(shape)
            targets = double_q_target(steps.augmented_rewards, following, terminal, self.gamma)
            loss = augmented_q_loss(outputs.values.q(steps.augmented), targets, steps.augmented > 0)
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
    objective: Objective = Supervised()
    if config.objective == "snqn":
        objective = SNQN(config.gamma, config.n_negatives, config.negative_reward, config.q_weight)
    if "augmented" in config.lea:
        objective = LEA(objective, config.augmented_weight, config.gamma, config.q_weight)
    return objective
