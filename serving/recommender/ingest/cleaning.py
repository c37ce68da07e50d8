"""Rows as they stand to events and items as models want them. Pure: a frame in, a frame out, one machine or many.

A row that breaks a rule keeps its place and gets the name of the first rule it breaks as `reason`; the others have
null there. Nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from serving.recommender.ingest.schema import Cleaning, Events, EventType, Items, Table, Time, Users

EARLIEST_S, LATEST_S = 631_152_000, 4_102_444_800
"""1990 and 2100: what lies outside is a wrong unit rather than a moment of a shop."""
MAX_ID_CHARS, MAX_TEXT_CHARS = 128, 4_000
EVENT_TYPES: tuple[str, ...] = EventType.__args__  # type: ignore[attr-defined]  # of the Literal
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
INVISIBLE = r"[\p{Cc}\p{Cf}\p{Co}\p{Cn}]"
"""Control and format characters, those that turn the direction of text among them, and what is no character."""
REASON, ROW = "reason", "row"
MALFORMED = "malformed row"

EVENTS = pl.Schema(
    {
        "event_id": pl.String,
        "user_id": pl.String,
        "item_id": pl.String,
        "type": pl.String,
        "timestamp_s": pl.Int64,
        "request_id": pl.String,
        "position": pl.Int64,
        "query": pl.String,
        "quantity": pl.Float64,
        "unit_price": pl.Float64,
        "rating": pl.Float64,
    }
)
"""A clean event; null where a column does not apply or is not known."""

ITEMS = pl.Schema(
    {
        "item_id": pl.String,
        "title": pl.String,
        "description": pl.String,
        "category": pl.String,
        "brand": pl.String,
        "price": pl.Float64,
        "image": pl.String,
        "added_s": pl.Int64,
    }
)
"""A clean item; null for what is not known."""


def clean_events(rows: pl.DataFrame, table: Events, rules: Cleaning) -> pl.DataFrame:
    """Events with `reason` and `row`: what a row tells by itself."""
    kind, purchase, search = pl.col("type"), pl.col("type") == "purchase", pl.col("type") == "search"
    raw = _given(rows, table)
    parsed = [
        _name(rows, table, "event_id"),
        _name(rows, table, "user_id"),
        _name(rows, table, "item_id"),
        _type(table),
        _moment(rows, table.time, "timestamp").alias("timestamp_s"),
        _name(rows, table, "request_id"),
        _phrase(table, "query"),
        *(_number(rows, table, name) for name in ("position", "quantity", "unit_price", "rating")),
    ]
    frame = rows.select(pl.col(ROW), *parsed, *(raw[name].alias(f"given_{name}") for name in raw))
    given = {name: pl.col(f"given_{name}") for name in raw}
    texts = [pl.col(name) for name in table.columns if rows.schema[name] == pl.String]
    # An open quote swallows lines; nothing of an event is written on two.
    swallowed = rows.select(
        pl.any_horizontal(pl.lit(value=False), *(text.str.contains("\n", literal=True) for text in texts))
    )
    reasons = {
        MALFORMED: pl.lit(swallowed.to_series()),
        "missing user": pl.col("user_id").is_null(),
        "missing type": ~given["type"] if "type" in given else pl.lit(value=False),
        "unknown type": kind.is_null(),
        "missing item": pl.col("item_id").is_null() & ~search,
        "missing query": pl.col("query").is_null() & search & pl.lit("query" in given),
        "bad time": pl.col("timestamp_s").is_null() | ~pl.col("timestamp_s").is_between(EARLIEST_S, LATEST_S),
        "bad quantity": _bad("quantity", given, 0.0, rules.max_quantity, open_low=True) & purchase,
        "bad price": _bad("unit_price", given, 0.0, rules.max_price),
        "bad rating": _bad("rating", given, rules.rating_low, rules.rating_high)
        | (pl.col("rating").is_null() & (kind == "rating")),
        "bad position": _bad("position", given, 0.0, 1e6),
    }
    typed = frame.with_columns(pl.col("position").cast(pl.Int64, strict=False), _first(reasons))
    return typed.select(ROW, *EVENTS.names(), REASON)


def unknown_items(events: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The events, with a reason for those of items that are not in the column `item_id` of `known`."""
    strange = pl.col("item_id").is_not_null() & ~pl.col("item_id").is_in(known["item_id"].implode())
    return _also(events, "unknown item", strange)


