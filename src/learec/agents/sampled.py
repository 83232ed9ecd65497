"""Catalogs that do not fit in a logits tensor: the actor over a sample of items, and candidates for the critic's maximum."""

import torch
from torch import Tensor

from learec.agents.agent import Agent
from learec.sampled_softmax import sampled_log_probabilities


class RecentBest:
    """The items that were lately the best of some state, newest first: what a maximum over a sample would miss.

    A sample of a large catalog hardly ever holds the item with the highest Q. One that has won once is scored again for all
    states of the next batches, so the maximum climbs from batch to batch at a cost that does not depend on N.
    """

    def __init__(self, size: int, device: str) -> None:
        self.items = torch.zeros(size, dtype=torch.long, device=device)  # 0 where none is known yet

    def candidates(self, others: Tensor) -> Tensor:
        """These items and other ones (C,), each once and ascending."""
        found = torch.unique(torch.cat([self.items, others]))
        return found[found > 0]

    def update(self, best: Tensor) -> None:
        """Put the best items (M,) of a batch in front, those of most states first, and forget what is last."""
        newest, states = torch.unique(best, return_counts=True)
        newest = newest[states.argsort(descending=True, stable=True)]
        older = self.items[~torch.isin(self.items, newest)]
        self.items.copy_(torch.cat([newest, older])[: len(self.items)])


class SampledActor:
    """log p(a | s) over a sample of items (sampled_softmax.py)."""

    def __init__(self, agent: Agent, hidden: Tensor, drawn: Tensor, log_expected: Tensor) -> None:
        """Hidden (M, H), drawn and log_expected (C,)."""
        self.agent, self.hidden, self.drawn = agent, hidden, drawn
        self.corrected = agent.logits_at(hidden, drawn) - log_expected  # (M, C)

    def __call__(self, actions: Tensor) -> Tensor:
        """Actions (M,) or (M, K) -> log probabilities of the same shape."""
        columns = actions.view(len(actions), -1)
        own = self.agent.logits_at(self.hidden, columns)
        return sampled_log_probabilities(own, columns, self.corrected, self.drawn).view(actions.shape)
