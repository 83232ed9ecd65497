"""NextItNet: dilated causal convolutions over the history (Yuan et al., WSDM 2019, arXiv:1808.05163)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from learec.models.dropout import Dropout

KERNEL = 3
DILATIONS = (1, 2)  # of the two convolutions in each block


class NextItNet(nn.Module):
    """Items (B, L) padded on the right with 0 -> hidden (B, L, H); place j has read items j - 6 n_layers..j.

    Differs from the paper: dilations are 1 and 2 in every block and grow no further; item embeddings and blocks' outputs
    are dropped out; the sum of all blocks is normalised once at the end, because it is compared with item embeddings
    (tied). The scripts of Xin et al. (SIGIR 2020, arXiv:2006.05779) alternate blocks of 1 and 2 with blocks of 2 and 4, six
    in all.
    """

    def __init__(self, n_items: int, hidden_size: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        """n_heads and max_length have no meaning here; every encoder is built with the same arguments."""
        super().__init__()
        self.items = nn.Embedding(n_items + 1, hidden_size, padding_idx=0)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(hidden_size, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.scale = hidden_size**0.5
        nn.init.normal_(self.items.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, items: Tensor) -> Tensor:
        """Encode every prefix at once."""
        hidden = self.dropout(self.items(items) * self.scale)
        for block in self.blocks:
            hidden = block(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


class Block(nn.Module):
    """The paper's residual block (b): twice a dilated causal convolution, LayerNorm and ReLU, with one residual around both."""

    def __init__(self, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden_size, hidden_size, KERNEL, dilation=dilation) for dilation in DILATIONS
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in DILATIONS)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, H) -> (B, L, H)."""
        change = hidden
        for convolution, norm, dilation in zip(self.convolutions, self.norms, DILATIONS, strict=True):
            padded = functional.pad(change, (0, 0, (KERNEL - 1) * dilation, 0))  # on the left only: the future stays unread
            change = functional.relu(norm(convolution(padded.transpose(1, 2)).transpose(1, 2)))
        added: Tensor = hidden + self.dropout(change)
        return added
