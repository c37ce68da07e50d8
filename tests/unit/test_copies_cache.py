"""What a pod fetches: whole and sound or not there, once for all its processes, and bounded."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from serving.artefact import verify_version
from serving.copies.cache import KEPT, fetched
from serving.errors import CorruptArtefact, HcctlError
from serving.registry import Registry
from tests.support.artefacts import make_artefact, push
from tests.support.processes import in_child


class Source:
    """Where versions come from: a registry, with troubles."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(folder / "registry")
        self.folder = folder
        self.calls = folder / "calls"
        self.spoils = self.dies = False
        self.slow_s = 0.0

    def push(self, text: str = "[]") -> str:
        made = make_artefact(self.folder / "made", items__json=text.encode())
        return push(self.registry, made).version

    def fetch(self, version: str, folder: Path) -> None:
        with self.calls.open("a") as calls:
            calls.write("x")
        for file in self.registry.directory(version).iterdir():
            shutil.copyfile(file, folder / file.name)
            time.sleep(self.slow_s)
            if self.dies:
                os._exit(9)
        if self.spoils:
            (folder / "items.json").write_bytes(b"{}")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def count(source: Source) -> int:
    return len(source.calls.read_text()) if source.calls.exists() else 0


def test_a_version_is_fetched_once(source: Source, cache: Path) -> None:
    """The second time it is there, checked, and nothing is asked."""
    version = source.push()
    assert fetched(cache / version, source.fetch) == cache / version
    fetched(cache / version, source.fetch)
    assert verify_version(cache / version).version == version
    assert count(source) == 1


def test_what_differs_is_never_there(source: Source, cache: Path) -> None:
    """Bytes without the hash of the manifest are refused by the file's name, and leave nothing."""
    version = source.push()
    source.spoils = True
    with pytest.raises(CorruptArtefact) as caught:
        fetched(cache / version, source.fetch)
    assert caught.value.where == "items.json"
    assert Registry(cache).versions() == ()
    assert not list(cache.glob(".fetch-*"))


def test_damage_in_the_cache_is_mended(source: Source, cache: Path) -> None:
    """A version that lost a bit on the node is fetched again before it is used."""
    version = source.push()
    fetched(cache / version, source.fetch)
    (cache / version / "items.json").chmod(0o600)
    (cache / version / "items.json").write_bytes(b"{}")
    fetched(cache / version, source.fetch)
    verify_version(cache / version)
    assert count(source) == 2


def test_a_fetch_that_dies_leaves_nothing_that_counts(source: Source, cache: Path) -> None:
    """Killed halfway: the version is absent, and the next process fetches it whole."""
    version = source.push()
    source.dies = True
    assert in_child(lambda: fetched(cache / version, source.fetch)) != 0
    assert Registry(cache).versions() == ()
    source.dies = False
    fetched(cache / version, source.fetch)
    verify_version(cache / version)
    assert not list(cache.glob(".fetch-*"))


def test_processes_of_one_node_share_a_fetch(source: Source, cache: Path) -> None:
    """Four replicas that start at once: one fetches, the others wait for it, all have the version."""
    version = source.push()
    source.slow_s = 0.05
    context = multiprocessing.get_context("fork")
    every = [context.Process(target=fetched, args=(cache / version, source.fetch)) for _ in range(4)]
    for one in every:
        one.start()
    for one in every:
        one.join()
    assert [one.exitcode for one in every] == [0] * 4
    assert count(source) == 1


def test_the_last_used_versions_stay(source: Source, cache: Path) -> None:
    """The cache is bounded: what was used longest ago goes, and what was used again just now stays."""
    versions = [source.push(f"[{number}]") for number in range(KEPT + 1)]
    for age, version in enumerate(versions[:KEPT]):
        fetched(cache / version, source.fetch)
        os.utime(cache / version, (1_000.0 + age, 1_000.0 + age))
    fetched(cache / versions[0], source.fetch)
    fetched(cache / versions[KEPT], source.fetch)
    assert set(Registry(cache).versions()) == {versions[0], *versions[2:]}


def test_a_source_out_of_reach_is_its_own_error(source: Source, cache: Path) -> None:
    """What the source says is what the replica says."""
    version = source.push()

    def refuse(*_: object) -> None:
        raise HcctlError("the bucket cannot be read", why="AccessDenied")

    with pytest.raises(HcctlError, match="AccessDenied"):
        fetched(cache / version, refuse)
    assert not list(cache.glob(".fetch-*"))
