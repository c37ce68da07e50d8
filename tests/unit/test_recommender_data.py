"""Reading a shop's orders: strict, bounded, and clear about what is wrong where."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.recommender.generated.orders import generate_orders
from serving.recommender.orders import data
from serving.recommender.orders.data import Orders, load_orders

ITEMS = "item_id,title,median_price,n\nA,RED MUG,2.5,3\nB,OWL CLOCK,4,1\n"
HEAD = "user_id,item_id,timestamp,quantity,unit_price,order_id\n"
LINE = "u1,A,100,2,2.5,o1\n"


def shop(folder: Path, interactions: str | bytes, items: str = ITEMS, *, packed: bool = False) -> Path:
    """A folder with these two files."""
    (folder / "items.csv").write_text(items)
    raw = interactions if isinstance(interactions, bytes) else interactions.encode()
    name = "interactions.csv.gz" if packed else "interactions.csv"
    (folder / name).write_bytes(gzip.compress(raw) if packed and isinstance(interactions, str) else raw)
    return folder


def refusal(folder: Path) -> InvalidInput:
    """The error that this folder gives."""
    with pytest.raises(InvalidInput) as caught:
        load_orders(folder)
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize("packed", [False, True])
def test_lines_come_sorted_by_time_and_indexed(tmp_path: Path, packed: bool) -> None:
    """Orders hold indices into the id lists, sorted by time; plain and gzip files read alike."""
    lines = "u2,B,300,1,4,o2\nu1,A,100,2,2.5,o1\nu1,B,200,1.5,4,o3\n"
    orders = load_orders(shop(tmp_path, HEAD + lines, packed=packed))
    assert orders.timestamp_s.tolist() == [100, 200, 300]
    assert [orders.user_ids[user] for user in orders.user] == ["u1", "u1", "u2"]
    assert [orders.item_ids[item] for item in orders.item] == ["A", "B", "B"]
    assert orders.quantity.tolist() == [2, 1.5, 1]
    assert orders.titles == ("RED MUG", "OWL CLOCK")
    assert orders.prices.tolist() == [2.5, 4]


def test_columns_may_stand_in_any_order_behind_a_byte_order_mark(tmp_path: Path) -> None:
    """Columns are found by name, as a spreadsheet would save them."""
    orders = load_orders(shop(tmp_path, "\ufeffquantity,timestamp,item_id,user_id\n3,7,A,u1\n"))
    assert (orders.timestamp_s[0], orders.quantity[0], orders.user_ids) == (7, 3, ("u1",))


@pytest.mark.parametrize(
    ("line", "column"),
    [
        pytest.param("u1,Z,100,1,1,o", "item_id", id="unknown item"),
        pytest.param(",A,100,1,1,o", "user_id", id="empty user"),
        pytest.param(f"{'u' * 65},A,100,1,1,o", "user_id", id="long user"),
        pytest.param("u\x00,A,100,1,1,o", "user_id", id="NUL in user"),
        pytest.param("u\u202e,A,100,1,1,o", "user_id", id="text direction trick"),
        pytest.param("u1,A,-1,1,1,o", "timestamp", id="negative time"),
        pytest.param("u1,A,1e3,1,1,o", "timestamp", id="time as float"),
        pytest.param("u1,A,٣,1,1,o", "timestamp", id="digits of another script"),
        pytest.param(f"u1,A,{'9' * 4_000},1,1,o", "timestamp", id="huge time"),
        pytest.param("u1,A,100,0,1,o", "quantity", id="nothing bought"),
        pytest.param("u1,A,100,nan,1,o", "quantity", id="NaN"),
        pytest.param("u1,A,100,inf,1,o", "quantity", id="infinite"),
        pytest.param("u1,A,100,many,1,o", "quantity", id="no number"),
    ],
)
def test_a_bad_value_is_named_by_file_line_and_column(tmp_path: Path, line: str, column: str) -> None:
    """The error says where the value stands, and shows at most its beginning."""
    error = refusal(shop(tmp_path, f"{HEAD}{LINE}{line}\n{LINE}"))
    assert error.where == f"interactions.csv, line 3, column {column}"
    assert len(error.why) < 200


@pytest.mark.parametrize(
    ("interactions", "why"),
    [
        pytest.param("", "header", id="empty file"),
        pytest.param("user_id,item_id,timestamp\nu,A,1\n", "header", id="column missing"),
        pytest.param("user_id,user_id,item_id,timestamp,quantity\nu,u,A,1,1\n", "header", id="column twice"),
        pytest.param(HEAD, "no rows", id="header only"),
        pytest.param(HEAD + "u1,A,100,1\n", "4 fields where the header has 6", id="short row"),
        pytest.param(HEAD + '"u1,A,100,1,1,o\n', "unexpected end of data", id="open quote"),
        pytest.param(HEAD + "u" * 5_000, "longer than", id="long line"),
        pytest.param(HEAD.encode() + b"\xff\xfe,A,100,1,1,o\n", "codec", id="not UTF-8"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, interactions: str | bytes, why: str) -> None:
    """What is no table of the expected columns is refused with the reason."""
    assert why in refusal(shop(tmp_path, interactions)).why


@pytest.mark.parametrize("raw", [b"not gzip", gzip.compress(HEAD.encode(), mtime=0)[:-9], b""])
def test_a_damaged_archive_is_refused(tmp_path: Path, raw: bytes) -> None:
    """A file that is no gzip, or is cut short, is an error about that file."""
    assert "interactions.csv.gz" in refusal(shop(tmp_path, raw, packed=True)).where


def test_an_archive_may_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound counts bytes after decompression."""
    monkeypatch.setattr(data, "MAX_FILE_BYTES", 10_000)
    folder = shop(tmp_path, HEAD + LINE * 10_000, packed=True)
    assert (folder / "interactions.csv.gz").stat().st_size < 10_000
    assert "more than 10000 bytes" in refusal(folder).why


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than the limit are refused rather than held."""
    monkeypatch.setattr(data, "MAX_ROWS", 3)
    assert "more than 3 rows" in refusal(shop(tmp_path, HEAD + LINE * 4)).why


@pytest.mark.parametrize(
    ("row", "column"),
    [("A,AGAIN,1,1", "item_id"), ("C,,1,1", "title"), ("C,FREE,0,1", "median_price"), ("C,X,-2,1", "median_price")],
)
def test_a_bad_item_is_named(tmp_path: Path, row: str, column: str) -> None:
    """The catalogue is held to the same rules."""
    error = refusal(shop(tmp_path, HEAD + LINE, f"{ITEMS}{row}\n"))
    assert error.where == f"items.csv, line 4, column {column}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Without the files the error names the one it looked for."""
    assert "items.csv" in refusal(tmp_path).where


