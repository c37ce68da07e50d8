"""What clean data tells of items and users, as the models and the search want it. Nothing later than a moment enters.

What an item is (its words, price and picture) is no event: also an item that came later is told of, so that a model
knows it from its first day. Only what is learned or counted keeps to what was there.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.errors import InvalidInput
from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.content import Attributes
from serving.recommender.ingest.dataset import PURCHASE, Dataset
from serving.recommender.multimodal.taste import People, Shown
from serving.recommender.orders.purchases import DAY_S, Purchases, index_of
from serving.recommender.search.catalogue import Item
from serving.recommender.search.text import words

CLICK, IMPRESSION, SEARCH = "click", "impression", "search"
Attribute = Literal["category", "brand", "price", "title"]
ATTRIBUTES: tuple[Attribute, ...] = ("category", "brand", "price", "title")


def attributes(items: pl.DataFrame, by: tuple[Attribute, ...] = ATTRIBUTES) -> Attributes:
    """Each item's attributes, as `brand=retro`; prices by doublings, titles by words. What is not known is none."""
    return {
        row["item_id"]: [f"{name}={value}" for name in by for value in _values(name, row[name])]
        for row in items.iter_rows(named=True)
    }


def _values(name: Attribute, value: Any) -> list[Any]:
    if value is None:
        return []
    if name == "price":
        return [math.floor(math.log2(value))]
    return words(value) if name == "title" else [value]


def people(labels: dict[str, dict[str, str]]) -> People:
    """What each user told, as `country=France`."""
    found: dict[str, list[str]] = {}
    for label, values in labels.items():
        for user, value in values.items():
            found.setdefault(user, []).append(f"{label}={value}")
    return found


def impressions(data: Dataset, before_day: int) -> Impressions:
    """What was shown before a UTC day, and what was clicked on.

    Raises:
        InvalidInput: nothing was shown, or nothing of it clicked on, or the data is damaged.
    """
    wanted = pl.col("type").is_in((IMPRESSION, CLICK, SEARCH)) & (pl.col("timestamp_s") < before_day * DAY_S)
    events = data.collected(data.events().filter(wanted))
    if not (events["type"] == IMPRESSION).any():
        raise InvalidInput(
            "nothing to learn from",
            where="events",
            why="there is no impression among them: this model learns from lists that were shown",
            next_step="ingest events of type impression, or choose a model that learns from purchases, as content",
        )
    seen = Impressions.of(events)
    if not seen.clicked.any():
        raise InvalidInput(
            "nothing to learn from",
            where="events",
            why="no impression was clicked on: a click is that of an impression by its request_id and item_id",
            next_step="declare the column request_id, or choose a model that learns from purchases, as content",
        )
    return seen


def shown(seen: Impressions, item_ids: tuple[str, ...]) -> Shown:
    """The impressions by user, then time, with places in `item_ids`, which has all of them."""
    names, user = np.unique(seen.user, return_inverse=True)
    different, row = np.unique(seen.item, return_inverse=True)
    place = index_of(item_ids)
    item = np.array([place[name] for name in different.tolist()], dtype=np.int64)[row]
    by_user = np.argsort(user, kind="stable")  # they are in the order of time
    return Shown(user[by_user], item[by_user], seen.clicked[by_user], tuple(names.tolist()))


def likes(data: Dataset, before_day: int) -> Purchases:
    """What users clicked on or bought before a UTC day, once per user, item and day."""
    return data.purchases((PURCHASE, CLICK)).from_day(0, before_day)


def there(data: Dataset, items: pl.DataFrame, before_day: int) -> NDArray[np.bool_]:
    """Which items were there before a UTC day: added before it or, where that is not known, in an event before it."""
    early = data.events().filter((pl.col("timestamp_s") < before_day * DAY_S) & pl.col("item_id").is_not_null())
    seen = data.collected(early.select("item_id").unique())["item_id"]
    added = items["added_s"] < before_day * DAY_S
    return (added | (added.is_null() & items["item_id"].is_in(seen.implode()))).fill_null(value=False).to_numpy()


def listed(items: pl.DataFrame) -> Items:
    """Items as the click-through ranker reads them; a price that is not known is the usual one of the category."""
    usual = pl.col("price").log().mean()
    price = pl.coalesce("price", usual.over("category").exp(), usual.exp(), pl.lit(1.0))
    return Items.of(items.with_columns(price.alias("price")))


def searchable(items: pl.DataFrame) -> list[Item]:
    """Items to be found by their titles.

    Raises:
        InvalidInput: none has a title.
    """
    titled = items.filter(pl.col("title").is_not_null())
    if not len(titled):
        raise InvalidInput(
            "nothing to search in", where="items", why="none has a title", next_step="declare the column title"
        )
    columns = titled.select("item_id", "title", "category", "brand", "price")
    return [Item(*row) for row in columns.iter_rows()]
