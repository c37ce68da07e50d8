"""From a shop's files to clean data: read and clean file by file, then settle user by user. One machine or many.

The two stages are the same functions in a loop here and as tasks of Ray Data in `on_ray`. Between them events are laid
out in parts, all of a user in one, so memory is bounded by a batch of a file and by a part, never by the shop.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from serving.errors import InvalidInput
from serving.files import disk_errors, write_atomic
from serving.recommender.ingest import cleaning, dataset
from serving.recommender.ingest.cleaning import MALFORMED, REASON, ROW
from serving.recommender.ingest.dataset import Counts, Dataset, Report, scanned
from serving.recommender.ingest.pictures import pictures
from serving.recommender.ingest.reading import SHOWN_CHARS, batches
from serving.recommender.ingest.schema import ShopData, Table, load_schema

PART_BYTES = 32 << 20
MAX_PARTS = 256
PACKED = 20
"""How much larger a compressed file may be than it looks: events of one kind say much the same."""
BAD_IMAGE = "bad image"
REJECTED_ROWS, PARTS = "rejected", "parts"
REJECTED_COLUMNS = ("table", "file", ROW, REASON, "content")


@dataclass(frozen=True)
class Source:
    """One file of events, and what is needed to clean it anywhere. `folder` is seen by all machines."""

    data: ShopData
    path: Path
    number: int
    parts: int
    folder: Path


def ingest(schema: Path, folder: Path, *, run: Callable[[list[Source]], None] | None = None) -> Dataset:
    """Clean what the schema declares into `folder`, which is made; nothing is left of it on an error.

    Args:
        schema: the file that declares the shop's data.
        folder: must not hold anything yet.
        run: does both stages for all files of events; on this machine, one after the other, if unset.

    Raises:
        InvalidInput: the schema or a file cannot be used, or most rows are bad.
        HcctlError: the disk is full, read-only or failing.
    """
    data = load_schema(schema)
    with disk_errors("the clean data cannot be written", folder), _made(folder) as work:
        items = _items(data, schema.parent, work)
        people = _people(data, schema.parent, work)
        paths = data.events.paths(schema.parent)
        parts = _parts(paths)
        (run or here)([Source(data, path, number, parts, work) for number, path in enumerate(paths)])
        _merge_rejected(work)
        report = _report(data, work, items, people)
        shutil.rmtree(work / PARTS, ignore_errors=True)
        write_atomic(work / dataset.DATASET, report.model_dump_json(indent=2).encode() + b"\n", mode=0o644)
    return Dataset.open(folder)


def here(sources: list[Source]) -> None:
    """Both stages on this machine."""
    laid_out = sources[0].folder / PARTS
    for number, (part, frame) in enumerate(pair for source in sources for pair in clean_file(source)):
        (laid_out / f"{part:05d}").mkdir(parents=True, exist_ok=True)
        frame.write_parquet(laid_out / f"{part:05d}" / f"{number:08d}.parquet")
    for path in sorted(laid_out.glob("*")):
        settle_part(sources[0], int(path.name), scanned(path.glob("*.parquet")).collect())
        shutil.rmtree(path)


def clean_file(source: Source) -> Iterator[tuple[int, pl.DataFrame]]:
    """First stage: the sound events of a file by part; the others go to a file of rejected rows."""
    known = None
    if source.data.items is not None:
        known = scanned([source.folder / dataset.ITEMS]).select("item_id").collect()
    with _rejected(source.folder / REJECTED_ROWS / f"rows-{source.number:05d}.csv") as reject:
        for batch in batches(source.data.events, source.path):
            events = cleaning.clean_events(batch.rows, source.data.events, source.data.cleaning)
            if known is not None:
                events = cleaning.unknown_items(events, known)
            bad = events[REASON].is_not_null()
            reject(_told("events", source.path, batch.malformed, pl.lit(MALFORMED)))
            content = batch.rows.filter(bad).select(pl.col(ROW), _as_json().alias("content"))
            reasons = events.filter(bad).select(ROW, REASON)
            reject(_told("events", source.path, content.join(reasons, on=ROW, maintain_order="left"), pl.col(REASON)))
            sound = events.filter(~bad).with_columns(pl.lit(str(source.path)).alias("file"))
            yield from cleaning.parts_of(sound, source.parts)


def settle_part(source: Source, part: int, events: pl.DataFrame) -> None:
    """Second stage: write the events of some users, and reject what only shows when they are seen together."""
    settled = cleaning.settle_users(events, source.data.cleaning)
    bad = settled[REASON].is_not_null()
    rejected = settled.filter(bad)
    told = rejected.select(
        pl.lit("events").alias("table"),
        "file",
        ROW,
        REASON,
        _as_json().alias("content"),
    )
    with _rejected(source.folder / REJECTED_ROWS / f"users-{part:05d}.csv") as reject:
        reject(told)
    settled.filter(~bad).select(*cleaning.EVENTS).write_parquet(source.folder / f"events-{part:05d}.parquet")


def _items(data: ShopData, root: Path, work: Path) -> Counts | None:
    """Write the clean items, if a table of them is declared."""
    if data.items is None:
        return None
    rows, rejected = _whole("items", data.items, root)
    marked = cleaning.clean_items(rows, data.items, data.cleaning).with_columns(rows["file"])
    seen = pictures(marked, root)
    blind = seen["image"].is_null() & marked["image"].is_not_null() & marked[REASON].is_null()
    reason = pl.when(blind).then(pl.lit(BAD_IMAGE)).otherwise(REASON).alias(REASON)
    found = rows.select(
        pl.lit("items").alias("table"), "file", ROW, marked.select(reason).to_series(), content=_as_json()
    )
    rejected.append(found.filter(pl.col(REASON).is_not_null()))
    with _rejected(work / REJECTED_ROWS / "items.csv") as reject:
        for told in rejected:
            reject(told)
    sound = seen.filter(marked[REASON].is_null()).select(*cleaning.ITEMS)
    sound.write_parquet(work / dataset.ITEMS)
    reasons = Counter(pl.concat(rejected, how="vertical_relaxed")[REASON])
    mended = {BAD_IMAGE: reasons.pop(BAD_IMAGE)} if BAD_IMAGE in reasons else {}
    return _counts(data, "items", len(sound), reasons, mended)


def _people(data: ShopData, root: Path, work: Path) -> Counts | None:
    """Write the users and their labels, if a table of them is declared."""
    if data.users is None:
        return None
    rows, rejected = _whole("users", data.users, root)
    marked = cleaning.clean_users(rows, data.users)
    told = rows.select(pl.lit("users").alias("table"), "file", ROW, marked[REASON], content=_as_json())
    rejected.append(told.filter(pl.col(REASON).is_not_null()))
    with _rejected(work / REJECTED_ROWS / "people.csv") as reject:
        for frame in rejected:
            reject(frame)
    sound = marked.filter(pl.col(REASON).is_null()).drop(ROW, REASON)
    sound.write_parquet(work / dataset.USERS)
    return _counts(data, "users", len(sound), Counter(pl.concat(rejected, how="vertical_relaxed")[REASON]))


def _whole(name: str, table: Table, root: Path) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """All rows of a table that is held at once, with their `file`; and what is no row, ready to be written."""
    frames, rejected = [], []
    for path in table.paths(root):
        for batch in batches(table, path):
            rejected.append(_told(name, path, batch.malformed, pl.lit(MALFORMED)))
            frames.append(batch.rows.with_columns(pl.lit(str(path)).alias("file")))
    nothing = pl.DataFrame(schema={**dict.fromkeys(table.columns, pl.String), ROW: pl.Int64, "file": pl.String})
    return pl.concat(frames or [nothing], how="vertical_relaxed"), rejected


def _report(data: ShopData, work: Path, items: Counts | None, people: Counts | None) -> Report:
    """What became of the rows; and the items where none are declared."""
    if not any(work.glob(dataset.EVENTS)):
        pl.DataFrame(schema=cleaning.EVENTS).write_parquet(work / "events-00000.parquet")
    events = scanned(work.glob(dataset.EVENTS))
    types = dict(sorted(events.group_by("type").len().collect(engine="streaming").iter_rows()))
    rejected = (
        pl.scan_csv(work / dataset.REJECTED, glob=False).filter(pl.col("table") == "events").group_by(REASON).len()
    )
    counts = _counts(data, "events", sum(types.values()), dict(rejected.collect().iter_rows()))
    if items is None:
        names = events.select("item_id").drop_nulls().unique().collect(engine="streaming").sort("item_id")
        names.select(
            *(
                pl.col(name) if name == "item_id" else pl.lit(None, kind).alias(name)
                for name, kind in cleaning.ITEMS.items()
            )
        ).write_parquet(work / dataset.ITEMS)
    users, first_s, last_s = (
        events.select(
            pl.col("user_id").n_unique(),
            pl.col("timestamp_s").min().alias("first"),
            pl.col("timestamp_s").max().alias("last"),
        )
        .collect(engine="streaming")
        .row(0)
    )
    return Report(
        generated=data.generated,
        events=counts,
        items=items,
        people=people,
        by_type=types,
        users=users,
        first_s=first_s,
        last_s=last_s,
    )


def _counts(
    data: ShopData, table: str, kept: int, rejected: Mapping[str, int], mended: Mapping[str, int] = MappingProxyType({})
) -> Counts:
    """The counts of a table; an error if so many rows are bad that the schema must be."""
    bad = sum(rejected.values())
    if bad > data.cleaning.max_bad_share * (kept + bad):
        reason = max(rejected, key=lambda name: rejected[name])
        raise InvalidInput(
            "the schema does not fit the data",
            where=table,
            why=f"{bad} of {kept + bad} rows are bad, most of them for: {reason} ({rejected[reason]})",
            next_step="correct the columns, units and types in the schema, or raise cleaning.max_bad_share",
        )
    return Counts(rows=kept + bad, kept=kept, rejected=dict(sorted(rejected.items())), mended=dict(mended))


def _parts(paths: list[Path]) -> int:
    size_bytes = sum(
        path.stat().st_size * (PACKED if path.suffix in {".gz", ".parquet", ".pq"} else 1) for path in paths
    )
    return min(max(1, -(-size_bytes // PART_BYTES)), MAX_PARTS)


def _told(table: str, path: Path, rows: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    """Rejected rows, ready to be written."""
    return rows.select(
        pl.lit(table).alias("table"), pl.lit(str(path)).alias("file"), ROW, reason.alias(REASON), "content"
    )


def _as_json() -> pl.Expr:
    """Each row as one JSON object, cut to a length for people."""
    return pl.struct(pl.all().exclude(ROW, "file", "place", REASON)).struct.json_encode().str.slice(0, SHOWN_CHARS)


@contextmanager
def _rejected(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Append frames to a CSV file; there is none without rows."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:

        def append(frame: pl.DataFrame) -> None:
            if len(frame):
                frame.select(REJECTED_COLUMNS).write_csv(file, include_header=False)

        yield append


def _merge_rejected(work: Path) -> None:
    """One file of all rejected rows: items, users, then files of events, then events seen by user."""
    folder = work / REJECTED_ROWS
    folder.mkdir(exist_ok=True)
    with (work / dataset.REJECTED).open("wb") as merged:
        merged.write(",".join(REJECTED_COLUMNS).encode() + b"\n")
        for path in sorted(folder.iterdir()):
            with path.open("rb") as one:
                shutil.copyfileobj(one, merged)
    shutil.rmtree(folder)


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that becomes it at the end, or is gone after an error."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput("the folder is not empty", where=str(folder), next_step="name a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
        if folder.exists():
            folder.rmdir()
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
