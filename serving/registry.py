"""Versions: immutable model artefacts, named by the hash of what they hold.

An artefact is a flat folder of files: weights as safetensors, JSON and text beside them. The
registry keeps each version in a folder named by its id, together with `manifest.json`. The id
is a hash of the content, so pushing the same artefact twice gives the same version, and a
changed byte anywhere is found before the version is used. Nothing here is ever unpickled.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from serving.artefact import check_weights, first_problem, read_manifest, verify_version
from serving.errors import CorruptArtefact, InvalidInput
from serving.failpoints import failpoint
from serving.files import disk_errors, exclusive, open_plain, sha256_copy, sync_dir, sync_file
from serving.manifest import (
    FILE_NAME_PATTERN,
    FILES_LIMIT,
    MANIFEST_FILE,
    MANIFEST_LIMIT_BYTES,
    SUFFIXES,
    ArtefactFile,
    Manifest,
)
from serving.paths import private_dir
from serving.weights import BrokenWeights

__all__ = ["LATEST", "Manifest", "Registry", "verify_version"]

LATEST = "latest"


class Registry:
    """All versions of a project, in folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def push(
        self,
        source: Path,
        *,
        name: str,
        config: Mapping[str, JsonValue],
        metrics: Mapping[str, float],
        schema: Mapping[str, JsonValue],
        provenance: Mapping[str, Any],
        at_s: float,
    ) -> Manifest:
        """Store the artefact in folder `source`; returns its manifest once it is on disk.

        The same content pushed again is the same version: the first push's metrics and provenance
        stay, unless its folder was damaged, which this mends. `provenance` holds the fields of
        `manifest.Provenance` except `created_at_s`, which is `at_s`. Pushes take turns.

        Raises:
            InvalidInput: a file or a field is not allowed; `where` says which.
            CorruptArtefact: a safetensors file is malformed.
            HcctlError: the disk is full or failing; the registry is as it was.
        """
        declared = _declare(
            {
                "name": name,
                "config": dict(config),
                "io_schema": dict(schema),
                "metrics": dict(metrics),
                "provenance": {**provenance, "created_at_s": at_s},
            }
        )
        names = _artefact_names(source)
        with disk_errors("the version was not stored", self.root):
            private_dir(self.root)
            sync_dir(self.root.parent)
            with exclusive(self.root / ".lock"):
                self._remove_leftovers()
                draft = self._temporary()
                try:
                    files = [_copy(source / name, draft / name) for name in names]
                    manifest = declared.seal(files)
                    _write_manifest(draft / MANIFEST_FILE, manifest)
                    return self._publish(draft, manifest)
                finally:
                    self._remove_leftovers()

    def list(self) -> tuple[Manifest, ...]:
        """All versions with a sound manifest, newest first; `damaged` tells of the others."""
        manifests = [found for found in self._scan() if isinstance(found, Manifest)]
        return tuple(sorted(manifests, key=lambda found: (-found.provenance.created_at_s, found.version)))

    def damaged(self) -> tuple[CorruptArtefact, ...]:
        """One error for each version whose manifest cannot be trusted."""
        return tuple(found for found in self._scan() if isinstance(found, CorruptArtefact))

    def inspect(self, prefix: str) -> Manifest:
        """The version whose id begins with `prefix`. Reads the manifest only; see `verify_version`.

        Raises:
            InvalidInput: no version, or more than one, begins with it.
            CorruptArtefact: its manifest is damaged.
        """
        found = [version for version in self.versions() if prefix and version.startswith(prefix)]
        if not found:
            raise InvalidInput("there is no such version", where=prefix[:80], next_step="see `hcctl version list`")
        if len(found) > 1:
            raise InvalidInput(
                "more than one version begins with this",
                where=prefix,
                why=", ".join(version[: len(prefix) + 8] for version in found[:5]),
                next_step="give more characters of the one you mean",
            )
        return read_manifest(self.directory(found[0]))

    def resolve(self, ref: str, name: str) -> Manifest:
        """The version that `ref` means: `latest` is the last one pushed for `name`, else a prefix of an id.

        Raises:
            InvalidInput: there is none, or `ref` is ambiguous.
            CorruptArtefact: a manifest is damaged; for `latest` any one, as it might be the latest.
        """
        if ref != LATEST:
            return self.inspect(ref)
        for problem in self.damaged():
            raise problem
        versions = self.list()
        for manifest in versions:
            if manifest.name == name:
                return manifest
        names = ", ".join(sorted({manifest.name for manifest in versions}))
        raise InvalidInput(
            f"no version of {name!r} was pushed",
            where=str(self.root),
            why=f"there are versions of {names}" if names else "the registry is empty",
            next_step=f"push one with `hcctl version push DIR --name {name}`",
        )

    def directory(self, version: str) -> Path:
        """Folder of the version with this full id."""
        return self.root / version

    def versions(self) -> tuple[str, ...]:
        """Full ids of the versions, sound or not."""
        with disk_errors("the registry cannot be read", self.root):
            if not self.root.exists():
                return ()
            names = (entry.name for entry in self.root.iterdir())
            return tuple(sorted(name for name in names if re.fullmatch(r"[0-9a-f]{64}", name)))

    def adopt(self, folder: Path) -> Manifest:
        """Take over the version in `folder`, which is named by its id and on the same disk, as another registry had it.

        Raises:
            CorruptArtefact: it is not what its manifest says.
            HcctlError: the disk is full or failing; the registry is as it was.
        """
        manifest = verify_version(folder)
        with disk_errors("the version was not stored", self.root):
            private_dir(self.root)
            with exclusive(self.root / ".lock"):
                for file in folder.iterdir():
                    file.chmod(0o400)
                try:
                    return self._publish(folder, manifest)
                finally:
                    self._remove_leftovers()

    def _publish(self, draft: Path, manifest: Manifest) -> Manifest:
        """Put a whole folder, its manifest included, in place; a sound one that is there stays."""
        target = self.directory(manifest.version)
        if os.path.lexists(target):
            with contextlib.suppress(CorruptArtefact):
                return verify_version(target)
            target.rename(self._temporary() / "damaged")  # Pushing what was damaged mends it.
        sync_dir(draft)
        failpoint("registry.before-publish")
        draft.rename(target)
        failpoint("registry.after-publish")
        sync_dir(self.root)
        return manifest

    def _temporary(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=".push-", dir=self.root))

    def _remove_leftovers(self) -> None:
        """Remove unfinished pushes. The caller holds the lock, so they are its own or a dead one's."""
        for leftover in self.root.glob(".push-*"):
            shutil.rmtree(leftover)

    def _scan(self) -> Iterator[Manifest | CorruptArtefact]:
        for version in self.versions():
            try:
                yield read_manifest(self.directory(version))
            except CorruptArtefact as problem:
                yield problem


