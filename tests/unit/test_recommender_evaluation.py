"""Splits by time, tracks, evaluation, and paired comparison."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from serving.errors import InvalidInput
from serving.recommender.evaluation.tracks import METRICS, bootstrap, compare, evaluate
from serving.recommender.orders.data import Orders
from serving.recommender.orders.purchases import Purchases, epoch_day
from serving.recommender.orders.splits import Split, Track, splits_by_date, tracks
from tests.support.shop_purchases import purchases

OLD = [(0, item, day) for day, item in enumerate(range(5))] + [(1, 0, 0), (1, 5, 1)]
"""User 0 has bought items 0 to 4, user 1 items 0 and 5."""
NEW = [(0, 0, 10), (0, 5, 10), (0, 5, 11), (0, 6, 11), (1, 1, 10)]
"""Later user 0 buys 0 again, 5 twice, and 6, which nobody had bought; user 1 buys 1."""


@pytest.fixture
def split() -> Split:
    whole = purchases(OLD + NEW)
    past, later = whole.day < 10, whole.day >= 10
    return Split(
        *(replace(whole, user=whole.user[rows], item=whole.item[rows], day=whole.day[rows]) for rows in (past, later))
    )


def tracks_of(split: Split) -> tuple[Track, Track]:
    return tracks(split)


def test_purchases_are_once_per_user_item_and_utc_day() -> None:
    """Two lines of one day are one purchase; a minute before midnight is another day."""
    midnight = int(datetime(2011, 10, 1, tzinfo=UTC).timestamp())
    times = [midnight - 60, midnight, midnight + 3_600]
    lines = Orders(
        user=np.zeros(3, dtype=np.int32),
        item=np.zeros(3, dtype=np.int32),
        timestamp_s=np.array(times),
        quantity=np.ones(3, dtype=np.float32),
        user_ids=("u",),
        item_ids=("i",),
        titles=("i",),
        prices=np.ones(1, dtype=np.float32),
    )
    found = Purchases.of(lines)
    assert found.day.tolist() == [epoch_day(date(2011, 9, 30)), epoch_day(date(2011, 10, 1))]
    assert len(found.between(None, date(2011, 10, 1))) == 1


def test_joined_purchases_know_all_ids() -> None:
    """Ids are matched by name, new ones appended, and what both know is there once."""
    first = purchases([(0, 0, 1)])
    second = Purchases(np.array([0, 1]), np.array([0, 1]), np.array([1, 2]), ("u0", "new"), ("i0", "other"))
    found = first.joined(second)
    assert found.user_ids == ("u0", "new")
    assert found.item_ids == ("i0", "other")
    assert list(zip(found.user, found.item, found.day, strict=True)) == [(0, 0, 1), (1, 1, 2)]


def test_splits_keep_time_in_order() -> None:
    """The test period starts where it is said, and October joins the fit only in the second row."""
    shop = purchases([(0, 0, epoch_day(date(2011, month, 15))) for month in (9, 10, 11)])
    found = splits_by_date(shop, tune_from=date(2011, 10, 1), test_from=date(2011, 11, 1))
    assert [len(found.tune.past), len(found.test.past), len(found.test_refitted.past)] == [1, 1, 2]
    assert found.tune.later.day.tolist() == [epoch_day(date(2011, 10, 15))]
    assert found.test.later.day.tolist() == [epoch_day(date(2011, 11, 15))]


def test_a_period_without_purchases_is_named() -> None:
    """An empty period is an error that says which one."""
    with pytest.raises(InvalidInput, match="from test_from"):
        splits_by_date(purchases([(0, 0, 1), (0, 0, 400)]), tune_from=date(1971, 1, 1), test_from=date(1972, 1, 1))


def test_track_a_is_everything_and_track_b_what_is_new_to_the_user(split: Split) -> None:
    """Item 6 was in no fit; user 1 has too few purchases to be judged by; item 0 is old to user 0."""
    everything, fresh = tracks_of(split)
    assert everything.users.tolist() == fresh.users.tolist() == [0]
    assert everything.relevant.toarray().nonzero()[1].tolist() == [0, 5]
    assert fresh.relevant.toarray().nonzero()[1].tolist() == [5]
    assert everything.relevant_counts.tolist() == [2]
    assert everything.excluded is None
    assert fresh.excluded is not None
    assert fresh.excluded.toarray().nonzero()[1].tolist() == [0, 1, 2, 3, 4]


def test_nobody_to_judge_by_is_an_error(split: Split) -> None:
    """A track without users is refused, not scored as 0."""
    with pytest.raises(InvalidInput, match="track a"):
        tracks(split, min_rows=6)


def test_bought_items_are_no_candidates_in_track_b(split: Split) -> None:
    """The same scores, which put item 0 before 5, find 5 second in track a and first in track b."""
    scores = np.array([[9.0, 1.0, 1.0, 1.0, 1.0, 8.0, -np.inf]])
    everything, fresh = (evaluate(lambda users: scores[np.zeros(len(users), int)], t, (1, 2)) for t in tracks_of(split))
    assert everything.mean("ndcg@1") == 1.0
    assert everything.mean("recall@1") == 0.5
    assert everything.mean("recall@2") == 1.0
    assert fresh.mean("mrr@1") == 1.0
    assert fresh.coverage == {1: pytest.approx(1 / 6), 2: pytest.approx(1 / 6)}  # six items were ever bought
    assert fresh.summary()["hit_rate@2"] == 1.0


def test_systems_are_compared_user_by_user(split: Split) -> None:
    """Compared with itself a system gains exactly nothing; with another track's users it is not compared."""
    everything, fresh = tracks_of(split)
    ours = evaluate(lambda users: np.ones((len(users), 7)), everything)
    same = compare(ours, ours, "ndcg@10")
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    other = evaluate(lambda users: np.ones((len(users), 7)), fresh)
    with pytest.raises(InvalidInput, match="different users"):
        compare(ours, other, "ndcg@10")


def test_what_can_be_asked_for_is_what_is_measured(split: Split) -> None:
    """By name: a verdict on a metric is refused by these names, before anything is measured."""
    assert set(evaluate(lambda users: np.ones((len(users), 7)), tracks_of(split)[0]).per_user) == set(METRICS)


def test_bootstrap_finds_the_known_interval() -> None:
    """Of a normal sample the interval is the textbook one: mean +- 1.96 standard errors."""
    values = np.random.default_rng(1).normal(0.3, 1.0, 2_000)
    found = bootstrap(values, seed=0)
    error = values.std() / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_bootstrap_is_seeded_and_leaves_out_nan() -> None:
    """The same seed gives the same interval, and an undefined value is no zero."""
    values = np.array([1.0, 2.0, 3.0, np.nan])
    assert bootstrap(values, seed=3, resamples=1_000) == bootstrap(values[:3], seed=3, resamples=1_000)
    assert bootstrap(values, seed=3, resamples=1_000).mean == 2.0
    with pytest.raises(InvalidInput):
        bootstrap(np.array([np.nan]))


def test_paired_intervals_are_narrower_than_the_systems() -> None:
    """Users differ more than systems do: a small steady gain is seen although both intervals overlap."""
    rng = np.random.default_rng(5)
    easy = rng.random(500)
    ours, theirs = easy + 0.02 + rng.normal(0, 0.02, 500), easy
    assert bootstrap(ours).low < bootstrap(theirs).high
    assert bootstrap(ours - theirs).low > 0.015
