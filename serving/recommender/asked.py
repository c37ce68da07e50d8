"""Turns users who ask, known or not, into histories, and scores into lists: the same for every model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.errors import InvalidInput
from serving.recommender.interface import Bought, Offer, User
from serving.recommender.metrics import NO_ITEM, top
from serving.recommender.orders.purchases import NOBODY, Histories, Matrix, Purchases, index_of


class Asked:
    """Knows the users and items of `past`.

    Raises:
        InvalidInput: there is no purchase.
    """

    def __init__(self, past: Purchases) -> None:
        histories = past.histories()
        self._item, self._day = histories.item, histories.day
        self._offsets = np.searchsorted(histories.row, np.arange(len(past.user_ids) + 1))
        self._user_index, self._item_index = index_of(past.user_ids), index_of(past.item_ids)
        self._item_ids = past.item_ids
        self._as_of_day = histories.as_of_day

    def histories(self, users: Sequence[User]) -> Histories:
        """What each of `users` bought, row by row."""
        known = [self._user_index.get(user, NOBODY) if isinstance(user, str) else NOBODY for user in users]
        items, days = [], []
        for user, place in zip(users, known, strict=True):
            if place != NOBODY:
                lines = slice(self._offsets[place], self._offsets[place + 1])
                items.append(self._item[lines])
                days.append(self._day[lines])
            else:
                told = np.array(self._told(() if isinstance(user, str) else user), dtype=np.int64).reshape(-1, 2)
                items.append(told[:, 1])
                days.append(told[:, 0])
        lengths = [len(item) for item in items]
        none = np.empty(0, dtype=np.int64)
        return Histories(
            row=np.repeat(np.arange(len(users)), lengths),
            item=np.concatenate([none, *items]),
            day=np.concatenate([none, *days]),
            user=np.array(known, dtype=np.int64),
            items=len(self._item_ids),
            as_of_day=self._as_of_day,
        )

    def offers(self, scores: Matrix, user: User, k: int, *, exclude_bought: bool) -> list[Offer]:
        """The best k of one user's row of `scores`, which is written to.

        Raises:
            InvalidInput: k is not at least 1.
        """
        if k < 1:
            raise InvalidInput("not at least 1", where="k")
        if exclude_bought:
            scores[0, self.histories([user]).item] = -np.inf
        best = top(scores, min(k, len(self._item_ids)))[0]
        return [Offer(self._item_ids[item], float(scores[0, item])) for item in best if item != NO_ITEM]

    def _told(self, history: Sequence[Bought]) -> list[tuple[int, int]]:
        """Day and item of each purchase of a known item, once each and in order of the day; none is in the future."""
        known = ((line.day, self._item_index.get(line.item_id, NOBODY)) for line in history)
        found = {(min(max(day, 0), self._as_of_day), item) for day, item in known}
        return sorted((day, item) for day, item in found if item != NOBODY)
