"""Rows of CSV and Parquet files, a batch at a time, in bounded memory. What is no row comes out beside the rows."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

import polars as pl

from serving.errors import InvalidInput
from serving.recommender.ingest.schema import Table

BATCH_ROWS = 65_536
MAX_LINE_CHARS = 1 << 20
"""A longer line is cut, and its pieces have not the right number of fields: a file without lines is read in them."""
MAX_FIELD_CHARS = 65_536
"""An open quote swallows at most so much: the rest of the file is read again."""
SHOWN_CHARS = 500
READABLE = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Null)
"""What a column of a Parquet file may hold, beside numbers."""
REPLACED = "\ufffd"
"""What bytes that are no UTF-8 are read as."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a file. `row` counts from 1, without the header and without empty lines."""

    rows: pl.DataFrame
    """The declared columns under our names, and `row`. Text as it stands; nothing is parsed yet."""
    malformed: pl.DataFrame
    """`row` and `content` of what has another number of fields than the header, an open quote, or is no UTF-8."""


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
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as problem:
        why = " ".join(str(problem).split())[:200]
        raise InvalidInput(
            "cannot read the shop's data", where=str(path), why=why, next_step="check the file and its `format`"
        ) from problem


def _csv(table: Table, path: Path) -> Iterator[Batch]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as plain:
        text = TextIOWrapper(plain, encoding="utf-8-sig", errors="replace", newline="")
        csv.field_size_limit(MAX_FIELD_CHARS)  # there is one for the whole process
        lines = iter(lambda: text.readline(MAX_LINE_CHARS), "")
        reader = csv.reader(lines, delimiter=table.separator, strict=True)
        header = _header(reader)
        _check(table, path, header)
        places = {ours: header.index(theirs) for ours, theirs in table.columns.items()}
        following = 1
        while records := _records(reader, following, len(header)):
            following = records.following
            columns = list(zip(*records.fields, strict=True)) or [()] * len(header)
            rows = {ours: pl.Series(columns[place], dtype=pl.String) for ours, place in places.items()}
            frame = pl.DataFrame(rows | {"row": pl.Series(records.rows, dtype=pl.Int64)})
            yield Batch(frame, _malformed(records.broken))


@dataclass
class _Records:
    """Some records of a CSV file."""

    following: int
    """The number of the next one."""
    fields: list[list[str]]
    rows: list[int]
    broken: list[tuple[int, str]]


def _records(reader: Iterator[list[str]], following: int, width: int) -> _Records | None:
    """The next records; None at the end."""
    found = _Records(following, [], [], [])
    while found.following < following + BATCH_ROWS:
        try:
            record = next(reader)
        except StopIteration:
            break
        except csv.Error as problem:
            found.broken.append((found.following, str(problem)[:SHOWN_CHARS]))
            found.following += 1
            continue
        if not record:
            continue
        if len(record) == width and REPLACED not in "".join(record):
            found.fields.append(record)
            found.rows.append(found.following)
        else:
            found.broken.append((found.following, ",".join(record)[:SHOWN_CHARS]))
        found.following += 1
    return found if found.following > following else None


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _check(table: Table, path: Path, header: Sequence[str]) -> None:
    for theirs in table.columns.values():
        if header.count(theirs) != 1:
            raise InvalidInput(
                "cannot read the shop's data",
                where=f"{path}, column {theirs!r}",
                why=f"the header needs it once, and has: {', '.join(header)[:200]!r}",
                next_step="correct `columns` in the schema",
            )


def _malformed(damage: Sequence[tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame(damage, schema={"row": pl.Int64, "content": pl.String}, orient="row")


def _parquet(table: Table, path: Path) -> Iterator[Batch]:
    scan = pl.scan_parquet(path, glob=False)
    kinds = scan.collect_schema()
    _check(table, path, kinds.names())
    for theirs in table.columns.values():
        if not (kinds[theirs].is_numeric() or kinds[theirs] in READABLE):
            raise InvalidInput(
                "cannot read the shop's data",
                where=f"{path}, column {theirs!r}",
                why=f"it holds {str(kinds[theirs])[:80]}, which is no text, number or moment",
                next_step="correct `columns` in the schema, or write the column as text",
            )
    wanted = [pl.col(theirs).alias(ours) for ours, theirs in table.columns.items()]
    following = 1
    for rows in scan.select(wanted).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
        number = pl.int_range(following, following + len(rows), eager=True)
        following += len(rows)
        yield Batch(rows.with_columns(number.alias("row")), _malformed([]))
