"""The declared schema: which of a shop's files and columns are what, and in which units.

kind: ShopData
events:
  files: [interactions.csv.gz]
  columns: {user_id: user_id, item_id: item_id, timestamp: timestamp, quantity: quantity}
  time: {unit: s}
  type: purchase
items:
  files: [items.csv]
  columns: {item_id: item_id, title: title, price: median_price}
users:
  files: [users.csv]
  columns: {user_id: user_id, country: country}
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from glob import glob
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, ValidationError, field_validator, model_validator

from serving.artefact import first_problem
from serving.declared import Model, Share
from serving.errors import InvalidInput
from serving.loading import read, short_path

EventType = Literal["impression", "view", "click", "cart", "purchase", "rating", "search"]
Format = Literal["csv", "parquet"]
EVENT_COLUMNS = (
    "event_id", "user_id", "item_id", "type", "timestamp", "request_id", "position", "query", "quantity", "unit_price",
    "rating",
)  # fmt: skip
ITEM_COLUMNS = ("item_id", "title", "description", "category", "brand", "price", "image", "added")
DATA_FILE = "data.yaml"
OFFSET = re.compile(r"%[:#]?z|%\+")
LABEL = re.compile("[a-z][a-z0-9_]{0,39}")
KEPT_NAMES = {"row", "file", "place", "reason"}
"""Columns that cleaning itself has."""


class Time(Model):
    """How moments are written."""

    unit: Literal["s", "ms", "us", "ns"] = Field(default="s", description="Of numbers, since the epoch.")
    format: str | None = Field(
        default=None, min_length=2, max_length=60, description="Of text, as in `%Y-%m-%d %H:%M`; unset: numbers."
    )
    zone: str = Field(default="UTC", min_length=1, max_length=60, description="Of text without an offset.")

    @property
    def has_offset(self) -> bool:
        """Whether the text itself tells how far it is from UTC."""
        return self.format is not None and OFFSET.search(self.format) is not None

    @field_validator("format")
    @classmethod
    def _is_read_again(cls, form: str | None) -> str | None:
        if form is not None and not _reads(form):
            raise ValueError(f"{form!r} tells no moment; one that does is %Y-%m-%d %H:%M")
        return form

    @field_validator("zone")
    @classmethod
    def _there_is_one(cls, zone: str) -> str:
        try:
            pl.Series([datetime(2000, 1, 1)]).dt.replace_time_zone(zone)  # noqa: DTZ001 - it is given one
        except pl.exceptions.PolarsError:
            raise ValueError(f"there is no time zone {zone!r}, as in Europe/Paris") from None
        return zone


class Table(Model):
    """The files of one table, all alike."""

    files: tuple[str, ...] = Field(
        min_length=1, max_length=10_000, description="Paths or patterns, from the schema file's folder."
    )
    format: Format | None = Field(default=None, description="Unset: by the end of the file's name.")
    separator: str = Field(
        default=",", pattern=r'^[^"\r\n]$', description="One character between the fields of a CSV file."
    )
    columns: dict[str, str] = Field(description="Ours: theirs.")
    time: Time = Field(default=Time(), description="How its moments are written.")

    def paths(self, root: Path) -> list[Path]:
        """The files, sorted within each pattern.

        Raises:
            InvalidInput: a pattern names no file.
        """
        found: list[Path] = []
        for pattern in self.files:
            # Path.glob refuses an empty pattern and one that begins at the root. The root's own name is no pattern.
            paths = [root / name for name in sorted(glob(pattern, root_dir=root))]  # noqa: PTH207
            here = [path for path in paths if path.is_file()]
            if not here:
                raise InvalidInput(
                    "cannot read the shop's data",
                    where=str(root / pattern),
                    why="no such file",
                    next_step="correct `files`",
                )
            found += here
        return found

    def format_of(self, path: Path) -> Format:
        """How this file is written."""
        return self.format or ("parquet" if path.suffix in {".parquet", ".pq"} else "csv")


class Events(Table):
    """What happened in the shop."""

    type: EventType | None = Field(default=None, description="Of all rows, where no column tells it.")
    types: dict[str, EventType] = Field(default={}, description="Their words for types: ours.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _known(self.columns, EVENT_COLUMNS, ("user_id", "item_id", "timestamp"))
        if ("type" in self.columns) == (self.type is not None):
            raise ValueError("name either a column of the type, or the type of all rows")
        return self


class Items(Table):
    """What the shop sells."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _known(self.columns, ITEM_COLUMNS, ("item_id",))
        return self


