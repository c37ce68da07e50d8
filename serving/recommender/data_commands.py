"""What `hcctl model generate` and `hcctl model ingest` do: files and folders in, plain figures out. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.recommender.generated.events import World
from serving.recommender.generated.shop import Shop
from serving.recommender.generated.writing import Format, write
from serving.recommender.ingest.pipeline import ingest


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
