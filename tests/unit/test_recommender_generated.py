"""The generated shop: seeded, streamed in blocks, and with a truth beside everything that is drawn from it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidInput
from serving.recommender.generated import frames, writing
from serving.recommender.generated.events import CLICK, IMPRESSION, KINDS, PURCHASE, Events, World, affinity
from serving.recommender.generated.images import picture
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, TEXT_DIMS, USERS_PER_BLOCK, Shop

SHOP = Shop(seed=3, users=USERS_PER_BLOCK + 50, items=300, days=60)


@pytest.fixture(scope="module")
def world() -> World:
    return World(SHOP)


@pytest.fixture(scope="module")
def events(world: World) -> Events:
    return world.events(0)


def clicked(events: Events) -> tuple[Events, np.ndarray]:
    """The impressions, and which of them were clicked on."""
    shown = events.kind == IMPRESSION
    key = events.request * SHOP.items + events.item
    kept = Events(**{name: column[shown] for name, column in vars(events).items()})
    return kept, np.isin(key[shown], key[events.kind == CLICK])


def area(score: np.ndarray, hit: np.ndarray) -> float:
    """AUC by ranks; scores are all different."""
    rank = np.argsort(np.argsort(score)) + 1
    return float((rank[hit].sum() - hit.sum() * (hit.sum() + 1) / 2) / hit.sum() / (~hit).sum())


def test_the_seed_makes_the_shop_and_a_block_needs_no_other() -> None:
    """The same settings give the same events, block by block in any order; another seed gives others."""
    there, back = World(SHOP), World(SHOP)
    assert back.events(1).item.tolist() == (there.events(0), there.events(1))[1].item.tolist()
    other = World(SHOP.model_copy(update={"seed": 4}))
    assert other.events(1).item.tolist() != there.events(1).item.tolist()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**40),
    users=st.integers(1, 20),
    items=st.integers(1, 100),
    days=st.integers(1, 60),
    length=st.integers(1, 30),
)
def test_a_shop_of_any_size_is_sound(seed: int, users: int, items: int, days: int, length: int) -> None:
    """Events are in order and in time, of items and users that had come, and a list shows an item once."""
    world = World(Shop(seed=seed, users=users, items=items, days=days, list_length=length))
    events, people = world.events(0), world.people(0)
    assert (np.diff(events.timestamp_s) >= 0).all()
    assert events.timestamp_s[-1] <= FIRST_DAY_S + days * DAY_S
    day = (events.timestamp_s - FIRST_DAY_S) // DAY_S
    known = events.item >= 0
    assert (world.items.day[events.item[known]] <= day[known]).all()
    assert (people.day[events.user] <= day + 1).all()  # a search one second before midnight
    shown = events.kind == IMPRESSION
    once = np.unique(np.stack([events.request[shown], events.item[shown]]), axis=1)
    assert once.shape[1] == shown.sum()
    assert events.position[shown].max() < length
    assert set(events.user.tolist()) == set(range(users))


def test_clicks_come_as_often_as_the_truth_says(events: Events) -> None:
    """In each fifth of the impressions by planted chance, the share of clicks is that chance, within 4 sigma."""
    shown, hit = clicked(events)
    for part in np.array_split(np.argsort(shown.p_click), 5):
        chance = shown.p_click[part]
        assert abs(hit[part].mean() - chance.mean()) < 4 * np.sqrt((chance * (1 - chance)).sum()) / len(part)


def test_purchases_from_lists_come_as_often_as_the_truth_says(events: Events) -> None:
    """The chance of a purchase beside each impression adds up to the purchases that follow from lists."""
    shown, _ = clicked(events)
    bought = ((events.kind == PURCHASE) & (events.request >= 0)).sum()
    spread = np.sqrt((shown.p_purchase * (1 - shown.p_purchase)).sum())
    assert abs(bought - shown.p_purchase.sum()) < 4 * spread


def test_text_and_image_each_tell_half_of_the_look(world: World, events: Events) -> None:
    """The liking by both halves of an item's look orders clicks better than the liking by either."""
    shown, hit = clicked(events)
    parts = world.people(0).taste[shown.user] * world.items.latent[shown.item]
    text, image = area(parts[:, :TEXT_DIMS].sum(axis=1), hit), area(parts[:, TEXT_DIMS:].sum(axis=1), hit)
    assert min(text, image) > 0.6
    assert area(parts.sum(axis=1), hit) > max(text, image) + 0.03


