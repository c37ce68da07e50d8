"""Ingestion: a declared schema, rules that are counted, bad rows in a file, and one error for a bad file."""

import gzip
import os
from collections.abc import Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidInput
from serving.recommender.generated.events import World
from serving.recommender.generated.shop import Shop
from serving.recommender.generated.writing import write
from serving.recommender.ingest import pipeline, reading
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.ingest.pipeline import ingest
from serving.recommender.ingest.schema import load_schema

HEAD = "user,item,what,at,n,price,stars,words\n"
GOOD = "u1,A,buy,2024-03-01 10:00,2,2.5,,\n"
ITEMS = "item,name,kind,cost,picture\nA,Red mug,mugs,2.5,\nB,Owl clock,clocks,4,\n"
COLUMNS = {
    "user_id": "user",
    "item_id": "item",
    "type": "what",
    "timestamp": "at",
    "quantity": "n",
    "unit_price": "price",
    "rating": "stars",
    "query": "words",
}


def schema(folder: Path, **changes: Any) -> Path:
    """A schema for `events.csv` and `items.csv` in the folder, with changes at dotted places."""
    document: dict[str, Any] = {
        "kind": "ShopData",
        "events": {
            "files": ["events.csv"],
            "columns": dict(COLUMNS),
            "time": {"format": "%Y-%m-%d %H:%M"},
            "types": {"buy": "purchase", "look": "view"},
        },
        "items": {
            "files": ["items.csv"],
            "columns": {"item_id": "item", "title": "name", "category": "kind", "price": "cost", "image": "picture"},
        },
        "cleaning": {"max_bad_share": 1.0},
    }
    for place, value in changes.items():
        *parents, last = place.split("__")
        inner: Any = document
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def shop(folder: Path, events: str | bytes, items: str = ITEMS, **changes: Any) -> Dataset:
    """What ingestion makes of these files."""
    (folder / "events.csv").write_bytes(events if isinstance(events, bytes) else events.encode())
    (folder / "items.csv").write_text(items)
    return ingest(schema(folder, **changes), folder / "clean")


def rejected(data: Dataset) -> list[tuple[str, int, str]]:
    """Table, row and reason of each rejected row."""
    frame = pl.read_csv(data.folder / "rejected.csv", infer_schema=False)
    return [(table, int(row), reason) for table, row, reason in frame.select("table", "row", "reason").iter_rows()]


