"""From ingested data to every model of the list: by texts, pictures, attributes and lists that were shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from cli.main import app
from serving.errors import InvalidInput
from serving.model import ModelRequest
from serving.recommender import model_commands, models, told
from serving.recommender.generated.events import World
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, Shop
from serving.recommender.generated.writing import write
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.ingest.pipeline import ingest
from serving.recommender.interface import Bought
from serving.recommender.lists import Lists
from serving.recommender.multimodal.looks import Looks, looks
from tests.support.small_networks import one_thread, toy_words
from tests.support.toy_encoder import ToyEncoder

BEFORE = date(2024, 2, 10)
CUT_S = FIRST_DAY_S + 40 * DAY_S
NEWCOMING: dict[str, dict[str, Any]] = {
    "content": {},
    "taste": {"epochs": 30, "learning_rate": 0.03, "looks": {"epochs": 1}},
    "clicks": {"kinds": 3, "dim": 3, "hidden": 4, "word_buckets": 64, "plan": {"epochs": 1}},
}
"""Models that offer what nobody bought yet, with settings that train in a moment."""


@pytest.fixture(scope="module", autouse=True)
def _light() -> Iterator[None]:
    """Toy words in place of MiniLM, which takes seconds to load, and one thread for small networks."""
    with one_thread(), toy_words():
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generated shop's clean data, and a model of each kind."""
    folder = tmp_path_factory.mktemp("shop")
    write(
        World(Shop(users=200, items=60, days=60, visits_per_user=8.0, click_bias=-1.4, purchase_bias=2.0)),
        folder / "raw",
    )
    ingest(folder / "raw" / "data.yaml", folder / "clean")
    for name, settings in (NEWCOMING | {"popularity": {}}).items():
        model_commands.train(folder / "clean", name, folder / name, settings=settings, before=BEFORE)
    return folder


