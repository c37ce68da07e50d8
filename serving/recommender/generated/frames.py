"""A generated shop as polars frames, with the columns of the data guide; and what only its maker knows."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.random import Generator

from serving.recommender.generated import words
from serving.recommender.generated.catalogue import Catalogue, Index
from serving.recommender.generated.events import KINDS, SEARCH, World
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, item_id, user_id
from serving.recommender.generated.visits import NOTHING

TYPO_SHARE, DROP_SHARE = 0.15, 0.5
"""Of the searches with a typo; of those with two words instead of three."""
REQUESTS_PER_BLOCK = EVENTS_PER_BLOCK = 2**32
"""Numbers are unique in the shop without knowing the other blocks."""


def item_frame(world: World, images: str | None = None, *, first: int = 0, count: int | None = None) -> pl.DataFrame:
    """The items as the shop lists them; `image` is their file in the folder `images`, or null."""
    items, end = world.items, world.shop.items if count is None else min(first + count, world.shop.items)
    rows = range(first, end)
    return pl.DataFrame(
        {
            "item_id": [item_id(item) for item in rows],
            "title": [items.title(item) for item in rows],
            "description": [items.description(item) for item in rows],
            "category": [items.category_name(item) for item in rows],
            "brand": [words.BRANDS[items.brand[item]] for item in rows],
            "price": items.price[first:end],
            "image": [None if images is None else f"{images}/{image_file(item)}" for item in rows],
            "added_s": FIRST_DAY_S + DAY_S * items.day[first:end],
        },
        schema_overrides={"image": pl.String},
    )


def user_frame(world: World, block: int) -> pl.DataFrame:
    """The users of a block, with what a sign-up form tells."""
    users = world.people(block)
    return pl.DataFrame(
        {
            "user_id": [user_id(users.first + place) for place in range(len(users))],
            "region": [words.REGIONS[region] for region in users.region],
            "age_band": [words.AGE_BANDS[band] for band in users.age_band],
            "joined_s": FIRST_DAY_S + DAY_S * users.day,
        }
    )


def event_frames(world: World, block: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of a block's users, sorted by time; and the truth: the chances of each impression.

    `request_id` is the list that an event belongs to, so that a click is found beside its impression by it and item.
    """
    events = world.events(block)
    rng = world.shop.rng("queries", block)
    numbers = block * EVENTS_PER_BLOCK + np.arange(len(events))
    asked = np.flatnonzero(events.kind == SEARCH)
    queries = np.full(len(events), None, dtype=object)
    queries[asked] = [query(world.items, int(target), rng) for target in events.target[asked]]
    spent = np.where(np.isnan(events.quantity), np.nan, world.items.price[events.item])
    frame = pl.DataFrame(
        {
            "event_id": numbers,
            "user_id": _named("U", events.user),
            "item_id": _named("I", events.item),
            "type": pl.Series(events.kind).replace_strict(dict(enumerate(KINDS)), return_dtype=pl.String),
            "timestamp_s": events.timestamp_s,
            "request_id": _or_null(events.request).cast(pl.Int64) + block * REQUESTS_PER_BLOCK,
            "position": _or_null(events.position),
            "query": pl.Series(queries.tolist(), dtype=pl.String),
            "quantity": pl.Series(events.quantity).fill_nan(None),
            "unit_price": pl.Series(spent).fill_nan(None),
            "rating": pl.Series(events.rating).fill_nan(None),
        }
    )
    chances = {"event_id": numbers, "p_click": events.p_click, "p_purchase": events.p_purchase}
    return frame, pl.DataFrame(chances).filter(pl.col("p_click").is_not_nan())


def item_truth(world: World) -> pl.DataFrame:
    """What no shop can see of its items."""
    items = world.items
    look = {f"latent_{dim}": items.latent[:, dim] for dim in range(items.latent.shape[1])}
    names = [item_id(item) for item in range(len(items))]
    return pl.DataFrame({"item_id": names, "quality": items.quality, "appeal": items.appeal} | look)


def user_truth(world: World, block: int) -> pl.DataFrame:
    """What no shop can see of its users."""
    users = world.people(block)
    taste = {f"taste_{dim}": users.taste[:, dim] for dim in range(users.taste.shape[1])}
    names = [user_id(users.first + place) for place in range(len(users))]
    return pl.DataFrame({"user_id": names, "group": users.group, "thrift": users.thrift} | taste)


def image_file(item: int) -> str:
    """Where its picture is, a thousand in a folder."""
    return f"{item // 1_000:04d}/{item_id(item)}.png"


def query(items: Catalogue, item: int, rng: Generator) -> str:
    """What somebody types who looks for the item: two or three words of its title, some with a typo."""
    title = items.title(item).lower().replace(" with ", " ").split()
    count = min(2 if rng.random() < DROP_SHARE else 3, len(title))
    typed = [title[place] for place in sorted(rng.choice(len(title), size=count, replace=False))]
    if rng.random() < TYPO_SHARE:
        longest = max(range(count), key=lambda place: len(typed[place]))
        word, at = typed[longest], int(rng.integers(len(typed[longest]) - 1))
        typed[longest] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(typed)


def _named(letter: str, index: Index) -> pl.Series:
    names = pl.Series("index", index).cast(pl.String).str.zfill(5)
    named = pl.select(letter + names).to_series()
    return named.set(pl.Series(index == NOTHING), None)


def _or_null(column: Index) -> pl.Series:
    return pl.Series(column).set(pl.Series(column == NOTHING), None)
