"""The sequence Transformer: self-attention over purchases that knows time, read out for the day of the next basket.

Of the family of SASRec (Kang and McAuley, ICDM 2018): causal self-attention over items, scored against the same item
vectors. Shops sell baskets, so what is bought on one day has no order among itself and is predicted at once; and time
matters more than rank, so attention is biased by the days between two purchases instead of by places (as in TiSASRec,
Li et al., WSDM 2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

GAPS = 10
"""Classes of gaps between days, by doubling: 0, 1-2, 3-6, ..., 255-510, more."""


class SequenceNetwork(nn.Module):
    """Scores all items for the baskets that come next.

    Args:
        n_items: size of the catalogue; index `n_items` is padding.
        dim: width; `heads` divides it.
        heads: of each attention.
        layers: of self-attention.
        trends: numbers per item and day that say how well it sells.
        dropout: share of hidden units dropped in training.
    """

    def __init__(self, n_items: int, dim: int, *, heads: int, layers: int, trends: int, dropout: float) -> None:
        super().__init__()
        self.n_items = n_items
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
        self.layers = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(layers))
        self.read = _Block(dim, heads, dropout)
        self.ask = nn.Embedding(GAPS, dim)
        self.norm = nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.trend = nn.Parameter(torch.full((trends,), 0.5 / max(trends, 1)))
        self.repeat = nn.Parameter(torch.zeros(GAPS))
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.items.weight.normal_(std=dim**-0.5)
            self.items.weight[n_items].zero_()
            self.ask.weight.normal_(std=dim**-0.5)

    def users(self, items: Tensor, days: Tensor, asked: Tensor) -> Tensor:
        """Vectors [rows, queries, dim] of histories [rows, length] for the days `asked` [rows, queries].

        A query sees what was bought before its day; one that sees nothing gets a vector of no meaning.
        """
        bought = items != self.n_items
        hidden = self.dropout(self.items(items))
        gap = days[:, :, None] - days[:, None, :]
        itself = torch.eye(items.shape[1], dtype=torch.bool)
        sees = (bought[:, None, :] & (gap >= 0)) | itself  # padding sees itself: a softmax over nothing is no number
        for layer in self.layers:
            hidden = layer(hidden, hidden, gap_class(gap), sees)
        gap = asked[:, :, None] - days[:, None, :]
        sees = bought[:, None, :] & (gap > 0)
        since = torch.where(sees, gap, 1 << 20).amin(dim=2)
        sees = sees | ~sees.any(dim=2, keepdim=True)
        return self.norm(self.read(self.ask(gap_class(since)), hidden, gap_class(gap), sees))  # type: ignore[no-any-return]

    def forward(self, items: Tensor, days: Tensor, asked: Tensor, trends: Tensor, trend_of: Tensor) -> Tensor:
        """Logits [rows, queries, n_items]. `trends` is [days, n_items, trends]; `trend_of` [rows, queries] chooses."""
        users = self.users(items, days, asked)
        gap = asked[:, :, None] - days[:, None, :]
        bonus = torch.where(gap > 0, functional.softplus(self.repeat)[gap_class(gap)], 0.0)
        own = torch.zeros(*users.shape[:2], self.n_items + 1)
        own = own.scatter_add(2, items[:, None, :].expand(-1, asked.shape[1], -1), bonus)[:, :, : self.n_items]
        return users @ self.items.weight[: self.n_items].T + self.bias + own + (trends @ self.trend)[trend_of]


class _Block(nn.Module):
    """Attention with a bias by gap, and a small network after it; normalised before each (pre-norm)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_key, self.norm_hidden = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.gap = nn.Parameter(torch.zeros(GAPS, heads))
        self.hidden = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: Tensor, told: Tensor, gaps: Tensor, sees: Tensor) -> Tensor:
        """What `asking` [rows, n, dim] finds in `told` [rows, m, dim]; gap classes and `sees` are [rows, n, m]."""
        known = self.norm_key(told)
        query, key, value = (
            self._split(tensor) for tensor in (self.query(self.norm_query(asking)), self.key(known), self.value(known))
        )
        bias = self.gap[gaps].permute(0, 3, 1, 2).masked_fill(~sees[:, None], -math.inf)
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        asking = asking + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        answer: Tensor = asking + self.dropout(self.hidden(self.norm_hidden(asking)))
        return answer

    def _split(self, tensor: Tensor) -> Tensor:
        rows, length, dim = tensor.shape
        return tensor.view(rows, length, self.heads, dim // self.heads).transpose(1, 2)


def gap_class(days: Tensor) -> Tensor:
    """The class of a gap in days: 0, 1-2, 3-6, 7-14, ...; negative ones are in class 0."""
    return torch.log2(days.clamp(min=0) + 1.0).floor().long().clamp(max=GAPS - 1)
