"""Which purchases a model is fitted on, and which ones it is judged by. Time decides, never a draw."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Purchases

MIN_ROWS = 5
"""Users with fewer purchases in the fit are not judged by: what to offer them is a question of its own."""


@dataclass(frozen=True, eq=False)
class Split:
    """What is known when lists are made, and what was bought afterwards."""

    past: Purchases
    later: Purchases


@dataclass(frozen=True, eq=False)
class Splits:
    """The three stages of an evaluation. Nothing later than `tune` may decide a setting."""

    tune: Split
    """Fitted before the tuning period, judged by it."""
    test: Split
    """The same fit, judged by the test period."""
    test_refitted: Split
    """The tuning period added to the fit."""


@dataclass(frozen=True, eq=False)
class Track:
    """A question to a model: for each of `users`, which of the candidate items come next."""

    name: str
    past: Purchases
    users: Index
    relevant: Any
    """Sparse [users, items]: what they bought later, of the candidates."""
    excluded: Any | None
    """Sparse [users, items]: left out of their lists; None leaves nothing out."""

    @cached_property
    def candidates(self) -> NDArray[np.bool_]:
        """The items that are ranked: those that somebody bought in the past."""
        return np.asarray(np.bincount(self.past.item, minlength=len(self.past.item_ids)) > 0)

    @property
    def relevant_counts(self) -> Index:
        """How many items are relevant to each user, at least 1."""
        return np.asarray(np.diff(self.relevant.indptr), dtype=np.int64)


def splits_by_date(purchases: Purchases, *, tune_from: date, test_from: date) -> Splits:
    """Split at two days: the fit, then the tuning period, then the test period until the end.

    Raises:
        InvalidInput: a period has no purchase.
    """
    past, tuning, test = (
        purchases.between(None, tune_from),
        purchases.between(tune_from, test_from),
        purchases.between(test_from),
    )
    for name, span in (("before tune_from", past), ("from tune_from to test_from", tuning), ("from test_from", test)):
        if not len(span):
            raise InvalidInput(
                "cannot split the purchases", where=name, why="none there", next_step="choose other days"
            )
    return Splits(Split(past, tuning), Split(past, test), Split(purchases.between(None, test_from), test))


def tracks(split: Split, min_rows: int = MIN_ROWS) -> tuple[Track, Track]:
    """Track a: all that was bought later. Track b: only what the user had not bought before.

    Judged by are users with at least `min_rows` purchases in the past and a relevant item; relevant are items that
    somebody bought in the past.

    Raises:
        InvalidInput: there is no such user.
    """
    past, later = split.past.histories(), split.later
    sold = np.bincount(past.item, minlength=past.items) > 0
    kept = sold[later.item]
    bought = past.bought()
    wanted = type(bought)((np.ones(int(kept.sum())), (later.user[kept], later.item[kept])), shape=past.shape)
    wanted.data[:] = 1.0  # bought on several days, but relevant once
    fresh = (wanted - wanted.multiply(bought)).tocsr()
    fresh.eliminate_zeros()
    enough = np.bincount(past.row, minlength=past.shape[0]) >= min_rows

    def track(name: str, relevant: Any, excluded: Any | None) -> Track:
        users = np.flatnonzero(enough & (np.diff(relevant.indptr) > 0))
        if not len(users):
            why = f"no user with {min_rows} purchases in the past bought a known item later"
            raise InvalidInput("cannot evaluate", where=f"track {name}", why=why, next_step="give it a longer span")
        return Track(name, split.past, users, relevant[users], None if excluded is None else excluded[users])

    return track("a", wanted, None), track("b", fresh, bought)
