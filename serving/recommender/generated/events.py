"""What happens in a generated shop, block of users by block, and with which chance."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from serving.recommender.generated.catalogue import Catalogue, Index, Vector, catalogue
from serving.recommender.generated.people import Groups, People, groups, people
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, Shop
from serving.recommender.generated.visits import NOTHING, Shown, Visits, lists, season, visits

KINDS = ("impression", "search", "click", "view", "cart", "purchase", "rating")
IMPRESSION, SEARCH, CLICK, VIEW, CART, PURCHASE, RATING = range(len(KINDS))
"""In the order in which they happen within a second."""

POSITION_WEIGHT = 0.35
"""Logit lost per log of the place in the list."""
SEARCH_INTENT = 0.5
"""Logit gained by all items of a list that was searched for."""
CART_BIAS, CART_WEIGHT = -0.4, 0.5
PURCHASE_WEIGHT = 0.4
VIEW_SHARE = 0.95
"""Of the clicks whose page is really seen."""
CHECKOUT_S = 900
"""What is bought in a visit is one order, so long after the visit's start."""
REPEAT_SHARE = 0.7
"""Chance that what is used up is bought once more, in the next visit."""
MAX_REPEATS = 24
CENTURIES_S = 2**33
"""More seconds than any time stamp has: user times this plus time sorts by user, then time."""
REPEAT_SHAPE = 9.0
"""Of the gamma distribution of the time between: a third of its mean as standard deviation."""
RATED_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a block of users, sorted by time; a column entry that does not apply is `NOTHING` or NaN."""

    kind: Index
    """Into `KINDS`."""
    user: Index
    """In the shop."""
    item: Index
    timestamp_s: Index
    request: Index
    """The list it belongs to, numbered through the block."""
    position: Index
    quantity: Vector
    rating: Vector
    target: Index
    """What a search is for."""
    p_click: Vector
    """The truth beside an impression: its chance to be clicked on,"""
    p_purchase: Vector
    """and to be bought in this visit."""

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def of(cls, kind: int, count: int, **columns: Index | Vector) -> Self:
        """Events of one kind."""
        empty = {"quantity": np.nan, "rating": np.nan, "p_click": np.nan, "p_purchase": np.nan}
        filled = {
            field.name: columns.get(field.name, np.full(count, empty.get(field.name, NOTHING))) for field in fields(cls)
        }
        return cls(**(filled | {"kind": np.full(count, kind)}))

    @classmethod
    def sorted(cls, parts: list[Self]) -> Self:
        """All parts in the order of time."""
        columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        order = np.lexsort((columns["position"], columns["kind"], columns["user"], columns["timestamp_s"]))
        return cls(**{name: column[order] for name, column in columns.items()})


class World:
    """A generated shop: its items, its kinds of taste, and its events block by block."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    @cached_property
    def items(self) -> Catalogue:
        """The catalogue."""
        return catalogue(self.shop)

    @cached_property
    def groups(self) -> Groups:
        """The kinds of taste."""
        return groups(self.shop, self.items.categories)

    def people(self, block: int) -> People:
        """The users of a block."""
        return people(self.shop, self.groups, block)

    def events(self, block: int) -> Events:
        """The events of the users of a block."""
        shop, items, users = self.shop, self.items, self.people(block)
        rng = shop.rng("events", block)
        made = visits(shop, items, users, rng)
        shown = lists(shop, items, made, rng)
        return _Outcome(shop, items, users, made, shown, rng).events()


def affinity(items: Catalogue, users: People, user: Index, item: Index) -> Vector:
    """How much users of a block like items, whenever and wherever they see them: a logit about 0."""
    looks = np.einsum("nd,nd->n", users.taste[user], items.latent[item])
    price = users.thrift[user] * items.relative_price[item]
    return np.asarray(looks + users.category[user, items.category[item]] + items.quality[item] - price)


