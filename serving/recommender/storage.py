"""A fitted model on disk: settings and hashes, ids, purchases, and what was learned. No pickle.

`model.json`             format, method with its settings, and size and SHA-256 of the other files
`ids.json`               user and item ids, in the order of the indices
`purchases.safetensors`  user, item and day of each purchase
`learned.safetensors`    the method's arrays
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from safetensors import numpy as safetensors_numpy

from serving.recommender import bundle
from serving.recommender.bundle import Strict, corrupt
from serving.recommender.method import Arrays
from serving.recommender.methods.ensemble import AnyMethod
from serving.recommender.orders.purchases import Purchases

MODEL, IDS, PURCHASES, LEARNED = "model.json", "ids.json", "purchases.safetensors", "learned.safetensors"
COLUMNS = ("user", "item", "day")


class _Stored(bundle.Head):
    """`model.json`."""

    format: Literal[1] = 1
    method: AnyMethod


class _Ids(Strict):
    """`ids.json`."""

    users: tuple[str, ...]
    items: tuple[str, ...] = Field(min_length=1)


def save(directory: Path, method: AnyMethod, past: Purchases, learned: Arrays) -> None:
    """Write a model into `directory`, which exists; `model.json` last, so that a part of a model is none.

    Raises:
        HcctlError: the disk is full, read-only or failing.
    """
    arrays = {name: np.require(array, requirements="C") for name, array in learned.items()}
    contents = {**past_files(past), LEARNED: safetensors_numpy.save(arrays)}
    bundle.write(directory, MODEL, lambda files: _Stored(method=method, files=files), contents)


def load(directory: Path) -> tuple[AnyMethod, Purchases, Arrays]:
    """Read a model; every byte is checked against `model.json` first.

    Raises:
        CorruptArtefact: a file is missing, damaged or does not fit the others; `where` is its name.
    """
    stored, contents = bundle.read(directory, MODEL, _Stored, {IDS, PURCHASES, LEARNED})
    return stored.method, past_of(contents), bundle.tensors(LEARNED, contents[LEARNED])


def past_files(past: Purchases) -> dict[str, bytes]:
    """Purchases as the contents of `IDS` and `PURCHASES`."""
    columns = {name: np.ascontiguousarray(getattr(past, name), dtype=np.int64) for name in COLUMNS}
    ids = {"users": past.user_ids, "items": past.item_ids}
    return {
        IDS: json.dumps(ids, ensure_ascii=False, separators=(",", ":")).encode(),
        PURCHASES: safetensors_numpy.save(columns),
    }


def past_of(contents: Mapping[str, bytes]) -> Purchases:
    """What `past_files` made.

    Raises:
        CorruptArtefact: a file is damaged or does not fit the other.
    """
    ids = bundle.parsed(IDS, _Ids, contents[IDS])
    columns = bundle.tensors(PURCHASES, contents[PURCHASES])
    if columns.keys() != set(COLUMNS):
        raise corrupt(PURCHASES, f"its tensors are not {', '.join(COLUMNS)}")
    user, item, day = (columns[name] for name in COLUMNS)
    sound = (
        all(
            column.dtype == np.int64 and column.ndim == 1 and len(column) == len(day) > 0 for column in columns.values()
        )
        and 0 <= user.min() <= user.max() < len(ids.users)
        and 0 <= item.min() <= item.max() < len(ids.items)
        and bool((np.diff(day) >= 0).all())
        and abs(int(day[0])) < 1 << 31
        and abs(int(day[-1])) < 1 << 31
        and len(set(ids.users)) == len(ids.users)
        and len(set(ids.items)) == len(ids.items)
    )
    if not sound:
        raise corrupt(PURCHASES, f"it does not fit the ids in {IDS}, or is not in order")
    return Purchases(user, item, day, ids.users, ids.items)
