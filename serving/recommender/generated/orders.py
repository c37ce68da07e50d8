"""The orders of a generated shop, for machines without real ones: seeded, and with something to learn."""

from __future__ import annotations

import numpy as np

from serving.errors import InvalidInput
from serving.recommender.generated.events import PURCHASE, World
from serving.recommender.generated.shop import Shop, item_id, user_id
from serving.recommender.orders.data import Orders

VISITS_PER_USER, LIST_LENGTH, CLICK_BIAS, PURCHASE_BIAS = 12.0, 40, -1.4, 2.0
"""Of a shop for traders: they look for little, and buy much of it."""


def generate_orders(seed: int, users: int, items: int, days: int) -> Orders:
    """Orders of at most `users` customers for `items` items over `days` days; the same seed gives the same shop.

    About 40 lines per user in four months. Who bought nothing is not listed.

    Raises:
        ValueError: a count is below 1.
        InvalidInput: the shop is so small that nobody bought anything.
    """
    shop = Shop(
        seed=seed,
        users=users,
        items=items,
        days=days,
        visits_per_user=VISITS_PER_USER,
        list_length=LIST_LENGTH,
        click_bias=CLICK_BIAS,
        purchase_bias=PURCHASE_BIAS,
    )
    world = World(shop)
    lines = np.concatenate([_lines(world, block) for block in range(shop.blocks)])
    if not len(lines):
        raise InvalidInput("nobody bought anything", where="users, days", next_step="generate a larger shop")
    # An order names an item once. Rows of `unique` come out by time, then user, then item.
    timestamp_s, user, item, quantity = np.unique(lines, axis=0).T
    once = np.ones(len(user), dtype=bool)
    once[1:] = (np.diff(timestamp_s) != 0) | (np.diff(user) != 0) | (np.diff(item) != 0)
    present, user = np.unique(user[once], return_inverse=True)
    return Orders(
        user=user.astype(np.int32),
        item=item[once].astype(np.int32),
        timestamp_s=timestamp_s[once],
        quantity=quantity[once].astype(np.float32),
        user_ids=tuple(user_id(index) for index in present),
        item_ids=tuple(item_id(index) for index in range(items)),
        titles=tuple(world.items.title(index) for index in range(items)),
        prices=world.items.price.astype(np.float32),
    )


def _lines(world: World, block: int) -> np.ndarray:
    """Time, user, item and quantity of each purchase of a block's users."""
    events = world.events(block)
    bought = events.kind == PURCHASE
    columns = (events.timestamp_s, events.user, events.item, events.quantity)
    return np.stack([column[bought].astype(np.int64) for column in columns], axis=1)
