"""What came of the lists that were shown: click-through, conversion, and both of what a model would have put first.

A click or purchase is that of an impression by its `request_id` and `item_id`. What is high in a list is clicked on for
its place too, so a model that orders as the shop did has an advantage: the figures compare models that share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.recommender.interface import Model
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Vector, index_of

ASKED_AT_ONCE = 256
AS_SHOWN, FIRST = "as shown", "the model's first"
CLICK_THROUGH, CONVERSION = "click-through", "conversion"
KEY = ("request_id", "item_id")


@dataclass(frozen=True, eq=False)
class Feedback:
    """One row an impression, sorted by user, list and place."""

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user: Index
    item: Index
    of_list: Index
    """Numbers lists from 0, in the order of the rows."""
    clicked: NDArray[np.bool_]
    bought: NDArray[np.bool_]
    """From this list."""

    def __len__(self) -> int:
        return len(self.user)

    def rates(self, rows: Index) -> dict[str, Vector]:
        """By user, over some of the rows: clicks per item shown, and purchases per click; NaN without either.

        What was bought without a click counts as clicked on.
        """
        clicked, bought = self.clicked[rows] | self.bought[rows], self.bought[rows]
        shown, clicks, purchases = (
            np.bincount(self.user[rows][of], minlength=len(self.user_ids)).astype(np.float64)
            for of in (np.ones(len(rows), dtype=bool), clicked, bought)
        )
        return {CLICK_THROUGH: _over(clicks, shown), CONVERSION: _over(purchases, clicks)}

    def first_by(self, model: Model[Any]) -> Index:
        """The row of each list that the model scores highest, equals by place; what it does not know comes last."""
        place = index_of(model.item_ids)
        column = np.array([place.get(name, -1) for name in self.item_ids], dtype=np.int64)[self.item]
        score = np.full(len(self), -np.inf)
        for first in range(0, len(self.user_ids), ASKED_AT_ONCE):
            asked = self.user_ids[first : first + ASKED_AT_ONCE]
            rows = np.arange(*np.searchsorted(self.user, (first, first + len(asked))))
            rows = rows[column[rows] >= 0]
            score[rows] = model.score(asked)[self.user[rows] - first, column[rows]]
        best = np.lexsort((-score, self.of_list))
        return np.asarray(best[np.searchsorted(self.of_list, np.arange(self.of_list[-1] + 1))])


def feedback(events: pl.LazyFrame, at_s: int) -> Feedback | None:
    """The lists that were shown from a moment on; None if there are none."""
    later = events.filter((pl.col("timestamp_s") >= at_s) & pl.col("request_id").is_not_null())
    done = {
        name: later.filter(pl.col("type") == kind).select(KEY).unique().with_columns(pl.lit(value=True).alias(name))
        for kind, name in (("click", "clicked"), ("purchase", "bought"))
    }
    shown = later.filter(pl.col("type") == "impression")
    for came in done.values():
        shown = shown.join(came, on=KEY, how="left")
    found = shown.sort("user_id", "request_id", "position").collect()
    if not len(found):
        return None
    users, user = np.unique(found["user_id"].to_numpy().astype(np.str_), return_inverse=True)
    items, item = np.unique(found["item_id"].to_numpy().astype(np.str_), return_inverse=True)
    same = found.select((pl.struct("user_id", "request_id") != pl.struct("user_id", "request_id").shift()).cum_sum())
    return Feedback(
        user_ids=tuple(users.tolist()),
        item_ids=tuple(items.tolist()),
        user=user,
        item=item,
        of_list=same.to_series().fill_null(0).to_numpy().astype(np.int64),
        clicked=found["clicked"].fill_null(value=False).to_numpy(),
        bought=found["bought"].fill_null(value=False).to_numpy(),
    )


def _over(part: Vector, whole: Vector) -> Vector:
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1.0), np.nan))
