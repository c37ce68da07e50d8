"""Retrieval by vectors as a method: it scores the items nearest to a user, and no others."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from serving.recommender.method import Arrays, Scorer, Settings
from serving.recommender.methods.als import Als
from serving.recommender.methods.retrieval import EXACT_BELOW, index
from serving.recommender.methods.towers import Towers
from serving.recommender.metrics import NO_ITEM
from serving.recommender.orders.purchases import Histories, Matrix, Purchases
from serving.recommender.training.how import HERE, How, not_in_steps


class Nearest(Settings):
    """The first stage for catalogues in which not every item can be scored: exact in small ones, else by a graph.

    The best item has 1, the last about 0, and those between follow their products with the user.
    """

    kind: Literal["nearest"] = "nearest"
    model: Annotated[Als | Towers, Field(discriminator="kind")] = Towers()
    count: int = Field(default=200, ge=1, le=10_000)
    exact_below: int = Field(default=EXACT_BELOW, ge=0, description="Items from which on a graph is searched.")

    def learn(self, past: Purchases, how: How = HERE) -> Arrays:
        if isinstance(self.model, Towers):
            return self.model.learn(past, how)
        if how.in_steps():
            raise not_in_steps(how, f"leave it out, or set a model other than {self.model.kind}")
        return self.model.learn(past)

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        vectors = self.model.vectors(past, learned)
        near = index(vectors.items, self.exact_below)

        def score(asked: Histories) -> Matrix:
            found = np.zeros(asked.shape)
            told = np.unique(asked.row)
            if not len(told):
                return found
            users = vectors.users(asked.of(told))
            for row, user, items in zip(told, users, near.nearest(users, self.count), strict=True):
                listed = items[items != NO_ITEM]
                products = (vectors.items[listed] @ user).astype(np.float64)
                lowest, highest = products.min(initial=np.inf), products.max(initial=-np.inf)
                found[row, listed] = (products - lowest + 1e-6) / (highest - lowest + 1e-6)
            return found

        return score
