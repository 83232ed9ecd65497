"""SASRec: causal self-attention over the history (Kang & McAuley, ICDM 2018, arXiv:1808.09781)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from learec.models.dropout import Dropout


class SASRec(nn.Module):
    """Items (B, L) padded on the right with 0 -> hidden (B, L, H); place j has read items 0..j.

    Differs from the paper: layers normalise before attention and feed-forward and once at the end (pre-norm), the
    feed-forward part is four times as wide with GELU, attention weights are not dropped out, and places count from the
    oldest item kept, because histories are padded on the right. Causal attention never reads padding, so no key mask is needed.
    """

    def __init__(self, n_items: int, hidden_size: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, hidden_size, padding_idx=0)
        self.places = nn.Embedding(max_length, hidden_size)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(hidden_size, n_heads, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.scale = hidden_size**0.5
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, items: Tensor) -> Tensor:
        """Encode every prefix at once."""
        # The state after a full history's last action shares the last place: one beyond would be read and never trained.
        places = torch.arange(items.shape[1], device=items.device).clamp(max=len(self.places.weight) - 1)
        hidden = self.dropout(self.items(items) * self.scale + self.places(places))
        for block in self.blocks:
            hidden = block(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, hidden_size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = Dropout(dropout)
        self.attention_norm, self.feed_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.feed = nn.Sequential(
            nn.Linear(hidden_size, 4 * hidden_size), nn.GELU(), Dropout(dropout), nn.Linear(4 * hidden_size, hidden_size)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, H) -> (B, L, H)."""
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden)))
        attended: Tensor = hidden + self.dropout(self.feed(self.feed_norm(hidden)))
        return attended

    def _attend(self, hidden: Tensor) -> Tensor:
        shape = (*hidden.shape[:2], 3, self.n_heads, -1)
        query, key, value = self.query_key_value(hidden).view(shape).permute(2, 0, 3, 1, 4)  # (B, heads, L, H / heads)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out
