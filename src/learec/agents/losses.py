"""Losses: tensors in, scalar out. M steps, K augmented or negative actions.

The actor enters as log probabilities of chosen actions, the critic as Q of chosen actions: how they were computed (over
all items or a sample of them) is not the losses' business.
"""

import torch
from torch import Tensor


def cross_entropy(log_prob: Tensor) -> Tensor:
    """CE = -log p(a | s), mean over steps; log_prob (M,)."""
    return -log_prob.mean()


def weighted_cross_entropy(log_prob: Tensor, weights: Tensor) -> Tensor:
    """W * CE, mean over steps; both (M,). Weights are not trained through: SAC has w = Q(s, a), SA2C the advantage."""
    return -(weights.detach() * log_prob).mean()


def augmented_cross_entropy(log_prob: Tensor, weights: Tensor) -> Tensor:
    """-sum_k w_k log p(a_k | s), mean over the steps that have augmented actions; both (M, K), 0 is the weight of none.

    LEA: positive actions named by the environment join the supervised part. Equal weights are our reading of the paper; others
    make them soft labels.
    """
    # Selected, not multiplied: an absent action may have log probability -inf, and -inf * 0 is no number.
    per_step = -torch.where(weights > 0, weights * log_prob, torch.zeros_like(log_prob)).sum(1)
    return per_step.sum() / (weights > 0).any(1).sum().clamp(min=1)


def double_q_target(rewards: Tensor, next_values: Tensor, terminal: Tensor, gamma: float) -> Tensor:
    """Y = r + gamma * Q'(s', b), and y = r on a session's last step; all (M,) or (M, K).

    `next_values` holds Q' of the action b that the trained network likes best (van Hasselt et al., AAAI 2016), or, for the
    EVAL control, of the action that was really taken next.
    """
    return rewards + gamma * torch.where(terminal, torch.zeros_like(next_values), next_values)


def q_loss(q_of_actions: Tensor, targets: Tensor) -> Tensor:
    """L_q = 1/2 (y - Q(s, a))^2, mean over steps; both (M,). The target is not trained through."""
    return 0.5 * (targets.detach() - q_of_actions).square().mean()


def negative_q_loss(q_of_negatives: Tensor, same_values: Tensor, negative_reward: float, gamma: float) -> Tensor:
    """sum_j 1/2 (r_neg + gamma * Q'(s, argmax_b Q(s, b)) - Q(s, a_j^-))^2, mean over steps (SNQN, arXiv:2111.03474).

    A rejected item leaves the user in the same state, on the last step too. q_of_negatives (M, K), same_values (M,).
    """
    targets = negative_reward + gamma * same_values.detach()
    return 0.5 * (targets[:, None] - q_of_negatives).square().sum(1).mean()


def augmented_q_loss(q_of_augmented: Tensor, targets: Tensor, present: Tensor) -> Tensor:
    """1/2 (y_k - Q(s, a_k))^2, mean over augmented actions of a step, then over steps that have some; all (M, K)."""
    squares = 0.5 * (targets.detach() - q_of_augmented).square() * present
    counts = present.sum(1)
    return (squares.sum(1) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def advantage(q_of_actions: Tensor, q_of_negatives: Tensor) -> Tensor:
    """A = Q(s, a) - mean of Q over {a, a_1^-, ..., a_n^-} (SA2C); (M,), (M, n) -> (M,)."""
    everything = torch.cat([q_of_actions[:, None], q_of_negatives], dim=1)
    return q_of_actions - everything.mean(1)


def inverse_propensity(log_prob: Tensor, popularity: Tensor, smooth: float) -> Tensor:
    """clip(p(a | s) / popularity(a), 0.1, 10) ** smooth (SA2C); both (M,). smooth = 0, the authors' default, turns it off."""
    return (log_prob.exp() / popularity).clamp(0.1, 10.0).pow(smooth)