def settle_users(events: pl.DataFrame, rules: Cleaning) -> pl.DataFrame:
    """All events of some users: what only shows when they are seen together.

    Of events that say the same, the first row stays; of those with one event id too, whatever they say. Sorted by time.
    """
    ordered = events.sort("timestamp_s", "file", ROW)
    same = pl.struct(
        "event_id", "user_id", "item_id", "type", "timestamp_s", "request_id", "query", "rating", "quantity"
    ).is_first_distinct()
    told = pl.col("event_id").is_null() | pl.col("event_id").is_first_distinct()
    once = _also(ordered, "duplicate", ~(same & told))
    day = pl.col("timestamp_s") // 86_400
    per_day = once.filter(pl.col(REASON).is_null()).group_by("user_id", day).len()
    bots = per_day.filter(pl.col("len") > rules.max_events_per_day)["user_id"].unique()
    return _also(once, "too many events in a day", pl.col("user_id").is_in(bots.implode()))


def clean_items(rows: pl.DataFrame, table: Items, rules: Cleaning) -> pl.DataFrame:
    """Items with `reason` and `row`; all of them at once."""
    given = _given(rows, table)
    frame = rows.select(
        pl.col(ROW),
        _name(rows, table, "item_id"),
        *(_phrase(table, name) for name in ("title", "description", "category", "brand")),
        _number(rows, table, "price"),
        _name(rows, table, "image", MAX_TEXT_CHARS),
        _moment(rows, table.time, "added").alias("added_s"),
        *(given[name].alias(f"given_{name}") for name in given),
    )
    told = {name: pl.col(f"given_{name}") for name in given}
    usual = pl.col("price").filter(pl.col("price") > 0).median().over("category")
    ratio = pl.col("price") / usual
    strange_time = pl.col("added_s").is_null() | ~pl.col("added_s").is_between(EARLIEST_S, LATEST_S)
    reasons = {
        "missing item": pl.col("item_id").is_null(),
        "duplicate": ~pl.col("item_id").is_first_distinct(),
        "bad price": _bad("price", told, 0.0, rules.max_price, open_low=True),
        "price outlier": (ratio > rules.price_outlier) | (ratio < 1 / rules.price_outlier),
        "bad time": (told["added"] & strange_time) if "added" in told else pl.lit(value=False),
    }
    return frame.select(ROW, *ITEMS.names(), _first(reasons))


def clean_users(rows: pl.DataFrame, table: Users) -> pl.DataFrame:
    """Users and their labels as text, with `reason` and `row`; all of them at once."""
    frame = rows.select(pl.col(ROW), _name(rows, table, "user_id"), *(_phrase(table, name) for name in table.labels))
    reasons = {"missing user": pl.col("user_id").is_null(), "duplicate": ~pl.col("user_id").is_first_distinct()}
    return frame.select(ROW, "user_id", *table.labels, _first(reasons))


def _given(rows: pl.DataFrame, table: Table) -> dict[str, pl.Expr]:
    """Of each declared column, where something stands."""
    stands = {}
    for name in table.columns:
        column = pl.col(name)
        stands[name] = column.is_not_null()
        if rows.schema[name] == pl.String:
            stands[name] &= column.str.strip_chars() != ""
    return stands


def _name(rows: pl.DataFrame, table: Table, name: str, longest: int = MAX_ID_CHARS) -> pl.Expr:
    """An id: text without blanks around it, composed (NFC), null if empty, too long or with what cannot be seen."""
    if name not in table.columns:
        return pl.lit(None, pl.String).alias(name)
    column = pl.col(name)
    if rows.schema[name].is_float():  # a table program's way to write whole numbers with gaps
        column = column.cast(pl.Int64, strict=False)
    text = column.cast(pl.String, strict=False).str.strip_chars().str.normalize("NFC")
    fits = (text != "") & (text.str.len_chars() <= longest) & ~text.str.contains(INVISIBLE)
    return pl.when(fits).then(text).alias(name)


