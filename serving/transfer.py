"""A project's state out into an archive, and back in: here, in another folder, on another machine.

Out goes a copy of the database of one moment (intents, observations, journal, decisions,
ledger) and, if wanted, the registry's versions. API keys and what belongs to this machine (ports,
sockets, logs) stay. In comes what passed every check, or nothing: the database is put in place last,
by one rename.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from serving.archive import DATABASE_NAME, ArchiveManifest, describe, unpack_archive, write_archive
from serving.errors import CorruptArtefact, HcctlError, InvalidInput, UnsupportedState
from serving.files import atomic_file, disk_errors, exclusive, open_plain, sync_dir
from serving.paths import ProjectPaths, private_dir
from serving.registry import Registry, verify_version
from serving.sqlite_store import SqliteStore
from serving.state import Body, Document

OF_THE_MOMENT = ("service", "site")
"""Observations of what ran elsewhere: they do not come along."""


@dataclass(frozen=True)
class Imported:
    """What came in."""

    manifest: ArchiveManifest
    former: Path | None
    """Where the state that was here before is kept; None: there was none."""
    missing: tuple[str, ...]
    """Versions that services want and the registry does not have."""


def export_state(
    paths: ProjectPaths, target: Path, *, project: str, hcctl: str, versions: bool, at_s: float
) -> ArchiveManifest:
    """Write the project's state, and its versions if wanted, to the new file `target`; the project may run.

    Raises:
        InvalidInput: `target` exists, or there is no state.
        HcctlError: the state or a version is damaged, or the disk fails; no `target` is left.
    """
    if target.exists() or target.is_symlink():
        raise InvalidInput("the file exists already", where=str(target), next_step="name another file, or remove it")
    if not paths.database.exists():
        raise InvalidInput("there is no state yet", where=str(paths.database), next_step="run `hcctl up` first")
    with _staging(paths) as stage:
        copy = stage / DATABASE_NAME
        store = SqliteStore(paths.database)
        try:
            store.copy_to(copy)
        finally:
            store.close()
        sources = {DATABASE_NAME: copy, **(_version_files(paths) if versions else {})}
        files = tuple(describe(path, file) for path, file in sources.items())
        manifest = ArchiveManifest(project=project, hcctl=hcctl, created_at_s=at_s, files=files)
        write_archive(target, manifest, sources)
    return manifest


def import_state(paths: ProjectPaths, source: Path, *, force: bool, at_s: float) -> Imported:
    """Put the state of archive `source` in place. The caller holds the daemon's lock.

    Paths in it are made this project's; rented nodes are given back, as after `hcctl down`. A crash leaves
    the former state or the new one.

    Args:
        paths: the project it comes into.
        source: the archive.
        force: replace state that is here; it is kept beside, see `Imported.former`.
        at_s: now, seconds since the epoch.

    Raises:
        InvalidInput: there is state already, and no `force`; or there is no such archive.
        UnsupportedState: a newer hcctl wrote the archive or the state in it.
        CorruptArtefact: the archive is damaged; `where` names the file in it.
        HcctlError: the disk is full or failing.
    """
    present = _state_present(paths.database)
    if present and not force:
        raise InvalidInput(
            "there is state here already",
            where=str(paths.database),
            next_step="give --force to replace it; the former is kept beside it",
        )
    with _staging(paths) as stage:
        manifest = unpack_archive(source, stage)
        missing = _settle(stage, source, paths, at_s)
        registry = Registry(paths.registry_dir)
        for folder in sorted((stage / "registry").glob("*")):
            missing.discard(_adopted(registry, folder, source))
        with disk_errors("the state was not put in place", paths.database):
            former = _keep_former(paths.database, at_s) if present else None
            for suffix in ("-wal", "-shm", ".backup"):  # of the former state; the next start makes new ones
                paths.database.with_name(paths.database.name + suffix).unlink(missing_ok=True)
            (stage / DATABASE_NAME).replace(paths.database)
            sync_dir(paths.state_dir)
    return Imported(manifest, former, tuple(sorted(missing)))


@contextmanager
def _staging(paths: ProjectPaths) -> Iterator[Path]:
    """An empty folder beside the state, on the same disk; what a dead transfer left in it is removed."""
    stage = private_dir(paths.state_dir) / ".transfer"
    with disk_errors("the state folder cannot be used", stage), exclusive(stage.with_suffix(".lock")):
        shutil.rmtree(stage, ignore_errors=True)
        try:
            yield private_dir(stage)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _version_files(paths: ProjectPaths) -> dict[str, Path]:
    registry = Registry(paths.registry_dir)
    for problem in registry.damaged():
        raise problem
    found = {}
    for manifest in registry.list():
        folder = registry.directory(manifest.version)
        verify_version(folder)
        for file in sorted(folder.iterdir()):
            found[f"registry/{manifest.version}/{file.name}"] = file
    return found


def _state_present(database: Path) -> bool:
    """Something was stored here, or something is here that cannot be read."""
    if not database.exists():
        return database.with_name(f"{database.name}-wal").exists()
    try:
        store = SqliteStore(database)
    except HcctlError:
        return True
    try:
        return not store.empty
    except HcctlError:
        return True
    finally:
        store.close()


def _settle(stage: Path, source: Path, paths: ProjectPaths, at_s: float) -> set[str]:
    """Make the staged database this project's; returns the versions it needs that the registry does not have."""
    try:
        store = SqliteStore(stage / DATABASE_NAME)  # an older one is migrated
        try:
            store.check()
            store.check_schema()
            return _rebase(store, paths, at_s)
        finally:
            store.close()
    except HcctlError as problem:
        kind = UnsupportedState if isinstance(problem, UnsupportedState) else CorruptArtefact
        where = f"{source}: {DATABASE_NAME}"
        raise kind(problem.what, where=where, why=problem.why, next_step="use another archive or hcctl") from problem