def test_rows_become_events_of_our_types_and_units(tmp_path: Path) -> None:
    """Their columns, words, time format and time zone become ours; what is not there is null, never 0."""
    lines = GOOD + "u2,B,look,2024-07-01 10:00,,,,\nu2,,search,2024-07-01 10:01,,,,owl clock\n"
    data = shop(tmp_path, HEAD + lines, events__time={"format": "%Y-%m-%d %H:%M", "zone": "Europe/Paris"})
    rows = data.events().sort("timestamp_s").collect().to_dicts()
    assert [row["type"] for row in rows] == ["purchase", "view", "search"]
    assert rows[0]["timestamp_s"] == 1_709_283_600  # 09:00 UTC in winter
    assert rows[1]["timestamp_s"] == 1_719_820_800  # 08:00 UTC in summer
    assert (rows[0]["quantity"], rows[0]["unit_price"]) == (2.0, 2.5)
    assert (rows[1]["quantity"], rows[1]["rating"], rows[2]["item_id"]) == (None, None, None)
    assert data.items().select("item_id", "title", "price").row(1) == ("B", "Owl clock", 4.0)
    assert data.report.by_type == {"purchase": 1, "search": 1, "view": 1}
    assert rejected(data) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(",A,buy,2024-03-01 10:00,1,1,,", "missing user", id="no user"),
        pytest.param("u\u202ex,A,buy,2024-03-01 10:00,1,1,,", "missing user", id="user that turns the text around"),
        pytest.param(f"{'u' * 129},A,buy,2024-03-01 10:00,1,1,,", "missing user", id="endless user"),
        pytest.param("u1,,buy,2024-03-01 10:00,1,1,,", "missing item", id="no item"),
        pytest.param("u1,Z,buy,2024-03-01 10:00,1,1,,", "unknown item", id="unknown item"),
        pytest.param("u1,A,,2024-03-01 10:00,1,1,,", "missing type", id="no type"),
        pytest.param("u1,A,steal,2024-03-01 10:00,1,1,,", "unknown type", id="unknown type"),
        pytest.param("u1,A,buy,yesterday,1,1,,", "bad time", id="no time"),
        pytest.param("u1,A,buy,1024-03-01 10:00,1,1,,", "bad time", id="a thousand years ago"),
        pytest.param("u1,A,buy,2024-02-30 10:00,1,1,,", "bad time", id="no such day"),
        pytest.param("u1,A,buy,2024-03-01 10:00,0,1,,", "bad quantity", id="nothing bought"),
        pytest.param("u1,A,buy,2024-03-01 10:00,NaN,1,,", "bad quantity", id="NaN bought"),
        pytest.param("u1,A,buy,2024-03-01 10:00,1e30,1,,", "bad quantity", id="everything bought"),
        pytest.param("u1,A,buy,2024-03-01 10:00,1,-2,,", "bad price", id="negative price"),
        pytest.param("u1,A,buy,2024-03-01 10:00,1,inf,,", "bad price", id="infinite price"),
        pytest.param("u1,A,buy,2024-03-01 10:00,1,cheap,,", "bad price", id="price in words"),
        pytest.param("u1,A,rating,2024-03-01 10:00,,,7,", "bad rating", id="seven stars"),
        pytest.param("u1,A,rating,2024-03-01 10:00,,,,", "bad rating", id="no stars"),
        pytest.param("u1,,search,2024-03-01 10:00,,,, ", "missing query", id="search for nothing"),
        pytest.param("u1,A,buy", "malformed row", id="short row"),
        pytest.param("u1,A,buy,2024-03-01 10:00,1,1,,,,,", "malformed row", id="long row"),
        pytest.param('u1,A,buy,2024-03-01 10:00,1,1,,"', "malformed row", id="open quote"),
        pytest.param("u1,A,buy,2024-03-01 10:00,2,2.5,,", "duplicate", id="the same again"),
    ],
)
def test_a_bad_row_goes_to_a_file_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    """Every rule names the row it takes out, by number and content, and counts it; the good row stays."""
    data = shop(tmp_path, f"{HEAD}{GOOD}{line}\n")
    assert rejected(data) == [("events", 2, reason)]
    assert data.report.events.rejected == {reason: 1}
    assert (data.report.events.rows, data.report.events.kept) == (2, 1)
    assert data.events().collect()["user_id"].to_list() == ["u1"]


USERS = {"files": ["users.csv"], "columns": {"user_id": "customer", "country": "land", "age": "how old"}}


def test_users_have_labels(tmp_path: Path) -> None:
    """What is known of users comes in as text by any name; bad rows are told as those of the other tables."""
    lines = ["customer,land,how old", "u1, Côte  d'Ivoire ,30-39", "u2,,40", ",France,1", "u1,Spain,2", "u3"]
    (tmp_path / "users.csv").write_text("\n".join(lines) + "\n")
    data = shop(tmp_path, HEAD + GOOD, users=USERS)
    assert data.labels() == {"country": {"u1": "Côte d'Ivoire"}, "age": {"u1": "30-39", "u2": "40"}}
    assert sorted(rejected(data)) == [
        ("users", 3, "missing user"),
        ("users", 4, "duplicate"),
        ("users", 5, "malformed row"),
    ]
    assert data.report.people is not None
    assert (data.report.people.rows, data.report.people.kept) == (5, 2)


def test_without_a_table_of_users_nothing_is_known_of_them(tmp_path: Path) -> None:
    """There are no labels, and no counts of them."""
    data = shop(tmp_path, HEAD + GOOD)
    assert data.labels() == {}
    assert data.report.people is None


@pytest.mark.parametrize(
    "columns",
    [
        {"country": "land"},
        {"user_id": "customer"},
        {"user_id": "customer", "A b": "land"},
        {"user_id": "customer", "row": "land"},
    ],
)
def test_labels_need_a_user_and_a_name(tmp_path: Path, columns: dict[str, str]) -> None:
    """A table of users without an id, without a label, or with a name that is none is refused."""
    with pytest.raises(InvalidInput, match="the data schema is not valid") as caught:
        load_schema(schema(tmp_path, users={"files": ["users.csv"], "columns": columns}))
    assert "users" in caught.value.where