def _declare(fields: Mapping[str, Any]) -> Manifest:
    try:
        return Manifest.declare(fields)
    except ValidationError as problem:
        where, why = first_problem(problem)
        raise InvalidInput(
            "the version is not valid", where=where, why=why, next_step="correct this field"
        ) from problem
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidInput(
            "config, metrics, schema and provenance must be JSON with finite numbers",
            where=str(fields["name"])[:80],
            why=str(problem)[:200],
            next_step="correct the value",
        ) from problem


def _artefact_names(source: Path) -> tuple[str, ...]:
    """File names of an artefact to push, in order; all of them allowed."""
    if not source.is_dir():
        raise InvalidInput(
            "the artefact is not a folder",
            where=str(source),
            next_step="name the folder that holds the model's files",
        )
    with disk_errors("the artefact cannot be read", source):
        names = sorted(entry.name for entry in source.iterdir())
    for name in names:
        if not re.fullmatch(FILE_NAME_PATTERN, name) or name == MANIFEST_FILE:
            raise _refused(
                source / name,
                "the registry writes this file itself"
                if name == MANIFEST_FILE
                else f"only files ending in {', '.join('.' + suffix for suffix in SUFFIXES)} are kept, "
                "with letters, digits, dot, dash and underscore in their names",
            )
    if len(names) > FILES_LIMIT:
        raise _refused(source, f"it holds {len(names)} files; at most {FILES_LIMIT} are kept")
    return tuple(names)


def _refused(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        "the artefact may not hold this",
        where=str(path)[:300],
        why=why,
        next_step="remove it from the folder; save weights as safetensors",
    )


def _copy(source: Path, target: Path) -> ArtefactFile:
    with disk_errors("the artefact cannot be read", source):
        file = open_plain(source)
    if file is None:
        raise _refused(source, "it is a link, a folder or a device, not a plain file")
    with file, target.open("x+b") as copy:
        os.fchmod(copy.fileno(), 0o400)
        sha256, size_bytes = sha256_copy(file, copy)
        sync_file(copy)
        try:
            check_weights(target.name, copy)
        except BrokenWeights as problem:
            raise CorruptArtefact(
                "the weights are malformed",
                where=source.name,
                why=str(problem),
                next_step=f"save {source} again as safetensors",
            ) from problem
    return ArtefactFile(name=target.name, sha256=sha256, size_bytes=size_bytes)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    data = manifest.to_json()
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise InvalidInput(
            "the manifest is too large",
            where=manifest.name,
            why=f"it has {len(data)} bytes; at most {MANIFEST_LIMIT_BYTES} are kept",
            next_step="move large values from config or schema into a file of the artefact",
        )
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o400)
        file.write(data)
        sync_file(file)
