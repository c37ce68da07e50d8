"""When the users of a block come, and what each visit's list shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from serving.recommender.generated.catalogue import Catalogue, Index, Matrix, Vector
from serving.recommender.generated.people import People
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, Shop

HOUR_WEIGHTS = (0, 0, 0, 0, 0, 0, 1, 2, 5, 9, 13, 15, 16, 14, 12, 11, 9, 8, 9, 11, 10, 7, 4, 1)
WEEKDAY_WEIGHTS = (10, 10, 10, 11, 12, 15, 13)
YEAR_DAYS = 365.25
CHRISTMAS_DAY_OF_YEAR = 350
CHRISTMAS_RUSH = 0.3
"""Visits before Christmas over the year's mean, less one; as many less in summer."""
SEASON_SWING = 0.6
"""Logit gained by a category in its season, and lost half a year from it."""
SEARCH_SHARE = 0.25
SEARCH_PLACES = 5
"""What was searched for is among the first so many of its list."""
SOURCES = (0.4, 0.4, 0.1, 0.1)
"""Shares of the places of a home page: popular, of a category that the user likes, new, any."""
POPULAR, LIKED, FRESH, ANY = range(4)
FRESH_DAYS = 30
NOTHING = -1


@dataclass(frozen=True, eq=False)
class Visits:
    """One row a visit."""

    user: Index
    """Within the block."""
    day: Index
    start_s: Index
    """Seconds since the epoch."""
    category: Index
    """What the user has in mind."""
    target: Index
    """The item that is searched for; `NOTHING` if none is."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One row an item that was shown; rows of a visit stand together, by position."""

    visit: Index
    item: Index
    position: Index
    """From 0."""


@dataclass(frozen=True, eq=False)
class _Shelf:
    """Items in the order of a key, drawn by appeal from any stretch of it."""

    item: Index
    key: Index
    appeal: Vector
    """Running sum, from 0."""

    @classmethod
    def of(cls, items: Catalogue, key: Index) -> Self:
        order = np.argsort(key, kind="stable")
        return cls(order, key[order], np.concatenate([[0.0], np.cumsum(items.appeal[order])]))

    def places(self, key: Index) -> Index:
        """How many items have at most this key."""
        return np.searchsorted(self.key, key, side="right")

    def draw(self, low: Index, high: Index, chance: Vector) -> Index:
        """An item from each stretch of places, `low` up to before `high`, which is not empty."""
        mass = self.appeal[low] + chance * (self.appeal[high] - self.appeal[low])
        return self.item[np.clip(np.searchsorted(self.appeal, mass, side="right") - 1, low, high - 1)]


def visits(shop: Shop, items: Catalogue, users: People, rng: Generator) -> Visits:
    """The visits of a block of users, sorted by user."""
    expected = shop.visits_per_user * users.activity * (shop.days - users.day) / shop.days
    count = np.maximum(1, rng.poisson(expected)).clip(max=1_000)
    user = np.repeat(np.arange(len(users)), count)
    weights = np.concatenate([[0.0], np.cumsum(_day_weights(shop.days))])
    since = weights[users.day[user]]
    day = np.searchsorted(weights, since + rng.random(len(user)) * (weights[-1] - since), side="right") - 1
    day = day.clip(max=shop.days - 1)
    hours = np.array(HOUR_WEIGHTS, dtype=np.float64)
    hour = rng.choice(24, size=len(user), p=hours / hours.sum())
    liking = users.category[user] + season(shop, items.categories, day)
    chance = np.exp(liking - liking.max(axis=1, keepdims=True)).cumsum(axis=1)
    category = (rng.random(len(user))[:, None] * chance[:, -1:] > chance).sum(axis=1)
    searching = rng.random(len(user)) < SEARCH_SHARE
    target = _Browser(shop, items).liked(category, day, rng.random(len(user)))
    return Visits(
        user=user,
        day=day,
        start_s=FIRST_DAY_S + day * DAY_S + hour * 3_600 + rng.integers(2_700, size=len(user)),
        category=category,
        target=np.where(searching, target, NOTHING),
    )


def season(shop: Shop, categories: int, day: Index) -> Matrix:
    """Logit of each category on each of the days: [days, categories]."""
    peak = shop.rng("season").random(categories)
    return SEASON_SWING * np.asarray(np.cos(2 * np.pi * (day[:, None] / YEAR_DAYS - peak)))


def lists(shop: Shop, items: Catalogue, made: Visits, rng: Generator) -> Shown:
    """What each visit's list shows, every item once."""
    length, count = shop.list_length, len(made.user)
    visit = np.repeat(np.arange(count), length)
    day, category = made.day[visit], made.category[visit]
    source = rng.choice(len(SOURCES), size=len(visit), p=SOURCES)
    searched = made.target != NOTHING
    source[searched[visit]] = LIKED
    item = _Browser(shop, items).draw(source, category, day, rng)
    place = np.arange(count) * length + rng.integers(min(SEARCH_PLACES, length), size=count)
    item[place[searched]] = made.target[searched]

    # Twice in a list: the first stays, but for a target, which keeps its place.
    rank = np.ones(len(item), dtype=np.int64)
    rank[place[searched]] = 0
    order = np.lexsort((np.arange(len(item)), rank, item, visit))
    first = np.ones(len(item), dtype=bool)
    first[1:] = (np.diff(visit[order]) != 0) | (np.diff(item[order]) != 0)
    kept = np.sort(order[first])
    visit = visit[kept]
    return Shown(visit=visit, item=item[kept], position=np.arange(len(kept)) - np.searchsorted(visit, visit))


class _Browser:
    """Draws items that have arrived by a day."""

    def __init__(self, shop: Shop, items: Catalogue) -> None:
        self._stride = shop.days + 1
        self._all = _Shelf.of(items, items.day)
        self._by_category = _Shelf.of(items, items.category * self._stride + items.day)

    def draw(self, source: Index, category: Index, day: Index, rng: Generator) -> Index:
        """An item from each source."""
        chance = rng.random(len(day))
        here = self._all.places(day)
        none = np.zeros_like(here)
        item = self._all.draw(none, here, chance)
        self._put(item, source == LIKED, self.liked(category, day, chance))
        since = self._all.places(np.maximum(day - FRESH_DAYS, 0))
        fresh = (source == FRESH) & (since < here)
        item[fresh] = self._all.draw(since[fresh], here[fresh], chance[fresh])
        self._put(item, source == ANY, self._all.item[(chance * here).astype(np.int64)])
        return item

    def liked(self, category: Index, day: Index, chance: Vector) -> Index:
        """An item of the category; of any, while none of it is there."""
        low = self._by_category.places(category * self._stride - 1)
        high = self._by_category.places(category * self._stride + day)
        some = low < high
        here = self._all.places(day)
        item = self._all.draw(np.zeros_like(here), here, chance)
        item[some] = self._by_category.draw(low[some], high[some], chance[some])
        return item

    @staticmethod
    def _put(item: Index, where: NDArray[np.bool_], other: Index) -> None:
        item[where] = other[where]


def _day_weights(days: int) -> Vector:
    day = np.arange(days)
    rush = 1 + CHRISTMAS_RUSH * np.cos(2 * np.pi * (day - CHRISTMAS_DAY_OF_YEAR) / YEAR_DAYS)
    return np.asarray(np.resize(np.array(WEEKDAY_WEIGHTS, dtype=np.float64), days) * rush)
