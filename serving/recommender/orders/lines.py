"""Order lines by customer: the histories that the user tower reads, and the orders it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from serving.recommender.orders.data import Orders

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class UserLines:
    """Items bought, sorted by user and then by time; user `u` owns lines `offsets[u]:offsets[u + 1]`."""

    item: Index
    timestamp_s: Index
    offsets: Index

    @classmethod
    def of(cls, orders: Orders, chosen: NDArray[np.bool_] | None = None) -> Self:
        """The lines of `orders` where `chosen` is true; all of them without it."""
        lines = np.arange(len(orders)) if chosen is None else np.flatnonzero(chosen)
        lines = lines[np.argsort(orders.user[lines], kind="stable")]  # orders are sorted by time already
        counts = np.bincount(orders.user[lines], minlength=len(orders.user_ids))
        return cls(
            item=orders.item[lines].astype(np.int64),
            timestamp_s=orders.timestamp_s[lines],
            offsets=np.concatenate([[0], np.cumsum(counts)]),
        )

    def windows(self, start: Index, end: Index, length: int, pad: int) -> Index:
        """The last `length` items of each span of lines, oldest first, filled up with `pad` in front."""
        line = end[:, None] + np.arange(-length, 0)[None, :]
        inside = line >= start[:, None]
        return np.where(inside, self.item[np.where(inside, line, 0)], pad)


@dataclass(frozen=True, eq=False)
class Baskets:
    """Orders that have a history: lines `start:end` were bought at once, after `history_start:start`."""

    history_start: Index
    start: Index
    end: Index
    timestamp_s: Index

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def of(cls, lines: UserLines) -> Self:
        """Every order but the first one of each user."""
        count = len(lines.item)
        user = np.repeat(np.arange(len(lines.offsets) - 1), np.diff(lines.offsets))
        begins = np.ones(count, dtype=bool)
        begins[1:] = (np.diff(user) != 0) | (np.diff(lines.timestamp_s) != 0)
        start = np.flatnonzero(begins)
        end = np.concatenate([start[1:], [count]])
        later = start > lines.offsets[user[start]]
        start, end = start[later], end[later]
        return cls(lines.offsets[user[start]], start, end, lines.timestamp_s[start])
