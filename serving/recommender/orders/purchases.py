"""Purchases by day: what the closed-form models learn from, and the histories they answer for."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput
from serving.recommender.orders.data import Orders
from serving.recommender.orders.lines import Index

DAY_S = 86_400
NOBODY = -1
"""Index of a user who is not among the purchases."""

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Purchases:
    """Who bought what on which day: one row per user, item and UTC day, sorted by day, user, item.

    `user` and `item` index into `user_ids` and `item_ids`, which may name more than have rows.
    """

    user: Index
    item: Index
    day: Index
    """UTC days since the epoch."""
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    @classmethod
    def of(cls, orders: Orders) -> Self:
        """The purchases in `orders`; several lines of a user and item on one day are one."""
        user, item, day = _once(orders.user.astype(np.int64), orders.item.astype(np.int64), orders.timestamp_s // DAY_S)
        return cls(user, item, day, orders.user_ids, orders.item_ids)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def as_of_day(self) -> int:
        """The day from which the past is seen: the one after the last purchase.

        Raises:
            InvalidInput: there is no purchase.
        """
        if not len(self):
            raise InvalidInput(
                "nothing to learn from", where="purchases", why="there is none", next_step="give it a longer span"
            )
        return int(self.day[-1]) + 1

    def between(self, start: date | None = None, end: date | None = None) -> Self:
        """Those from `start` on and before `end`, with the same ids."""
        low = 0 if start is None else int(np.searchsorted(self.day, epoch_day(start)))
        high = len(self) if end is None else int(np.searchsorted(self.day, epoch_day(end)))
        rows = slice(low, max(low, high))
        return type(self)(self.user[rows], self.item[rows], self.day[rows], self.user_ids, self.item_ids)

    def from_day(self, first: int, before: int) -> Self:
        """Those from day `first` on and before day `before`, with the same ids."""
        low, high = np.searchsorted(self.day, (first, max(first, before)))
        return replace(self, user=self.user[low:high], item=self.item[low:high], day=self.day[low:high])

    def joined(self, other: Self) -> Self:
        """These and `other`, once each; ids that only `other` has are appended."""
        user_ids, to_user = _merged(self.user_ids, other.user_ids)
        item_ids, to_item = _merged(self.item_ids, other.item_ids)
        user, item, day = _once(
            np.concatenate([self.user, to_user[other.user]]),
            np.concatenate([self.item, to_item[other.item]]),
            np.concatenate([self.day, other.day]),
        )
        return type(self)(user, item, day, user_ids, item_ids)

    def histories(self) -> Histories:
        """The history of every user, row by row."""
        by_user = np.argsort(self.user, kind="stable")  # the rows are sorted by day already
        return Histories(
            row=self.user[by_user],
            item=self.item[by_user],
            day=self.day[by_user],
            user=np.arange(len(self.user_ids)),
            items=len(self.item_ids),
            as_of_day=self.as_of_day,
        )


@dataclass(frozen=True, eq=False)
class Cells:
    """The different pairs of row and item of some histories, sorted by row, then item."""

    row: Index
    item: Index
    place: Index
    """Of each entry of the histories: its pair."""
    first: Index
    """Of each pair: its earliest entry."""
    last: Index


@dataclass(frozen=True, eq=False)
class Histories:
    """What some users bought: one entry per row, item and day, sorted by row, then day."""

    row: Index
    item: Index
    day: Index
    user: Index
    """Of each row: the user's index among the purchases, or `NOBODY`."""
    items: int
    """How many items there are."""
    as_of_day: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and items."""
        return len(self.user), self.items

    @cached_property
    def cells(self) -> Cells:
        """The different pairs of row and item."""
        different, place = np.unique(self.row * self.items + self.item, return_inverse=True)
        row, item = np.divmod(different, self.items)
        first, last = np.empty_like(different), np.empty_like(different)
        first[place[::-1]] = np.arange(len(place))[::-1]
        last[place] = np.arange(len(place))
        return Cells(row, item, place, first, last)

    def table(self, weight: Vector) -> Any:
        """Sparse [rows, items]: the sum of the weights of the entries of each row and item."""
        summed = np.bincount(self.cells.place, weights=weight, minlength=len(self.cells.row))
        return self._sparse(summed.astype(weight.dtype))

    def dense(self, weight: Vector) -> Matrix:
        """The same, not sparse."""
        rows, items = self.shape
        summed = np.bincount(self.row * items + self.item, weights=weight, minlength=rows * items)
        return np.asarray(summed, dtype=np.float64).reshape(self.shape)

    def bought(self) -> Any:
        """Sparse [rows, items]: 1 where the item was bought."""
        return self._sparse(np.ones(len(self.cells.row)))

    def _sparse(self, values: NDArray[Any]) -> Any:
        """Sparse [rows, items], a value for each of the `cells`. All of them share one layout, which takes longest."""
        found = copy(self._layout)
        found.data = values
        return found

    @cached_property
    def _layout(self) -> Any:
        from scipy import sparse  # an extra, which the demo's model does without

        offsets = np.searchsorted(self.cells.row, np.arange(len(self.user) + 1))
        layout = sparse.csr_matrix((np.ones(len(self.cells.row)), self.cells.item, offsets), shape=self.shape)
        for shared in (layout.indices, layout.indptr):
            shared.flags.writeable = False
        return layout

    def recency(self, half_life_days: float | None) -> Vector:
        """A weight per entry, halved with each half-life of age; 1 without one, and for days to come."""
        if half_life_days is None:
            return np.ones(len(self.row))
        age_days = np.maximum(self.as_of_day - self.day, 0)
        return np.asarray(0.5 ** (age_days / half_life_days))

    def of(self, rows: Index) -> Histories:
        """The histories of some rows, in their order."""
        first, last = np.searchsorted(self.row, rows), np.searchsorted(self.row, rows, side="right")
        lengths = last - first
        entry = np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return replace(
            self,
            row=np.repeat(np.arange(len(rows)), lengths),
            item=self.item[entry],
            day=self.day[entry],
            user=self.user[rows],
        )

    def windows(self, length: int) -> tuple[Index, Index]:
        """The last `length` items of each row and their days, oldest first, padded in front with `items` and day 0."""
        ends = np.searchsorted(self.row, np.arange(len(self.user) + 1))
        entry = ends[1:, None] + np.arange(-length, 0)
        inside = entry >= ends[:-1, None]
        entry = np.where(inside, entry, 0)
        if not len(self.row):
            return np.full(entry.shape, self.items), np.zeros_like(entry)
        return np.where(inside, self.item[entry], self.items), np.where(inside, self.day[entry], 0)

    def is_last(self) -> NDArray[np.bool_]:
        """Which entries are the last of their row and item."""
        last = np.zeros(len(self.row), dtype=bool)
        last[self.cells.last] = True
        return last

    def baskets(self) -> tuple[Index, Index]:
        """Of each entry: how many baskets (days) of its row came after it; and how many its row has."""
        return self._baskets

    @cached_property
    def _baskets(self) -> tuple[Index, Index]:
        begins = np.ones(len(self.row), dtype=bool)
        begins[1:] = (np.diff(self.row) != 0) | (np.diff(self.day) != 0)
        count = np.bincount(self.row[begins], minlength=len(self.user))
        number = np.cumsum(begins)  # over all rows, from 1
        after = np.cumsum(count)[self.row] - number
        return after, count[self.row]


def epoch_day(day: date) -> int:
    """UTC days since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // DAY_S


def index_of(ids: tuple[str, ...]) -> Mapping[str, int]:
    """The place of each id."""
    return {name: place for place, name in enumerate(ids)}


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[tuple[str, ...], Index]:
    """Both lists of ids as one, and the place in it of each of the second."""
    place = dict(index_of(first))
    to = np.array([place.setdefault(name, len(place)) for name in second], dtype=np.int64)
    return tuple(place), to


def _once(user: Index, item: Index, day: Index) -> tuple[Index, Index, Index]:
    """Each triple once, sorted by day, user, item."""
    order = np.lexsort((item, user, day))
    user, item, day = user[order], item[order], day[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(user) != 0) | (np.diff(item) != 0) | (np.diff(day) != 0)
    return user[first], item[first], day[first]