@given(st.binary(max_size=300))
def test_any_bytes_are_orders_or_an_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Whatever the file holds, the reader gives orders or an InvalidInput."""
    folder = shop(tmp_path_factory.mktemp("shop"), HEAD.encode() + raw)
    try:
        found: Orders | InvalidInput = load_orders(folder)
    except InvalidInput as error:
        found = error
    assert found.where.startswith("interactions.csv") if isinstance(found, InvalidInput) else len(found) > 0


def same(left: Orders, right: Orders) -> bool:
    """The same lines in the same order."""
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("user", "item", "timestamp_s", "quantity", "prices")
    )


def test_the_seed_makes_the_shop() -> None:
    """The same seed gives the same orders, another seed others."""
    assert same(generate_orders(5, 50, 80, 30), generate_orders(5, 50, 80, 30))
    assert not same(generate_orders(5, 50, 80, 30), generate_orders(6, 50, 80, 30))


@given(seed=st.integers(0, 2**32), users=st.integers(1, 40), items=st.integers(1, 120), days=st.integers(1, 40))
def test_a_generated_shop_is_sound(seed: int, users: int, items: int, days: int) -> None:
    """Lines are sorted, inside the catalogue and the days, of every listed customer, and once per order."""
    try:
        orders = generate_orders(seed, users, items, days)
    except InvalidInput:  # nobody bought anything
        assert users * days < 200
        return
    assert (np.diff(orders.timestamp_s) >= 0).all()
    assert orders.timestamp_s[-1] - orders.timestamp_s[0] < days * 86_400
    assert set(orders.user.tolist()) == set(range(len(orders.user_ids)))
    assert len(orders.user_ids) <= users
    assert 0 <= orders.item.min() <= orders.item.max() < items == len(orders.item_ids) == len(orders.prices)
    lines = np.stack([orders.timestamp_s, orders.user, orders.item], axis=1)
    assert len(np.unique(lines, axis=0)) == len(lines)
    assert orders.quantity.min() >= 1


def test_generated_orders_need_no_extra() -> None:
    """A shop is drawn with numpy alone, without the packages of hcctl[recommender]."""
    heavy = {"polars", "PIL", "scipy"}
    code = f"import sys; import serving.recommender.generated.orders; print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_a_generated_shop_has_something_to_learn() -> None:
    """A few items sell most, and customers buy again what they bought."""
    orders = generate_orders(1, 400, 300, 90)
    sold = np.sort(np.bincount(orders.item, minlength=300))[::-1]
    assert sold[:30].sum() > 0.3 * sold.sum()
    distinct = len(np.unique(np.stack([orders.user, orders.item], axis=1), axis=0))
    assert distinct < 0.8 * len(orders)
