"""Versions that a pod has fetched: whole and sound, or not there, whoever else fetches them at the same time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from serving.artefact import is_sound
from serving.files import disk_errors, exclusive
from serving.paths import private_dir
from serving.registry import Registry

KEPT = 4
"""Versions a cache holds: of a release both, and what a rollback needs. The last used ones stay."""


def fetched(directory: Path, fetch: Callable[[str, Path], None]) -> Path:
    """Have the version whose id is the name of `directory` there, every byte checked; returns `directory`.

    One process fetches, others wait for it and find the version. One that dies leaves nothing that counts.

    Args:
        directory: where it is, or shall be; its parent is the cache.
        fetch: brings a version, by id, into an empty folder of that name.

    Raises:
        CorruptArtefact: what was fetched does not have the hashes of its manifest.
        HcctlError: it cannot be fetched, or the disk is full or failing.
    """
    cache, version = private_dir(directory.parent), directory.name
    with disk_errors("the version was not fetched", directory), exclusive(_lock(cache, version)):
        if not is_sound(directory):
            draft = cache / f".fetch-{version}"
            shutil.rmtree(draft, ignore_errors=True)  # of one that died
            try:
                (draft / version).mkdir(parents=True, mode=0o700)
                fetch(version, draft / version)
                Registry(cache).adopt(draft / version)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        os.utime(directory)
    _drop_oldest(cache)
    return directory


def _drop_oldest(cache: Path) -> None:
    """Remove the versions that were used longest ago, one lock at a time: no two wait for each other."""
    with disk_errors("the cache of versions cannot be read", cache):
        for version in sorted(Registry(cache).versions(), key=lambda found: _last_used_s(cache / found))[:-KEPT]:
            with exclusive(_lock(cache, version)):
                shutil.rmtree(cache / version, ignore_errors=True)


def _last_used_s(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except FileNotFoundError:  # another process has just dropped it
        return 0.0


def _lock(cache: Path, version: str) -> Path:
    return cache / f".{version}.lock"
