"""A generated shop, for machines without real orders: seeded, and with something to learn.

It has what makes recommendation work in a real shop: a few items sell most (Zipf's law), items
belong to themes, a customer has a taste for a few themes, comes back, and buys some things again.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from serving.recommender.data import Orders

FIRST_DAY_S = 1_704_067_200  # Monday 1 January 2024, 00:00 UTC
ORDERS_PER_USER = 7.0
LINES_PER_ORDER = 9.0
ITEMS_PER_THEME = 40
ZIPF_SHIFT = 5.0
"""Flattens the head of the popularity law, as Mandelbrot did: no item sells ten times the second."""
TASTE_CONCENTRATION = 0.08
"""Dirichlet parameter: small, so that a customer likes two or three themes."""
REPEAT_SHARE = 0.2
OFF_TASTE_SHARE = 0.15

HOUR_WEIGHTS = (0, 0, 0, 0, 0, 0, 1, 2, 5, 9, 13, 15, 16, 14, 12, 11, 9, 8, 9, 11, 10, 7, 4, 1)
WEEKDAY_WEIGHTS = (10, 10, 10, 11, 12, 15, 13)

THINGS = ("LANTERN", "MUG", "BUNTING", "CLOCK", "CUSHION", "TEAPOT", "GARLAND", "NOTEBOOK", "BASKET", "TRAY")
LOOKS = ("RED", "IVORY", "SPOTTED", "VINTAGE", "GLASS", "WOODEN", "ENAMEL", "PAPER", "WOVEN", "STRIPED")
MOTIFS = ("ROBIN", "HEART", "STAR", "ROSE", "OWL", "BICYCLE", "DAISY", "TRAIN", "SNOWFLAKE", "STRAWBERRY")


def generate_orders(seed: int, users: int, items: int, days: int) -> Orders:
    """Orders of `users` customers for `items` items over `days` days; the same seed gives the same shop.

    About 60 lines per user. Raises ValueError for a count below 1.
    """
    if min(users, items, days) < 1:
        raise ValueError("users, items and days are at least 1")
    rng = np.random.default_rng(seed)
    user, timestamp_s = _visits(rng, users, days)
    lines = 1 + rng.poisson(LINES_PER_ORDER - 1, size=len(user))
    user, timestamp_s = np.repeat(user, lines), np.repeat(timestamp_s, lines)
    item = _repeat_some(rng, user, _fresh_items(rng, user, users, items))

    # An order names an item once. Rows of `unique` come out by time, then user, then item.
    once = np.unique(np.stack([timestamp_s, user, item], axis=1), axis=0)
    return Orders(
        user=once[:, 1].astype(np.int32),
        item=once[:, 2].astype(np.int32),
        timestamp_s=once[:, 0],
        quantity=(1 + rng.geometric(0.3, size=len(once))).astype(np.float32),
        user_ids=tuple(f"U{index:05d}" for index in range(users)),
        item_ids=tuple(f"I{index:05d}" for index in range(items)),
        titles=tuple(_title(index) for index in range(items)),
        prices=np.round(np.exp(rng.normal(1.0, 0.8, size=items)), 2).clip(0.1).astype(np.float32),
    )


def _visits(rng: Generator, users: int, days: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """User and time of each order, sorted by user, then time."""
    activity = rng.lognormal(0.0, 0.7, size=users)
    visits = 1 + rng.poisson((ORDERS_PER_USER - 1) * activity / activity.mean())
    user = np.repeat(np.arange(users, dtype=np.int64), visits)
    day_weights = np.resize(np.array(WEEKDAY_WEIGHTS, dtype=np.float64), days)
    day = rng.choice(days, size=len(user), p=day_weights / day_weights.sum())
    hour_weights = np.array(HOUR_WEIGHTS, dtype=np.float64)
    hour = rng.choice(24, size=len(user), p=hour_weights / hour_weights.sum())
    timestamp_s = FIRST_DAY_S + day * 86_400 + hour * 3_600 + rng.integers(60, size=len(user)) * 60
    order = np.lexsort((timestamp_s, user))
    return user[order], timestamp_s[order]


def _fresh_items(rng: Generator, user: NDArray[np.int64], users: int, items: int) -> NDArray[np.int64]:
    """An item per line: a theme from the user's taste, then an item of the theme by its appeal."""
    themes = max(1, items // ITEMS_PER_THEME)
    taste = rng.dirichlet(np.full(themes, TASTE_CONCENTRATION), size=users).cumsum(axis=1)
    theme = (rng.random(len(user))[:, None] > taste[user, :-1]).sum(axis=1)
    off_taste = rng.random(len(user)) < OFF_TASTE_SHARE
    theme[off_taste] = rng.integers(themes, size=int(off_taste.sum()))

    appeal = 1.0 / (ZIPF_SHIFT + rng.permutation(items))
    chosen = np.empty(len(user), dtype=np.int64)
    for index in range(themes):
        lines = np.flatnonzero(theme == index)
        members = np.arange(index, items, themes)
        weights = appeal[members] / appeal[members].sum()
        chosen[lines] = rng.choice(members, size=len(lines), p=weights)
    return chosen


def _repeat_some(rng: Generator, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let some lines name what the same user bought on an earlier line; lines are sorted by user, time."""
    line = np.arange(len(user))
    first = np.searchsorted(user, user)  # the user's first line
    earlier = first + (rng.random(len(user)) * (line - first)).astype(np.int64)
    source = np.where((rng.random(len(user)) < REPEAT_SHARE) & (line > first), earlier, line)
    while not np.array_equal(source, source[source]):  # a repeat of a repeat, back to a fresh line
        source = source[source]
    return item[source]


def _title(index: int) -> str:
    things, looks = len(THINGS), len(LOOKS)
    motif = MOTIFS[index // (things * looks) % len(MOTIFS)]
    return f"{LOOKS[index // things % looks]} {THINGS[index % things]} WITH {motif}"