class Users(Table):
    """What is known of users, as their country or age band: beside `user_id` any columns, which are labels."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "user_id" not in self.columns:
            raise ValueError("the column user_id is missing")
        if len(self.columns) == 1:
            raise ValueError("name a column beside user_id, as in country: land")
        for name in self.columns:
            if not LABEL.fullmatch(name) or name in KEPT_NAMES:
                raise ValueError(
                    f"{name[:40]!r} cannot name a column: use lower-case letters, digits and _, as country"
                )
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns beside the id."""
        return tuple(name for name in self.columns if name != "user_id")


class Cleaning(Model):
    """What is taken for damage."""

    max_bad_share: Share = Field(
        default=0.5, description="Above this share of bad rows it is the schema that is wrong, and nothing is written."
    )
    max_events_per_day: int = Field(
        default=2_000, ge=1, description="Of a user: one with more on any day is taken for a bot, with all events."
    )
    max_quantity: float = Field(default=100_000.0, gt=0, description="In one purchase.")
    max_price: float = Field(default=1_000_000.0, gt=0, description="Of one unit, in the shop's currency.")
    price_outlier: float = Field(
        default=100.0, gt=1, description="A price so many times above or below its category's median is an error."
    )
    rating_low: float = Field(default=1.0, description="The worst rating.")
    rating_high: float = Field(default=5.0, description="The best rating.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.rating_low < self.rating_high:
            raise ValueError("rating_low is not below rating_high")
        return self


class ShopData(Model):
    """A shop's data, as its owner has it."""

    kind: Literal["ShopData"]
    events: Events
    items: Items | None = Field(default=None, description="Unset: items are what events name.")
    users: Users | None = Field(default=None, description="Unset: nothing is known of users but what they did.")
    cleaning: Cleaning = Field(default=Cleaning())
    generated: bool = Field(default=False, description="Whether the shop is made up; what is measured on it says so.")


def load_schema(path: Path) -> ShopData:
    """The schema in a file.

    Raises:
        InvalidInput: the file cannot be read or is not valid; `where` is the file and the field.
    """
    source = read(path)
    try:
        return ShopData.model_validate(_tuples(source.data))
    except ValidationError as problem:
        field, why = first_problem(problem)
        where = f"{short_path(path)} {field}".strip()
        raise InvalidInput(
            "the data schema is not valid", where=where, why=why, next_step="see docs/guides/recommender-data.md"
        ) from None


def _reads(form: str) -> bool:
    """Whether what a format writes of a moment is read as one of that year again."""
    try:
        written = pl.Series([datetime(2000, 1, 2, 3, 4, 5, tzinfo=UTC)]).dt.strftime(form.replace("%#z", "%z"))
        found = written.str.to_datetime(form, time_unit="us", strict=False)[0]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return found is not None and found.year == 2000


def _known(columns: dict[str, str], ours: tuple[str, ...], needed: tuple[str, ...]) -> None:
    for name in columns:
        if name not in ours:
            raise ValueError(f"there is no column {name[:40]!r} here; known are {', '.join(ours)}")
    for name in needed:
        if name not in columns:
            raise ValueError(f"the column {name} is missing")


def _tuples(value: Any) -> Any:
    """The value with tuples for lists, as strict models want them."""
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
