"""Reward model: what an action is worth in a state; a score head on the action's position, and its pairwise loss."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from learec.environment.standardise import Standardise


class RewardModel(nn.Module):
    """reward = head(hidden of the action) + scale * cos(state, action's vector).

    The head starts at zero, so before training the reward *is* the state's similarity, which a head must improve on to
    earn its place.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.standardise = Standardise(hidden_size)
        self.head = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, hidden: Tensor, similarity: Tensor) -> Tensor:
        """Hidden at the action's slot (..., D), cosine of state and action (...) -> rewards (...)."""
        score: Tensor = self.head(self.standardise(hidden)).squeeze(-1)
        return score + self.scale * similarity


def reward_loss(positive: Tensor, negative: Tensor, present: Tensor) -> Tensor:
    """-log sigmoid(r(s, a+) - r(s, a-)), mean over the pairs that are present; (M,), (M, n_negatives), (M, n_negatives).

    LEA, reward model: a+ is the next item, a- a sampled item without an interaction.
    """
    return -functional.logsigmoid((positive[:, None] - negative)[present]).mean()


def listwise_loss(positive: Tensor, negative: Tensor, present: Tensor) -> Tensor:
    """-log softmax(r(s, .))[a+] among the logged action and its negatives, mean over steps; arguments as reward_loss takes them.

    With one negative it is reward_loss. Not in LEA: a hard negative that is nearly as good counts more here than one that is not.
    """
    others = negative.masked_fill(~present, -torch.inf)
    listed = torch.cat([positive[:, None], others], dim=1)
    return functional.cross_entropy(listed, torch.zeros(len(listed), dtype=torch.long, device=listed.device))


LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"pairwise": reward_loss, "listwise": listwise_loss}
