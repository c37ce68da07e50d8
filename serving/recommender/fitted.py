"""A fitted closed-form model: a method, the purchases it knows, and what it learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from serving.errors import InvalidInput
from serving.recommender import storage
from serving.recommender.ensemble import AnyMethod
from serving.recommender.interface import Bought, Offer, User
from serving.recommender.method import Arrays, scaled
from serving.recommender.metrics import NO_ITEM, top
from serving.recommender.popularity import Popularity
from serving.recommender.purchases import NOBODY, Histories, Matrix, Purchases, index_of

TIE_BREAK = 1e-9
"""Share of an item's popularity that is added to its score: it orders equals, and nothing else."""


class FittedModel:
    """Implements `interface.Model` for every closed-form method."""

    def __init__(self, method: AnyMethod, past: Purchases, learned: Arrays) -> None:
        """Make ready to score.

        Raises:
            ValueError: `learned` is not what the method learns from `past`.
        """
        self.method, self.past, self._learned = method, past, learned
        self._score = method.scorer(past, learned)
        histories = past.histories()
        self._item, self._day = histories.item, histories.day
        self._offsets = np.searchsorted(histories.row, np.arange(len(past.user_ids) + 1))
        self._user_index, self._item_index = index_of(past.user_ids), index_of(past.item_ids)
        self._as_of_day = histories.as_of_day
        self._sold = np.bincount(past.item, minlength=len(past.item_ids)) > 0
        self._popular = scaled(Popularity().counts(past)[None, :])[0]

    @classmethod
    def fit(cls, method: AnyMethod, past: Purchases, /) -> Self:
        return cls(method, past, method.learn(past))

    @classmethod
    def load(cls, directory: Path) -> Self:
        method, past, learned = storage.load(directory)
        try:
            return cls(method, past, learned)
        except (ValueError, InvalidInput) as problem:
            raise storage.corrupt(storage.LEARNED, str(problem)) from problem

    def save(self, directory: Path) -> None:
        storage.save(directory, self.method, self.past, self._learned)

    def update(self, later: Purchases) -> Self:
        return self.fit(self.method, self.past.joined(later))

    @property
    def item_ids(self) -> tuple[str, ...]:
        return self.past.item_ids

    def score(self, users: Sequence[User]) -> Matrix:
        scores: Matrix = scaled(self._score(self._histories(users))) + TIE_BREAK * self._popular
        scores[:, ~self._sold] = -np.inf
        return scores

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        if k < 1:
            raise InvalidInput("not at least 1", where="k")
        scores = self.score([user])
        if exclude_bought:
            scores[0, self._histories([user]).item] = -np.inf
        best = top(scores, min(k, len(self.item_ids)))[0]
        return [Offer(self.item_ids[item], float(scores[0, item])) for item in best if item != NO_ITEM]

    def _histories(self, users: Sequence[User]) -> Histories:
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
            items=len(self.item_ids),
            as_of_day=self._as_of_day,
        )

    def _told(self, history: Sequence[Bought]) -> list[tuple[int, int]]:
        """Day and item of each purchase of a known item, once each and in order of the day; none is in the future."""
        known = ((line.day, self._item_index.get(line.item_id, NOBODY)) for line in history)
        found = {(min(max(day, 0), self._as_of_day), item) for day, item in known}
        return sorted((day, item) for day, item in found if item != NOBODY)
