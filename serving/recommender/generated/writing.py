"""A generated shop as files, written block by block: memory is bounded by a file of events, not by the shop.

`shop.json`          the settings it was generated from, and that it was generated
`data.yaml`          the schema of the data, for ingestion
`items.parquet`      or `.csv`: the catalogue
`images/`            a picture of each item
`users-*.parquet`    what the sign-up form told of each user
`events-*.parquet`   what happened, sorted by time within each file; a user is in one file
`truth/`             what only the maker knows: `items`, `users-*` and the chances of each impression, `impressions-*`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import polars as pl

from serving.errors import InvalidInput
from serving.files import disk_errors
from serving.recommender.generated import frames
from serving.recommender.generated.events import World
from serving.recommender.generated.images import picture
from serving.recommender.ingest.schema import DATA_FILE

Format = Literal["parquet", "csv"]
EVENTS_PER_FILE = 500_000
ITEMS_PER_CHUNK = 10_000
SHOP, TRUTH, IMAGES = "shop.json", "truth", "images"
SCHEMA = """\
kind: ShopData
generated: true
events:
  files: ["events-*.{0}"]
  columns:
    event_id: event_id
    user_id: user_id
    item_id: item_id
    type: type
    timestamp: timestamp_s
    request_id: request_id
    position: position
    query: query
    quantity: quantity
    unit_price: unit_price
    rating: rating
items:
  files: [items.{0}]
  columns:
    item_id: item_id
    title: title
    description: description
    category: category
    brand: brand
    price: price
    image: image
    added: added_s
users:
  files: ["users-*.{0}"]
  columns:
    user_id: user_id
    region: region
    age: age_band
"""


def write(world: World, folder: Path, *, file_format: Format = "parquet", images: bool = True) -> int:
    """Write the shop into `folder`, which is made and must not hold anything; returns the number of events.

    Raises:
        InvalidInput: the folder holds something.
        HcctlError: the disk is full, read-only or failing.
    """
    with disk_errors("the generated shop cannot be written", folder):
        if folder.exists() and any(folder.iterdir()):
            raise InvalidInput("the folder is not empty", where=str(folder), next_step="name a new one")
        (folder / TRUTH).mkdir(parents=True, exist_ok=True)
        _put(frames.item_frame(world, IMAGES if images else None), folder / "items", file_format)
        _put(frames.item_truth(world), folder / TRUTH / "items", file_format)
        if images:
            write_images(world, folder / IMAGES)
        total = 0
        for number, blocks in enumerate(_files_of(world)):
            events, chances, users, tastes = (pl.concat(part) for part in zip(*blocks, strict=True))
            total += len(events)
            _put(users, folder / f"users-{number:05d}", file_format)
            _put(events.sort("timestamp_s", maintain_order=True), folder / f"events-{number:05d}", file_format)
            _put(tastes, folder / TRUTH / f"users-{number:05d}", file_format)
            _put(chances, folder / TRUTH / f"impressions-{number:05d}", file_format)
        told = {"generated": True, "events": total, "shop": world.shop.model_dump()}
        (folder / DATA_FILE).write_text(SCHEMA.format(file_format))
        (folder / SHOP).write_text(json.dumps(told, indent=2) + "\n")
    return total


def write_images(world: World, folder: Path) -> None:
    """Write the pictures of all items into `folder`.

    Raises:
        OSError: the disk is full, read-only or failing.
    """
    from PIL import Image

    for item in range(world.shop.items):
        path = folder / frames.image_file(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(world.shop, world.items, item)).save(path, format="PNG")


_Parts = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]


def _files_of(world: World) -> Iterator[list[_Parts]]:
    """Events, their chances, users and their tastes, of as many blocks as make a file."""
    held: list[_Parts] = []
    rows = 0
    for block in range(world.shop.blocks):
        events, chances = frames.event_frames(world, block)
        held.append((events, chances, frames.user_frame(world, block), frames.user_truth(world, block)))
        rows += len(events)
        if rows >= EVENTS_PER_FILE:
            yield held
            held, rows = [], 0
    if held:
        yield held


def _put(frame: pl.DataFrame, path: Path, file_format: Format) -> None:
    target = path.parent / f"{path.name}.{file_format}"
    if file_format == "parquet":
        frame.write_parquet(target)
    else:
        frame.write_csv(target)
