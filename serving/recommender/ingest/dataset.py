"""Clean data of a shop on disk: what ingestion writes and models are fitted on.

`dataset.json`       what it was made from, and how many rows broke which rule
`events-*.parquet`   clean events, sorted by time within each file; a user is in one file
`items.parquet`      clean items
`users.parquet`      users and their labels, where the schema declares them
`rejected.csv`       every row that broke a rule: table, file, row, reason, content
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.artefact import first_problem
from serving.errors import InvalidInput
from serving.recommender.orders.purchases import DAY_S, Purchases

DATASET, ITEMS, USERS = "dataset.json", "items.parquet", "users.parquet"
REJECTED, EVENTS = "rejected.csv", "events-*.parquet"
PURCHASE = "purchase"


class Counts(BaseModel):
    """What became of the rows of a table."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rows: int
    kept: int
    rejected: dict[str, int]
    """By the rule that was broken."""
    mended: dict[str, int] = {}
    """Rows that were kept without a value, by what was wrong with it; they are among the rejected ones on disk too."""


class Report(BaseModel):
    """`dataset.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = 1
    generated: bool
    """Whether the shop was made up; what is measured on it says so."""
    events: Counts
    items: Counts | None
    """None where items are what events name."""
    people: Counts | None = None
    """Of the table of users; None where none is declared."""
    by_type: dict[str, int]
    """Events of each type."""
    users: int
    first_s: int | None
    last_s: int | None
    """When the first and the last event happened; None without any."""


def scanned(files: Iterable[Path]) -> pl.LazyFrame:
    """Parquet files under the very names they have: polars would take a bracket in one for a pattern."""
    return pl.scan_parquet(sorted(files), glob=False)


@dataclass(frozen=True)
class Dataset:
    """A folder of clean data."""

    folder: Path
    report: Report

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The data in a folder.

        Raises:
            InvalidInput: there is none, or its report is damaged.
        """
        path = folder / DATASET
        try:
            report = Report.model_validate_json(path.read_bytes())
        except OSError as problem:
            raise InvalidInput(
                "there is no clean data",
                where=str(path),
                why=problem.strerror or str(problem),
                next_step="make it with `hcctl model ingest`",
            ) from problem
        except ValidationError as problem:
            why = ": ".join(filter(None, first_problem(problem)))
            raise InvalidInput(
                "the clean data is damaged",
                where=str(path),
                why=why,
                next_step="make it again with `hcctl model ingest`",
            ) from problem
        return cls(folder, report)

    def events(self) -> pl.LazyFrame:
        """The events, in no order beyond that of each file."""
        return scanned(self.folder.glob(EVENTS))

    def collected(self, events: pl.LazyFrame) -> pl.DataFrame:
        """What a query over the events finds, in bounded memory.

        Raises:
            InvalidInput: a file is damaged.
        """
        with self._damage():
            return events.collect(engine="streaming")

    def items(self) -> pl.DataFrame:
        """The items.

        Raises:
            InvalidInput: the file is damaged.
        """
        with self._damage():
            return scanned([self.folder / ITEMS]).collect()

    def labels(self) -> dict[str, dict[str, str]]:
        """What is known of users: by label, as `country`, the value of each user that has one.

        Raises:
            InvalidInput: the file is damaged.
        """
        if self.report.people is None:
            return {}
        with self._damage():
            users = scanned([self.folder / USERS]).collect()
        names = (name for name in users.columns if name != "user_id")
        return {name: dict(users.select("user_id", name).drop_nulls().iter_rows()) for name in names}

    def purchases(self, kinds: tuple[str, ...] = (PURCHASE,)) -> Purchases:
        """Each user's purchases by item and UTC day; users in the order of their ids, items in that of the items.

        Events of other `kinds` count as purchases where they are asked for.

        Raises:
            InvalidInput: a file is damaged.
        """
        with self._damage():
            day = (pl.col("timestamp_s") // DAY_S).alias("day")
            bought = self.events().filter(pl.col("type").is_in(kinds)).select("user_id", "item_id", day)
            rows = bought.unique().collect(engine="streaming")
            items = scanned([self.folder / ITEMS]).select("item_id").collect()["item_id"]
        users = rows["user_id"].unique().sort()
        placed = rows.select(
            pl.col("user_id").replace_strict(users, pl.int_range(len(users), eager=True), return_dtype=pl.Int64),
            pl.col("item_id").replace_strict(items, pl.int_range(len(items), eager=True), return_dtype=pl.Int64),
            "day",
        ).sort("day", "user_id", "item_id")
        user, item, days = (placed[name].to_numpy() for name in ("user_id", "item_id", "day"))
        return Purchases(user, item, days, tuple(users), tuple(items))

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """What polars says about a broken file, as one error."""
        try:
            yield
        except (pl.exceptions.PolarsError, OSError) as problem:
            raise InvalidInput(
                "the clean data is damaged",
                where=str(self.folder),
                why=" ".join(str(problem).split())[:200],
                next_step="make it again with `hcctl model ingest`",
            ) from problem
