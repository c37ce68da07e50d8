"""The click-through network: the logit of a click for each kind of taste. Of which kind a user is, clicks tell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    """A mixture of kinds of taste (latent classes, Kamakura and Russell, 1989), each a factorisation machine.

    Nothing is learned of a user alone: the kinds' chances are those of the user's own clicks so far, by Bayes. So some
    visits are enough, nothing is learned by heart, and a newcomer begins with what is usual. Item 0 is one whose id is
    not known; it is learned from those that are hidden now and then, so a new item is judged by its content.
    """

    def __init__(self, content: Content, *, categories: int, words: int, kinds: int, dim: int, hidden: int) -> None:
        super().__init__()
        self._content = content
        items = len(content.category)
        self.prior = nn.Parameter(torch.zeros(kinds))
        self.taste = nn.Parameter(0.5 * torch.randn(kinds, dim))
        self.thrift = nn.Parameter(torch.zeros(kinds))
        self.item, self.words = nn.Embedding(items, dim), nn.EmbeddingBag(words, dim, mode="mean", padding_idx=0)
        self.category = nn.Embedding(categories, kinds)
        self.item_bias, self.season = nn.Embedding(items, 1), nn.Embedding(categories, 2)
        self.place = nn.Linear(PLACE, 1)
        self.hidden = nn.Sequential(nn.Linear(dim + PLACE + 1, hidden), nn.ReLU(), nn.Linear(hidden, kinds))
        with torch.no_grad():
            for table in (self.item, self.words, self.category):
                table.weight.normal_(std=0.1)
            for table in (self.item_bias, self.season):
                table.weight.zero_()
            self.words.weight[0].zero_()

    def forward(self, item: Tensor, known: Tensor, context: Tensor) -> Tensor:
        """Logits [rows, kinds]; `known` is `item`, or 0 where only its content is to count; `context` is [rows, 4]."""
        different, place = torch.unique(item, return_inverse=True)
        what = self.item(known) + self.words(self._content.words[different])[place]
        category, price = self._content.category[item], self._content.price[item, None]
        alone = self.item_bias(known) + self.place(context[:, :PLACE])
        season = (self.season(category) * context[:, PLACE:]).sum(dim=1, keepdim=True)
        common = what @ self.taste.T + self.category(category) - price * self.thrift
        # Without the day: of most days of the year nothing was seen, and a perceptron would make something up.
        more = self.hidden(torch.cat([what, context[:, :PLACE], price], dim=1))
        logits: Tensor = alone + season + common + more
        return logits


def evidence(logits: Tensor, clicked: Tensor, user: Tensor, users: int) -> Tensor:
    """[users, kinds]: the log of the chance of all that each user did, for each kind of taste."""
    surprise = functional.binary_cross_entropy_with_logits(logits, clicked[:, None].expand_as(logits), reduction="none")
    return torch.zeros(users, logits.shape[1]).index_add(0, user, -surprise)
