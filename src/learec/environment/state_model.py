"""State model: from the language model's hidden vector and the history's item vectors to a state."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from learec.data.windows import Windows
from learec.environment.standardise import Standardise


class StateModel(nn.Module):
    """state = unit(skip + projection(hidden)), compared with item vectors by cosine.

    The skip connection is the history's direction among the item vectors. The projection starts at zero, so
    before training the state *is* the content rule, and what adaptation adds can be read off against it.
    """

    def __init__(self, hidden_size: int, state_size: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.standardise = Standardise(hidden_size)
        self.projection = nn.Linear(hidden_size, state_size)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.1)))
        self.popularity_weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        """Hidden (..., D), skip (..., W) -> states (..., W) of unit length."""
        # eps: a history without any text starts at zero, where the gradient of a unit vector has no bound.
        return functional.normalize(skip + self.projection(self.standardise(hidden)), dim=-1, eps=1e-2)

    def logits(self, states: Tensor, item_vectors: Tensor, log_popularity: Tensor, impossible: Tensor) -> Tensor:
        """Similarity over the temperature plus weighted log popularity (N + 1,): (..., N + 1), -inf where impossible.

        Without the second term the states themselves turn towards popular items, and a reward built on their
        similarity loses what it could tell about popular negatives.
        """
        scores = states @ item_vectors.T / self.log_temperature.exp() + self.popularity_weight * log_popularity
        return scores.index_fill(-1, impossible, -torch.inf)

    def logits_at(self, states: Tensor, item_vectors: Tensor, log_popularity: Tensor, items: Tensor) -> Tensor:
        """The same of some items: (C,) for all states (M, W), which gives (M, C), or (M, K) for each, which gives (M, K)."""
        vectors = item_vectors[items]
        similarity = states @ vectors.T if items.dim() == 1 else torch.einsum("mw,mkw->mk", states, vectors)
        return similarity / self.log_temperature.exp() + self.popularity_weight * log_popularity[items]

    def skip(self, windows: Windows, item_vectors: Tensor) -> Tensor:
        """Direction of what came before each step: unit(sum of decay ** age * vector), (W, L, state size)."""
        vectors = item_vectors[torch.as_tensor(windows.items, device=item_vectors.device)]
        place = torch.arange(vectors.shape[1], device=vectors.device)
        age = place[:, None] - 1 - place[None, :]
        weights = torch.where(age >= 0, self.decay ** age.clamp(min=0).float(), 0.0)
        return functional.normalize(torch.einsum("ij,wjd->wid", weights, vectors), dim=-1)
