"""What a version is: the manifest in its folder, and the hashes that bind it to its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from serving.declared import Name

MANIFEST_FILE = "manifest.json"
MANIFEST_LIMIT_BYTES = 1 << 20
FILES_LIMIT = 256

SUFFIXES = ("safetensors", "json", "csv", "txt", "vocab")
"""Files an artefact may hold. Formats that can run code when they are loaded are not among them."""

FILE_NAME_PATTERN = rf"^[A-Za-z0-9_][A-Za-z0-9._-]{{0,120}}\.({'|'.join(SUFFIXES)})$"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_UNSEALED = "0" * 64


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ArtefactFile(_Record):
    """One file of a version."""

    name: str = Field(pattern=FILE_NAME_PATTERN)
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class Provenance(_Record):
    """Where a version comes from. Not part of its id."""

    created_at_s: float = Field(ge=0, description="Time of the first push, seconds since the epoch.")
    created_by: str = Field(default="", max_length=200)
    git_commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40,64}$")
    parents: tuple[Sha256, ...] = Field(default=(), max_length=64, description="Versions this one was made from.")
    details: dict[str, JsonValue] = Field(
        default_factory=dict, description="Free: data set, seed, how long it was trained."
    )


class Manifest(_Record):
    """What a version is made of, what it is for and how good it was."""

    format: Literal[1] = 1
    version: Sha256 = Field(default=_UNSEALED, description="Hash of name, files, config and io_schema.")
    name: Name = Field(description="What it is a version of; `latest` is looked up by it.")
    files: tuple[ArtefactFile, ...] = Field(default=(), max_length=FILES_LIMIT)
    config: dict[str, JsonValue] = Field(description="How the model is built from the files.")
    io_schema: dict[str, JsonValue] = Field(description="What the model takes and gives.")
    metrics: dict[str, float] = Field(description="How good it was when it was pushed.")
    provenance: Provenance
    checksum: Sha256 = Field(
        default=_UNSEALED, description="Hash of all other fields: shows damage to the manifest itself."
    )

    @classmethod
    def declare(cls, fields: Mapping[str, Any]) -> Self:
        """A manifest from what the pusher says, still without files; `seal` finishes it.

        Raises:
            ValueError: a field is unknown, malformed or no JSON (a NaN, an object).
        """
        found = cls.model_validate_json(json.dumps(fields))
        _canonical(found.model_dump(mode="json"))  # Free-form values may still hold a NaN.
        return found

    def seal(self, files: Iterable[ArtefactFile]) -> Self:
        """The manifest with its files, version and checksum."""
        named = self.model_copy(update={"files": tuple(sorted(files, key=lambda file: file.name))})
        versioned = named.model_copy(update={"version": named._content_hash()})
        return versioned.model_copy(update={"checksum": versioned._checksum()})

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse and check the bytes of a `manifest.json`.

        Raises:
            ValueError: it is malformed, or its hashes do not fit its content.
        """
        found = cls.model_validate_json(data)
        if found.checksum != found._checksum():
            raise ValueError("its checksum does not fit its content")
        if found.version != found._content_hash():
            raise ValueError("its version is not the hash of its content")
        names = [file.name for file in found.files]
        if names != sorted(set(names)) or MANIFEST_FILE in names:
            raise ValueError("its files are not listed once each and in order")
        return found

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False).encode() + b"\n"

    def _content_hash(self) -> str:
        """Hash of what the model does: neither when nor by whom it was pushed, nor how it scored."""
        return _sha256(self.model_dump(mode="json", include={"name", "files", "config", "io_schema"}))

    def _checksum(self) -> str:
        return _sha256(self.model_dump(mode="json", exclude={"checksum"}))


def _sha256(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(fields)).hexdigest()


def _canonical(fields: Mapping[str, Any]) -> bytes:
    """One byte string per value: sorted keys, no spaces, UTF-8; NaN and infinity are refused."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
