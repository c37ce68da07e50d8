"""EASE: linear item-to-item weights in closed form, with purchases fading by age."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import linalg

from serving.recommender.method import Arrays, Scorer, Settings, expect
from serving.recommender.methods.neighbours import MAX_ITEMS, too_many
from serving.recommender.orders.purchases import Histories, Matrix, Purchases, Vector

WEIGHTS = "weights"


class Ease(Settings):
    """Ridge regression of each item on all others (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019, eq. 8).

    A user's row holds each item once, with the weight of its last purchase: 1, or halved with each `half_life_days` of
    age. Old purchases then say less about which items belong together, and about what the user wants now.
    """

    kind: Literal["ease"] = "ease"
    l2: float = Field(default=300.0, gt=0)
    half_life_days: float | None = Field(default=None, gt=0)

    def learn(self, past: Purchases) -> Arrays:
        histories = past.histories()
        if histories.items > MAX_ITEMS:
            raise too_many(histories.items)
        rows = histories.table(self._weights(histories))
        gram = (rows.T @ rows).toarray()
        gram[np.diag_indices_from(gram)] += self.l2
        inverse = _inverse(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        return {WEIGHTS: weights.astype(np.float32)}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        items = len(past.item_ids)
        expect(learned, {WEIGHTS: (np.float32, (items, items))})
        weights = learned[WEIGHTS]

        def score(asked: Histories) -> Matrix:
            rows = asked.table(self._weights(asked).astype(np.float32))
            return np.asarray(rows @ weights, dtype=np.float64)

        return score

    def _weights(self, histories: Histories) -> Vector:
        return histories.recency(self.half_life_days) * histories.is_last()


def _inverse(positive: Matrix) -> Matrix:
    """The inverse of a symmetric positive definite matrix, by Cholesky: half the work of a general one."""
    factor, _ = linalg.lapack.dpotrf(positive, lower=1, overwrite_a=1)
    lower, failed = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ArithmeticError("the matrix of a ridge regression is not positive definite")
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)
