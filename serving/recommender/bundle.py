"""A model's files on disk: a head in JSON that gives the size and SHA-256 of the others. No pickle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import numpy as safetensors_numpy

from serving.artefact import check_weights, first_problem
from serving.errors import CorruptArtefact
from serving.files import disk_errors, open_plain, write_atomic
from serving.manifest import ArtefactFile
from serving.weights import BrokenWeights

HEAD_LIMIT_BYTES = 1 << 20


class Strict(BaseModel):
    """What is read from a file: no field is guessed, converted or ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Head(Strict):
    """The file that names the others."""

    files: tuple[ArtefactFile, ...]


HeadT = TypeVar("HeadT", bound=Head)
Parsed = TypeVar("Parsed", bound=BaseModel)


def write(
    directory: Path, name: str, head: Callable[[tuple[ArtefactFile, ...]], Head], contents: Mapping[str, bytes]
) -> None:
    """Write `contents` by file name into `directory`, which exists; the head last, so that a part of a model is none.

    Raises:
        HcctlError: the disk is full, read-only or failing.
    """
    files = []
    for other, data in contents.items():
        write_atomic(directory / other, data)
        files.append(ArtefactFile(name=other, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
    write_atomic(directory / name, head(tuple(files)).model_dump_json(indent=2).encode() + b"\n")


def read(directory: Path, name: str, kind: type[HeadT], others: Set[str]) -> tuple[HeadT, dict[str, bytes]]:
    """The head and the contents of exactly the `others`; every byte is checked against the head first.

    Raises:
        CorruptArtefact: a file is missing, damaged or does not fit the head; `where` is its name.
    """
    head = parsed(name, kind, _read(directory, name, HEAD_LIMIT_BYTES))
    listed = {file.name: file for file in head.files}
    if listed.keys() != others:
        raise corrupt(name, f"its files are not {', '.join(sorted(others))}")
    return head, {other: _checked(directory, name, file) for other, file in listed.items()}


def corrupt(name: str, why: str) -> CorruptArtefact:
    """The error for file `name`."""
    return CorruptArtefact("the model cannot be loaded", where=name, why=why[:200], next_step="train and save it again")


def parsed(name: str, kind: type[Parsed], data: bytes) -> Parsed:
    """The JSON of file `name` as a `kind`.

    Raises:
        CorruptArtefact: it is not one.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as problem:
        raise corrupt(name, ": ".join(filter(None, first_problem(problem)))) from problem


def tensors(name: str, data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of safetensors file `name`.

    Raises:
        CorruptArtefact: it is none, or has a type that numpy lacks.
    """
    try:
        found: dict[str, NDArray[Any]] = safetensors_numpy.load(data)
    except Exception as problem:  # safetensors raises its own type, KeyError for a dtype that numpy lacks, and others
        raise corrupt(name, str(problem)) from problem
    return found


def _checked(directory: Path, head: str, expected: ArtefactFile) -> bytes:
    data = _read(directory, expected.name, expected.size_bytes)
    if len(data) != expected.size_bytes:
        raise corrupt(expected.name, f"it has {len(data)} bytes, not {expected.size_bytes}")
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise corrupt(expected.name, f"its content does not have the hash in {head}")
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
