"""What `hcctl model generate`, `ingest` and `features` do: files and folders in, plain figures out. Without torch."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput
from serving.files import disk_errors
from serving.recommender.generated.events import World
from serving.recommender.generated.shop import Shop
from serving.recommender.generated.writing import Format, write
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.ingest.features import item_features, user_features
from serving.recommender.ingest.pipeline import ingest
from serving.recommender.orders.purchases import DAY_S, epoch_day


def generate_shop(folder: Path, *, file_format: Format, images: bool, **size: int) -> dict[str, Any]:
    """Write a generated shop.

    Raises:
        InvalidInput: the folder holds something.
        HcctlError: the disk is full, read-only or failing.
    """
    events = write(World(Shop(**size)), folder, file_format=file_format, images=images)
    return {"folder": str(folder), "generated": True, "events": events, **size}


def ingest_shop(schema: Path, folder: Path, *, on_ray: bool) -> dict[str, Any]:
    """Clean a shop's data.

    Raises:
        InvalidInput: the schema or a file cannot be used, or most rows are bad.
        HcctlError: the disk is full, read-only or failing.
    """
    if on_ray:
        from serving.recommender.ingest.on_ray import ingest_on_ray

        data = ingest_on_ray(schema, folder)
    else:
        data = ingest(schema, folder)
    return {"folder": str(folder), **data.report.model_dump()}


def write_features(data_folder: Path, folder: Path, *, at: date | None) -> dict[str, Any]:
    """Write what was known of items and users when a UTC day began; of all events, if unset.

    Raises:
        InvalidInput: the data cannot be used or has no event, or the folder holds something.
        HcctlError: the disk is full, read-only or failing.
    """
    data = Dataset.open(data_folder)
    with disk_errors("the features cannot be written", folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidInput("the folder is not empty", where=str(folder), next_step="name a new one")
    if at is None:
        if data.report.last_s is None:
            raise InvalidInput("nothing is known of anybody", where=str(data_folder), why="there is no event")
        at = datetime.fromtimestamp(data.report.last_s, UTC).date() + timedelta(days=1)
    at_s = epoch_day(at) * DAY_S
    events, items = data.events(), data.items().lazy()
    known = {
        "items": data.collected(item_features(events, items, at_s)),
        "users": data.collected(user_features(events, items, at_s)),
    }
    with disk_errors("the features cannot be written", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in known.items():
            frame.write_parquet(folder / f"{name}.parquet")
    counts = {name: len(frame) for name, frame in known.items()}
    return {"folder": str(folder), "generated": data.report.generated, "at": at, **counts}
