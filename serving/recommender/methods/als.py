"""ALS: users and items as vectors whose product says how likely a purchase is, by the library implicit."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from serving.recommender.method import Arrays, Scorer, Settings, expect
from serving.recommender.methods.retrieval import Vectors
from serving.recommender.orders.purchases import Histories, Matrix, Purchases

FACTORS = "item_factors"


class Als(Settings):
    """Weighted matrix factorisation for implicit feedback (Hu, Koren and Volinsky, ICDM 2008).

    A purchase counts with 1 + `alpha` times how often the item was bought, fading with age. A user's vector is solved
    from their history when they ask, so nobody needs to have been there at the fit.
    """

    kind: Literal["als"] = "als"
    factors: int = Field(default=64, ge=1, le=1_024)
    l2: float = Field(default=0.1, ge=0)
    alpha: float = Field(default=10.0, gt=0)
    half_life_days: float | None = Field(default=None, gt=0)
    iterations: int = Field(default=15, ge=1, le=1_000)
    seed: int = Field(default=0, ge=0, lt=1 << 32)

    def learn(self, past: Purchases) -> Arrays:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # sums in one order, here and in num_threads: the same data, the same model
            model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.l2,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
            )
            model.fit(self._confidence(past.histories()), show_progress=False)
        return {FACTORS: np.ascontiguousarray(model.item_factors, dtype=np.float32)}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        vectors = self.vectors(past, learned)

        def score(asked: Histories) -> Matrix:
            return np.asarray(np.maximum(vectors.users(asked) @ vectors.items.T, 0), dtype=np.float64)

        return score

    def vectors(self, past: Purchases, learned: Arrays) -> Vectors:
        """Item factors, and users solved from their histories against them (eq. 4)."""
        expect(learned, {FACTORS: (np.float32, (len(past.item_ids), self.factors))})
        items = learned[FACTORS]
        gram = items.T.astype(np.float64) @ items + self.l2 * np.eye(self.factors)

        def solve(asked: Histories) -> Any:
            rows = self._confidence(asked)
            found = np.zeros((rows.shape[0], self.factors), dtype=np.float32)
            for row in np.flatnonzero(np.diff(rows.indptr)):
                span = slice(rows.indptr[row], rows.indptr[row + 1])
                bought = items[rows.indices[span]].astype(np.float64)
                weight = rows.data[span].astype(np.float64)
                found[row] = np.linalg.solve(gram + bought.T * (weight - 1) @ bought, bought.T @ weight)
            return found

        return Vectors(items, solve)

    def _confidence(self, histories: Histories) -> Any:
        counts = histories.table(histories.recency(self.half_life_days))
        counts.data = 1 + self.alpha * counts.data
        return sparse.csr_matrix(counts, dtype=np.float32, copy=True)  # the library wants arrays that may be written
