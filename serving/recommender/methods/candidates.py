"""What is known of a user and an item that may be offered: the numbers by which a ranker orders candidates. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from serving.recommender.method import Scorer, scaled
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Histories, Matrix, Purchases, Vector

SALES_DAYS = (7, 14, 30, 60, 120)
NEVER_DAYS = 400.0
"""Stands for the days since a purchase that never was."""
OF_PART = 3
"""Numbers per method: its score, the log of it, the log of the place it gives."""
OTHERS = 11 + len(SALES_DAYS) + 5
"""Numbers per candidate beside those of the methods."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of a row of the histories that were asked for and an item, sorted by row."""

    row: Index
    item: Index
    bought: NDArray[np.bool_]
    """Whether the user bought it before."""
    known: NDArray[np.float32]
    """[candidates, numbers]."""


class Catalogue:
    """What is known of items alone, as seen after `past`."""

    def __init__(self, past: Purchases) -> None:
        items, self.as_of_day = len(past.item_ids), past.as_of_day
        first, last = np.full(items, self.as_of_day), np.zeros(items, dtype=np.int64)
        np.minimum.at(first, past.item, past.day)
        np.maximum.at(last, past.item, past.day)
        sold = np.bincount(past.item, minlength=items)
        buyers = np.asarray(past.histories().bought().sum(axis=0)).ravel()
        windows = [
            np.log1p(np.bincount(past.from_day(self.as_of_day - days, self.as_of_day).item, minlength=items))
            for days in SALES_DAYS
        ]
        self.numbers = np.column_stack(
            [
                *windows,
                np.log1p(sold),
                windows[1] - windows[3],
                np.log1p(self.as_of_day - first),
                np.log1p(np.minimum(self.as_of_day - last, NEVER_DAYS)),
                (sold - buyers) / np.maximum(sold, 1),
            ]
        )


def candidates(asked: Histories, scorers: Sequence[Scorer], catalogue: Catalogue, each: int) -> Candidates:
    """The `each` best items of every scorer with a score above 0, and all that the user bought; with their numbers."""
    scores = [np.maximum(scaled(scorer(asked)), 0.0) for scorer in scorers]
    count, bought = asked.table(np.ones(len(asked.row))).toarray(), asked.bought().toarray() > 0
    chosen = bought.copy()
    ordered = [np.sort(table, axis=1) for table in scores]
    for table, ascending in zip(scores, ordered, strict=True):
        chosen |= (table >= ascending[:, -min(each, asked.items), None]) & (table > 0)
    row, item = chosen.nonzero()
    columns = [
        column
        for table, ascending in zip(scores, ordered, strict=True)
        for column in _of_part(table, ascending, row, item)
    ]
    columns += _of_pair(asked, count, row, item, catalogue.as_of_day)
    columns += _of_user(asked, row, catalogue.as_of_day)
    known = np.column_stack([*columns, catalogue.numbers[item]]).astype(np.float32)
    return Candidates(row, item, bought[row, item], known)


def _of_part(scores: Matrix, ordered: Matrix, row: Index, item: Index) -> list[Vector]:
    """Score, its log, and the log of how many items of the row score higher."""
    score = scores[row, item]
    bounds = np.searchsorted(row, np.arange(len(scores) + 1))
    above = np.concatenate(
        [
            np.empty(0),
            *(
                scores.shape[1] - np.searchsorted(ordered[place], score[first:last], side="right")
                for place, (first, last) in enumerate(pairwise(bounds))
            ),
        ]
    )
    return [score, np.log(score + 1e-3), np.log1p(above)]


def _of_pair(asked: Histories, count: Matrix, row: Index, item: Index, as_of_day: int) -> list[Vector]:
    """How often the user bought the item, how long ago, and whether their usual interval is over."""
    last, first = np.zeros(asked.shape), np.full(asked.shape, float(as_of_day))
    np.maximum.at(last, (asked.row, asked.item), asked.day)
    np.minimum.at(first, (asked.row, asked.item), asked.day)
    _, baskets = asked.baskets()
    of_row = np.zeros(asked.shape[0])
    of_row[asked.row] = baskets
    times = count[row, item]
    since = np.where(times > 0, as_of_day - last[row, item], NEVER_DAYS)
    interval = np.maximum(last[row, item] - first[row, item], 0) / np.maximum(times - 1, 1)
    due = np.where(times > 1, np.log((since + 1) / (interval + 1)), 0.0)
    return [
        np.log1p(times),
        (times > 0).astype(np.float64),
        np.log1p(since),
        due,
        ((since > 30) & (times > 0)).astype(np.float64),
        times / np.maximum(of_row[row], 1),
    ]


def _of_user(asked: Histories, row: Index, as_of_day: int) -> list[Vector]:
    """Baskets, purchases, days since the last one, purchases per basket, and how much the user repeats."""
    rows = asked.shape[0]
    lines, different = np.bincount(asked.row, minlength=rows), np.diff(asked.bought().indptr)
    baskets, last = np.zeros(rows), np.zeros(rows)
    baskets[asked.row] = asked.baskets()[1]
    np.maximum.at(last, asked.row, asked.day)
    return [
        column[row]
        for column in (
            np.log1p(baskets),
            np.log1p(lines),
            np.log1p(as_of_day - last),
            np.log1p(lines / np.maximum(baskets, 1)),
            1 - different / np.maximum(lines, 1),
        )
    ]