def test_bytes_that_are_no_text_are_one_bad_row(tmp_path: Path) -> None:
    """A row that is no UTF-8 is rejected by itself; the rows around it keep their numbers."""
    lines = [
        GOOD.encode(),
        b"u\xff\xfe,A,buy,2024-03-01 10:00,1,1,,\n",
        b"u1,A\n",
        b"u3,Z,buy,2024-03-01 10:00,1,1,,\n",
    ]
    data = shop(tmp_path, HEAD.encode() + b"".join(lines))
    assert sorted(rejected(data)) == [
        ("events", 2, "malformed row"),
        ("events", 3, "malformed row"),
        ("events", 4, "unknown item"),
    ]


def test_a_line_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose line never ends is read in pieces of a bounded length, each a bad row."""
    monkeypatch.setattr(reading, "MAX_LINE_CHARS", 100)
    data = shop(tmp_path, HEAD + GOOD + "x" * 950 + "\n" + GOOD.replace("u1", "u2"))
    assert data.report.events.rejected == {"malformed row": 10}
    assert set(data.events().collect()["user_id"]) == {"u1", "u2"}


@given(st.lists(st.sampled_from(["good", "short", "unknown"]), max_size=40), st.integers(1, 30))
@settings(max_examples=25)
def test_rows_keep_their_numbers_across_batches(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], batch_rows: int
) -> None:
    """Whatever stands before it and wherever a batch ends, a rejected row is told by its place in the file."""
    line = {
        "good": "u{0},A,look,2024-03-01 10:00,,,,\n",
        "short": "u{0},A\n",
        "unknown": "u{0},Z,look,2024-03-01 10:00,,,,\n",
    }
    text = HEAD + "".join(line[kind].format(place) for place, kind in enumerate(kinds))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BATCH_ROWS", batch_rows)
        data = shop(tmp_path_factory.mktemp("shop"), text)
    reason = {"short": "malformed row", "unknown": "unknown item"}
    wanted = [("events", place + 1, reason[kind]) for place, kind in enumerate(kinds) if kind != "good"]
    assert sorted(rejected(data), key=lambda row: row[1]) == wanted
    assert data.report.events.kept == kinds.count("good")


def test_a_bot_is_taken_out_with_all_it_did(tmp_path: Path) -> None:
    """A user with too many events in one day goes, other days included; one who comes often on many days stays."""
    bot = "".join(f"bot,A,look,2024-03-01 10:{minute:02d},,,,\n" for minute in range(6))
    often = "".join(f"often,A,look,2024-03-{day:02d} 10:00,,,,\n" for day in range(1, 11))
    lines = bot + often + "bot,B,look,2024-03-09 10:00,,,,\n"
    data = shop(tmp_path, HEAD + lines, cleaning__max_events_per_day=5)
    assert data.report.events.rejected == {"too many events in a day": 7}
    assert set(data.events().collect()["user_id"]) == {"often"}


def test_one_event_id_is_one_event(tmp_path: Path) -> None:
    """An event that is told twice under one id counts once, also if the copies differ."""
    columns = {"user_id": "user", "item_id": "item", "timestamp": "at", "event_id": "words"}
    lines = "u1,A,,1700000000,,,,x\nu1,A,,1700000009,,,,x\nu1,A,,1700000009,,,,y\n"
    data = shop(tmp_path, HEAD + lines, events__columns=columns, events__time={"unit": "s"}, events__type="view")
    assert data.report.events.rejected == {"duplicate": 1}
    assert data.events().collect()["event_id"].to_list() == ["x", "y"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(",No id,mugs,1,", "missing item", id="no id"),
        pytest.param("A,Again,mugs,2,", "duplicate", id="twice"),
        pytest.param("C,Gift,mugs,0,", "bad price", id="free"),
        pytest.param("C,Debt,mugs,-3,", "bad price", id="negative"),
        pytest.param("C,Nothing,mugs,NaN,", "bad price", id="NaN"),
        pytest.param("C,Palace,mugs,99999,", "price outlier", id="outlier"),
    ],
)
def test_a_bad_item_goes_to_the_file_too(tmp_path: Path, row: str, reason: str) -> None:
    """Items are held to rules of their own; a price is compared with those of its category."""
    more = "".join(f"M{n},Mug,mugs,2,\n" for n in range(5))
    data = shop(tmp_path, HEAD + GOOD, f"{ITEMS}{more}{row}\n")
    assert [entry for entry in rejected(data) if entry[0] == "items"] == [("items", 8, reason)]
    assert data.report.items is not None
    assert data.report.items.rejected == {reason: 1}
    assert "C" not in data.items()["item_id"]


def test_text_of_any_script_stays_readable(tmp_path: Path) -> None:
    """Hebrew, Arabic and composed letters stay; what turns or hides text goes; decomposed letters are composed."""
    name = "\u202eנר ריחני\u202c  عطر Cafe\u0301\u0007"
    data = shop(tmp_path, HEAD + "ünal,נר,look,2024-03-01 10:00,,,,\n", f"item,name,kind,cost,picture\nנר,{name},,,\n")
    assert data.items()["title"].to_list() == ["נר ריחני عطر Café"]
    assert data.events().collect().select("user_id", "item_id").row(0) == ("ünal", "נר")


def test_an_image_that_is_none_is_left_out_and_told(tmp_path: Path) -> None:
    """The item stays without its picture: what no model could read later. A good one is found beside the schema."""
    world = World(Shop(users=1, items=1))
    write(world, tmp_path / "made", file_format="csv")
    good = next((tmp_path / "made" / "images").glob("*/*.png"))
    (tmp_path / "good.png").write_bytes(good.read_bytes())
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3)).astype(np.uint8))
    noise.save(tmp_path / "whole.jpg")
    (tmp_path / "cut-jpeg.png").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3_000])
    noise.save(tmp_path / "gif.png", "GIF")
    (tmp_path / "link.png").symlink_to(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    bad = ("cut", "text", "gone", "cut-jpeg", "gif", "link", "pipe")
    rows = "".join(f"{name},,,1,{name}.png\n" for name in ("good", *bad))
    data = shop(tmp_path, HEAD, f"item,name,kind,cost,picture\n{rows}")
    assert data.items()["image"].to_list() == [str(tmp_path / "good.png"), *[None] * len(bad)]
    assert data.report.items is not None
    assert (data.report.items.kept, data.report.items.mended) == (8, {"bad image": 7})
    assert rejected(data) == [("items", row, "bad image") for row in range(2, 9)]


def test_numbers_of_a_table_program_are_ids(tmp_path: Path) -> None:
    """Parquet with typed columns reads like CSV: ids as numbers, whole or with gaps, and moments as moments."""
    frame = pl.DataFrame(
        {
            "user": [17850.0, None, 12.0],
            "item": [1, 2, 2],
            "at": pl.Series(["2024-03-01 10:00", "2024-03-01 10:01", "2024-03-01 10:02"]).str.to_datetime(),
        }
    )
    frame.write_parquet(tmp_path / "events.parquet")
    (tmp_path / "items.csv").write_text("item,name,kind,cost,picture\n1,x,,,\n2,y,,,\n")
    path = schema(
        tmp_path,
        events__files=["events.parquet"],
        events__columns={"user_id": "user", "item_id": "item", "timestamp": "at"},
        events__type="purchase",
    )
    data = ingest(path, tmp_path / "clean")
    assert data.events().sort("timestamp_s").collect().select("user_id", "item_id").rows() == [
        ("17850", "1"),
        ("12", "2"),
    ]
    assert rejected(data) == [("events", 2, "missing user")]


LIES: Mapping[str, dict[str, Any]] = {
    "seconds said to be milliseconds": {"events__time": {"unit": "ms"}},
    "item said to be the user's time": {"events__columns": COLUMNS | {"timestamp": "item"}},
    "price said to be the type": {"events__columns": COLUMNS | {"type": "price"}},
}


@pytest.mark.parametrize("changes", LIES.values(), ids=LIES.keys())
def test_a_schema_that_lies_is_one_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    """When most rows break one rule it is the schema that is told, with the rule, and nothing is written."""
    lines = "".join(f"u{n},A,buy,{1_700_000_000 + n},1,1,,\n" for n in range(20))
    settled = {"events__time": {"unit": "s"}, "cleaning__max_bad_share": 0.5} | changes
    with pytest.raises(InvalidInput, match="the schema does not fit the data") as caught:
        shop(tmp_path, HEAD + lines, **settled)
    assert "20 of 20 rows are bad" in caught.value.why
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.yaml", "events.csv", "items.csv"]


BROKEN: Mapping[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty file": ("", {}, "header"),
    "other columns": ("a,b\n1,2\n", {}, "header"),
    "a column twice": ("user," + HEAD, {}, "header"),
    "another separator": (HEAD.replace(",", ";") + GOOD, {}, "header"),
    "no such file": (HEAD, {"events__files": ["other*.csv"]}, "no such file"),
    "a folder": (HEAD, {"events__files": ["."]}, "no such file"),
    "nothing": (HEAD, {"events__files": [""]}, "no such file"),
    "no gzip": (HEAD, {"events__files": ["events.csv.gz"]}, "gzip"),
    "cut gzip": (gzip.compress(HEAD.encode() * 99)[:40], {"events__files": ["events.csv.gz"]}, "end"),
    "no parquet": (HEAD, {"events__format": "parquet"}, "parquet"),
    "binary": (b"\x00\xff" * 999, {}, ""),
}


@pytest.mark.parametrize(("content", "changes", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_a_bad_file_is_one_error(tmp_path: Path, content: str | bytes, changes: dict[str, Any], why: str) -> None:
    """What is not the declared file is one error with the file's name, and leaves nothing behind."""
    raw = content.encode() if isinstance(content, str) else content
    (tmp_path / "events.csv.gz").write_bytes(raw)
    with pytest.raises(InvalidInput) as caught:
        shop(tmp_path, raw, **changes)
    assert why in f"{caught.value.why}"
    assert str(tmp_path) in caught.value.where
    assert caught.value.next_step
    assert not [path for path in tmp_path.iterdir() if "clean" in path.name]


