"""A blend of methods: each one's scores on one scale, in weighted sum."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from serving.recommender.ease import Ease
from serving.recommender.method import Arrays, Scorer, Settings, scaled
from serving.recommender.neighbours import ItemKnn, TifuKnn, UserPopularity
from serving.recommender.popularity import Popularity
from serving.recommender.purchases import Histories, Matrix, Purchases
from serving.recommender.repeats import OwnFrequency

SingleMethod = Annotated[
    Popularity | OwnFrequency | TifuKnn | UserPopularity | ItemKnn | Ease, Field(discriminator="kind")
]


class Part(Settings):
    """A method in a blend."""

    method: SingleMethod
    weight: float = Field(default=1.0, ge=0)


class Ensemble(Settings):
    """The weighted sum of the parts' scores, each scaled so that a user's best item has 1.

    `tuning.fit_weights` finds the weights on a later month.
    """

    kind: Literal["ensemble"] = "ensemble"
    parts: tuple[Part, ...] = Field(min_length=1, max_length=32)

    def learn(self, past: Purchases) -> Arrays:
        return {
            f"{place}.{name}": array
            for place, part in enumerate(self.parts)
            for name, array in part.method.learn(past).items()
        }

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        shares: list[dict[str, np.ndarray]] = [{} for _ in self.parts]
        for label, array in learned.items():
            place, _, name = label.partition(".")
            if not place.isdecimal() or int(place) >= len(shares):
                raise ValueError(f"array {label[:80]} belongs to no part")
            shares[int(place)][name] = array
        scorers = [part.method.scorer(past, share) for part, share in zip(self.parts, shares, strict=True)]

        def score(asked: Histories) -> Matrix:
            total = np.zeros(asked.shape)
            for part, one in zip(self.parts, scorers, strict=True):
                if part.weight:
                    total += part.weight * scaled(one(asked))
            return total

        return score


AnyMethod = Annotated[
    Popularity | OwnFrequency | TifuKnn | UserPopularity | ItemKnn | Ease | Ensemble, Field(discriminator="kind")
]
