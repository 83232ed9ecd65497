"""GRU4Rec: a gated recurrent network over the history (Hidasi et al., ICLR 2016, arXiv:1511.06939)."""

import torch
from torch import Tensor, nn

from learec.models.dropout import Dropout


class GRU4Rec(nn.Module):
    """Items (B, L) padded on the right with 0 -> hidden (B, L, H); place j has read items 0..j.

    Differs from the paper: item embeddings instead of one-hot input, dropout on them and on the output, and whole
    sessions in a batch instead of session-parallel single steps.
    """

    def __init__(self, n_items: int, hidden_size: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        """n_heads and max_length have no meaning here; every encoder is built with the same arguments."""
        super().__init__()
        self.items = nn.Embedding(n_items + 1, hidden_size, padding_idx=0)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(hidden_size, hidden_size, n_layers, batch_first=True, dropout=dropout if n_layers > 1 else 0.0)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.scale = hidden_size**0.5
        nn.init.normal_(self.items.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, items: Tensor) -> Tensor:
        """Encode every prefix at once."""
        hidden, _ = self.gru(self.dropout(self.items(items) * self.scale))
        normed: Tensor = self.norm(self.out(self.dropout(hidden)))
        return normed
