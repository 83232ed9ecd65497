"""Losses: tensors in, scalar out. M steps, N items (column 0 is padding), K augmented or negative actions."""

import torch
from torch import Tensor


def cross_entropy(log_probs: Tensor, actions: Tensor) -> Tensor:
    """CE = -log softmax(f(s))[a], mean over steps; log_probs (M, N + 1), actions (M,)."""
    return -at(log_probs, actions).mean()


def augmented_cross_entropy(log_probs: Tensor, augmented: Tensor) -> Tensor:
    """-mean_k log softmax(f(s))[a_k], mean over the steps that have augmented actions; augmented (M, K), 0 for none.

    LEA: positive actions named by the environment join the supervised part. Equal weights are our reading.
    """
    present = augmented > 0
    counts = present.sum(1)
    # Selected, not multiplied: padding has log probability -inf, and -inf * 0 is no number.
    chosen = torch.where(present, at(log_probs, augmented), torch.zeros_like(log_probs[:, :1]))
    per_step = -chosen.sum(1) / counts.clamp(min=1)
    return per_step.sum() / (counts > 0).sum().clamp(min=1)


def double_q_target(rewards: Tensor, next_values: Tensor, terminal: Tensor, gamma: float) -> Tensor:
    """Y = r + gamma * Q'(s', argmax_b Q(s', b)), and y = r on a session's last step; all (M,) or (M, K).

    `next_values` holds Q' of the action that the trained network likes best (van Hasselt et al., AAAI 2016).
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


def at(values: Tensor, actions: Tensor) -> Tensor:
    """Values (M, N + 1) at actions (M,) or (M, K)."""
    index = actions if actions.dim() == 2 else actions[:, None]
    return values.gather(1, index).view(actions.shape)
