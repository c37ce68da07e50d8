"""A search index on disk. No pickle; what follows from titles and vectors is made anew when it is loaded.

`search.json`           format, encoder, and size and SHA-256 of the other files
`items.json`            the items
`vectors.safetensors`   the vector of each title
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from safetensors import numpy as safetensors_numpy

from serving.recommender import bundle
from serving.recommender.bundle import Strict, corrupt
from serving.recommender.search.catalogue import Item
from serving.recommender.search.encoder import Encoder, Vectors

SEARCH, ITEMS, VECTORS = "search.json", "items.json", "vectors.safetensors"
TITLES = "titles"


class _Stored(bundle.Head):
    """`search.json`."""

    format: Literal[1] = 1
    encoder: str


class _Items(Strict):
    """`items.json`."""

    items: tuple[Item, ...] = Field(min_length=1)


def save(directory: Path, encoder: str, items: Sequence[Item], vectors: Vectors) -> None:
    """Write an index into `directory`, which exists; `search.json` last, so that a part of an index is none.

    Raises:
        HcctlError: the disk is full, read-only or failing.
    """
    listed = {"items": [asdict(item) for item in items]}
    contents = {
        ITEMS: json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode(),
        VECTORS: safetensors_numpy.save({TITLES: np.ascontiguousarray(vectors)}),
    }
    bundle.write(directory, SEARCH, lambda files: _Stored(encoder=encoder, files=files), contents)


def load(directory: Path, encoder: Encoder) -> tuple[tuple[Item, ...], Vectors]:
    """Items and vectors; every byte is checked against `search.json` first.

    Raises:
        CorruptArtefact: a file is missing, damaged or does not fit the others or the encoder; `where` is its name.
    """
    stored, contents = bundle.read(directory, SEARCH, _Stored, {ITEMS, VECTORS})
    if stored.encoder != encoder.name:
        raise corrupt(SEARCH, f"its titles were encoded by {stored.encoder[:80]}, not by {encoder.name}")
    items = bundle.parsed(ITEMS, _Items, contents[ITEMS]).items
    if len({item.item_id for item in items}) != len(items):
        raise corrupt(ITEMS, "two items have one id")
    vectors = bundle.tensors(VECTORS, contents[VECTORS]).get(TITLES)
    shape = (len(items), encoder.width)
    if vectors is None or vectors.dtype != np.float32 or vectors.shape != shape or not np.isfinite(vectors).all():
        raise corrupt(VECTORS, f"it is not one finite vector of {encoder.width} for each of {len(items)} items")
    return items, vectors
