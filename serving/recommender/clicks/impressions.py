"""What was shown to whom, where and when, and whether it was clicked on; with what is known of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl

DAY_S = 86_400
YEAR_DAYS = 365.25
EVENTS = ("user_id", "item_id", "type", "timestamp_s", "request_id", "position")
ITEMS = ("item_id", "category", "brand", "title", "price")

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Impressions:
    """One row an impression, in the order of time."""

    user: NDArray[np.str_]
    item: NDArray[np.str_]
    position: Index
    """In its list, from 0."""
    timestamp_s: Index
    searched: NDArray[np.bool_]
    """Whether the list answers a search."""
    clicked: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def of(cls, events: pl.DataFrame) -> Self:
        """The impressions among `events`, each with its click, if one is of the same list and item.

        Raises:
            InvalidInput: a column is missing, or there is no impression.
        """
        import polars as pl

        _need(events, EVENTS, "events")
        key = ["request_id", "item_id"]
        clicks = events.filter(pl.col("type") == "click").select(key).unique().with_columns(clicked=pl.lit(value=True))
        searches = events.filter(pl.col("type") == "search").select("request_id").unique()
        shown = (
            events.filter(pl.col("type") == "impression")
            .join(clicks, on=key, how="left")
            .join(searches.with_columns(searched=pl.lit(value=True)), on="request_id", how="left")
            .sort("timestamp_s", "request_id", "position")
        )
        if not len(shown):
            raise InvalidInput("nothing to learn from", where="events", why="there is no impression among them")
        return cls(
            user=shown["user_id"].cast(pl.String).to_numpy().astype(np.str_),
            item=shown["item_id"].cast(pl.String).to_numpy().astype(np.str_),
            position=shown["position"].fill_null(0).to_numpy().astype(np.int64),
            timestamp_s=shown["timestamp_s"].to_numpy().astype(np.int64),
            searched=shown["searched"].fill_null(value=False).to_numpy(),
            clicked=shown["clicked"].fill_null(value=False).to_numpy(),
        )

    @classmethod
    def first_of_lists(
        cls, user: NDArray[np.str_], item: NDArray[np.str_], timestamp_s: Index | int, *, clicked: bool = False
    ) -> Self:
        """Each item as the first of a list that answers no search."""
        rows = len(item)
        return cls(
            user=user,
            item=item,
            position=np.zeros(rows, dtype=np.int64),
            timestamp_s=np.broadcast_to(np.asarray(timestamp_s, dtype=np.int64), rows),
            searched=np.zeros(rows, dtype=bool),
            clicked=np.full(rows, clicked),
        )

    def where(self, rows: NDArray[np.bool_] | Index) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def season(self) -> NDArray[np.float32]:
        """[rows, 2]: the day of the year on a circle."""
        turn = 2 * np.pi * (self.timestamp_s / DAY_S / YEAR_DAYS)
        return np.column_stack([np.cos(turn), np.sin(turn)]).astype(np.float32)


@dataclass(frozen=True)
class Items:
    """What a shop lists of its items."""

    item_ids: tuple[str, ...]
    categories: tuple[str, ...]
    brands: tuple[str, ...]
    titles: tuple[str, ...]
    prices: tuple[float, ...]

    @classmethod
    def of(cls, items: pl.DataFrame) -> Self:
        """From a frame.

        Raises:
            InvalidInput: a column is missing, an id is there twice, or a price is no positive number.
        """
        _need(items, ITEMS, "items")
        ids, prices = items["item_id"].to_list(), items["price"].to_list()
        if len(set(ids)) != len(ids):
            raise InvalidInput("an item is listed twice", where="items, column item_id")
        if bad := [price for price in prices if price is None or not 0 < price < float("inf")]:
            raise InvalidInput(f"{bad[0]!r} is not a price above 0", where="items, column price")
        category, brand, title = (tuple(items[name].fill_null("").to_list()) for name in ("category", "brand", "title"))
        return cls(tuple(ids), category, brand, title, tuple(map(float, prices)))


def _need(frame: pl.DataFrame, columns: Sequence[str], name: str) -> None:
    if missing := [column for column in columns if column not in frame.columns]:
        raise InvalidInput(f"{name} need the column {missing[0]}", where=name, why=f"they have {frame.columns}")
