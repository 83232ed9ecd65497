"""Items as the agent sees them: a learned embedding, and where asked a projection of the environment's item tokens under it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

STD = 0.02  # of item embeddings and of what tokens of unit length add, at the start


class TokensBeneath(nn.Module):
    """Own embedding + projection of the item's token: items with similar texts start, and stay, near each other.

    Tokens are read in training alone. Afterwards the sum is the embedding (see `bake`), so serving needs no language model
    and costs nothing more.
    """

    def __init__(self, tokens: Tensor, hidden_size: int) -> None:
        """Tokens (N + 1, W), zeros for padding and cold items."""
        super().__init__()
        self.tokens = nn.Buffer(tokens, persistent=False)
        self.projection = nn.Linear(tokens.shape[1], hidden_size, bias=False)
        nn.init.normal_(self.projection.weight, std=STD)

    def forward(self, own: Tensor) -> Tensor:
        """(N + 1, H) -> (N + 1, H)."""
        projected: Tensor = self.projection(self.tokens)
        return own + projected


def put_tokens_beneath(embedding: nn.Embedding, tokens: Tensor) -> None:
    """From now on the embedding's weight is the sum; the old weight is its own part."""
    parametrize.register_parametrization(embedding, "weight", TokensBeneath(tokens, embedding.embedding_dim))


def bake(embedding: nn.Embedding) -> None:
    """Make the sum an ordinary weight again."""
    if parametrize.is_parametrized(embedding):
        parametrize.remove_parametrizations(embedding, "weight", leave_parametrized=True)


@contextmanager
def computed_once() -> Iterator[None]:
    """Within, the sum is computed at its first use only. No weight may change there."""
    with parametrize.cached():
        yield


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; zeros stay zeros."""
    return torch.nn.functional.normalize(rows, dim=-1)
