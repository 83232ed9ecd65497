"""Dropout whose masks cost little on a CPU, where drawing them one number at a time takes a third of a training step."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Module):
    """Zeroes each value with a probability of p to the nearest 1/256 and scales the rest so that the mean stays.

    One 64-bit draw of torch's generator decides over eight values. On other devices torch's own kernel is used.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.dropped = min(round(256 * p), 255)  # byte values that drop

    def forward(self, values: Tensor) -> Tensor:
        """Same shape out as in; the identity outside training."""
        if not self.training or not self.dropped:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.p)
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()].ge_(self.dropped)  # in place: 1 where it stays, 0 where it goes
        return values * kept.view(values.shape).to(values.dtype).mul_(256 / (256 - self.dropped))
