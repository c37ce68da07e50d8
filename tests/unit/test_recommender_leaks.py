"""Nothing that happens after a day enters what a model learned before it: whatever happens, the lists are the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest

from benchmarks import recommender as benchmark
from benchmarks.recommender import QUICK, Entrant, blend, chosen_by_october, data_folder, pipeline
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.methods.ensemble import AnyMethod
from serving.recommender.methods.ranking import Ranked
from serving.recommender.orders.data import load_orders
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import splits_by_date
from serving.recommender.training.plan import Plan

DAYS = 90
EPOCH = date(1970, 1, 1)
Lists = dict[str, list[tuple[str, float]]]


def of_rows(rows: list[tuple[str, str, int]], users: list[str], items: list[str]) -> Purchases:
    """Purchases from names, in which these users and items are named whether they have a row or not."""
    at, sold = ({name: place for place, name in enumerate(names)} for names in (users, items))
    placed = sorted({(day, at[user], sold[item]) for user, item, day in rows})
    day, user, item = (np.array(column, dtype=np.int64) for column in zip(*placed, strict=True))
    return Purchases(user, item, day, tuple(users), tuple(items))


def named(found: Purchases) -> list[tuple[str, str, int]]:
    """User, item and day of each row."""
    columns = zip(found.user.tolist(), found.item.tolist(), found.day.tolist(), strict=True)
    return [(found.user_ids[user], found.item_ids[item], day) for user, item, day in columns]


def nothing(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """What happened."""
    return rows


def permuted(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The same users, items and days, drawn anew to each other."""
    rng = np.random.default_rng(1)
    users, items, days = (list(column) for column in zip(*rows, strict=True))
    for column in (users, items, days):
        rng.shuffle(column)  # type: ignore[arg-type]  # a list of anything
    return list(zip(users, items, days, strict=True))


def strangers(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """As many purchases of other users, half of them of other items, and a rush of one item on each day."""
    others = [
        (f"Z{place % 50}", item if place % 2 else f"Z{place % 30}", day) for place, (_, item, day) in enumerate(rows)
    ]
    return others + [(f"Z{place}", rows[0][1], day) for place in range(50) for day in {day for *_, day in rows}]


def replaced(past: Purchases, from_day: int, later: Callable[..., list[tuple[str, str, int]]]) -> Purchases:
    """The purchases with others from a day on."""
    rows = named(past)
    before, after = ([row for row in rows if (row[2] >= from_day) == late] for late in (False, True))
    changed = later(after)
    return of_rows(
        before + changed,
        list(dict.fromkeys([*past.user_ids, *(user for user, *_ in changed)])),
        list(dict.fromkeys([*past.item_ids, *(item for _, item, _ in changed)])),
    )


def lists(method: AnyMethod, past: Purchases, users: list[str]) -> Lists:
    """Ten items for each user, with scores to the last bit."""
    model = FittedModel.fit(method, past)
    return {user: [(offer.item_id, offer.score) for offer in model.recommend(user, 10)] for user in users}


def everything(purchases: Purchases, tune_from: date, test_from: date, entrants: tuple[Entrant, ...]) -> list[object]:
    """All that the benchmark makes before it looks at the test: settings, weights, and lists of what it fitted."""
    splits = splits_by_date(purchases, tune_from=tune_from, test_from=test_from)
    chosen = {entrant.name: chosen_by_october(entrant, splits.tune) for entrant in entrants}
    past = splits.test_refitted.past
    users = sorted({purchases.user_ids[user] for user in past.user})
    small = Ranked.model_validate({**pipeline(chosen).model_dump(), "months": 2, "span_days": 14, "each": 20})
    ranked = small.model_copy(update={"networks": 1, "plan": Plan(epochs=1)})
    return [chosen, benchmark.fit_weights(blend(chosen), splits.tune), lists(ranked, past, users)]


@pytest.mark.parametrize("later", [permuted, strangers])
def test_what_follows_the_split_changes_no_setting_and_no_list(
    later: Callable[..., list[tuple[str, str, int]]],
) -> None:
    """Choice of settings, weights, candidates, features, normalisation and ranker: all of it from before the split."""
    shop = Purchases.of(generate_orders(3, 60, 40, DAYS))
    last = EPOCH + timedelta(days=shop.as_of_day)
    tune_from, test_from = last - timedelta(days=40), last - timedelta(days=20)
    found = [
        everything(replaced(shop, shop.as_of_day - 20, change), tune_from, test_from, QUICK)
        for change in (nothing, later)
    ]
    assert found[0] == found[1]


@pytest.mark.campaign
@pytest.mark.shared
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("later", [permuted, strangers])
def test_the_real_pipeline_knows_nothing_of_the_test_period(later: Callable[..., list[tuple[str, str, int]]]) -> None:
    """On Online Retail with October in the fit, another November and December give the same lists to the last bit."""
    orders = Purchases.of(load_orders(data_folder()))
    chosen = {entrant.name: entrant.base for entrant in QUICK}
    cut = benchmark.TEST_FROM
    found = []
    for change in (nothing, later):
        past = replaced(orders, (cut - EPOCH).days, change).between(None, cut)
        users = sorted({past.user_ids[user] for user in past.user})[:500]
        found.append(lists(pipeline(chosen), past, users))
    assert found[0] == found[1]
