"""The two-tower model: a user tower over recent purchases, an item tower of embeddings.

Candidates are scored by the scaled cosine of the two towers, as in Yi et al., "Sampling-Bias-
Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019. The user tower reads
items, not a user id (Covington et al., "Deep Neural Networks for YouTube Recommendations",
RecSys 2016), so a customer who came after training is served as well as any other.

Shops see many repeat purchases, which a low-dimensional cosine represents badly (Li et al., "A Next
Basket Recommendation Reality Check", TOIS 2023). So an item in the history gets a learned bonus by
how recently it was bought.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_SCALE = 14.0
"""Cosines become logits of this size; learned from there. 1 / 0.07, the usual temperature."""


class TwoTower(nn.Module):
    """Scores all items for histories of item indices.

    Args:
        n_items: size of the catalogue; index `n_items` is padding.
        dim: width of the embeddings.
        history: items of a user that are read, the most recent last.
        dropout: share of hidden units dropped in training.
    """

    def __init__(self, n_items: int, dim: int = 64, *, history: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.n_items = n_items
        self.dim = dim
        self.history = history
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
        self.attention = nn.Linear(dim, 1)
        self.recency = nn.Parameter(torch.zeros(history))
        self.hidden = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.repeat = nn.Parameter(torch.zeros(history))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        with torch.no_grad():
            self.items.weight.normal_(std=dim**-0.5)
            self.items.weight[n_items].zero_()

    def user_tower(self, histories: Tensor) -> Tensor:
        """Unit vectors [batch, dim] of histories [batch, history], padded in front."""
        bought = self.items(histories)
        weights = self.attention(torch.tanh(bought)).squeeze(-1) + self.recency
        weights = weights.masked_fill(histories == self.n_items, -1e9).softmax(dim=-1)
        pooled = (weights.unsqueeze(1) @ bought).squeeze(1)
        return functional.normalize(pooled + self.hidden(pooled), dim=-1)

    def item_tower(self, items: Tensor) -> Tensor:
        """Unit vectors [count, dim] of item indices [count]."""
        return functional.normalize(self.items(items), dim=-1)

    def repeat_bonus(self, histories: Tensor) -> Tensor:
        """What each item [batch, n_items] gains from its places in the histories."""
        bonus = functional.softplus(self.repeat).expand(len(histories), -1)
        per_item = torch.zeros(len(histories), self.n_items + 1).scatter_add(1, histories, bonus)
        return per_item[:, : self.n_items]

    def forward(self, histories: Tensor) -> Tensor:
        """Scores [batch, n_items]: the log of each item's chance to be bought next, up to a constant."""
        catalogue = self.item_tower(torch.arange(self.n_items))
        cosine = self.user_tower(histories) @ catalogue.T
        return self.log_scale.exp() * cosine + self.repeat_bonus(histories)
