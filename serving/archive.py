"""One file that carries a project's state from here to there: a plain tar, read without trust.

Its first member is `manifest.json`; each further one is named by the SHA-256 of its content,
`blobs/<sha256>`, and the manifest says which path it stands for. Nothing of a tar but its
headers and bytes is used: no links, no modes, no owners, no paths, no compression, no pickle.
A path in the manifest is one of two forms (`PATH_PATTERN`), so that none leads out of a folder.

The hashes find damage, and changes by whoever does not also make a new manifest. Who can write
the archive can write a new manifest: keep it where you would keep the state itself.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from serving.artefact import first_problem
from serving.errors import CorruptArtefact, HcctlError, InvalidInput, UnsupportedState
from serving.files import atomic_file, disk_errors, open_plain, sha256_copy, sha256_of, sync_dir, sync_file
from serving.manifest import FILE_NAME_PATTERN, Sha256

FORMAT: Final = 1
MANIFEST_NAME = "manifest.json"
DATABASE_NAME = "state.db"
MANIFEST_LIMIT_BYTES = 16 << 20
FILES_LIMIT = 50_000
"""Files an archive may hold: that many versions' files fit a manifest of its limit."""

PATH_PATTERN = rf"^({DATABASE_NAME}|registry/[0-9a-f]{{64}}/{FILE_NAME_PATTERN.removeprefix('^').removesuffix('$')})$"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ArchivedFile(_Record):
    """One file of an archive."""

    path: Annotated[str, StringConstraints(pattern=PATH_PATTERN)] = Field(description="Where it stood in `.hcctl`.")
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class ArchiveManifest(_Record):
    """What an archive holds, and where it is from."""

    format: Literal[1] = FORMAT
    project: str = Field(max_length=200)
    hcctl: str = Field(max_length=200, description="Version of hcctl that wrote it; empty: not installed.")
    created_at_s: float = Field(ge=0, description="Seconds since the epoch.")
    files: tuple[ArchivedFile, ...] = Field(max_length=FILES_LIMIT)
    checksum: Sha256 = Field(default="0" * 64, description="Hash of all other fields.")

    def sealed(self) -> Self:
        """The manifest with its checksum."""
        return self.model_copy(update={"checksum": self._hash()})

    @property
    def sound(self) -> bool:
        """Its checksum fits, and no path stands twice in it."""
        paths = [file.path for file in self.files]
        return self.checksum == self._hash() and len(paths) == len(set(paths)) and DATABASE_NAME in paths

    def _hash(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"checksum"}).encode()).hexdigest()


def describe(path: str, file: Path) -> ArchivedFile:
    """The entry of `file` under `path`; reads it once.

    Raises:
        HcctlError: it cannot be read, or is no plain file.
    """
    with disk_errors("the file cannot be read", file):
        opened = open_plain(file)
        if opened is None:
            raise HcctlError("only plain files are archived", where=str(file), why="it is a link, a folder or missing")
        with opened:
            size_bytes = os.fstat(opened.fileno()).st_size
            return ArchivedFile(path=path, sha256=sha256_of(opened), size_bytes=size_bytes)


def write_archive(target: Path, manifest: ArchiveManifest, sources: Mapping[str, Path]) -> None:
    """Write the archive of `sources` (by path in the archive) to `target`, for its owner only (0600).

    A file that does not have the hash that the manifest gives it stops the writing: damage is not passed on.

    Raises:
        CorruptArtefact: a file changed since it was described; `where` is its path in the archive.
        HcctlError: the disk is full or failing; `target` is as it was.
    """
    body = manifest.sealed().model_dump_json(indent=1).encode()
    with atomic_file(target) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(_member(MANIFEST_NAME, len(body)), io.BytesIO(body))
        for entry in _once_each(manifest.files):
            opened = open_plain(sources[entry.path])
            if opened is None:
                raise _changed(entry)
            with opened:
                reader = _Hashing(opened)
                if os.fstat(opened.fileno()).st_size != entry.size_bytes:
                    raise _changed(entry)
                archive.addfile(_member(_blob(entry), entry.size_bytes), reader)
                if reader.digest.hexdigest() != entry.sha256:
                    raise _changed(entry)


