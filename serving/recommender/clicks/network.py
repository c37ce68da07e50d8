"""The click-through network: what user and item have in common, where and when it was shown, and a perceptron."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PLACE = 2
"""Numbers of the context that say where: the log of the place, and whether the list answers a search. After them come
two that say when: the day of the year on a circle."""


@dataclass(frozen=True, eq=False)
class Content:
    """What is told of each item, row 0 being one that is not known."""

    category: Tensor
    """[items]."""
    words: Tensor
    """[items, most words]; 0 for none."""
    price: Tensor
    """[items]: the log, less the mean of the category."""


class ClickNetwork(nn.Module):
    """The logit of a click: a factorisation machine (Rendle, ICDM 2010) with a perceptron beside it (DeepFM, 2017).

    A user is a mixture of some kinds of taste that all users share: few numbers to learn of each, so that some visits
    are enough. Index 0 of users and items is one who is not known; it is learned from those whose id is hidden now and
    then, so a newcomer is judged by what is told of them.
    """

    def __init__(
        self, content: Content, *, users: int, categories: int, words: int, kinds: int, dim: int, hidden: int
    ) -> None:
        super().__init__()
        self._content = content
        items = len(content.category)
        self.user, self.taste = nn.Embedding(users, kinds), nn.Parameter(0.3 * torch.randn(kinds, dim))
        self.item, self.category = nn.Embedding(items, dim), nn.Embedding(categories, dim)
        self.words = nn.EmbeddingBag(words, dim, mode="mean", padding_idx=0)
        self.item_bias, self.category_bias = nn.Embedding(items, 1), nn.Embedding(categories, 1)
        self.season = nn.Embedding(categories, 2)
        self.price = nn.Linear(dim, 1)
        self.place = nn.Linear(PLACE, 1)
        told = 2 * dim + PLACE + 1
        self.hidden = nn.Sequential(
            nn.Linear(told, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        with torch.no_grad():
            for table in (self.user, self.item, self.category, self.words):
                table.weight.normal_(std=0.1)
            for table in (self.item_bias, self.category_bias, self.season):
                table.weight.zero_()
            self.words.weight[0].zero_()

    def forward(self, user: Tensor, item: Tensor, known: Tensor, context: Tensor) -> Tensor:
        """Logits [rows] of users and items; `known` is `item`, or 0 where only its content is; `context` [rows, 4]."""
        who = self.user(user).softmax(dim=1) @ self.taste
        different, place = torch.unique(item, return_inverse=True)
        category = self._content.category[different]
        content = self.category(category) + self.words(self._content.words[different])
        what = self.item(known) + content[place]
        price = self._content.price[item]
        alone = (self.item_bias(known) + self.category_bias(category)[place] + self.place(context[:, :PLACE])).squeeze(1)
        season = (self.season(category)[place] * context[:, PLACE:]).sum(dim=1)
        common = (who * what).sum(dim=1) + price * self.price(who).squeeze(1)
        # Without the day: of most days of the year nothing was seen, and a perceptron would make something up.
        told = torch.cat([who, what, context[:, :PLACE], price[:, None]], dim=1)
        logit: Tensor = alone + season + common + self.hidden(told).squeeze(1)
        return logit
