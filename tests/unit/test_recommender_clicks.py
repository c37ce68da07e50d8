"""The click-through ranker: what it reads, what it learns of a planted truth, and that it comes back from disk."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from serving.errors import CorruptArtefact, InvalidInput
from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.clicks.model import ClickModel, Watched
from serving.recommender.clicks.network import evidence
from serving.recommender.clicks.quality import area, log_loss
from serving.recommender.clicks.ranker import LEARNED, MODEL, SHOP, ClickRanker, ClickSettings
from serving.recommender.clicks.seen import Appeal
from serving.recommender.interface import Bought
from serving.recommender.training.plan import Plan
from tests.support.shop_purchases import purchases

SMALL = ClickSettings(kinds=2, dim=2, hidden=4, word_buckets=32, plan=Plan(epochs=50, learning_rate=0.05))
ITEMS = Items(
    item_ids=tuple(f"i{n}" for n in range(6)),
    categories=("a", "a", "a", "b", "b", "b"),
    brands=("x",) * 6,
    titles=tuple(f"item {n}" for n in range(6)),
    prices=(1.0,) * 6,
)
EVENTS = pl.DataFrame(
    {
        "user_id": ["u", "u", "u", "u", "v"],
        "item_id": ["i1", None, "i0", "i0", "i1"],
        "type": ["impression", "search", "impression", "click", "impression"],
        "timestamp_s": [86_400, 86_399, 86_400, 86_405, 99_999],
        "request_id": [1, 1, 1, 1, 2],
        "position": [1, None, 0, 0, 0],
    }
)


def shown(count: int = 2_000, seed: int = 0) -> Impressions:
    """Users 0 to 19 click on category a with a chance of 0.6, else with 0.05; the others the other way round."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(40, size=count), rng.integers(6, size=count)
    clicked = rng.random(count) < np.where((user < 20) == (item < 3), 0.6, 0.05)
    return Impressions(
        user=np.char.add("u", user.astype(str)),
        item=np.char.add("i", item.astype(str)),
        position=np.zeros(count, dtype=np.int64),
        timestamp_s=np.arange(count),
        searched=np.zeros(count, dtype=bool),
        clicked=clicked,
    )


@pytest.fixture(scope="module")
def ranker() -> ClickRanker:
    return ClickRanker.fit(SMALL, shown(), ITEMS)


def test_a_click_belongs_to_the_impression_of_its_list() -> None:
    """By list and item; a list with a search event was searched for; rows come in the order of time and place."""
    found = Impressions.of(EVENTS)
    assert found.user.tolist() == ["u", "u", "v"]
    assert found.item.tolist() == ["i0", "i1", "i1"]
    assert found.clicked.tolist() == [True, False, False]
    assert found.searched.tolist() == [True, True, False]


def test_events_that_cannot_be_read_are_one_clear_error() -> None:
    """A missing column is named, and so is a log without impressions."""
    with pytest.raises(InvalidInput, match="position"):
        Impressions.of(EVENTS.drop("position"))
    with pytest.raises(InvalidInput, match="no impression"):
        Impressions.of(EVENTS.filter(pl.col("type") == "click"))


@pytest.mark.parametrize("price", [None, float("nan"), -1.0, 0.0, float("inf")])
def test_a_price_that_is_none_is_refused(price: float | None) -> None:
    """Its logarithm would be no number."""
    frame = pl.DataFrame({"item_id": ["i"], "category": ["a"], "brand": [None], "title": [None], "price": [price]})
    with pytest.raises(InvalidInput, match="price"):
        Items.of(frame.with_columns(pl.col("price").cast(pl.Float64)))


def test_an_item_listed_twice_is_refused() -> None:
    """It could have two prices."""
    frame = pl.DataFrame({name: ["i", "i"] for name in ("item_id", "category", "brand", "title")})
    with pytest.raises(InvalidInput, match="twice"):
        Items.of(frame.with_columns(price=pl.lit(1.0)))


def test_area_and_loss_are_those_of_their_definitions() -> None:
    """Three of the four pairs are in order, with one tie: (1 + 1 + 1 + 0.5) / 4; loss by hand."""
    chances, clicked = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert area(chances, clicked) == pytest.approx(3.5 / 4)
    assert log_loss(chances[:2], clicked[:2]) == pytest.approx(-(np.log(0.9) + np.log(0.5)) / 2)
    assert np.isnan(area(chances, np.ones(4, dtype=bool)))


