"""Models that know items by more than purchases: each with something to learn from that is made up for any shop."""

from __future__ import annotations

import numpy as np

from serving.recommender.clicks.impressions import DAY_S, Impressions, Items
from serving.recommender.clicks.model import Watched
from serving.recommender.clicks.ranker import ClickSettings
from serving.recommender.content import Content
from serving.recommender.multimodal.taste import Lesson, Shown, Taste, Told
from serving.recommender.orders.purchases import Purchases
from serving.recommender.training.plan import Plan

COLOURS, SIZES = 5, 7
LISTS, LENGTH = 200, 5


def content(shop: Purchases) -> Content:
    """Every item has a colour and a size."""
    return Content(
        {name: (f"colour={at % COLOURS}", f"size={at % SIZES}") for at, name in enumerate(shop.item_ids)}, "jaccard"
    )


def lesson(shop: Purchases) -> Lesson:
    """Features are colours; users were shown lists, and click on the colour of their own number."""
    user, item, clicked = _lists(shop)
    order = np.argsort(user, kind="stable")
    features = np.eye(COLOURS, dtype=np.float32)[np.arange(len(shop.item_ids)) % COLOURS]
    people = {name: (f"group={at % COLOURS}",) for at, name in enumerate(shop.user_ids)}
    shown = Shown(user[order], item[order], clicked[order], shop.user_ids)
    return Lesson(Told(shop.item_ids, features, people), shown, Taste(epochs=2, batch=256, learning_rate=0.05))


def watched(shop: Purchases) -> Watched:
    """The same lists, as impressions of items whose category is their colour."""
    user, item, clicked = _lists(shop)
    rows, count = len(user), len(shop.item_ids)
    shown = Impressions(
        user=np.array(shop.user_ids, dtype=np.str_)[user],
        item=np.array(shop.item_ids, dtype=np.str_)[item],
        position=np.tile(np.arange(LENGTH), LISTS),
        timestamp_s=(shop.as_of_day - 1) * DAY_S + np.arange(rows),
        searched=np.zeros(rows, dtype=bool),
        clicked=clicked,
    )
    colours = tuple(f"colour {at % COLOURS}" for at in range(count))
    items = Items(shop.item_ids, colours, ("brand",) * count, colours, (1.0,) * count)
    plan = Plan(epochs=3, learning_rate=0.05)
    return Watched(ClickSettings(kinds=3, dim=3, hidden=4, word_buckets=32, plan=plan), shown, items)


def _lists(shop: Purchases) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and click of each place of each list."""
    rng = np.random.default_rng(0)
    user = np.repeat(rng.integers(len(shop.user_ids), size=LISTS), LENGTH)
    item = rng.integers(len(shop.item_ids), size=LISTS * LENGTH)
    return user, item, rng.random(len(user)) < np.where(user % COLOURS == item % COLOURS, 0.8, 0.1)