@pytest.fixture(scope="module")
def searched(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the shop whose items can be searched."""
    folder = tmp_path_factory.mktemp("searched") / "content"
    copytree(shop / "content", folder)
    hcctl("index", folder, "--data", shop / "clean")
    return folder


@pytest.fixture(params=NEWCOMING)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def newest(shop: Path) -> set[str]:
    """The items that came after the models were fitted."""
    items = Dataset.open(shop / "clean").items()
    return set(items.filter(pl.col("added_s") >= CUT_S)["item_id"])


def test_the_data_has_the_users_of_the_shop(shop: Path) -> None:
    """What the sign-up form told is ingested beside events and items, and counted."""
    data = Dataset.open(shop / "clean")
    assert data.report.people is not None
    assert data.report.people.kept == 200
    assert set(data.labels()) == {"region", "age"}
    assert len(told.people(data.labels())["U00007"]) == 2


def test_each_model_offers_new_items_too(shop: Path, name: str) -> None:
    """To somebody known, unknown, or told by a history; each item once, the best first."""
    _, model, _ = models.load(shop / name)
    assert newest(shop)
    for user in ("U00003", "nobody", [], [Bought("I00004", 19_750), Bought("gone", 19_750)]):
        offers = model.recommend(user, 1_000)
        assert newest(shop) <= {offer.item_id for offer in offers}
        assert [offer.score for offer in offers] == sorted((offer.score for offer in offers), reverse=True)
        assert len({offer.item_id for offer in offers}) == len(offers)
    history = [Bought(item, 19_750) for item in ("I00004", "I00009", "I00011")]
    assert model.recommend(history, 10) != model.recommend([], 10)
    assert not {"I00004", "I00009"} & {offer.item_id for offer in model.recommend(history, 99, exclude_bought=True)}


def test_who_asks_beside_somebody_changes_nothing(shop: Path, name: str) -> None:
    """What others told of themselves is their own: scores are the same alone and among any neighbours."""
    _, model, _ = models.load(shop / name)
    history = [Bought(f"I{number:05d}", 19_750) for number in range(12)]
    among = model.score([history, "U00003", *[history[:9]] * 30])[:2]
    assert among == pytest.approx(model.score([history, "U00003"]), rel=1e-4)
    assert among[1:] == pytest.approx(model.score(["U00003"]), rel=1e-4)


def test_a_loaded_model_scores_as_the_saved_one(shop: Path, name: str, tmp_path: Path) -> None:
    """To the last bit, and after an update that brings a new user too."""
    _, model, _ = models.load(shop / name)
    later = Dataset.open(shop / "clean").purchases().between(BEFORE)
    updated = model.update(later)
    assert updated.item_ids == model.item_ids
    updated.save(tmp_path)
    users = [*later.user_ids[-20:], "nobody", [Bought("I00004", 19_750)]]
    again = models.MODELS[name].load(tmp_path)
    assert (again.score(users) == updated.score(users)).all()
    assert (updated.score(users) != model.score(users)).any()


def test_what_follows_the_day_changes_nothing(shop: Path, name: str, tmp_path: Path) -> None:
    """Without any later event, whatever it was, the model of the days before gives the same lists to the last bit."""
    document = yaml.safe_load((shop / "raw" / "data.yaml").read_text())
    events = pl.read_parquet(shop / "raw" / "events-*.parquet").filter(pl.col("timestamp_s") < CUT_S)
    events.write_parquet(tmp_path / "events.parquet")
    document["events"]["files"] = ["events.parquet"]
    for table in ("items", "users"):
        document[table]["files"] = [str(shop / "raw" / f"{table}*.parquet")]
    images = pl.concat_str(pl.lit(f"{shop / 'raw'}/"), "image").alias("image")
    pl.read_parquet(shop / "raw" / "items.parquet").with_columns(images).write_parquet(tmp_path / "items.parquet")
    document["items"]["files"] = ["items.parquet"]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(document))
    ingest(tmp_path / "data.yaml", tmp_path / "clean")
    model_commands.train(tmp_path / "clean", name, tmp_path / "model", settings=NEWCOMING[name], before=None)
    users = [f"U{number:05d}" for number in range(200)]
    whole, cut = (models.load(folder)[1] for folder in (shop / name, tmp_path / "model"))
    assert whole.item_ids == cut.item_ids
    assert (whole.score(users) == cut.score(users)).all()


def test_new_users_and_items_are_judged_by_themselves(shop: Path) -> None:
    """On them taste is better than popularity, which knows no new item; known items alone are ranked in the tracks."""
    found = model_commands.judge(
        shop / "clean", shop / "taste", shop / "popularity", start=None, metric="ndcg@10", tolerance=0.02, min_rows=1
    )
    items, users = found["newcomers"]
    assert (items["newcomers"], users["newcomers"]) == ("new items", "new users")
    assert items["users"] >= 10
    assert items["against"] == 0
    assert items["low"] > 0
    assert users["difference"] == pytest.approx(users["value"] - users["against"])
    segments = {row["segment"]: row["users"] for row in found["segments"] if row["track"] == "a"}
    regions = {name: count for name, count in segments.items() if name.startswith("region=")}
    assert len(regions) >= 2
    assert sum(regions.values()) == found["users"]["a"]


def test_models_are_judged_by_the_lists_that_were_shown(shop: Path) -> None:
    """Click-through and conversion of the time judged by, and of what each model would have put first."""
    found = model_commands.judge(
        shop / "clean", shop / "clicks", shop / "popularity", start=None, metric="ndcg@10", tolerance=0.02, min_rows=1
    )
    rows = {(row["items"], row["metric"]): row for row in found["feedback"]}
    assert len(rows) == 4
    shown, first = rows["as shown", "click-through"], rows["the model's first", "click-through"]
    assert 0.05 < shown["value"] < first["value"] < 1
    assert first["difference"] == pytest.approx(first["value"] - first["against"])
    assert first["low"] <= first["difference"] <= first["high"]


def test_an_item_that_nobody_bought_is_no_candidate_of_the_tracks(shop: Path) -> None:
    """A model that offers it there loses nothing by it: coverage is over items that were bought."""
    found = model_commands.judge(shop / "clean", shop / "content", None, start=None, metric="ndcg@10", tolerance=0)
    assert all(row["value"] <= 1 for row in found["metrics"] if row["metric"].startswith("coverage"))


def test_features_are_written_for_other_models(shop: Path, tmp_path: Path) -> None:
    """A row for each item and user, of what came before the day; of everything without one."""
    early = hcctl("features", tmp_path / "early", "--data", shop / "clean", "--at", str(BEFORE))
    everything = hcctl("features", tmp_path / "all", "--data", shop / "clean")
    assert (early["at"], everything["at"], everything["items"], everything["users"]) == (
        str(BEFORE),
        "2024-03-01",
        60,
        200,
    )
    data = Dataset.open(shop / "clean")
    for folder, kept in (("early", pl.col("timestamp_s") < CUT_S), ("all", pl.lit(value=True))):
        items, users = (pl.read_parquet(tmp_path / folder / f"{name}.parquet") for name in ("items", "users"))
        past = data.events().filter(kept).collect()
        assert items["clicks"].sum() == users["clicks"].sum() == (past["type"] == "click").sum()
        assert set(users["user_id"]) == set(past["user_id"])


def test_shops_without_lists_or_words_are_told_so(shop: Path, tmp_path: Path) -> None:
    """What a model learns from is missing: one error that says what, and what to do."""
    raw = pl.read_parquet(shop / "raw" / "events-*.parquet").filter(pl.col("type") == "purchase")
    raw.write_parquet(tmp_path / "events.parquet")
    columns = {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp_s"}
    events = {"files": ["events.parquet"], "columns": columns, "type": "purchase"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"kind": "ShopData", "events": events}))
    data = ingest(tmp_path / "data.yaml", tmp_path / "clean")
    for name in ("taste", "clicks"):
        with pytest.raises(InvalidInput, match="no impression") as caught:
            model_commands.train(tmp_path / "clean", name, tmp_path / name, settings={}, before=None)
        assert "content" in caught.value.next_step
    everything = np.ones(len(data.items()), dtype=bool)
    with pytest.raises(InvalidInput, match="have a title or a picture and a title"):
        looks(data.items(), everything, Looks())
    model_commands.train(tmp_path / "clean", "content", tmp_path / "content", settings={}, before=None)
    with pytest.raises(InvalidInput, match="nothing to search in"):
        model_commands.index(tmp_path / "clean", tmp_path / "content")


def test_lists_whose_clicks_cannot_be_told_are_told_so(tmp_path: Path) -> None:
    """Without the lists' ids no click belongs to an impression: rankers would learn that nobody clicks."""
    shown = pl.DataFrame(
        {"who": ["u"] * 3, "what": ["i"] * 3, "at": [1, 2, 3], "did": ["impression", "click", "purchase"]}
    )
    shown.with_columns(pl.col("at") + 1_700_000_000).write_parquet(tmp_path / "events.parquet")
    columns = {"user_id": "who", "item_id": "what", "timestamp": "at", "type": "did"}
    events = {"files": ["events.parquet"], "columns": columns}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"kind": "ShopData", "events": events}))
    ingest(tmp_path / "data.yaml", tmp_path / "clean")
    for name in ("taste", "clicks"):
        with pytest.raises(InvalidInput, match="request_id"):
            model_commands.train(tmp_path / "clean", name, tmp_path / name, settings={}, before=None)


