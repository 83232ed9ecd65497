"""Softmax over a sample of items: for catalogs whose logits do not fit in memory. Its cost depends on the sample, not on N."""

import numpy as np
import torch
from torch import Tensor

from learec.data.log import Ints


class ItemSampler:
    """Draws items with replacement, as often as (training count) ** 0.75 says: popular ones are the likely confusions."""

    def __init__(self, items: Ints, n_sampled: int, device: str | torch.device) -> None:
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


def sampled_log_probabilities(own: Tensor, actions: Tensor, corrected: Tensor, drawn: Tensor) -> Tensor:
    """Log p(a | s) = f(s, a) - log(exp f(s, a) + sum over drawn c != a of exp f(s, c) / expected(c)), (M, K).

    own (M, K): f of the actions (M, K). corrected (M, C): f of the drawn items (C,) less the logarithm of how often
    each is expected.
    The sum estimates the softmax's denominator without bias (logQ correction, Bengio & Senecal 2008); the action itself is
    in it with certainty and is not corrected. Draws that hit the action are left out.
    """
    rest = [_log_sum(actions[:, k], corrected, drawn) for k in range(actions.shape[1])]
    return own - torch.logaddexp(own, torch.stack(rest, dim=1)) if rest else own


def _log_sum(actions: Tensor, corrected: Tensor, drawn: Tensor) -> Tensor:
    hits = drawn[None, :] == actions[:, None]
    return corrected.masked_fill(hits, -torch.inf).logsumexp(1)