def test_the_truth_orders_clicks_best_and_kinds_of_taste_nearly_as_well(world: World, events: Events) -> None:
    """A ranker that knows only the kinds of taste comes near the truth, so the truth can be learned."""
    shown, hit = clicked(events)
    people, group = world.people(0), world.people(0).group
    own = affinity(world.items, people, shown.user, shown.item)
    usual = (world.groups.taste[group][shown.user] * world.items.latent[shown.item]).sum(axis=1)
    usual += world.groups.category[group[shown.user], world.items.category[shown.item]]
    usual += (
        world.items.quality[shown.item]
        - world.groups.thrift[group][shown.user] * (world.items.relative_price[shown.item])
    )
    truth = np.log(shown.p_click / (1 - shown.p_click))
    assert 0.75 < area(truth, hit) < 0.9
    assert area(truth, hit) - 0.012 < area(truth - own + usual, hit) < area(truth, hit)


def test_what_is_used_up_is_bought_again(events: Events) -> None:
    """Purchases that follow no list are repeats: the user had bought the item before."""
    first: dict[tuple[int, int], int] = {}
    bought = np.flatnonzero(events.kind == PURCHASE)
    repeats = [row for row in bought if events.request[row] < 0]
    for row in bought:
        first.setdefault((events.user[row], events.item[row]), int(events.request[row]))
    assert len(repeats) > 0.1 * len(bought)
    assert all(first[events.user[row], events.item[row]] >= 0 for row in repeats)


def test_the_look_is_in_the_words_and_in_the_picture(world: World) -> None:
    """A higher level is said by a higher word, and a brighter background is drawn for a higher look."""
    items = world.items
    for dim in range(TEXT_DIMS):
        assert np.corrcoef(items.levels[:, dim], items.latent[:, dim])[0, 1] > 0.85
    corners = [picture(SHOP, items, item)[:2, :2].mean() for item in range(100)]
    assert np.corrcoef(corners, items.latent[:100, TEXT_DIMS + 1])[0, 1] > 0.8
    assert len({items.title(item) for item in range(300)}) > 280


def test_frames_hold_what_belongs_to_each_type(world: World) -> None:
    """Only searches have a query and no item, only purchases a quantity and a price, only ratings stars."""
    found, chances = frames.event_frames(world, 0)
    assert set(found["type"]) == set(KINDS)
    assert found["event_id"].is_unique().all()
    kind = pl.col("type")
    for column, kinds in (
        ("query", ["search"]),
        ("rating", ["rating"]),
        ("quantity", ["purchase"]),
        ("unit_price", ["purchase"]),
        ("position", ["impression", "click", "view", "cart"]),
    ):
        assert found.filter(pl.col(column).is_not_null() != kind.is_in(kinds)).is_empty(), column
    assert found.filter(pl.col("item_id").is_null() != (kind == "search")).is_empty()
    assert set(chances["event_id"]) == set(found.filter(kind == "impression")["event_id"])
    assert chances.filter(pl.col("p_purchase") >= pl.col("p_click")).is_empty()


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_shop_is_written_in_pieces_with_its_truth(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: writing.Format
) -> None:
    """All blocks reach the disk, in files of a bounded size, with pictures, under a label that says generated."""
    monkeypatch.setattr(writing, "EVENTS_PER_FILE", 1_000)
    folder = tmp_path / "shop"
    total = writing.write(world, folder, file_format=file_format, images=file_format == "parquet")
    scan = pl.scan_parquet if file_format == "parquet" else pl.scan_csv
    assert len(list(folder.glob(f"events-*.{file_format}"))) == SHOP.blocks == 2
    assert scan(folder / f"events-*.{file_format}").select(pl.len()).collect().item() == total
    told = json.loads((folder / "shop.json").read_text())
    assert told == {"generated": True, "events": total, "shop": SHOP.model_dump()}
    items = scan(folder / f"items.{file_format}").collect()
    assert items.height == SHOP.items
    assert scan(folder / f"users-*.{file_format}").collect().height == SHOP.users
    if file_format == "parquet":
        with Image.open(folder / items["image"][7]) as image:
            assert np.array_equal(np.asarray(image), picture(SHOP, world.items, 7))


def test_a_folder_with_something_in_it_is_left_alone(world: World, tmp_path: Path) -> None:
    """A shop is never written over something."""
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InvalidInput, match="not empty"):
        writing.write(world, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
