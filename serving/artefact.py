"""Check a version before it is used: every byte against its manifest, without torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from serving.errors import CorruptArtefact
from serving.files import disk_errors, open_plain, sha256_of
from serving.manifest import MANIFEST_FILE, MANIFEST_LIMIT_BYTES, ArtefactFile, Manifest
from serving.weights import BrokenWeights, read_header


def verify_version(directory: Path) -> Manifest:
    """Check every byte of the version in `directory` against its manifest, before it is used.

    The folder holds exactly the manifest and the files it lists, as plain files (no links) with
    the stated sizes and hashes, and each safetensors file is well formed. Time is that of reading
    the files once; memory does not grow with their size.

    Raises:
        CorruptArtefact: something does not fit; `where` is the file's name.
    """
    manifest = read_manifest(directory)
    with disk_errors("the version cannot be read", directory):
        listed = {file.name for file in manifest.files} | {MANIFEST_FILE}
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name not in listed:
                    raise _corrupt(directory, entry.name, "it is not in the manifest")
        for file in manifest.files:
            _verify_file(directory, file)
    return manifest


def is_sound(directory: Path) -> bool:
    """Whether there is a version in `directory` of which every byte is right; see `verify_version`."""
    with suppress(CorruptArtefact):
        verify_version(directory)
        return True
    return False


def _verify_file(directory: Path, expected: ArtefactFile) -> None:
    file = open_plain(directory / expected.name)
    if file is None:
        raise _corrupt(directory, expected.name, "it is missing, or no plain file")
    with file:
        size = os.fstat(file.fileno()).st_size
        if size != expected.size_bytes:
            raise _corrupt(directory, expected.name, f"it has {size} bytes, not {expected.size_bytes}")
        if sha256_of(file) != expected.sha256:
            raise _corrupt(directory, expected.name, "its content does not have the hash in the manifest")
        try:
            check_weights(expected.name, file)
        except BrokenWeights as problem:
            raise _corrupt(directory, expected.name, str(problem)) from problem


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the version in `directory`, sound in itself; the other files are not read.

    Raises:
        CorruptArtefact: it is missing, damaged, or that of another version.
    """
    with disk_errors("the version cannot be read", directory):
        file = None if directory.is_symlink() else open_plain(directory / MANIFEST_FILE)
        if file is None:
            raise _corrupt(directory, MANIFEST_FILE, "it is missing, or no plain file in a plain folder")
        with file:
            data = file.read(MANIFEST_LIMIT_BYTES + 1)
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise _corrupt(directory, MANIFEST_FILE, f"it is larger than {MANIFEST_LIMIT_BYTES} bytes")
    try:
        manifest = Manifest.from_json(data)
    except ValidationError as problem:
        raise _corrupt(directory, MANIFEST_FILE, ": ".join(filter(None, first_problem(problem)))) from problem
    except ValueError as problem:
        raise _corrupt(directory, MANIFEST_FILE, str(problem)[:200]) from problem
    if manifest.version != directory.name:
        raise _corrupt(directory, MANIFEST_FILE, f"it describes version {manifest.version[:12]}")
    return manifest


def _corrupt(directory: Path, file: str, why: str) -> CorruptArtefact:
    return CorruptArtefact(
        f"version {directory.name[:12]} is damaged",
        where=file,
        why=why,
        next_step=f"push the artefact again, or remove {directory}",
    )


def first_problem(problem: ValidationError) -> tuple[str, str]:
    """Field (empty: the whole) and message of the first problem that pydantic found."""
    first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
    return ".".join(map(str, first["loc"]))[:200], first["msg"].removeprefix("Value error, ")[:200]


def check_weights(name: str, file: BinaryIO) -> None:
    """Check an open file of an artefact if its name says it holds weights.

    Raises:
        BrokenWeights: it is malformed.
    """
    if name.endswith(".safetensors"):
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        read_header(file, size_bytes)
