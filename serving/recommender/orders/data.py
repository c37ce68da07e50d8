"""A shop's orders: read from CSV files, or generated with a seed.

The files are the ones described in docs/decisions/0006-demo-workload.md:
`interactions.csv` (optionally `.gz`) with `user_id,item_id,timestamp,quantity` and
`items.csv` with `item_id,title,median_price`; more columns are allowed and ignored.
The reader is strict and bounded, because an operator points it at files of unknown origin.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput

INTERACTIONS = "interactions.csv"
ITEMS = "items.csv"
USER, ITEM, TIME, QUANTITY = "user_id", "item_id", "timestamp", "quantity"
TITLE, PRICE = "title", "median_price"

MAX_ROWS = 20_000_000
MAX_ITEMS = 1_000_000
MAX_FILE_BYTES = 2**31
"""After decompression, so that a small archive cannot grow without end."""
MAX_LINE_BYTES = 4_096
MAX_ID_CHARS = 64
MAX_TITLE_CHARS = 300
MAX_TIMESTAMP_S = 253_402_300_799  # the last second of the year 9999


@dataclass(frozen=True, eq=False)
class Orders:
    """Order lines sorted by time: line i says that `user[i]` bought `item[i]` at `timestamp_s[i]`.

    Lines of one user with one timestamp are one order. `user` and `item` index into `user_ids`
    and `item_ids`; every listed user has a line, an item may have none.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    timestamp_s: NDArray[np.int64]
    """Seconds since the epoch."""
    quantity: NDArray[np.float32]
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    prices: NDArray[np.float32]
    """In the shop's currency."""

    def __len__(self) -> int:
        return len(self.item)


def load_orders(directory: Path) -> Orders:
    """Read the orders of a shop from `directory`.

    Raises:
        InvalidInput: a file is missing, damaged, too large, or has a bad value; names file, line, column.
    """
    item_ids, titles, prices = _read_items(_find(directory, ITEMS))
    return _read_interactions(_find(directory, INTERACTIONS), item_ids, titles, prices)


def _read_items(path: Path) -> tuple[list[str], list[str], list[float]]:
    ids: list[str] = []
    titles: list[str] = []
    prices: list[float] = []
    seen: set[str] = set()
    table = _Table(path, (ITEM, TITLE, PRICE), MAX_ITEMS)
    for item_id, title, price in table:
        if item_id in seen:
            table.fail(ITEM, f"{item_id!r} was listed before; keep one line per item")
        seen.add(table.text(ITEM, item_id, MAX_ID_CHARS))
        ids.append(item_id)
        titles.append(table.text(TITLE, title, MAX_TITLE_CHARS))
        prices.append(table.number(PRICE, price, low=0.0, high=1e9))
    return ids, titles, prices


def _read_interactions(path: Path, item_ids: Sequence[str], titles: Sequence[str], prices: Sequence[float]) -> Orders:
    item_index = {item_id: index for index, item_id in enumerate(item_ids)}
    user_index: dict[str, int] = {}
    users, items, times, quantities = array("i"), array("i"), array("q"), array("f")
    table = _Table(path, (USER, ITEM, TIME, QUANTITY), MAX_ROWS)
    for user_id, item_id, timestamp, quantity in table:
        item = item_index.get(item_id)
        if item is None:
            table.fail(ITEM, f"{item_id[:MAX_ID_CHARS]!r} is not in {ITEMS}; add it there")
        user = user_index.get(user_id)
        if user is None:
            user = user_index[table.text(USER, user_id, MAX_ID_CHARS)] = len(user_index)
        users.append(user)
        items.append(item)
        times.append(table.whole_number(TIME, timestamp, high=MAX_TIMESTAMP_S))
        quantities.append(table.number(QUANTITY, quantity, low=0.0, high=1e9))
    by_time = np.argsort(np.asarray(times), kind="stable")
    return Orders(
        user=np.asarray(users, dtype=np.int32)[by_time],
        item=np.asarray(items, dtype=np.int32)[by_time],
        timestamp_s=np.asarray(times, dtype=np.int64)[by_time],
        quantity=np.asarray(quantities, dtype=np.float32)[by_time],
        user_ids=tuple(user_index),
        item_ids=tuple(item_ids),
        titles=tuple(titles),
        prices=np.asarray(prices, dtype=np.float32),
    )


def _find(directory: Path, name: str) -> Path:
    for path in (directory / f"{name}.gz", directory / name):
        if path.is_file():
            return path
    raise InvalidInput(
        "cannot read the orders",
        where=str(directory / name),
        why="no such file, plain or .gz",
        next_step=f"point at a folder with {INTERACTIONS} and {ITEMS}",
    )


class _Table:
    """The wanted columns of a CSV file, row by row; each failure names file, line and column."""

    def __init__(self, path: Path, columns: tuple[str, ...], max_rows: int) -> None:
        self._path = path
        self._columns = columns
        self._max_rows = max_rows
        self._reader = csv.reader(self._lines(), strict=True)

    def __iter__(self) -> Iterator[list[str]]:
        rows = 0
        try:
            header = next(self._reader, [])
            places = [self._place(header, column) for column in self._columns]
            for row in self._reader:
                if len(row) != len(header):
                    self.fail("", f"{len(row)} fields where the header has {len(header)}")
                rows += 1
                if rows > self._max_rows:
                    self.fail("", f"more than {self._max_rows} rows")
                yield [row[place] for place in places]
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            self.fail("", str(error)[:200])
        if rows == 0:
            self.fail("", "no rows")

    def text(self, column: str, value: str, max_chars: int) -> str:
        """`value`, if it is printable text of at most `max_chars` characters."""
        if not value.strip() or len(value) > max_chars or not value.isprintable():
            self.fail(column, f"{value[:40]!r} is not printable text of 1 to {max_chars} characters")
        return value

    def number(self, column: str, value: str, *, low: float, high: float) -> float:
        """`value` as a number above `low` and at most `high`."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low < number <= high:
            self.fail(column, f"{value[:40]!r} is not a number above {low:g} and at most {high:g}")
        return number

    def whole_number(self, column: str, value: str, *, high: int) -> int:
        """`value` as plain decimal digits, from 0 to `high`."""
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(high)) and int(value) <= high):
            self.fail(column, f"{value[:40]!r} is not a whole number of seconds from 0 to {high}")
        return int(value)

    def fail(self, column: str, why: str) -> NoReturn:
        where = f"{self._path.name}, line {self._reader.line_num}"
        raise InvalidInput(
            "cannot read the orders",
            where=f"{where}, column {column}" if column else where,
            why=why,
            next_step=f"correct {self._path}",
        )

    def _place(self, header: list[str], column: str) -> int:
        if header.count(column) != 1:
            self.fail(column, f"the header needs it once, and has: {', '.join(header)[:200]!r}")
        return header.index(column)

    def _lines(self) -> Iterator[str]:
        encoding = "utf-8-sig"  # spreadsheets put a byte-order mark in front of the first line
        size = 0
        with _open(self._path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                size += len(line)
                if len(line) > MAX_LINE_BYTES:
                    self.fail("", f"a line is longer than {MAX_LINE_BYTES} bytes")
                if size > MAX_FILE_BYTES:
                    self.fail("", f"the file holds more than {MAX_FILE_BYTES} bytes")
                yield line.decode(encoding)
                encoding = "utf-8"


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))  # a GzipFile reads like any binary file
    return path.open("rb")
