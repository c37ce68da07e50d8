"""A blend of methods: each one's scores on one scale, in weighted sum."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from serving.recommender.method import Arrays, Scorer, Settings, scaled
from serving.recommender.methods.als import Als
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.nearest import Nearest
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserKnn, UserPopularity
from serving.recommender.methods.parts import learn_parts, part_scorers
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.ranking import Ranked
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.single import SingleMethod
from serving.recommender.methods.towers import Towers
from serving.recommender.orders.purchases import Histories, Matrix, Purchases


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
        return learn_parts([part.method for part in self.parts], past)

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        scorers = part_scorers([part.method for part in self.parts], past, learned)

        def score(asked: Histories) -> Matrix:
            total = np.zeros(asked.shape)
            for part, one in zip(self.parts, scorers, strict=True):
                if part.weight:
                    total += part.weight * scaled(one(asked))
            return total

        return score


AnyMethod = Annotated[
    Popularity
    | OwnFrequency
    | TifuKnn
    | UserKnn
    | UserPopularity
    | ItemKnn
    | Ease
    | Als
    | Towers
    | Sasrec
    | Nearest
    | Ensemble
    | Ranked,
    Field(discriminator="kind"),
]
