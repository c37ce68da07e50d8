"""Neighbourhoods: what similar users buy (user-kNN, TIFU-KNN, UP-CF), and what the same users buy (item-kNN)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from serving.errors import InvalidInput
from serving.recommender.method import Arrays, Scorer, Settings, expect
from serving.recommender.orders.purchases import NOBODY, Histories, Matrix, Purchases, Vector

MAX_ITEMS = 20_000
"""Item similarities are computed as one square matrix: 3.2 GB at this size."""
INDICES, SIMILARITIES = "indices", "similarities"


class TifuKnn(Settings):
    """Temporal item frequency of the user and of like users (Hu et al., SIGIR 2020, eq. 1 to 4).

    A user's baskets are cut into groups of `group_size`, the last one full. A basket weighs `within_decay` times the
    next in its group, a group `group_decay` times the next. The user's vector is mixed with the mean of the nearest.
    """

    kind: Literal["tifu_knn"] = "tifu_knn"
    group_size: int = Field(default=7, ge=1)
    within_decay: float = Field(default=0.9, gt=0, le=1)
    group_decay: float = Field(default=0.7, gt=0, le=1)
    neighbours: int = Field(default=300, ge=1)
    own_share: float = Field(default=0.7, ge=0, le=1)
    similarity: Literal["euclidean", "cosine"] = "euclidean"

    def learn(self, past: Purchases) -> Arrays:  # noqa: ARG002 - vectors are made in no time
        return {}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        expect(learned, {})
        vectors = self._vectors(past.histories())
        squares = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
        nobody = squares == 0
        by_item = vectors.T.tocsr()

        def score(asked: Histories) -> Matrix:
            own = self._vectors(asked)
            products = (own @ by_item).toarray()
            if self.similarity == "euclidean":
                closeness = 2 * products - squares
            else:
                closeness = products / np.sqrt(np.maximum(squares, 1e-300))
            closeness[:, nobody] = -np.inf
            _bar_self(closeness, asked)
            closeness[np.diff(own.indptr) == 0] = -np.inf  # without a history nobody is alike
            near = vectors.T @ _nearest(closeness, self.neighbours).T
            return np.asarray(self.own_share * own.toarray() + (1 - self.own_share) * near.T)

        return score

    def _vectors(self, histories: Histories) -> Any:
        since, baskets = histories.baskets()
        group, within = np.divmod(since, self.group_size)
        groups = -(-baskets // self.group_size)
        size = np.where(group == groups - 1, baskets - self.group_size * (groups - 1), self.group_size)
        weight = self.within_decay**within / size * self.group_decay**group / groups
        return histories.table(weight)


class UserPopularity(Settings):
    """UP-CF: popularity within each user's last baskets, summed over like users (Faggioli et al., UMAP 2020).

    Users are alike by asymmetric cosine over what they bought, to the power `locality`; oneself counts with 1.
    """

    kind: Literal["user_popularity"] = "user_popularity"
    recent_baskets: int | None = Field(default=None, ge=1, description="Baskets that count; unset: all.")
    asymmetry: float = Field(default=0.5, ge=0, le=1, description="Exponent of the own history's length.")
    locality: float = Field(default=5.0, gt=0, le=100)

    def learn(self, past: Purchases) -> Arrays:  # noqa: ARG002 - it is counted in no time
        return {}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        expect(learned, {})
        histories = past.histories()
        bought, shares = histories.bought(), self._shares(histories).copy()
        shares.eliminate_zeros()
        theirs = np.maximum(np.diff(bought.indptr), 1) ** (1 - self.asymmetry)
        by_item = bought.T.tocsr()

        def score(asked: Histories) -> Matrix:
            own = asked.bought()
            counts = np.diff(own.indptr)
            alike = own @ by_item
            row = np.repeat(np.arange(len(counts)), np.diff(alike.indptr))
            mine = np.maximum(counts, 1) ** self.asymmetry
            alike.data = (alike.data / mine[row] / theirs[alike.indices]) ** self.locality
            alike.data[alike.indices == asked.user[row]] = 0.0  # nobody is their own neighbour
            return np.asarray((shares.T @ alike.toarray().T).T + self._shares(asked).toarray())

        return score

    def _shares(self, histories: Histories) -> Any:
        since, baskets = histories.baskets()
        counted = baskets if self.recent_baskets is None else np.minimum(baskets, self.recent_baskets)
        return histories.table((since < counted) / counted)


class UserKnn(Settings):
    """What alike users bought: the sum over the nearest of their likeness (Resnick et al., CSCW 1994).

    Users are alike by Jaccard: items that both bought over those that either did.
    """

    kind: Literal["user_knn"] = "user_knn"
    neighbours: int = Field(default=100, ge=1)

    def learn(self, past: Purchases) -> Arrays:  # noqa: ARG002 - it is counted in no time
        return {}

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        expect(learned, {})
        bought = past.histories().bought()
        by_item, theirs = bought.T.tocsr(), np.diff(bought.indptr)

        def score(asked: Histories) -> Matrix:
            own = asked.bought()
            shared = (own @ by_item).toarray()
            alike = shared / np.maximum(np.diff(own.indptr)[:, None] + theirs - shared, 1)
            _bar_self(alike, asked)
            alike = np.maximum(alike, 0.0)
            near = alike * (_nearest(alike, self.neighbours) > 0)
            return np.asarray((by_item @ near.T).T)

        return score


class ItemKnn(Settings):
    """Items bought by the same users, weighted by BM25 (Robertson and Zaragoza, 2009).

    Users are terms, items documents. An item is its own nearest neighbour, so what was bought often is offered again.
    """

    kind: Literal["item_knn"] = "item_knn"
    neighbours: int = Field(default=50, ge=1)
    k1: float = Field(default=1.2, gt=0, description="How slowly further purchases of a user saturate.")
    b: float = Field(default=0.75, ge=0, le=1, description="How much popular items are held back.")

    def learn(self, past: Purchases) -> Arrays:
        weighted = self._weighted(past.histories())
        items = weighted.shape[0]
        if items > MAX_ITEMS:
            raise too_many(items)
        kept = min(self.neighbours, items)
        similar = (weighted @ weighted.T).toarray()
        indices = np.nonzero(_closest(similar, kept))[1].reshape(items, kept)
        return {
            INDICES: indices.astype(np.int32),
            SIMILARITIES: np.take_along_axis(similar, indices, axis=1).astype(np.float32),
        }

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        items = len(past.item_ids)
        shape = (items, min(self.neighbours, items))
        expect(learned, {INDICES: (np.int32, shape), SIMILARITIES: (np.float32, shape)})
        indices, offsets = learned[INDICES].ravel(), np.arange(items + 1) * shape[1]
        similar = sparse.csr_matrix(
            (learned[SIMILARITIES].ravel().astype(np.float64), indices, offsets), (items, items)
        )
        similar.check_format()  # ValueError for an index out of range

        def score(asked: Histories) -> Matrix:
            return np.asarray((asked.table(np.ones(len(asked.row))) @ similar).toarray())

        return score

    def _weighted(self, histories: Histories) -> Any:
        counts = histories.table(np.ones(len(histories.row))).T.tocoo()
        length = np.asarray(counts.sum(axis=1)).ravel()
        norm = self.k1 * (1 - self.b + self.b * length / max(length[length > 0].mean(), 1e-12))
        items_of = np.bincount(counts.col, minlength=counts.shape[1])
        rarity: Vector = np.log1p((length > 0).sum()) - np.log1p(items_of)  # an item that nobody bought is no document
        counts.data = counts.data * (self.k1 + 1) / (norm[counts.row] + counts.data) * rarity[counts.col]
        return counts.tocsr()


def too_many(items: int) -> InvalidInput:
    """The error for a catalogue that a square matrix cannot hold."""
    return InvalidInput(
        "too many items for this method",
        where="items",
        why=f"{items}, and their similarities are one matrix of at most {MAX_ITEMS} squared",
        next_step="use a method without item similarities, or fewer items",
    )


def _bar_self(closeness: Matrix, asked: Histories) -> None:
    """Nobody is their own neighbour."""
    rows = np.flatnonzero(asked.user != NOBODY)
    closeness[rows, asked.user[rows]] = -np.inf


def _nearest(closeness: Matrix, count: int) -> Matrix:
    """The mean over the `count` closest users, as weights [rows, users]; minus infinity is nobody."""
    near = _closest(closeness, count) & (closeness > -np.inf)
    return np.asarray(near / np.maximum(near.sum(axis=1, keepdims=True), 1))


def _closest(closeness: Matrix, count: int) -> NDArray[np.bool_]:
    """Which are the `count` largest of each row.

    Of those that are level with the last of them the first ones, so that others that are further away change nothing.
    """
    count = min(count, closeness.shape[1])
    last = -np.partition(-closeness, count - 1, axis=1)[:, count - 1 : count]
    closer, level = closeness > last, closeness == last
    room = count - closer.sum(axis=1, keepdims=True)
    return np.asarray(closer | (level & (np.cumsum(level, axis=1) <= room)))
