"""A fitted closed-form model: a method, the purchases it knows, and what it learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from serving.errors import InvalidInput
from serving.recommender import storage
from serving.recommender.asked import Asked
from serving.recommender.bundle import corrupt
from serving.recommender.interface import Offer, User
from serving.recommender.method import Arrays, scaled
from serving.recommender.methods.ensemble import AnyMethod
from serving.recommender.methods.popularity import Popularity
from serving.recommender.orders.purchases import Matrix, Purchases

TIE_BREAK = 1e-9
"""Share of an item's popularity that is added to its score: it orders equals, and nothing else."""


class FittedModel:
    """Implements `interface.Model` for every closed-form method."""

    def __init__(self, method: AnyMethod, past: Purchases, learned: Arrays) -> None:
        """Make ready to score.

        Raises:
            ValueError: `learned` is not what the method learns from `past`.
        """
        self.method, self.past, self.learned = method, past, learned
        self._score = method.scorer(past, learned)
        self._asked = Asked(past)
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
            raise corrupt(storage.LEARNED, str(problem)) from problem

    def save(self, directory: Path) -> None:
        storage.save(directory, self.method, self.past, self.learned)

    def update(self, later: Purchases) -> Self:
        return self.fit(self.method, self.past.joined(later))

    @property
    def item_ids(self) -> tuple[str, ...]:
        return self.past.item_ids

    def score(self, users: Sequence[User]) -> Matrix:
        scores: Matrix = scaled(self._score(self._asked.histories(users))) + TIE_BREAK * self._popular
        scores[:, ~self._sold] = -np.inf
        return scores

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        return self._asked.offers(self.score([user]), user, k, exclude_bought=exclude_bought)