def test_evidence_is_the_chance_of_all_that_a_user_did() -> None:
    """A click at 0.8 and none at 0.5, and another user who did nothing."""
    logits = torch.tensor([[np.log(4.0)], [0.0]])
    found = evidence(logits, torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), 2)
    assert found.flatten().tolist() == pytest.approx([np.log(0.8 * 0.5), 0.0], abs=1e-6)


def test_it_learns_whose_taste_is_which(ranker: ClickRanker) -> None:
    """On later impressions it is as good as the planted chances, within the noise of some thousands."""
    later = shown(4_000, seed=1)
    user = np.char.lstrip(later.user, "u").astype(int)
    truth = np.where((user < 20) == np.isin(later.item, ("i0", "i1", "i2")), 0.6, 0.05)
    assert area(truth, later.clicked) - area(ranker.chances(later), later.clicked) < 0.02
    assert log_loss(ranker.chances(later), later.clicked) < log_loss(
        np.full(4_000, later.clicked.mean()), later.clicked
    )


def test_a_newcomer_is_known_after_some_clicks(ranker: ClickRanker) -> None:
    """Before them every item is about as likely; after them the category they click on, without another training."""
    items = np.array(["i0", "i1", "i2", "i3", "i4", "i5"])
    likes_a = Impressions(
        user=np.full(6, "newcomer"),
        item=items,
        position=np.zeros(6, dtype=np.int64),
        timestamp_s=np.arange(6),
        searched=np.zeros(6, dtype=bool),
        clicked=np.array([True, True, True, False, False, False]),
    )
    before, after = ranker.chances(likes_a), ranker.update(likes_a).chances(likes_a)
    assert np.abs(before[:3].mean() - before[3:].mean()) < 0.1
    assert after[:3].min() > 3 * after[3:].max()


def test_an_item_that_was_never_shown_is_judged_by_its_content_alone() -> None:
    """Of two that are listed alike neither is liked more, whatever weights they began with."""
    more = Items(
        item_ids=(*ITEMS.item_ids, "new", "newer"),
        categories=(*ITEMS.categories, "a", "a"),
        brands=("x",) * 8,
        titles=(*ITEMS.titles, "item 0", "item 0"),
        prices=(1.0,) * 8,
    )
    ranker = ClickRanker.fit(SMALL, shown(), more)
    asked = shown(200)
    one, other = (
        ranker.chances(Impressions(**{**vars(asked), "item": np.full(200, name)})) for name in more.item_ids[6:]
    )
    assert (one == other).all()


def test_an_item_is_known_after_some_lists(ranker: ClickRanker) -> None:
    """What some clicked on is likelier afterwards for those who like what they like; other items stay as they were."""
    count = 60
    liked = Impressions(
        user=np.char.add("new", np.arange(count).astype(str)),
        item=np.full(count, "i3"),
        position=np.zeros(count, dtype=np.int64),
        timestamp_s=np.arange(count),
        searched=np.zeros(count, dtype=bool),
        clicked=np.ones(count, dtype=bool),
    )
    updated = ranker.update(liked)
    asked = shown(40)
    alike = np.isin(asked.user, [f"u{user}" for user in range(20, 40)])
    before, after = (
        [one.chances(replace(asked, item=np.full(40, item))) for item in ("i3", "i4", "gone")]
        for one in (ranker, updated)
    )
    assert (after[0] > before[0])[alike].all()
    assert (after[0] - before[0])[alike].min() > (after[0] - before[0])[~alike].max()
    assert (after[1] == before[1]).all()
    assert (after[2] == before[2]).all()


def test_an_appeal_moves_by_one_newton_step() -> None:
    """By hand: two clicks at a chance of a half, slope 1 and curvature 2 / 4 beside that of the prior, 1 / 0.4.

    What is not listed never moves, and neither does an item that was not shown.
    """
    appeal = Appeal.of(np.empty((0, 1)), 0.4, items=2)
    item, clicked, sure = np.array([1, 0, 1]), np.array([True, True, True]), np.ones((3, 1))
    appeal.add_clicks(item, np.zeros((3, 1)), clicked, sure)
    assert appeal.logits(np.array([0, 1, 2])).ravel() == pytest.approx([0.0, 1 / (1 / 2 + 1 / 0.4), 0.0])


