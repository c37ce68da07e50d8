"""What the sequence Transformer learns: the baskets of users, each from what came before it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from serving.recommender.methods.sasrec import Sasrec, sales_before
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Purchases
from serving.recommender.training.augment import augmented
from serving.recommender.training.baskets import nobody_came_back
from serving.recommender.training.judge import Judge
from serving.recommender.training.team import Team

if TYPE_CHECKING:
    from serving.recommender.networks.transformer import SequenceNetwork


class SequenceTask:
    """Implements `loop.Task`."""

    def __init__(
        self, method: Sasrec, network: SequenceNetwork, past: Purchases, team: Team, judge: Judge | None
    ) -> None:
        """Arrange the purchases by user.

        Raises:
            InvalidInput: nobody came back.
        """
        histories = past.histories()
        self.network = network
        self._method, self._past, self._judge, self._items = method, past, judge, histories.items
        self._item, self._day, self._as_of_day = histories.item, histories.day, histories.as_of_day
        begins = np.ones(len(histories.row), dtype=bool)
        begins[1:] = (np.diff(histories.row) != 0) | (np.diff(histories.day) != 0)
        self._start = np.flatnonzero(begins)
        user_of = histories.row[self._start]
        self._first_basket = np.searchsorted(user_of, np.arange(len(past.user_ids) + 1))
        self._line_end = np.searchsorted(histories.row, np.arange(len(past.user_ids)), side="right")
        self._users = np.flatnonzero(np.diff(self._first_basket) > 1)
        if not len(self._users):
            raise nobody_came_back()
        self._batch = team.share(method.users_per_step)
        self.steps = max(1, len(self._users) // method.users_per_step)
        self._sales = lru_cache(maxsize=None)(lambda day: sales_before(past, day, method.trend_days))

    def loss(self, rng: Generator) -> Tensor:
        method = self._method
        users = rng.choice(self._users, size=self._batch)
        items = np.full((len(users), method.length), self._items)
        days = np.zeros_like(items)
        asked = np.zeros((len(users), method.baskets), dtype=np.int64)
        targets: list[Index] = []
        places: list[Index] = []
        shares: list[Index] = []
        for row, user in enumerate(users):
            chosen = self._choose(int(user), rng)
            known = self._read(int(user), chosen, items[row], days[row])
            for query, start in enumerate(chosen[known]):
                asked[row, query] = self._day[start]
                wanted = self._wanted(int(user), int(start))
                age = self._as_of_day - self._day[start]
                targets.append(wanted)
                places.append(np.full(len(wanted), row * method.baskets + query))
                shares.append(np.full(len(wanted), 0.5 ** (age / method.half_life_days) / len(wanted)))
        items = augmented(items, self._items, method.augment, rng)
        unique, trend_of = np.unique(asked, return_inverse=True)
        trends = np.stack([self._sales(int(day)) for day in unique])
        logits = self.network(
            *(torch.from_numpy(array) for array in (items, days, asked, trends, trend_of.reshape(asked.shape)))
        )
        chances = logits.log_softmax(dim=2).flatten(0, 1)
        weight = torch.from_numpy(np.concatenate(shares)).float()
        found = chances[torch.from_numpy(np.concatenate(places)), torch.from_numpy(np.concatenate(targets))]
        loss: Tensor = -(found * weight).sum() / weight.sum()
        return loss

    def worth(self) -> float | None:
        return self._judge.worth(self._method.scores(self.network, self._past)) if self._judge else None

    def _choose(self, user: int, rng: Generator) -> Index:
        """The first lines of some of the user's baskets but the first, the newer ones more often; ascending."""
        starts = self._start[self._first_basket[user] + 1 : self._first_basket[user + 1]]
        if len(starts) <= self._method.baskets:
            return starts
        weight = 0.5 ** ((self._as_of_day - self._day[starts]) / self._method.half_life_days)
        return np.sort(rng.choice(starts, self._method.baskets, replace=False, p=weight / weight.sum()))

    def _read(self, user: int, chosen: Index, items: Index, days: Index) -> Index:
        """Fill in what came before the last chosen basket; which of the chosen ones have something before them."""
        end = int(chosen[-1])
        start = max(int(self._start[self._first_basket[user]]), end - len(items))
        items[len(items) - (end - start) :] = self._item[start:end]
        days[len(days) - (end - start) :] = self._day[start:end]
        return np.flatnonzero(chosen > start)

    def _wanted(self, user: int, start: int) -> Index:
        """The items bought from the basket at line `start` on, within the horizon."""
        end = int(self._line_end[user])
        until = np.searchsorted(self._day[start:end], self._day[start] + self._method.horizon_days)
        return np.unique(self._item[start : start + until])
