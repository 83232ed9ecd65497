"""Standardise: hidden vectors of a language model brought to a scale that small heads can learn on."""

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """(h - mean) / deviation / sqrt(D) per dimension, with statistics taken once, before training.

    A decoder's hidden vectors share a few huge dimensions (in SmolLM2 five of 576 hold three quarters of the squared
    length) that hardly vary with the item; LayerNorm keeps them. Dividing by sqrt(D) gives vectors of about unit
    length, so that the first optimizer steps of a head do not drown the skip connection that it is added to. Measured
    in docs/environment.md.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(size))
        self.deviation = nn.Buffer(torch.ones(size))

    @torch.no_grad()
    def measure(self, hidden: Tensor) -> None:
        """Take mean and deviation from a sample (M, D)."""
        self.mean.copy_(hidden.mean(0))
        self.deviation.copy_(hidden.std(0, correction=0).clamp(min=1e-6))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return (hidden - self.mean) / self.deviation * hidden.shape[-1] ** -0.5