def _rebase(store: SqliteStore, paths: ProjectPaths, at_s: float) -> set[str]:
    needed: set[str] = set()
    with store.atomic():
        for document in store.intents("service"):
            body = _rebased(document, paths.registry_dir, needed)
            store.put_intent("service", document.name, body, expected_revision=document.revision, at_s=document.at_s)
        for kind in ("daemon", "release"):
            for document in store.observations(kind):
                body = _rebased(document, paths.registry_dir, needed if kind == "daemon" else set())
                store.put_observation(kind, document.name, body, at_s=document.at_s)
        for kind in OF_THE_MOMENT:
            for document in store.observations(kind):
                store.delete_observation(kind, document.name)
        last = store.observation("daemon", "state")
        # Nothing is rented here: as after `hcctl down`, which counts if it is later than the state.
        down_s = max(at_s, last.at_s + 1.0 if last else 0.0)
        store.put_intent("control", "down", {"by": "hcctl state import"}, expected_revision=None, at_s=down_s)
    return {version for version in needed if not (paths.registry_dir / version).is_dir()}


def _rebased(document: Document, registry_dir: Path, needed: set[str]) -> Body:
    """The body with the folder of each version it names below `registry_dir`; notes the versions in `needed`."""

    def walk(value: JsonValue) -> JsonValue:
        if isinstance(value, list):
            return [walk(part) for part in value]
        if not isinstance(value, dict):
            return value
        made = {key: walk(part) for key, part in value.items()}
        if isinstance(made.get("version_dir"), str) and isinstance(made.get("version"), str):
            version = Path(str(made["version"])).name
            made["version_dir"] = str(registry_dir / version)
            needed.add(version)
        return made

    return {key: walk(part) for key, part in document.body.items()}


def _adopted(registry: Registry, folder: Path, source: Path) -> str:
    try:
        return registry.adopt(folder).version
    except CorruptArtefact as problem:
        where = f"{source}: registry/{folder.name}/{problem.where}"
        raise CorruptArtefact(
            "a version in the archive is damaged", where=where, why=problem.why, next_step="use another archive"
        ) from problem


def _keep_former(database: Path, at_s: float) -> Path:
    """Copy the present database, and its log if it has one; returns the copy's path."""
    with suppress(HcctlError):
        SqliteStore(database).close()  # folds the log into the file, if it is sound
    stamp = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    former = database.with_name(f"{database.name}.former-{stamp}")
    for suffix in ("-wal", "-shm", ""):
        file = open_plain(database.with_name(database.name + suffix))
        if file is not None:
            with file, atomic_file(former.with_name(former.name + suffix)) as copy:
                shutil.copyfileobj(file, copy)
    return former
