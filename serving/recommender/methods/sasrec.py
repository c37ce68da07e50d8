"""The sequence Transformer as a method: settings, and scores for histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from serving.recommender.method import Arrays, Scorer, Settings
from serving.recommender.methods.neighbours import MAX_ITEMS, too_many
from serving.recommender.orders.purchases import Histories, Matrix, Purchases
from serving.recommender.training.augment import Augmentation
from serving.recommender.training.how import HERE, How
from serving.recommender.training.plan import Plan

if TYPE_CHECKING:
    from serving.recommender.networks.transformer import SequenceNetwork
    from serving.recommender.training.judge import Judge
    from serving.recommender.training.loop import Task
    from serving.recommender.training.team import Team

SCORED_AT_ONCE = 128
"""Histories: bounds the memory of attention."""


class Sasrec(Settings):
    """Self-attention over what was bought, for what is bought next; see `transformer.py`.

    Each training example is a user with some of their baskets; the items of a basket and of the days after it are
    predicted from what came before, by the cross-entropy over all items. New baskets count more.
    """

    kind: Literal["sasrec"] = "sasrec"
    dim: int = Field(default=64, ge=1, le=1_024)
    heads: int = Field(default=2, ge=1, le=64, description="Divides `dim`.")
    layers: int = Field(default=1, ge=0, le=32)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    length: int = Field(default=128, ge=1, le=4_096, description="Purchases of a user that are read, the newest.")
    baskets: int = Field(default=12, ge=1, le=1_024, description="Of a user, that are predicted in one step.")
    horizon_days: int = Field(default=30, ge=1, description="Days from a basket's on whose purchases are predicted.")
    half_life_days: float = Field(default=90.0, gt=0, description="Age at which a basket counts half.")
    trend_days: tuple[int, ...] = Field(default=(14, 60), max_length=8, description="Windows of an item's sales.")
    users_per_step: int = Field(default=64, ge=1, le=65_536)
    augment: Augmentation = Augmentation(mask=0.3)
    plan: Plan = Plan(epochs=12, learning_rate=2e-3, weight_decay=0.01)

    @model_validator(mode="after")
    def _heads_divide(self) -> Sasrec:
        if self.dim % self.heads:
            raise ValueError(f"dim: {self.dim} is not a multiple of heads, {self.heads}")
        return self

    def network(self, items: int) -> SequenceNetwork:
        """Of random weights, for a catalogue of this size.

        Raises:
            InvalidInput: it is too large to score every item in every step.
        """
        from serving.recommender.networks.transformer import SequenceNetwork

        if items > MAX_ITEMS:
            raise too_many(items)
        return SequenceNetwork(
            items, self.dim, heads=self.heads, layers=self.layers, trends=len(self.trend_days), dropout=self.dropout
        )

    def task(self, network: SequenceNetwork, past: Purchases, team: Team, judge: Judge | None) -> Task:
        """What the network learns from `past`."""
        from serving.recommender.training.sequences import SequenceTask

        return SequenceTask(self, network, past, team, judge)

    def learn(self, past: Purchases, how: How = HERE) -> Arrays:
        from serving.recommender.training.fit import train

        return train(self, past, how)

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        from serving.recommender.training.weights import load_weights

        network = self.network(len(past.item_ids))
        load_weights(network, learned)
        return self.scores(network, past)

    def scores(self, network: SequenceNetwork, past: Purchases) -> Scorer:
        """Each item's chance to be the next one, by the network as it is."""
        import torch

        as_of_day = past.as_of_day
        trends = torch.from_numpy(sales_before(past, as_of_day, self.trend_days)[None])

        def score(asked: Histories) -> Matrix:
            found = np.zeros(asked.shape)
            items, days = asked.windows(self.length)
            days = np.minimum(days, as_of_day - 1)
            told = np.flatnonzero((items != asked.items).any(axis=1))
            for first in range(0, len(told), SCORED_AT_ONCE):
                rows = told[first : first + SCORED_AT_ONCE]
                asking = torch.full((len(rows), 1), as_of_day)
                with torch.inference_mode():
                    logits = network(
                        torch.from_numpy(items[rows]),
                        torch.from_numpy(days[rows]),
                        asking,
                        trends,
                        torch.zeros_like(asking),
                    )
                found[rows] = logits[:, 0].softmax(dim=1).numpy()
            return found

        return score


def sales_before(past: Purchases, day: int, windows: tuple[int, ...]) -> np.ndarray:
    """[items, windows]: the log of 1 + purchases of each item in the days before `day`."""
    counts = [np.bincount(past.from_day(day - days, day).item, minlength=len(past.item_ids)) for days in windows]
    found = np.log1p(np.array(counts, dtype=np.float32).reshape(len(windows), -1).T)
    return np.ascontiguousarray(found)