class _Outcome:
    """What comes of the lists that were shown."""

    def __init__(self, shop: Shop, items: Catalogue, users: People, made: Visits, shown: Shown, rng: Generator) -> None:
        self._shop, self._items, self._users, self._rng = shop, items, users, rng
        self._made, self._visit, self._item, self._position = made, shown.visit, shown.item, shown.position
        self._user = made.user[shown.visit]
        self._start_s = made.start_s[shown.visit]
        self._liking = affinity(items, users, self._user, shown.item)

    def events(self) -> Events:
        rng, made, users = self._rng, self._made, self._users
        click, cart, buy = self._chances()
        clicked = rng.random(len(click)) < click
        carted = clicked & (rng.random(len(click)) < cart)
        bought = carted & (rng.random(len(click)) < buy)
        seen = clicked & (rng.random(len(click)) < VIEW_SHARE)
        at_s = self._start_s + 5 + 7 * self._position
        searched = np.flatnonzero(made.target != NOTHING)
        parts = [
            Events.of(
                IMPRESSION,
                len(click),
                user=users.first + self._user,
                item=self._item,
                timestamp_s=self._start_s,
                request=self._visit,
                position=self._position,
                p_click=click,
                p_purchase=click * cart * buy,
            ),
            Events.of(
                SEARCH,
                len(searched),
                user=users.first + made.user[searched],
                timestamp_s=made.start_s[searched] - 1,
                request=searched,
                target=made.target[searched],
            ),
            self._of(CLICK, np.flatnonzero(clicked), at_s),
            self._of(VIEW, np.flatnonzero(seen), at_s + 1),
            self._of(CART, np.flatnonzero(carted), at_s + 3),
            *self._purchases(np.flatnonzero(bought)),
        ]
        return Events.sorted(parts)

    def _chances(self) -> tuple[Vector, Vector, Vector]:
        """Of a click; of the cart after a click; of the purchase after the cart."""
        of_season = season(self._shop, self._items.categories, np.arange(self._shop.days))
        logit = (
            self._shop.click_bias
            + self._liking
            + of_season[self._made.day[self._visit], self._items.category[self._item]]
            - POSITION_WEIGHT * np.log1p(self._position)
            + SEARCH_INTENT * (self._made.target[self._visit] != NOTHING)
        )
        cart = CART_BIAS + CART_WEIGHT * self._liking
        return _chance(logit), _chance(cart), _chance(self._shop.purchase_bias + PURCHASE_WEIGHT * self._liking)

    def _of(self, kind: int, rows: Index, at_s: Index) -> Events:
        return Events.of(
            kind,
            len(rows),
            user=self._users.first + self._user[rows],
            item=self._item[rows],
            timestamp_s=at_s[rows],
            request=self._visit[rows],
            position=self._position[rows],
        )

    def _purchases(self, rows: Index) -> list[Events]:
        """Those of the visits, with ratings of some."""
        rng = self._rng
        row, visit, listed = self._with_repeats(rows)
        at_s = self._made.start_s[visit] + CHECKOUT_S
        user, item = self._users.first + self._user[row], self._item[row]
        bought = Events.of(
            PURCHASE,
            len(row),
            user=user,
            item=item,
            timestamp_s=at_s,
            request=np.where(listed, visit, NOTHING),
            quantity=rng.geometric(0.5, size=len(row)).astype(np.float64),
        )
        rated_s = at_s + rng.integers(DAY_S, 10 * DAY_S, size=len(row))
        end_s = FIRST_DAY_S + self._shop.days * DAY_S
        rated = np.flatnonzero((rng.random(len(row)) < RATED_SHARE) & (rated_s < end_s))
        stars = np.round(3.2 + 0.7 * self._liking[row] + 0.7 * rng.normal(size=len(row))).clip(1, 5)
        rating = Events.of(
            RATING,
            len(rated),
            user=user[rated],
            item=item[rated],
            timestamp_s=rated_s[rated],
            rating=stars[rated],
        )
        return [bought, rating]

    def _with_repeats(self, rows: Index) -> tuple[Index, Index, NDArray[np.bool_]]:
        """What was bought from lists, and again in the user's next visit after it was used up.

        Gives the row of the list, the visit in which it was bought, and whether it was bought from its list.
        """
        rng, items, made = self._rng, self._items, self._made
        usual_days = 14 + 7 * self._shop.rng("use").integers(7, size=items.categories)
        by_time = np.argsort(made.user * CENTURIES_S + made.start_s, kind="stable")
        times = (made.user * CENTURIES_S + made.start_s)[by_time]
        found = [(rows, self._visit[rows])]
        for _ in range(MAX_REPEATS):
            row, visit = found[-1]
            category = items.category[self._item[row]]
            again = (category % 2 == 1) & (rng.random(len(row)) < REPEAT_SHARE)
            wait_days = usual_days[category] * rng.gamma(REPEAT_SHAPE, 1 / REPEAT_SHAPE, size=len(row))
            used_up_s = made.start_s[visit] + (wait_days.clip(min=1) * DAY_S).astype(np.int64)
            place = np.searchsorted(times, self._user[row] * CENTURIES_S + used_up_s).clip(max=len(times) - 1)
            later = by_time[place]
            again &= (made.user[later] == self._user[row]) & (made.start_s[later] >= used_up_s)
            found.append((row[again], later[again]))
        row, visit = (np.concatenate(part) for part in zip(*found, strict=True))
        # What is bought from the list of a visit is not bought once more in it.
        _, first = np.unique(visit * self._shop.items + self._item[row], return_index=True)
        return row[first], visit[first], first < len(rows)


def _chance(logit: Vector) -> Vector:
    return np.asarray(1 / (1 + np.exp(-logit)))