@pytest.mark.parametrize("kind", ["list", "struct", "bytes", "time of day", "span"])
@pytest.mark.parametrize("column", ["user", "item", "at"])
def test_a_column_of_what_is_no_value_is_one_error(tmp_path: Path, kind: str, column: str) -> None:
    """Parquet may hold lists, bytes and spans: the error names the file, the column and what it holds."""
    held = {"list": ["x"], "struct": {"a": 1}, "bytes": b"\xff", "time of day": time(1), "span": timedelta(1)}[kind]
    frame = pl.DataFrame({"user": ["u1"], "item": ["A"], "at": [1_700_000_000]})
    frame.with_columns(pl.Series(column, [held])).write_parquet(tmp_path / "events.parquet")
    columns = {"user_id": "user", "item_id": "item", "timestamp": "at"}
    changes = {"files": ["events.parquet"], "columns": columns, "time": {"unit": "s"}, "type": "purchase"}
    with pytest.raises(InvalidInput, match="which is no text, number or moment") as caught:
        shop(tmp_path, HEAD, **{f"events__{name}": value for name, value in changes.items()})
    assert caught.value.where == f"{tmp_path / 'events.parquet'}, column {column!r}"


@pytest.mark.parametrize(
    ("form", "text"),
    [("%Y-%m-%dT%H:%M:%S%z", "2024-03-01T10:00:00+0300"), ("%Y-%m-%dT%H:%M:%S%.f%:z", "2024-03-01T10:00:00.5+03:00")],
)
def test_an_offset_in_the_text_wins_over_the_zone(tmp_path: Path, form: str, text: str) -> None:
    """Ten in the morning three hours east of Greenwich is seven in UTC, whatever the zone of the others."""
    data = shop(
        tmp_path, HEAD + GOOD.replace("2024-03-01 10:00", text), events__time={"format": form, "zone": "Asia/Tokyo"}
    )
    assert data.events().collect()["timestamp_s"].to_list() == [1_709_276_400]


