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
    count = asked.dense(np.ones(len(asked.row)))
    bought = count > 0
    chosen = bought.copy()
    positive = [[np.sort(line[line > 0]) for line in table] for table in scores]
    for table, lines in zip(scores, positive, strict=True):
        least = np.array([line[-each] if len(line) > each else 0.0 for line in lines])
        chosen |= (table >= least[:, None]) & (table > 0)
    row, item = chosen.nonzero()
    spans = list(pairwise(np.searchsorted(row, np.arange(len(chosen) + 1)).tolist()))
    columns = [
        column
        for table, lines in zip(scores, positive, strict=True)
        for column in _of_part(table[row, item], lines, spans)
    ]
    columns += _of_pair(asked, count, row, item, catalogue.as_of_day)
    columns += _of_user(asked, row, catalogue.as_of_day)
    known = np.empty((len(row), len(columns) + catalogue.numbers.shape[1]), dtype=np.float32)
    for place, column in enumerate(columns):
        known[:, place] = column
    known[:, len(columns) :] = catalogue.numbers[item]
    return Candidates(row, item, bought[row, item], known)


def _of_part(score: Vector, positive: Sequence[Vector], spans: Sequence[tuple[int, int]]) -> list[Vector]:
    """Score, its log, and the log of how many items of the row score higher, by the sorted scores above 0 of each."""
    above = np.empty(len(score))
    for line, (first, last) in zip(positive, spans, strict=True):
        above[first:last] = len(line) - np.searchsorted(line, score[first:last], side="right")
    return [score, np.log(score + 1e-3), np.log1p(above)]


def _of_pair(asked: Histories, count: Matrix, row: Index, item: Index, as_of_day: int) -> list[Vector]:
    """How often the user bought the item, how long ago, and whether their usual interval is over."""
    last, first = np.zeros(asked.shape), np.full(asked.shape, float(as_of_day))
    cells = asked.cells
    last[cells.row, cells.item], first[cells.row, cells.item] = asked.day[cells.last], asked.day[cells.first]
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
    lines, different = (np.bincount(of, minlength=rows) for of in (asked.row, asked.cells.row))
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
