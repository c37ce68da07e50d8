"""How good recommendations are on a later time span, next to two baselines in the same table.

For a user with purchases before and after the split, the items bought after it are relevant.
recall@10 is hits / min(10, relevant) (as in Liang et al., "Variational Autoencoders for
Collaborative Filtering", WWW 2018), ndcg@10 discounts hits by rank, coverage@10 is the share of
the catalogue that was recommended to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.recommender.orders.data import Orders
from serving.recommender.orders.lines import Index, UserLines

K = 10
BATCH = 512
HALF_LIFE_S = 28 * 86_400.0
"""A sale counts half as much for popularity after this time: shops are seasonal."""

Scorer = Callable[[Index], NDArray[np.float32]]
"""Indices of test users to their scores [users, items]."""


@dataclass(frozen=True)
class Quality:
    """Means over users; 0 to 1, larger is better."""

    recall_at_10: float
    ndcg_at_10: float
    coverage_at_10: float


@dataclass(frozen=True, eq=False)
class Split:
    """Purchases before a moment, and what the same users bought after it."""

    at_s: int
    before: UserLines
    after: UserLines
    users: Index
    """Users with purchases on both sides."""


def split_by_time(orders: Orders, test_share: float, until_s: int | None = None) -> Split | None:
    """Split the orders before `until_s` (all if unset), with about `test_share` of their lines after the moment.

    None when no user is on both sides.
    """
    known = len(orders) if until_s is None else int(np.searchsorted(orders.timestamp_s, until_s))
    if not known:
        return None
    at_s = int(orders.timestamp_s[int(known * (1 - test_share))])
    earlier = orders.timestamp_s < at_s
    later = ~earlier & (np.arange(len(orders)) < known)
    before, after = UserLines.of(orders, earlier), UserLines.of(orders, later)
    users = np.flatnonzero((np.diff(before.offsets) > 0) & (np.diff(after.offsets) > 0))
    return Split(at_s, before, after, users) if len(users) else None


def popularity(orders: Orders, before_s: int) -> NDArray[np.float32]:
    """Each item's share of the sales before `before_s`, recent sales weighing more."""
    sold = orders.timestamp_s < before_s
    weight = 0.5 ** ((before_s - orders.timestamp_s[sold]) / HALF_LIFE_S)
    counts = np.bincount(orders.item[sold], weights=weight, minlength=len(orders.item_ids))
    return np.asarray(counts / max(counts.sum(), 1e-12), dtype=np.float32)


def repeats_scorer(split: Split, popular: NDArray[np.float32]) -> Scorer:
    """A user's own most bought items, then the popular ones: the baseline that is hard to beat."""

    def score(users: Index) -> NDArray[np.float32]:
        scores = np.tile(popular, (len(users), 1))
        for row, user in enumerate(users):
            own = split.before.item[split.before.offsets[user] : split.before.offsets[user + 1]]
            np.add.at(scores[row], own, 1.0)
        return scores

    return score


def measure(split: Split, n_items: int, scorer: Scorer) -> Quality:
    """Quality of `scorer` over the users of `split`."""
    recalls, gains = [], []
    shown = np.zeros(n_items, dtype=bool)
    k = min(K, n_items)
    discount = 1 / np.log2(np.arange(2, k + 2))
    for first in range(0, len(split.users), BATCH):
        users = split.users[first : first + BATCH]
        top = np.argsort(-scorer(users), axis=1, kind="stable")[:, :k]
        shown[top] = True
        for user, row in zip(users, top, strict=True):
            relevant = np.unique(split.after.item[split.after.offsets[user] : split.after.offsets[user + 1]])
            hit = np.isin(row, relevant)
            best = min(k, len(relevant))
            recalls.append(hit.sum() / best)
            gains.append((hit * discount).sum() / discount[:best].sum())
    return Quality(float(np.mean(recalls)), float(np.mean(gains)), float(shown.mean()))
