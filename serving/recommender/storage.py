"""A fitted model on disk: settings and hashes, ids, purchases, and what was learned. No pickle.

`model.json`             format, method with its settings, and size and SHA-256 of the other files
`ids.json`               user and item ids, in the order of the indices
`purchases.safetensors`  user, item and day of each purchase
`learned.safetensors`    the method's arrays
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import numpy as safetensors_numpy

from serving.artefact import check_weights, first_problem
from serving.errors import CorruptArtefact
from serving.files import disk_errors, open_plain, write_atomic
from serving.manifest import ArtefactFile
from serving.recommender.ensemble import AnyMethod
from serving.recommender.method import Arrays
from serving.recommender.purchases import Purchases
from serving.weights import BrokenWeights

MODEL, IDS, PURCHASES, LEARNED = "model.json", "ids.json", "purchases.safetensors", "learned.safetensors"
MODEL_LIMIT_BYTES = 1 << 20
HEAD_LIMIT_BYTES = 1 << 30
"""It holds the catalogue."""
COLUMNS = ("user", "item", "day")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Stored(_Strict):
    """`model.json`."""

    format: Literal[1] = 1
    method: AnyMethod
    files: tuple[ArtefactFile, ...]


class _Ids(_Strict):
    """`ids.json`."""

    users: tuple[str, ...]
    items: tuple[str, ...] = Field(min_length=1)


Parsed = TypeVar("Parsed", bound=BaseModel)


def save(directory: Path, method: AnyMethod, past: Purchases, learned: Arrays) -> None:
    """Write a model into `directory`, which exists; `model.json` last, so that a part of a model is none.

    Raises:
        HcctlError: the disk is full, read-only or failing.
    """
    columns = {name: np.ascontiguousarray(getattr(past, name), dtype=np.int64) for name in COLUMNS}
    arrays = {name: np.require(array, requirements="C") for name, array in learned.items()}
    ids = {"users": past.user_ids, "items": past.item_ids}
    contents = {
        IDS: json.dumps(ids, ensure_ascii=False, separators=(",", ":")).encode(),
        LEARNED: safetensors_numpy.save(arrays),
        PURCHASES: safetensors_numpy.save(columns),
    }
    files = []
    for name, data in contents.items():
        write_atomic(directory / name, data)
        files.append(ArtefactFile(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
    stored = _Stored(method=method, files=tuple(files))
    write_atomic(directory / MODEL, stored.model_dump_json(indent=2).encode() + b"\n")


def load(directory: Path) -> tuple[AnyMethod, Purchases, Arrays]:
    """Read a model; every byte is checked against `model.json` first.

    Raises:
        CorruptArtefact: a file is missing, damaged or does not fit the others; `where` is its name.
    """
    stored = _parsed(MODEL, _Stored, _read(directory, MODEL, MODEL_LIMIT_BYTES))
    sizes = {file.name: file for file in stored.files}
    if sizes.keys() != {IDS, PURCHASES, LEARNED}:
        raise corrupt(MODEL, f"its files are not {IDS}, {PURCHASES} and {LEARNED}")
    contents = {name: _checked(directory, file) for name, file in sizes.items()}
    ids = _parsed(IDS, _Ids, contents[IDS])
    return stored.method, _purchases(ids, _tensors(PURCHASES, contents)), _tensors(LEARNED, contents)


class _StoredParts(_Strict):
    """`model.json` of a model that is no method over purchases."""

    format: Literal[1] = 1
    head: dict[str, JsonValue]
    files: tuple[ArtefactFile, ...] = Field(min_length=1, max_length=1)


def save_parts(directory: Path, head: BaseModel, learned: Arrays) -> None:
    """Write a readable head and arrays into `directory`, which exists.

    Raises:
        HcctlError: the disk is full, read-only or failing.
    """
    data = safetensors_numpy.save({name: np.require(array, requirements="C") for name, array in learned.items()})
    write_atomic(directory / LEARNED, data)
    file = ArtefactFile(name=LEARNED, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    stored = _StoredParts(head=head.model_dump(mode="json"), files=(file,))
    write_atomic(directory / MODEL, stored.model_dump_json().encode() + b"\n")


def load_parts(directory: Path, kind: type[Parsed]) -> tuple[Parsed, dict[str, NDArray[Any]]]:
    """Read what `save_parts` wrote.

    Raises:
        CorruptArtefact: a file is missing, damaged or does not fit the other; `where` is its name.
    """
    stored = _parsed(MODEL, _StoredParts, _read(directory, MODEL, HEAD_LIMIT_BYTES))
    (file,) = stored.files
    if file.name != LEARNED:
        raise corrupt(MODEL, f"its file is not {LEARNED}")
    head = _parsed(MODEL, kind, json.dumps(stored.head).encode())
    return head, _tensors(LEARNED, {LEARNED: _checked(directory, file)})


def corrupt(name: str, why: str) -> CorruptArtefact:
    """The error for file `name`."""
    return CorruptArtefact("the model cannot be loaded", where=name, why=why[:200], next_step="train and save it again")


def _checked(directory: Path, expected: ArtefactFile) -> bytes:
    data = _read(directory, expected.name, expected.size_bytes)
    if len(data) != expected.size_bytes:
        raise corrupt(expected.name, f"it has {len(data)} bytes, not {expected.size_bytes}")
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise corrupt(expected.name, f"its content does not have the hash in {MODEL}")
    return data


def _read(directory: Path, name: str, limit_bytes: int) -> bytes:
    with disk_errors("the model cannot be read", directory / name):
        file = open_plain(directory / name)
        if file is None:
            raise corrupt(name, "it is missing, or no plain file")
        with file:
            size = os.fstat(file.fileno()).st_size
            if size > limit_bytes:
                raise corrupt(name, f"it has {size} bytes, not {limit_bytes}")
            try:
                check_weights(name, file)
            except BrokenWeights as problem:
                raise corrupt(name, str(problem)) from problem
            file.seek(0)
            return file.read()


def _parsed(name: str, kind: type[Parsed], data: bytes) -> Parsed:
    try:
        return kind.model_validate_json(data)
    except ValidationError as problem:
        raise corrupt(name, ": ".join(filter(None, first_problem(problem)))) from problem


def _tensors(name: str, contents: dict[str, bytes]) -> dict[str, NDArray[Any]]:
    try:
        found: dict[str, NDArray[Any]] = safetensors_numpy.load(contents[name])
    except Exception as problem:  # safetensors raises its own type, KeyError for a dtype that numpy lacks, and others
        raise corrupt(name, str(problem)) from problem
    return found


def _purchases(ids: _Ids, columns: dict[str, NDArray[Any]]) -> Purchases:
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