def unpack_archive(source: Path, folder: Path) -> ArchiveManifest:
    """Check every byte of the archive `source` and put its files below the empty `folder`; returns its manifest.

    Nothing outside `folder` is written; files are on disk, readable by their owner only, when it returns.

    Raises:
        UnsupportedState: a newer hcctl wrote it.
        CorruptArtefact: it is damaged; `where` is the archive and the file in it.
        HcctlError: it cannot be read, does not fit the disk, or the disk fails.
    """
    with disk_errors("the archive cannot be read", source):
        file = open_plain(source)
    if file is None:
        raise InvalidInput(
            "there is no such archive", where=str(source), next_step="name a file of `hcctl state export`"
        )
    with file:
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_PlainMember) as archive:
                manifest = _read_manifest(source, archive)
                _refuse_too_large(source, manifest, folder)
                _unpack(source, archive, manifest, folder)
        except (tarfile.TarError, EOFError) as problem:
            raise _damaged(source, "", str(problem)[:200]) from problem
    return manifest


class _NotPlain(tarfile.TarError):
    """A member that is no plain file."""


class _PlainMember(tarfile.TarInfo):
    """A header that is refused unless it is of a plain file, before anything that belongs to it is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type != tarfile.REGTYPE:
            raise _NotPlain(f"{found.name[:80]!r} is a link, a folder or something else that is no plain file")
        return found


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _read_manifest(source: Path, archive: tarfile.TarFile) -> ArchiveManifest:
    first = archive.next()
    content = archive.extractfile(first) if first is not None and first.name == MANIFEST_NAME else None
    if content is None or first is None or first.size > MANIFEST_LIMIT_BYTES:
        raise _damaged(source, MANIFEST_NAME, "it is missing or too large; is this an archive of hcctl?")
    body = content.read(MANIFEST_LIMIT_BYTES)
    try:
        if _Format.model_validate_json(body).format > FORMAT:
            raise UnsupportedState(
                "the archive was written by a newer hcctl",
                where=str(source),
                why=f"this hcctl knows archives of format {FORMAT}",
                next_step="upgrade hcctl and run the command again",
            )
        manifest = ArchiveManifest.model_validate_json(body)
    except ValidationError as problem:
        raise _damaged(source, MANIFEST_NAME, ": ".join(filter(None, first_problem(problem)))) from problem
    if not manifest.sound:
        raise _damaged(source, MANIFEST_NAME, "its checksum does not fit its content")
    return manifest


class _Format(BaseModel):
    """The one field that every format has."""

    format: int = Field(ge=1, strict=True)


def _refuse_too_large(source: Path, manifest: ArchiveManifest, folder: Path) -> None:
    size_bytes = sum(file.size_bytes for file in manifest.files)
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes > free_bytes:
        raise HcctlError(
            "the archive does not fit on the disk",
            where=str(source),
            why=f"its files have {size_bytes:,} bytes; {free_bytes:,} are free",
            next_step="free some disk space and run it again",
        )


def _unpack(source: Path, archive: tarfile.TarFile, manifest: ArchiveManifest, folder: Path) -> None:
    for entry, paths in _once_each(manifest.files).items():
        member = archive.next()
        content = archive.extractfile(member) if member is not None else None
        if member is None or content is None or (member.name, member.size) != (_blob(entry), entry.size_bytes):
            raise _damaged(source, entry.path, "it is missing, out of order or of another size")
        targets = [_contained(folder, path) for path in paths]
        if _extract(content, targets[0]) != entry.sha256:
            raise _damaged(source, entry.path, "its content does not have the hash in the manifest")
        for target in targets[1:]:
            with targets[0].open("rb") as again:
                _extract(again, target)
    if archive.next() is not None:
        raise _damaged(source, "", "it holds more than its manifest says")


def _extract(content: IO[bytes], target: Path) -> str:
    with disk_errors("the archive was not unpacked", target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with target.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            sha256, _ = sha256_copy(content, file)
            sync_file(file)
        sync_dir(target.parent)
    return sha256


def _contained(folder: Path, path: str) -> Path:
    """The place of a path below `folder`; the pattern of paths lets nothing else through, and this makes sure."""
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise InvalidInput("a path leads out of its folder", where=path)
    return target


def _once_each(files: Sequence[ArchivedFile]) -> dict[ArchivedFile, list[str]]:
    """The first file of each content, in order, with all paths of that content."""
    found: dict[str, tuple[ArchivedFile, list[str]]] = {}
    for file in files:
        found.setdefault(file.sha256, (file, []))[1].append(file.path)
    return dict(found.values())


def _blob(entry: ArchivedFile) -> str:
    return f"blobs/{entry.sha256}"


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o600
    return member


def _changed(entry: ArchivedFile) -> CorruptArtefact:
    return CorruptArtefact(
        "a file changed while it was archived", where=entry.path, next_step="run `hcctl doctor`, then try again"
    )


def _damaged(source: Path, path: str, why: str) -> CorruptArtefact:
    where = f"{source}: {path}" if path else str(source)
    return CorruptArtefact("the archive is damaged", where=where, why=why, next_step="use another archive")
