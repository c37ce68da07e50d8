"""Who and what counts as new, and what is asked about them: worked by hand, and on a generated shop."""

import polars as pl

from serving.recommender.evaluation.newcomers import Question, new_items, new_users
from serving.recommender.generated.events import World
from serving.recommender.generated.frames import event_frames, item_frame
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, Shop
from serving.recommender.ingest.cleaning import EVENTS, ITEMS
from serving.recommender.interface import Bought


def events(*rows: tuple[str, str, str, int]) -> pl.LazyFrame:
    """Events from (user, item, type, day)."""
    named = [{"user_id": u, "item_id": i, "type": kind, "timestamp_s": day * DAY_S} for u, i, kind, day in rows]
    return pl.LazyFrame(named, schema=EVENTS)


def items(**added_day: int | None) -> pl.LazyFrame:
    """Items by the day they were added."""
    named = [{"item_id": i, "added_s": None if day is None else day * DAY_S} for i, day in added_day.items()]
    return pl.LazyFrame(named, schema=ITEMS)


SHOP = items(a=0, b=None, late=12, unseen=None)
HAPPENED = events(
    ("old", "a", "purchase", 1),
    ("old", "b", "purchase", 2),
    ("old", "late", "purchase", 13),
    ("old", "unseen", "view", 13),
    ("old", "a", "purchase", 13),
    ("rare", "a", "purchase", 1),
    ("rare", "late", "purchase", 14),
    ("new", "b", "purchase", 11),
    ("new", "a", "purchase", 12),
    ("new", "b", "purchase", 13),
    ("new", "late", "purchase", 14),
    ("looked", "a", "view", 3),
    ("looked", "a", "purchase", 12),
)
NOW_S = 10 * DAY_S


def test_new_items_are_asked_of_users_with_a_history() -> None:
    """An item is new by its date, or without one if nothing happened to it; who bought little before is left out."""
    found = new_items(HAPPENED, SHOP, NOW_S, min_rows=2)
    assert found.candidates == ("late", "unseen")
    assert found.questions == (Question("old", (Bought("a", 1), Bought("b", 2)), frozenset({"late"})),)


def test_new_users_are_asked_from_their_first_request_on() -> None:
    """Who only looked before is not new; candidates are the items that were known; shown purchases are past."""
    found = new_users(HAPPENED, SHOP, NOW_S)
    assert found.candidates == ("a", "b")
    assert found.questions == (Question("new", (), frozenset({"a", "b"})),)
    (after_one,) = new_users(HAPPENED, SHOP, NOW_S, shown=1).questions
    assert after_one == Question("new", (Bought("b", 11),), frozenset({"a"}))
    assert new_users(HAPPENED, SHOP, NOW_S, shown=9).questions == ()


def test_a_generated_shop_has_newcomers_of_both_kinds() -> None:
    """Late items are bought by known users, and late users buy; nothing of either is known before."""
    world = World(Shop(users=250, items=200, days=120, visits_per_user=12.0, purchase_bias=2.0))
    happened, listed = event_frames(world, 0)[0].lazy(), item_frame(world).lazy()
    at_s = FIRST_DAY_S + 60 * DAY_S
    fresh, strangers = new_items(happened, listed, at_s), new_users(happened, listed, at_s)
    known = happened.filter(pl.col("timestamp_s") < at_s).collect()
    assert len(fresh.candidates) > 10
    assert len(fresh.questions) > 20
    assert not set(fresh.candidates) & set(known["item_id"])
    assert len(strangers.questions) > 10
    assert not {question.user_id for question in strangers.questions} & set(known["user_id"])
