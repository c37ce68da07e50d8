"""Features: of the past only, normalised, and null where nothing is known."""

import math
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from serving.recommender.generated.events import World
from serving.recommender.generated.frames import event_frames, item_frame
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, Shop
from serving.recommender.ingest.cleaning import EVENTS, ITEMS
from serving.recommender.ingest.features import item_features, normalised_price, split_by_time, user_features


def events(*rows: tuple[str, str | None, str, int]) -> pl.LazyFrame:
    """Events from (user, item, type, day), each at noon."""
    named = [
        {"user_id": user, "item_id": item, "type": kind, "timestamp_s": day * DAY_S + DAY_S // 2}
        for user, item, kind, day in rows
    ]
    return pl.LazyFrame(named, schema=EVENTS)


def items(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Items with these values."""
    return pl.LazyFrame(list(rows), schema=ITEMS)


MUGS = items(
    *({"item_id": f"m{n}", "category": "mugs", "price": price} for n, price in enumerate([1.0, 2.0, 4.0, 8.0, 1e9])),
    {"item_id": "c", "category": "clocks", "price": 3.0},
    {"item_id": "x", "category": "clocks", "price": None, "added_s": 4 * DAY_S},
)


def test_prices_are_levels_within_their_category() -> None:
    """Doubling the price is the same step anywhere; an outlier is cut; alone is 0; unknown is null."""
    levels = MUGS.with_columns(normalised_price()).collect()["price_level"].to_list()
    step = 1 / 1.4826  # the median distance from 4.0 is one doubling or two: [2, 1, 0, 1, many], so one
    assert levels[:4] == pytest.approx([-2 * step, -step, 0.0, step])
    assert levels[4:] == [5.0, 0.0, None]


def test_counts_and_rates_are_of_the_past() -> None:
    """Worked by hand: rates are drawn towards the mean of all items, as by 20 impressions more."""
    past = [("u", "m0", "impression", day) for day in range(10)] + [
        ("u", "m0", "click", 3),
        ("u", "m1", "impression", 3),
    ]
    future = [("u", "m0", "click", 20), ("u", "m2", "purchase", 10)]
    found = item_features(events(*past, *future), MUGS, 10 * DAY_S).collect()
    first = found.row(0, named=True)
    assert (first["impressions"], first["clicks"], first["purchases"]) == (10, 1, 0)
    assert first["click_rate"] == pytest.approx((1 + 20 / 11) / (10 + 20))
    assert first["age_days"] == pytest.approx(9.5)
    assert found["rating"].to_list() == [None] * 7
    last = found.row(6, named=True)
    assert (last["impressions"], last["age_days"], last["price_level"]) == (0, 6.0, None)
    assert last["click_rate"] == pytest.approx(1 / 11)


def test_users_are_what_they_bought() -> None:
    """Counts, days and tastes of the past; who bought nothing has no taste, and who came later is not there."""
    found = user_features(
        events(
            ("u", "m0", "purchase", 1),
            ("u", "c", "purchase", 1),
            ("u", "m3", "purchase", 4),
            ("u", None, "search", 4),
            ("v", "c", "view", 2),
            ("w", "c", "view", 12),
        ),
        MUGS,
        10 * DAY_S,
    ).collect()
    assert found["user_id"].to_list() == ["u", "v"]
    u, v = found.to_dicts()
    assert (u["purchases"], u["searches"], u["active_days"], u["days_since"]) == (3, 1, 2, 5.5)
    assert (u["category"], u["category_share"]) == ("mugs", pytest.approx(2 / 3))
    assert u["price_level"] == pytest.approx((-2 + 1) / 1.4826 / 3)
    assert (v["views"], v["category"], v["category_share"], v["price_level"]) == (1, None, None, None)


def test_what_happens_later_changes_no_feature() -> None:
    """Features at a moment are the same whether or not the rest of the shop's events are there."""
    world = World(Shop(users=60, items=50, days=40))
    frame, listed = event_frames(world, 0)[0].lazy(), item_frame(world).lazy()
    at_s = FIRST_DAY_S + 20 * DAY_S
    before, after = split_by_time(frame, at_s)
    assert before.collect().height + after.collect().height == frame.collect().height
    for features in (item_features, user_features):
        assert_frame_equal(features(frame, listed, at_s).collect(), features(before, listed, at_s).collect())


def test_no_events_are_no_reason_to_fail() -> None:
    """A shop without any event has items without rates, and no users."""
    found = item_features(events(), MUGS, 10 * DAY_S).collect()
    assert found["click_rate"].to_list() == [None] * 7
    assert found["impressions"].to_list() == [0] * 7
    assert user_features(events(), MUGS, 10 * DAY_S).collect().height == 0
    assert not any(math.isnan(level) for level in found["price_level"] if level is not None)
