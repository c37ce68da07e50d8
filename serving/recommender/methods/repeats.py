"""Repeat purchase: people buy again what they bought before, while the shop still sells it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from serving.recommender.method import Arrays, Scorer, Settings, expect
from serving.recommender.methods.popularity import Popularity
from serving.recommender.orders.purchases import Histories, Matrix, Purchases


class OwnFrequency(Settings):
    """How often the user bought the item, recent purchases weighing more.

    `stock_power` multiplies it by (1 + the item's purchases by anybody in `stock_days`) to that power: what nobody
    buys any longer is out of stock or out of season, however often this user bought it.
    """

    kind: Literal["own_frequency"] = "own_frequency"
    half_life_days: float | None = Field(default=240.0, gt=0, description="Age at which a purchase counts half.")
    basket_decay: float = Field(default=1.0, gt=0, le=1, description="Factor for each later basket of the user.")
    stock_power: float = Field(default=0.0, ge=0, le=4)
    stock_days: int = Field(default=14, ge=1)

    def learn(self, past: Purchases) -> Arrays:  # noqa: ARG002 - it is counted in no time
        return {}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        expect(learned, {})
        sold = Popularity(window_days=self.stock_days).counts(past)
        stocked = (1 + sold) ** self.stock_power

        def score(asked: Histories) -> Matrix:
            since, _ = asked.baskets()
            weight = asked.recency(self.half_life_days) * self.basket_decay**since
            return np.asarray(asked.dense(weight) * stocked)

        return score