def _phrase(table: Table, name: str) -> pl.Expr:
    """Text for people: composed, blanks as one, without what cannot be seen, cut to its bound; null if empty."""
    if name not in table.columns:
        return pl.lit(None, pl.String).alias(name)
    text = pl.col(name).cast(pl.String, strict=False).str.normalize("NFC").str.replace_all(r"\s+", " ")
    text = text.str.replace_all(INVISIBLE, "").str.strip_chars().str.slice(0, MAX_TEXT_CHARS)
    return pl.when(text != "").then(text).alias(name)


def _type(table: Events) -> pl.Expr:
    if table.type is not None:
        return pl.lit(table.type).alias("type")
    word = pl.col("type").cast(pl.String, strict=False).str.strip_chars().str.to_lowercase()
    ours = {name: name for name in EVENT_TYPES} | {theirs.strip().lower(): own for theirs, own in table.types.items()}
    return word.replace_strict(ours, default=None, return_dtype=pl.String).alias("type")


def _moment(rows: pl.DataFrame, time: Time, name: str) -> pl.Expr:
    """Seconds since the epoch; null where it is no moment."""
    if name not in rows.columns:
        return pl.lit(None, pl.Int64)
    column, kind = pl.col(name), rows.schema[name]
    if isinstance(kind, pl.Datetime):
        aware = (
            column
            if kind.time_zone
            else column.dt.replace_time_zone(time.zone, ambiguous="earliest", non_existent="null")
        )
        return aware.dt.epoch("s")
    if kind == pl.Date:
        return column.dt.epoch("s")
    if time.format is not None:
        text = column.cast(pl.String, strict=False).str.strip_chars()
        told = text.str.to_datetime(time.format, time_unit="us", strict=False)
        if time.has_offset:
            return told.dt.epoch("s")
        return told.dt.replace_time_zone(time.zone, ambiguous="earliest", non_existent="null").dt.epoch("s")
    number = column.str.strip_chars() if kind == pl.String else column
    whole = number.cast(pl.Int64, strict=False)
    fraction = number.cast(pl.Float64, strict=False)
    fraction = pl.when(fraction.is_finite() & (fraction.abs() < 9e18)).then(fraction).cast(pl.Int64, strict=False)
    return pl.coalesce(whole, fraction) // PER_SECOND[time.unit]


def _number(rows: pl.DataFrame, table: Table, name: str) -> pl.Expr:
    """A number, or null where none stands. What cannot be read as one becomes NaN, which no rule lets pass."""
    if name not in table.columns:
        return pl.lit(None, pl.Float64).alias(name)
    column = pl.col(name)
    if rows.schema[name] != pl.String:
        return column.cast(pl.Float64, strict=False).alias(name)
    text = column.str.strip_chars()
    return pl.when(text != "").then(text.cast(pl.Float64, strict=False).fill_null(float("nan"))).alias(name)


def _bad(name: str, given: dict[str, pl.Expr], low: float, high: float, *, open_low: bool = False) -> pl.Expr:
    """Where something stands that is no number from `low` (above it, if open) to `high`."""
    if name not in given:
        return pl.lit(value=False)
    column = pl.col(name)
    inside = (column > low if open_low else column >= low) & (column <= high) & ~column.is_nan()
    return given[name] & ~inside.fill_null(value=False)


def _first(reasons: dict[str, pl.Expr]) -> pl.Expr:
    """The name of the first rule that holds, null if none does."""
    cases = [pl.when(broken.fill_null(value=False)).then(pl.lit(reason)) for reason, broken in reasons.items()]
    return pl.coalesce(cases).alias(REASON)


def _also(frame: pl.DataFrame, reason: str, broken: pl.Expr) -> pl.DataFrame:
    """One more reason, where there is none yet."""
    return frame.with_columns(
        pl.when(pl.col(REASON).is_null() & broken).then(pl.lit(reason)).otherwise(REASON).alias(REASON)
    )


def parts_of(events: pl.DataFrame, parts: int) -> Sequence[tuple[int, pl.DataFrame]]:
    """The events by part; all of a user are in one, on every machine."""
    place = (pl.col("user_id").hash(seed=0) % parts).cast(pl.Int64)
    split = events.with_columns(place.alias("part")).partition_by("part", as_dict=True, include_key=False)
    return sorted((int(key[0]), frame) for key, frame in split.items())
