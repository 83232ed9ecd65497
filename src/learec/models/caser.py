"""Caser: convolution filters over a window of the newest items (Tang & Wang, WSDM 2018, arXiv:1809.07426)."""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from learec.models.dropout import Dropout

WINDOW = 10  # items that one place reads
HEIGHTS = (2, 3, 4)  # of horizontal filters, in items
FILTERS = 16  # horizontal ones of each height


class Caser(nn.Module):
    """Items (B, L) padded on the right with 0 -> hidden (B, L, H); place j has read items j - WINDOW + 1..j.

    A window is a matrix with a row per item, oldest first; before a session's first item its rows are zeros. Horizontal
    filters span 2, 3 or 4 rows and keep their largest response in the window; one vertical filter is a weighted sum of the
    rows. All windows of a session share their work: a filter meets each item once.

    Differs from the paper: no user embedding, because new users are served; the fully connected layer is followed by a
    normalisation instead of a ReLU, because its output is compared with item embeddings (tied), which have both signs; item
    embeddings are dropped out too; every place of a session is encoded instead of one window per example. The numbers of
    filters and the window are those of Xin et al. (SIGIR 2020, arXiv:2006.05779).
    """

    def __init__(self, n_items: int, hidden_size: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        """n_layers, n_heads and max_length have no meaning here; every encoder is built with the same arguments."""
        super().__init__()
        self.items = nn.Embedding(n_items + 1, hidden_size, padding_idx=0)
        self.dropout = Dropout(dropout)
        self.horizontal = nn.ModuleList(Horizontal(hidden_size, height) for height in HEIGHTS)
        self.vertical = nn.Parameter(torch.empty(WINDOW))  # the oldest item's weight first
        self.out = nn.Linear(len(HEIGHTS) * FILTERS + hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.scale = hidden_size**0.5
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.uniform_(self.vertical, -(WINDOW**-0.5), WINDOW**-0.5)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, items: Tensor) -> Tensor:
        """Encode every prefix at once."""
        embedded = self.dropout(self.items(items) * self.scale)
        found = torch.cat([*(filters(embedded) for filters in self.horizontal), self.weighted_sums(embedded)], -1)
        normed: Tensor = self.norm(self.out(self.dropout(found)))
        return normed

    def weighted_sums(self, embedded: Tensor) -> Tensor:
        """The vertical filter, as one (L, L) matrix whose row j weighs the items of window j: (B, L, H) -> (B, L, H)."""
        batch, length = embedded.shape[:2]
        band = functional.pad(self.vertical, (length - WINDOW, length - 1)).unfold(0, length, 1).flip(0)
        return torch.bmm(band.expand(batch, -1, -1), embedded)


class Horizontal(nn.Module):
    """The horizontal filters of one height. Every item meets every row of every filter in one matrix product."""

    def __init__(self, hidden_size: int, height: int) -> None:
        super().__init__()
        self.height = height
        self.rows = nn.Linear(hidden_size, height * FILTERS, bias=False)  # the oldest item's row of every filter first
        self.bias = nn.Parameter(torch.zeros(FILTERS))

    def forward(self, embedded: Tensor) -> Tensor:
        """Each filter's largest response in every place's window: (B, L, H) -> (B, L, FILTERS)."""
        n_fits = embedded.shape[1] + WINDOW - self.height  # all places of a filter in the session and the zeros before it
        rows = functional.pad(self.rows(embedded), (0, 0, WINDOW - 1, 0)).chunk(self.height, -1)
        responses = reduce(torch.add, [row[:, later : later + n_fits] for later, row in enumerate(rows)])
        # Pooled as an image whose channels lie last: pooling of (B, FILTERS, L) would copy it into that order and back.
        image = responses.transpose(1, 2).unsqueeze(-1)
        largest = functional.max_pool2d(image, (WINDOW - self.height + 1, 1), stride=1).squeeze(-1).transpose(1, 2)
        return functional.relu(largest + self.bias)  # ReLU and bias change no order, so they may follow the maximum
