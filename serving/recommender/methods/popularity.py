"""Popularity: what everybody bought lately."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from serving.recommender.method import Arrays, Scorer, Settings, expect
from serving.recommender.orders.purchases import Histories, Matrix, Purchases, Vector


class Popularity(Settings):
    """Purchases of each item in a window, newer ones weighing more."""

    kind: Literal["popularity"] = "popularity"
    window_days: int = Field(default=30, ge=1, description="How far back purchases count.")
    half_life_days: float | None = Field(default=None, gt=0, description="Age at which one counts half; unset: all 1.")
    damped: bool = Field(default=False, description="Score by log(1 + purchases), so that the first few count most.")

    def learn(self, past: Purchases) -> Arrays:  # noqa: ARG002 - it is counted in no time
        return {}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        expect(learned, {})
        sold = self.counts(past)
        scores = np.log1p(sold) if self.damped else sold

        def score(asked: Histories) -> Matrix:
            return np.tile(scores, (asked.shape[0], 1))

        return score

    def counts(self, past: Purchases) -> Vector:
        """The weighted purchases of each item in the window."""
        histories = past.histories()
        weight = histories.recency(self.half_life_days) * (histories.day >= histories.as_of_day - self.window_days)
        return np.asarray(np.bincount(histories.item, weights=weight, minlength=histories.items), dtype=np.float64)
