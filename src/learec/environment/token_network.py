"""Token network: from the mean of an item's text embeddings to its token, for catalogs too large to train every token."""

import torch
from torch import Tensor, nn

HIDDEN = 1024


class TokenNetwork(nn.Module):
    """token = mean + deviation * layers(mean / deviation); the last layer starts at zero, so the first token *is* the mean.

    One function of the text gives every item its token, those that it was trained on too: tokens of two kinds in one
    catalog would be told apart by their kind.
    """

    def __init__(self, size: int, deviation: float = 1.0) -> None:
        super().__init__()
        self.deviation = nn.Buffer(torch.tensor(deviation))
        last = nn.Linear(HIDDEN, size)
        self.layers = nn.Sequential(nn.Linear(size, HIDDEN), nn.GELU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, means: Tensor) -> Tensor:
        """Placed means (n, D) -> tokens (n, D)."""
        tokens: Tensor = means + self.deviation * self.layers(means / self.deviation)
        return tokens

    @torch.no_grad()
    def tokens(self, means: Tensor) -> Tensor:
        """What forward gives, as data."""
        return self(means)
