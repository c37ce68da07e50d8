"""Pushes that die, meet, or run out of disk leave whole versions and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

import serving.registry
from serving.errors import HcctlError
from serving.manifest import ArtefactFile
from serving.registry import Registry, verify_version
from tests.support.artefacts import make_artefact, push
from tests.support.processes import ended, files_below, in_child, killed_at_each_step, limit_file_size, start


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / ".hcctl" / "registry")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_artefact(tmp_path / "artefact")


@contextmanager
def failing_sync(number: int) -> Iterator[list[int]]:
    """The `number`-th fsync (from 1) finds a disk that reports an error; yields the descriptors it was asked for."""
    real, calls = os.fsync, []

    def sync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    with mock.patch.object(os, "fsync", sync):
        yield calls


def only_sound_versions(registry: Registry) -> list[str]:
    versions = [manifest.version for manifest in registry.list()]
    for version in versions:
        verify_version(registry.directory(version))
    assert registry.damaged() == ()
    return versions


def test_kill_9_at_any_step_leaves_no_half_version(registry: Registry, source: Path, tmp_path: Path) -> None:
    """Killed before each durable step in turn: the version is whole or absent, and a new push clears up."""
    former = push(registry, make_artefact(tmp_path / "former"), name="former").version
    for _ in killed_at_each_step(lambda: push(registry, source), least_steps=10):
        assert former in only_sound_versions(registry)
        pushed = push(registry, source).version
        assert set(only_sound_versions(registry)) == {former, pushed}
        assert {path.name for path in registry.root.iterdir()} == {".lock", former, pushed}
        shutil.rmtree(registry.directory(pushed))


def test_kill_9_while_a_damaged_version_is_mended_leaves_no_mixture(registry: Registry, source: Path) -> None:
    """The damaged folder is never completed in place: it is there, gone, or replaced by a whole one."""
    version = push(registry, source).version
    directory = registry.directory(version)
    (directory / "items.json").unlink()
    for _ in killed_at_each_step(lambda: push(registry, source), least_steps=10):
        if directory.exists() and (directory / "items.json").exists():
            verify_version(directory)
        push(registry, source)
        assert only_sound_versions(registry) == [version]
        assert {path.name for path in registry.root.iterdir()} == {".lock", version}
        (directory / "items.json").unlink()


def test_what_a_dead_push_left_goes_before_a_new_one_takes_room(
    registry: Registry, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leftovers are removed first, because they may be why the disk is full."""
    left = make_artefact(registry.root / ".push-dead")
    real, seen = serving.registry._copy, []

    def copy(source: Path, target: Path) -> ArtefactFile:
        seen.append(left.exists())
        return real(source, target)

    monkeypatch.setattr(serving.registry, "_copy", copy)
    push(registry, source)
    assert seen == [False, False]


def test_pushers_at_once_both_succeed(registry: Registry, source: Path, tmp_path: Path) -> None:
    """Four processes that push the same and different artefacts leave each version once, and sound."""
    other = make_artefact(tmp_path / "other", items__json=b"[]" * 1)

    def work(folder: Path) -> None:
        for n in range(5):
            push(registry, folder, config={"n": n})

    children = [start(lambda folder=folder: work(folder)) for folder in (source, source, other, other)]
    assert [ended(child) for child in children] == [0, 0, 0, 0]
    assert len(only_sound_versions(registry)) == 10
    assert len([path for path in registry.root.iterdir() if path.name != ".lock"]) == 10


def test_a_full_disk_stores_nothing_and_says_where(registry: Registry, source: Path) -> None:
    """A push that does not fit fails with one error, leaves the registry as it was, and works with room."""
    former = push(registry, source)
    make_artefact(source, big__txt=bytes(100_000))

    def work() -> None:
        limit_file_size(50_000)
        with pytest.raises(HcctlError, match="not stored") as caught:
            push(registry, source)
        assert caught.value.where == str(registry.root)
        assert caught.value.next_step

    before = files_below(registry.root)
    assert in_child(work) == 0
    assert files_below(registry.root) == before
    assert only_sound_versions(registry) == [former.version]
    assert len({former.version, push(registry, source).version}) == 2


@pytest.mark.parametrize("failing", range(1, 7))
def test_a_disk_that_cannot_sync_acknowledges_nothing(registry: Registry, source: Path, failing: int) -> None:
    """Whichever fsync of a push fails, the push fails and says so; what stood stands, and a new push works."""
    former = push(registry, make_artefact(source.parent / "former"), name="former").version
    with failing_sync(failing) as calls, pytest.raises(HcctlError) as caught:
        push(registry, source)
    assert len(calls) >= failing, "this push has fewer steps: lower the range"
    assert "check it before you go on" in (caught.value.next_step or "")
    assert former in only_sound_versions(registry)
    assert push(registry, source).version in only_sound_versions(registry)


def test_a_version_is_a_copy(registry: Registry, source: Path) -> None:
    """What happens to the source afterwards does not reach the version."""
    manifest = push(registry, source)
    (source / "items.json").write_bytes(b"changed later")
    assert verify_version(registry.directory(manifest.version)) == manifest
