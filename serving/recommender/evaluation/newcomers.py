"""Questions about users and items that were new at a moment: what cold start is judged by. Time decides, no draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from serving.recommender import metrics
from serving.recommender.interface import Bought, Model
from serving.recommender.orders.purchases import DAY_S, Vector, index_of
from serving.recommender.orders.splits import MIN_ROWS

PURCHASE = "purchase"
ASKED_AT_ONCE = 256


@dataclass(frozen=True)
class Question:
    """What does this user want, of the candidates?"""

    user_id: str
    history: tuple[Bought, ...]
    """What they bought before they are asked about, oldest first; empty at their first request."""
    relevant: frozenset[str]
    """What they bought afterwards, of the candidates."""


@dataclass(frozen=True)
class Newcomers:
    """All questions of one kind."""

    candidates: tuple[str, ...]
    """The items that are ranked, in the order of their ids."""
    questions: tuple[Question, ...]
    """In the order of the users' ids."""


def new_items(events: pl.LazyFrame, items: pl.LazyFrame, at_s: int, min_rows: int = MIN_ROWS) -> Newcomers:
    """Known users who later bought an item that came after the moment, and which of the new items they did.

    New is an item that was added at the moment or later; where that is not known, one without any earlier event. A user
    has at least `min_rows` purchases (item and day) before the moment, which are the history.
    """
    before, after = _purchases(events, at_s)
    seen = events.filter((pl.col("timestamp_s") < at_s) & pl.col("item_id").is_not_null()).select("item_id").unique()
    late = items.filter(pl.col("added_s") >= at_s).select("item_id")
    unknown = items.filter(pl.col("added_s").is_null()).select("item_id").join(seen, on="item_id", how="anti")
    candidates = pl.concat([late, unknown]).unique().sort("item_id").collect()["item_id"]
    known = before.group_by("user_id").agg(pl.col("day").len().alias("rows")).filter(pl.col("rows") >= min_rows)
    wanted = after.join(candidates.to_frame().lazy(), on="item_id").join(known, on="user_id", how="semi")
    return _asked(tuple(candidates), before, wanted)


def new_users(events: pl.LazyFrame, items: pl.LazyFrame, at_s: int, shown: int = 0) -> Newcomers:
    """Users whose first event is at the moment or later, and what they bought, of the items known at the moment.

    Their first `shown` purchases are the history, and the question is what they bought after those: 0 asks at the first
    request, with nothing known. Items are known that had an event before the moment.
    """
    early = events.filter(pl.col("timestamp_s") < at_s)
    seen = early.filter(pl.col("item_id").is_not_null()).select("item_id").unique()
    candidates = items.select("item_id").join(seen, on="item_id", how="semi").sort("item_id").collect()["item_id"]
    bought = _purchases(events, at_s)[1].join(early.select("user_id").unique(), on="user_id", how="anti")
    ordered = bought.sort("user_id", "day", "item_id").with_columns(
        pl.int_range(pl.len()).over("user_id").alias("place")
    )
    history, later = ordered.filter(pl.col("place") < shown), ordered.filter(pl.col("place") >= shown)
    fresh = later.join(history, on=["user_id", "item_id"], how="anti")
    return _asked(tuple(candidates), history, fresh.join(candidates.to_frame().lazy(), on="item_id"))


def answered(asked: Newcomers, model: Model[Any], k: int = 10) -> Vector:
    """NDCG@k of the model's list for each question: the candidates alone are ranked, and those it does not know never.

    Users are asked for by their ids, so what they told at sign-up counts where a model knows it.
    """
    place = index_of(model.item_ids)
    known = [column for column, name in enumerate(asked.candidates) if name in place]
    own = [place[asked.candidates[column]] for column in known]
    at = index_of(asked.candidates)
    found = []
    for first in range(0, len(asked.questions), ASKED_AT_ONCE):
        some = asked.questions[first : first + ASKED_AT_ONCE]
        scores, wanted = (np.full((len(some), len(at)), value) for value in (-np.inf, 0.0))
        scores[:, known] = model.score([question.user_id for question in some])[:, own]
        for row, question in enumerate(some):
            wanted[row, [at[name] for name in question.relevant]] = 1.0
        lists = metrics.top(scores, k)
        hit = (np.take_along_axis(wanted, np.maximum(lists, 0), axis=1) > 0) & (lists != metrics.NO_ITEM)
        found.append(metrics.ndcg(hit, wanted.sum(axis=1).astype(np.int64)))
    return np.concatenate([np.empty(0), *found])


def _purchases(events: pl.LazyFrame, at_s: int) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """User, item and UTC day of purchases before the moment, and from it on; once each."""
    bought = events.filter(pl.col("type") == PURCHASE)
    day = (pl.col("timestamp_s") // DAY_S).alias("day")
    earlier, later = (bought.filter(side) for side in (pl.col("timestamp_s") < at_s, pl.col("timestamp_s") >= at_s))
    return earlier.select("user_id", "item_id", day).unique(), later.select("user_id", "item_id", day).unique()


def _asked(candidates: tuple[str, ...], history: pl.LazyFrame, wanted: pl.LazyFrame) -> Newcomers:
    relevant = wanted.group_by("user_id").agg(pl.col("item_id").unique()).sort("user_id").collect()
    past = history.join(relevant.lazy().select("user_id"), on="user_id", how="semi").sort("user_id", "day", "item_id")
    of_user: dict[str, list[Bought]] = {}
    for user, item, day in past.select("user_id", "item_id", "day").collect().iter_rows():
        of_user.setdefault(user, []).append(Bought(item, day))
    questions = (
        Question(user, tuple(of_user.get(user, ())), frozenset(bought)) for user, bought in relevant.iter_rows()
    )
    return Newcomers(candidates, tuple(questions))
