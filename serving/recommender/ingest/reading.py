"""Rows of CSV and Parquet files, a batch at a time, in bounded memory. What is no row comes out beside the rows."""

from __future__ import annotations

import csv as text_csv
import gzip
import zlib
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from serving.errors import InvalidInput
from serving.recommender.ingest.schema import Table

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

BLOCK_BYTES = 8 << 20
READ_BYTES = 1 << 20
BATCH_ROWS = 65_536
MAX_HEADER_BYTES = 1 << 16
SHOWN_CHARS = 500


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a file. `row` counts from 1, without the header and without empty lines."""

    rows: pl.DataFrame
    """The declared columns under our names, and `row`. Text as it stands; nothing is parsed yet."""
    malformed: pl.DataFrame
    """`row` and `content` of what has another number of fields than the header, or is no UTF-8."""


def batches(table: Table, path: Path) -> Iterator[Batch]:
    """The rows of a file.

    Raises:
        InvalidInput: the file cannot be read, is not of its format, or lacks a declared column.
    """
    with _one_error(path):
        yield from _parquet(table, path) if table.format_of(path) == "parquet" else _csv(table, path)


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Whatever a reader raises about a file, as an error that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        why = " ".join(str(problem).split())[:200]
        raise InvalidInput(
            "cannot read the shop's data", where=str(path), why=why, next_step="check the file and its `format`"
        ) from problem


def _csv(table: Table, path: Path) -> Iterator[Batch]:
    with _opened(path) as stream:
        _check(table, path, _header(stream, table.separator))
    broken: list[csv.InvalidRow] = []

    def skip(row: csv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    wanted = list(dict.fromkeys(table.columns.values()))
    with _opened(path) as stream:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(
                delimiter=table.separator, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
        following, ahead = 1, np.empty(0, dtype=np.int64)
        for batch in reader:
            news, broken[:] = list(broken), []
            skipped = np.sort(np.concatenate([ahead, [row.number - 1 for row in news]])).astype(np.int64)
            number = _numbers(following, batch.num_rows, skipped)
            following = int(number[-1]) + 1 if len(number) else following
            ahead = skipped[skipped >= following]
            yield _text(table, batch, number, news)
        if broken:
            yield _text(table, None, np.empty(0, dtype=np.int64), broken)


class _Utf8(RawIOBase):
    """A stream whose bytes are UTF-8 throughout: what is none comes as U+FFFD, so that its row can be told."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._held and not self._over:
            chunk = self._stream.read(READ_BYTES)
            self._over = not chunk
            self._held = self._decoder.decode(chunk, final=self._over).encode()
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    with path.open("rb") as plain:
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if path.suffix == ".gz" else plain
        yield BufferedReader(_Utf8(stream), READ_BYTES)


def _header(stream: BufferedReader, separator: str) -> list[str]:
    line = stream.readline(MAX_HEADER_BYTES).decode("utf-8-sig")
    return next(text_csv.reader([line], delimiter=separator), [])


def _check(table: Table, path: Path, header: Sequence[str]) -> None:
    for theirs in table.columns.values():
        if not theirs or header.count(theirs) != 1:
            raise InvalidInput(
                "cannot read the shop's data",
                where=f"{path}, column {theirs!r}",
                why=f"the header needs it once, and has: {', '.join(header)[:200]!r}",
                next_step="correct `columns` in the schema",
            )


def _numbers(first: int, count: int, skipped: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first `count` whole numbers from `first` on that are not among the sorted `skipped`."""
    skipped = skipped[skipped >= first]
    number = np.arange(first, first + count, dtype=np.int64)
    # Between two skipped numbers every number moves by how many were skipped before it.
    return number + np.searchsorted(skipped - np.arange(len(skipped)), number, side="right")


def _text(
    table: Table, batch: pa.RecordBatch | None, number: NDArray[np.int64], broken: Sequence[csv.InvalidRow]
) -> Batch:
    """The rows of a batch as text; those that are no UTF-8 beside it."""
    damage = _malformed([(row.number - 1, row.text[:SHOWN_CHARS]) for row in broken])
    theirs = dict.fromkeys(table.columns.values(), pl.String)
    frame = pl.DataFrame(schema=theirs) if batch is None else pl.DataFrame(batch)
    frame = frame.with_columns(pl.Series("", number))  # no column of a file is called that: see `_check`
    spoilt = pl.any_horizontal(pl.col(*theirs).str.contains("\ufffd", literal=True))
    content = pl.struct(*theirs).struct.json_encode().str.slice(0, SHOWN_CHARS).alias("content")
    told = frame.filter(spoilt).select(pl.col("").alias("row"), content)
    named = [pl.col(name).alias(ours) for ours, name in table.columns.items()]
    rows = frame.filter(~spoilt).select(*named, pl.col("").alias("row"))
    return Batch(rows, pl.concat([damage, told]))


def _malformed(damage: Sequence[tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"row": [row for row, _ in damage], "content": [text for _, text in damage]},
        schema={"row": pl.Int64, "content": pl.String},
    )


def _parquet(table: Table, path: Path) -> Iterator[Batch]:
    with parquet.ParquetFile(path) as file:
        _check(table, path, file.schema_arrow.names)
        following = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=list(dict.fromkeys(table.columns.values()))):
            frame = pl.DataFrame(batch)
            rows = frame.select(pl.col(theirs).alias(ours) for ours, theirs in table.columns.items())
            number = np.arange(following, following + len(frame), dtype=np.int64)
            following += len(frame)
            yield Batch(rows.with_columns(pl.Series("row", number)), _malformed([]))
