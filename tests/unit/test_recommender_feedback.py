"""Click-through and conversion from feedback, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from serving.recommender.evaluation.feedback import CLICK_THROUGH, CONVERSION, feedback
from serving.recommender.interface import Model

DONE = [
    ("u", "a", "impression", 10, "r1", 0),
    ("u", "b", "impression", 10, "r1", 1),
    ("u", "a", "click", 11, "r1", 0),
    ("u", "a", "purchase", 12, "r1", None),
    ("u", "a", "impression", 20, "r2", 0),
    ("u", "b", "impression", 20, "r2", 1),
    ("u", "b", "click", 21, "r2", 1),
    ("u", "b", "purchase", 29, None, None),
    ("v", "b", "impression", 30, "r3", 1),
    ("v", "c", "impression", 30, "r3", 0),
    ("w", "a", "impression", 5, "r0", 0),
    ("w", "a", "click", 6, "r0", 0),
]
"""Two lists of u: one item clicked on and bought, then another one clicked on. One of v. What w did came before."""


class LikesB:
    """Scores b above a; has never heard of c."""

    item_ids = ("b", "a")

    def score(self, users: Sequence[str]) -> np.ndarray:
        return np.tile([2.0, 1.0], (len(users), 1))


def events(rows: list[Any]) -> pl.LazyFrame:
    names = ("user_id", "item_id", "type", "timestamp_s", "request_id", "position")
    return pl.LazyFrame(rows, schema=names, orient="row")


def test_clicks_are_over_what_was_shown_and_purchases_over_clicks() -> None:
    """Two of u's four and none of v's two; one of u's two clicks ended in a purchase from its list, v has none."""
    found = feedback(events(DONE), 10)
    assert found is not None
    assert found.user_ids == ("u", "v")
    rates = found.rates(np.arange(len(found)))
    assert rates[CLICK_THROUGH].tolist() == [0.5, 0.0]
    assert rates[CONVERSION][0] == 0.5
    assert np.isnan(rates[CONVERSION][1])


def test_a_model_is_judged_by_what_it_would_have_put_first() -> None:
    """b in every list, before c, which it does not know: one click in u's two lists, and no purchase."""
    found = feedback(events(DONE), 10)
    assert found is not None
    model: Model[Any] = LikesB()  # type: ignore[assignment]  # all that is asked of it
    first = found.first_by(model)
    assert [found.item_ids[item] for item in found.item[first]] == ["b", "b", "b"]
    rates = found.rates(first)
    assert rates[CLICK_THROUGH].tolist() == [0.5, 0.0]
    assert rates[CONVERSION][0] == 0.0


def test_equals_are_in_the_order_of_the_list() -> None:
    """A model that knows none of the items puts first what was first."""
    found = feedback(events([*DONE, ("x", "d", "impression", 40, "r4", 1), ("x", "e", "impression", 40, "r4", 0)]), 40)
    assert found is not None
    assert [found.item_ids[item] for item in found.item[found.first_by(LikesB())]] == ["e"]  # type: ignore[arg-type]


def test_a_purchase_without_a_click_is_one_click() -> None:
    """Conversion never exceeds 1: clicks that were not recorded are those of what was bought."""
    found = feedback(events([("u", "a", "impression", 1, "r", 0), ("u", "a", "purchase", 2, "r", None)]), 0)
    assert found is not None
    assert found.rates(np.arange(1)) == {CLICK_THROUGH: pytest.approx([1.0]), CONVERSION: pytest.approx([1.0])}


def test_without_lists_there_is_no_feedback() -> None:
    """None, not a rate of 0: nothing was shown, or it cannot be told in which list."""
    assert feedback(events(DONE), 100) is None
    assert feedback(events([("u", "a", "impression", 1, None, 0)]), 0) is None
