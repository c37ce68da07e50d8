"""Two-tower retrieval as a method: the user tower reads a history, the item tower is a table of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from serving.recommender.method import Arrays, Scorer, Settings
from serving.recommender.methods.retrieval import Vectors, VectorTable
from serving.recommender.orders.purchases import Histories, Matrix, Purchases
from serving.recommender.training.augment import Augmentation
from serving.recommender.training.how import HERE, How
from serving.recommender.training.plan import Plan

if TYPE_CHECKING:
    from serving.recommender.networks.two_tower import TwoTower
    from serving.recommender.training.judge import Judge
    from serving.recommender.training.loop import Task
    from serving.recommender.training.team import Team

SCORED_AT_ONCE = 512


class Towers(Settings):
    """The model of `model.py`, trained by sampled softmax (see `training/baskets.py`), for catalogues of any size."""

    kind: Literal["two_tower"] = "two_tower"
    dim: int = Field(default=64, ge=1, le=1_024)
    history: int = Field(default=128, ge=1, le=4_096, description="Purchases of a user that are read, the newest.")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    half_life_days: float = Field(default=90.0, gt=0, description="Age at which a basket is drawn half as often.")
    augment: Augmentation = Augmentation(mask=0.3)
    plan: Plan = Plan(epochs=6)

    def network(self, items: int) -> TwoTower:
        """Of random weights, for a catalogue of this size."""
        from serving.recommender.networks.two_tower import TwoTower

        return TwoTower(items, self.dim, history=self.history, dropout=self.dropout)

    def task(self, network: TwoTower, past: Purchases, team: Team, judge: Judge | None) -> Task:
        """What the network learns from `past`."""
        from serving.recommender.training.baskets import tower_task

        return tower_task(self, network, past, team, judge)

    def learn(self, past: Purchases, how: How = HERE) -> Arrays:
        from serving.recommender.training.fit import train

        return train(self, past, how)

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        return self.scores(self._loaded(past, learned), past)

    def scores(self, network: TwoTower, past: Purchases) -> Scorer:  # noqa: ARG002 - it reads histories alone
        """Each item's chance to be the next one, by the network as it is."""
        import torch

        def score(asked: Histories) -> Matrix:
            found = np.zeros(asked.shape)
            items, _ = asked.windows(self.history)
            told = np.flatnonzero((items != asked.items).any(axis=1))
            for first in range(0, len(told), SCORED_AT_ONCE):
                rows = told[first : first + SCORED_AT_ONCE]
                with torch.inference_mode():
                    found[rows] = network(torch.from_numpy(items[rows])).softmax(dim=1).numpy()
            return found

        return score

    def vectors(self, past: Purchases, learned: Arrays) -> Vectors:
        """Both towers, without the bonus for what was bought before."""
        import torch

        network = self._loaded(past, learned)
        with torch.inference_mode():
            catalogue = network.item_tower(torch.arange(network.n_items)).numpy()

        def users(asked: Histories) -> VectorTable:
            items, _ = asked.windows(self.history)
            with torch.inference_mode():
                return np.asarray(network.user_tower(torch.from_numpy(items)).numpy(), dtype=np.float32)

        return Vectors(catalogue, users)

    def _loaded(self, past: Purchases, learned: Arrays) -> TwoTower:
        from serving.recommender.training.weights import load_weights

        network = self.network(len(past.item_ids))
        load_weights(network, learned)
        return network