def test_items_without_a_picture_or_price_are_like_the_mean(shop: Path) -> None:
    """What is not known of an item is nothing, not zero: no feature, the usual price, no attribute."""
    items = Dataset.open(shop / "clean").items().with_columns(
        *(pl.when(pl.col("item_id") == "I00005").then(None).otherwise(name).alias(name) for name in ("image", "price"))
    )  # fmt: skip
    there = np.ones(len(items), dtype=bool)
    seen = looks(items, there, Looks(by=("picture",), epochs=1))
    assert not seen[5].any()
    assert seen[4].any()
    assert not any(name.startswith("price") for name in told.attributes(items)["I00005"])
    listed = told.listed(items)
    same = [price for price, kind in zip(listed.prices, listed.categories, strict=True) if kind == listed.categories[5]]
    assert min(same) < listed.prices[5] < max(same)


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def hcctl(*arguments: str | Path) -> Any:
    """What `hcctl model` prints as JSON."""
    done = CliRunner().invoke(app, ["model", *map(str, arguments), "-o", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_version_is_asked_from_the_command_line(shop: Path, tmp_path: Path) -> None:
    """Lists for somebody known and unknown, and a search by words, filters and taste, as a request would get them."""
    folder = copytree(shop / "taste", tmp_path / "taste")
    assert hcctl("index", folder, "--data", shop / "clean")["items"] == 60
    assert [item["id"] for item in hcctl("ask", folder, "--user", "U00003", "-k", "3")] == [
        offer.item_id for offer in models.load(folder)[1].recommend("U00003", 3)
    ]
    assert len(hcctl("ask", folder, "--bought", "I00004", "--new", "-k", "5")) == 5
    wanted = Dataset.open(shop / "clean").items().row(7, named=True)
    assert hcctl("ask", folder, "--search", wanted["title"])[0]["id"] == wanted["item_id"]
    only = hcctl("ask", folder, "--search", wanted["title"], "--category", wanted["category"], "--user", "U00003")
    kinds = dict(Dataset.open(shop / "clean").items().select("item_id", "category").iter_rows())
    assert {kinds[item["id"]] for item in only} == {wanted["category"]}
    assert all(item["price"] <= 3 for item in hcctl("ask", folder, "--search", wanted["title"], "--max-price", 3))


@pytest.mark.parametrize(
    ("arguments", "told_so", "code"),
    [
        (["ask", "{0}/content", "--search", "tea"], "hcctl model index", 2),
        (["ask", "{0}/content", "--user", "u", "--bought", "i"], "give one of them", 2),
        (["ask", "{0}/content", "--category", "x"], "--search", 2),
        (["ask", "{0}/content", "--search", "tea", "--new"], "--new", 2),
        (["ask", "{0}/raw"], "trained.json", 1),
        (["index", "{0}/raw", "--data", "{0}/clean"], "trained.json", 1),
        (["features", "{0}/clean", "--data", "{0}/clean"], "the folder is not empty", 2),
        (["features", "{0}/x", "--data", "{0}/raw"], "there is no clean data", 2),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "content", "--set", "by=[]"], "setting by", 2),
        (
            ["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "taste", "--set", "looks=1"],
            "setting looks",
            2,
        ),
    ],
)
def test_a_wrong_question_is_one_error(shop: Path, arguments: list[str], told_so: str, code: int) -> None:
    """It says what to do."""
    done = CliRunner().invoke(app, ["model", *(argument.format(shop) for argument in arguments)])
    assert done.exit_code == code
    assert told_so in " ".join(done.stderr.split())
    assert not (shop / "x").exists()


@pytest.mark.parametrize(
    ("body", "told_so"),
    [
        ([], "not an object"),
        ({"query": 7}, "query"),
        ({"query": "..."}, "query"),
        ({"query": "tea", "k": 0}, "k"),
        ({"query": "tea", "words": 1}, "words"),
        ({"query": "tea", "brands": []}, "brands"),
        ({"query": "tea", "brands": [1]}, "brands"),
        ({"query": "tea", "brands": ["x", "x", 1]}, "brands"),
        ({"query": "tea", "brands": [nested(10_000)]}, "brands"),
        ({"query": "tea", "categories": "x"}, "categories"),
        ({"query": "tea", "max_price": -1}, "max_price"),
        ({"query": "tea", "max_price": 10**400}, "max_price"),
        ({"query": "tea", "min_price": True}, "min_price"),
        ({"query": "tea", "min_price": 5, "max_price": 1}, "min_price"),
        ({"query": "tea", "in_stock": 1}, "in_stock"),
        ({"query": "tea", "user_id": "u", "history": []}, "either"),
    ],
)
def test_a_wrong_search_is_told_what_is_wrong(searched: Path, body: Any, told_so: str) -> None:
    """By field; its neighbour in the batch is answered, from the address line alone as well."""
    lists = Lists.load(searched, {})
    right = ModelRequest(path="/search", query={"query": "lamp", "k": "2", "user_id": "U00003"}, body=None)
    wrong, answer, other = lists.predict_batch(
        [ModelRequest(path="/search", query={}, body=body), right, ModelRequest(path="/x", query={}, body={})]
    )
    assert isinstance(wrong, InvalidInput)
    assert told_so in f"{wrong.where} {wrong}"
    assert not isinstance(answer, Exception)
    assert not isinstance(other, Exception)
    assert other["status"] == 404


def test_a_list_is_told_without_the_index(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a list waits neither for an encoder nor for titles, not even for damaged ones."""
    monkeypatch.setattr("serving.recommender.search.index.MiniLM", None)
    assert len(hcctl("ask", searched, "--user", "U00003")) == 10


def test_a_version_that_is_loaded_has_its_encoder(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request waits for its weights."""
    encoder = ToyEncoder()
    monkeypatch.setattr("serving.recommender.search.index.MiniLM", lambda: encoder)
    Lists.load(searched, {})
    assert encoder.encoded
