"""Catalogs that do not fit in a logits tensor: softmax over a sample of items, whose size the cost depends on, not N."""

import numpy as np
import torch
from torch import Tensor

from learec.agents.agent import Agent
from learec.data.log import Ints


class ItemSampler:
    """Draws items with replacement, as often as (training count) ** 0.75 says: popular ones are the likely confusions."""

    def __init__(self, items: Ints, n_sampled: int, device: str) -> None:
        """items: of all training steps, (E,)."""
        numbers, counts = np.unique(items, return_counts=True)
        weights = counts**0.75
        self.numbers = torch.as_tensor(numbers.astype(np.int64), device=device)
        self.cumulative = torch.as_tensor(np.cumsum(weights / weights.sum()), device=device)
        self.log_expected = torch.as_tensor(np.log(n_sampled * weights / weights.sum()).astype(np.float32), device=device)
        self.n_sampled = n_sampled

    def draw(self) -> tuple[Tensor, Tensor]:
        """Items (C,) and the logarithm of how often each is expected in a draw."""
        uniform = torch.rand(self.n_sampled, dtype=torch.float64, device=self.cumulative.device)
        places = torch.searchsorted(self.cumulative, uniform).clamp(max=len(self.numbers) - 1)
        return self.numbers[places], self.log_expected[places]


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
    """log p(a | s) = f(s, a) - log(exp f(s, a) + sum over drawn c != a of exp f(s, c) / expected(c)).

    The sum estimates the softmax's denominator without bias (logQ correction, Bengio & Senecal 2008); the action itself
    is in it with certainty and is not corrected. Draws that hit the action are left out.
    """

    def __init__(self, agent: Agent, hidden: Tensor, drawn: Tensor, log_expected: Tensor) -> None:
        """Hidden (M, H), drawn and log_expected (C,)."""
        self.agent, self.hidden, self.drawn = agent, hidden, drawn
        self.corrected = agent.logits_at(hidden, drawn) - log_expected  # (M, C)

    def __call__(self, actions: Tensor) -> Tensor:
        """Actions (M,) or (M, K) -> log probabilities of the same shape."""
        columns = actions.view(len(actions), -1)
        own = self.agent.logits_at(self.hidden, columns)
        rest = [self._log_sum(columns[:, k]) for k in range(columns.shape[1])]
        if not rest:
            return own.view(actions.shape)
        return (own - torch.logaddexp(own, torch.stack(rest, dim=1))).view(actions.shape)

    def _log_sum(self, actions: Tensor) -> Tensor:
        hits = self.drawn[None, :] == actions[:, None]
        return self.corrected.masked_fill(hits, -torch.inf).logsumexp(1)
