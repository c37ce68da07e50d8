"""How good ranked lists are, user by user. Pure; worked examples are in tests/unit/test_recommender_metrics.py.

All metrics are 0 to 1 and larger is better, but for novelty, which is in bits. An item is relevant or not; a list
shorter than k is as bad as one filled up with irrelevant items. Definitions follow Manning, Raghavan and Schütze,
"Introduction to Information Retrieval" (2008), chapter 8; NDCG's ideal list holds min(k, relevant) items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Matrix, Vector

NO_ITEM = -1
"""Fills up a list that has fewer than k items."""

Hits = NDArray[np.bool_]
"""[users, k]: which items of each list are relevant, best first."""


def top(scores: Matrix, k: int) -> Index:
    """The columns of the k highest scores of each row, best first; among equals the first column comes first.

    A score of minus infinity is never listed; `NO_ITEM` fills the row up.
    """
    rows, columns = scores.shape
    kth = min(k, columns)
    bar = np.partition(scores, columns - kth, axis=1)[:, columns - kth]
    row, column = np.nonzero((scores >= bar[:, None]) & (scores > -np.inf))
    order = np.lexsort((column, -scores[row, column], row))
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    listed = place < kth
    found = np.full((rows, k), NO_ITEM, dtype=np.int64)
    found[row[listed], place[listed]] = column[listed]
    return found


def hits(lists: Index, relevant: Any) -> Hits:
    """Which items of each list are relevant; `relevant` is sparse [users, items]."""
    row = np.repeat(np.arange(len(lists)), lists.shape[1])
    found = np.asarray(relevant[row, np.maximum(lists.ravel(), 0)]).reshape(lists.shape) > 0
    return np.asarray(found & (lists != NO_ITEM))


def precision(hit: Hits) -> Vector:
    """Share of the list that is relevant."""
    return np.asarray(hit.mean(axis=1))


def recall(hit: Hits, relevant: Index) -> Vector:
    """Share of the `relevant` items (how many, per user; at least 1) that are in the list."""
    return np.asarray(hit.sum(axis=1) / relevant)


def f1(hit: Hits, relevant: Index) -> Vector:
    """Harmonic mean of precision and recall; 0 without a hit."""
    return np.asarray(2 * hit.sum(axis=1) / (hit.shape[1] + relevant))


def accuracy(hit: Hits, relevant: Index, items: int) -> Vector:
    """Share of all `items` on the right side of the list's end; near 1 for any list of a large shop."""
    found = hit.sum(axis=1)
    wrong = (hit.shape[1] - found) + (relevant - found)
    return np.asarray(1 - wrong / items)


def hit_rate(hit: Hits) -> Vector:
    """1 if anything in the list is relevant."""
    return np.asarray(hit.any(axis=1), dtype=np.float64)


def mrr(hit: Hits) -> Vector:
    """1 / the place of the first relevant item; 0 without one."""
    return np.asarray(hit.any(axis=1) / (1 + hit.argmax(axis=1)))


def ndcg(hit: Hits, relevant: Index) -> Vector:
    """Hits discounted by 1 / log2(place + 1), over the best that a list of this length could have."""
    discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
    best = discount.cumsum()[np.minimum(relevant, hit.shape[1]) - 1]
    return np.asarray((hit * discount).sum(axis=1) / best)


def auc(scores: Matrix, relevant: Any) -> Vector:
    """Chance that a relevant item scores above another one, equals counting half (Mann and Whitney, 1947).

    Items with a score of minus infinity are left out. NaN where a user has no relevant or no other item.
    """
    found = np.full(len(scores), np.nan)
    for row, line in enumerate(scores):
        ranked = line > -np.inf
        wanted = np.zeros(len(line), dtype=bool)
        wanted[relevant.indices[relevant.indptr[row] : relevant.indptr[row + 1]]] = True
        good, others = line[wanted & ranked], np.sort(line[~wanted & ranked])
        if len(good) and len(others):
            below = np.searchsorted(others, good, side="left") + np.searchsorted(others, good, side="right")
            found[row] = below.mean() / 2 / len(others)
    return found


def coverage(lists: Index, items: int) -> float:
    """Share of `items` that is in anybody's list."""
    return len(np.unique(lists[lists != NO_ITEM])) / items


def diversity(lists: Index, vectors: Any) -> Vector:
    """1 - the mean cosine of the pairs of a list, by sparse item `vectors` [items, features]; 0 without a pair.

    Vectors have no negative value (who bought the item), so this is 0 (all alike) to 1 (nothing in common).
    """
    length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    found = np.zeros(len(lists))
    for row, line in enumerate(lists):
        items = line[line != NO_ITEM]
        if len(items) > 1:
            alike = (vectors[items] @ vectors[items].T).toarray()
            cosine = alike / np.maximum(np.outer(length[items], length[items]), 1e-12)
            pairs = len(items) * (len(items) - 1)
            found[row] = 1 - (cosine.sum() - np.trace(cosine)) / pairs
    return found.clip(0.0, 1.0)


def novelty(lists: Index, buyers: Index, users: int) -> Vector:
    """Mean surprise of the list in bits: -log2 of the share of `users` who bought the item (Zhou et al., 2010).

    `buyers` counts them per item; an item that nobody bought counts as one that one user did. 0 for an empty list.
    """
    surprise = -np.log2(np.maximum(buyers, 1) / users)
    listed = lists != NO_ITEM
    total = np.where(listed, surprise[np.maximum(lists, 0)], 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(listed.sum(axis=1), 1))