def test_items_differ_in_the_ways_in_which_known_ones_do() -> None:
    """Known items please the first kind as much as they displease the second: a click by one tells of the other."""
    appeal = Appeal.of(np.array([[1.0, -1.0], [-1.0, 1.0], [2.0, -2.0], [-2.0, 2.0]]), 1e-6, items=1)
    appeal.add_clicks(np.array([1]), np.zeros((1, 2)), np.array([True]), np.array([[1.0, 0.0]]))
    first, second = appeal.logits(np.array([1]))[0]
    assert first > 0.5
    assert second == pytest.approx(-first, abs=1e-3)


def test_clicks_told_alone_make_no_item_more_liked(ranker: ClickRanker) -> None:
    """Without what was shown beside them they say whose taste is which, and nothing of items: nobody else's change."""
    bought = Impressions.first_of_lists(np.array(["buyer"] * 3), np.array(["i3", "i4", "i5"]), 500, clicked=True)
    told, asked = ranker.told(bought), shown(40)
    assert (told.chances(asked) == ranker.chances(asked)).all()
    buyer = replace(asked, user=np.full(40, "buyer"))
    likes_b = np.isin(buyer.item, ("i3", "i4", "i5"))
    assert (told.chances(buyer) > ranker.chances(buyer))[likes_b].all()


def test_who_was_never_shown_a_list_is_what_they_bought(ranker: ClickRanker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their list is that of somebody who tells the same; who was shown lists is known by what they did there."""
    monkeypatch.setattr(ClickRanker, "fit", lambda *_: ranker)
    bought = purchases([(0, item, 0) for item in (3, 4, 5)] + [(1, 3, 0)])
    past = replace(bought, user_ids=("buyer", "u1"), item_ids=ITEMS.item_ids)
    model = ClickModel.fit(Watched(SMALL, shown(), ITEMS), past)
    told = model.score([[Bought(item, 0) for item in ("i3", "i4", "i5")]])
    assert model.score(["buyer"]) == pytest.approx(told)
    assert model.score(["buyer"])[0, 3:].min() > model.score(["buyer"])[0, :3].max()
    assert (model.score(["u1"]) == ClickModel(ranker, past).score(["u1"])).all()


def test_the_network_reads_each_item_once_whoever_asks(ranker: ClickRanker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chances are those that each user is told alone, one after the other."""
    users, items, at_s = np.array(["u1", "u30", "nobody"]), np.array(["i0", "i5", "gone"]), 500
    alone = [ranker.chances(Impressions.first_of_lists(np.full(3, user), items, np.full(3, at_s))) for user in users]
    read: list[int] = []
    network = ranker._network
    monkeypatch.setattr(ranker, "_network", lambda item, *rest: read.append(len(item)) or network(item, *rest))
    assert ranker.shelf(users, items, at_s) == pytest.approx(np.array(alone), rel=1e-12)
    assert read == [3]


def test_a_new_item_is_judged_by_its_category(ranker: ClickRanker) -> None:
    """An id that is in no catalogue is answered too."""
    odd = shown(10)
    chances = ranker.chances(Impressions(**{**vars(odd), "item": np.full(10, "gone")}))
    assert ((chances > 0) & (chances < 1)).all()


def test_whether_it_was_clicked_on_is_not_looked_at(ranker: ClickRanker) -> None:
    """The answer must not be in the question."""
    one = shown(50, seed=3)
    other = Impressions(**{**vars(one), "clicked": ~one.clicked})
    assert (ranker.chances(one) == ranker.chances(other)).all()


def test_the_same_data_gives_the_same_ranker(ranker: ClickRanker) -> None:
    """To the last bit."""
    again = ClickRanker.fit(SMALL, shown(), ITEMS)
    assert (again.chances(shown(100, seed=5)) == ranker.chances(shown(100, seed=5))).all()


def test_a_saved_ranker_scores_the_same(ranker: ClickRanker, tmp_path: Path) -> None:
    """To the last bit, and its files are safetensors and JSON."""
    ranker.save(tmp_path)
    later = shown(100, seed=7)
    assert (ClickRanker.load(tmp_path).chances(later) == ranker.chances(later)).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [LEARNED, MODEL, SHOP]


@pytest.mark.parametrize("name", [LEARNED, MODEL, SHOP])
@pytest.mark.parametrize("harm", ["missing", "truncated", "changed"])
def test_a_damaged_ranker_is_refused_by_its_name(ranker: ClickRanker, name: str, harm: str, tmp_path: Path) -> None:
    """Whatever happened to one file, the error names it."""
    ranker.save(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if harm == "truncated" else data[:-3] + b"\xff" + data[-2:])
    with pytest.raises(CorruptArtefact, match=re.escape(name)):
        ClickRanker.load(tmp_path)