def test_a_table_of_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    """No item is known, so every event is told; nobody has a label."""
    (tmp_path / "users.csv").write_text("customer,land,how old\n")
    data = shop(tmp_path, HEAD + GOOD, ITEMS.splitlines()[0] + "\n", users=USERS)
    assert data.report.items is not None
    assert data.report.items.rows == len(data.items()) == 0
    assert rejected(data) == [("events", 1, "unknown item")]
    assert data.labels() == {"country": {}, "age": {}}
    assert len(data.purchases()) == 0


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """What is a pattern in `files` is none in the folder's own name, where the clean data is read again."""
    folder = tmp_path / "shop [2024] *"
    folder.mkdir()
    (folder / "users.csv").write_text("customer,land,how old\nu1,France,40\n")
    (tmp_path / "more.csv").write_text("customer,land,how old\nu2,Spain,\n")
    data = shop(folder, HEAD + GOOD, users=USERS | {"files": ["us[e]rs.c?v", str(tmp_path / "more.csv")]})
    assert data.labels()["country"] == {"u1": "France", "u2": "Spain"}
    assert len(data.purchases()) == 1
    assert len(data.items()) == 2


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"events__columns": {"user_id": "user", "timestamp": "at"}}, "events"),
        *(({"events__time": {"format": form}}, "events.time.format") for form in ("%3", "%p %I", "%H:%M", "abc", "%Q")),
        ({"events__separator": '"'}, "events.separator"),
        ({"events__separator": "\n"}, "events.separator"),
        ({"events__columns": COLUMNS | {"usr": "user"}}, "events"),
        ({"events__type": "purchase"}, "events"),
        ({"events__types": {"buy": "bought"}}, "events.types.buy"),
        ({"events__time": {"unit": "h"}}, "events.time.unit"),
        ({"events__time": {"format": "%Y", "zone": "Mars/Phobos"}}, "events.time.zone"),
        ({"events__time": {"format": "%Y", "zone": "../../etc/passwd"}}, "events.time.zone"),
        ({"cleaning__rating_low": 9.0}, "cleaning"),
        ({"cleaning__max_bad_share": 2}, "cleaning.max_bad_share"),
        ({"more": 1}, "more"),
    ],
)
def test_a_schema_that_is_none_is_refused(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    """The error names the field, and says why in our words alone."""
    with pytest.raises(InvalidInput, match="the data schema is not valid") as caught:
        load_schema(schema(tmp_path, **changes))
    assert caught.value.where.endswith(f"data.yaml {where}")
    assert "Value error" not in caught.value.why


@settings(max_examples=30)
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_data_or_one_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Whatever the file holds, every row is kept or told, or the file is refused."""
    try:
        data = shop(tmp_path_factory.mktemp("shop"), HEAD.encode() + GOOD.encode() + raw)
    except InvalidInput as problem:
        assert problem.where  # noqa: PT017 - either outcome is right
        return
    counts = data.report.events
    assert counts.rows == counts.kept + sum(counts.rejected.values()) == counts.kept + len(rejected(data))


def test_a_generated_shop_comes_through_whole_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a sound shop is lost, a user's events are in one file in order of time, and it is labelled."""
    total = write(World(Shop(users=120, items=90, days=60)), tmp_path / "shop")
    monkeypatch.setattr(pipeline, "PART_BYTES", 20_000)
    data = ingest(tmp_path / "shop" / "data.yaml", tmp_path / "clean")
    assert data.report.generated
    assert data.report.events.kept == total
    files = [pl.read_parquet(path) for path in data.folder.glob("events-*.parquet")]
    assert len(files) > 3
    assert sum(file["user_id"].n_unique() for file in files) == 120
    assert all(file["timestamp_s"].is_sorted() for file in files)
    purchases = data.purchases()
    assert len(purchases.item_ids) == 90
    assert (np.diff(purchases.day) >= 0).all()


def test_parts_do_not_change_what_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts and small batches give the same events and the same purchases as one of each."""
    write(World(Shop(users=60, items=50, days=40)), tmp_path / "shop", file_format="csv", images=False)
    one = ingest(tmp_path / "shop" / "data.yaml", tmp_path / "one")
    monkeypatch.setattr(pipeline, "PART_BYTES", 10_000)
    monkeypatch.setattr(reading, "BATCH_ROWS", 300)
    many = ingest(tmp_path / "shop" / "data.yaml", tmp_path / "many")
    assert one.events().collect().sort("event_id").equals(many.events().collect().sort("event_id"))
    assert one.purchases().item.tolist() == many.purchases().item.tolist()
