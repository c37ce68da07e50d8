"""A version that is not what was pushed is refused before use, by the name of the file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import CorruptArtefact
from serving.manifest import MANIFEST_LIMIT_BYTES, Manifest
from serving.registry import Registry, verify_version
from tests.support.artefacts import make_artefact, push, tensor_bytes


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> Path:
    """Folder of a pushed version, made writable so that it can be tampered with."""
    source = make_artefact(tmp_path / "artefact", other__safetensors=tensor_bytes(b"other weights 16"))
    directory = registry.directory(push(registry, source).version)
    for file in directory.iterdir():
        file.chmod(0o600)
    return directory


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def link(path: Path) -> None:
    """Replace a file by a link to an equal one outside of the version."""
    outside = path.parent.parent / f"outside-{path.name}"
    shutil.move(path, outside)
    path.symlink_to(outside)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite(directory: Path, change: Callable[[dict], None]) -> None:
    path = directory / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "byte in the weights": (lambda d: flip(d / "model.safetensors"), "model.safetensors"),
    "byte in the header": (lambda d: flip(d / "model.safetensors", 12), "model.safetensors"),
    "byte in a side file": (lambda d: flip(d / "items.json"), "items.json"),
    "file cut short": (lambda d: os.truncate(d / "model.safetensors", 20), "model.safetensors"),
    "file emptied": (lambda d: os.truncate(d / "items.json", 0), "items.json"),
    "byte appended": (lambda d: (d / "items.json").open("ab").write(b" "), "items.json"),
    "files swapped": (
        lambda d: swap(d / "model.safetensors", d / "other.safetensors"),
        "model.safetensors",
    ),
    "file removed": (lambda d: (d / "items.json").unlink(), "items.json"),
    "file added": (lambda d: (d / "added.txt").touch(), "added.txt"),
    "pickle added": (lambda d: (d / "model.pkl").touch(), "model.pkl"),
    "folder added": (lambda d: (d / "more").mkdir(), "more"),
    "link instead of a file": (lambda d: link(d / "model.safetensors"), "model.safetensors"),
    "pipe instead of a file": (lambda d: pipe(d / "items.json"), "items.json"),
    "folder instead of a file": (lambda d: folder(d / "items.json"), "items.json"),
    "manifest removed": (lambda d: (d / "manifest.json").unlink(), "manifest.json"),
    "manifest emptied": (lambda d: os.truncate(d / "manifest.json", 0), "manifest.json"),
    "link instead of the manifest": (lambda d: link(d / "manifest.json"), "manifest.json"),
    "huge manifest": (
        lambda d: os.truncate(d / "manifest.json", MANIFEST_LIMIT_BYTES + 1),
        "manifest.json",
    ),
    "deep manifest": (lambda d: (d / "manifest.json").write_text("[" * 100_000), "manifest.json"),
    "better metric": (
        lambda d: rewrite(d, lambda m: m["metrics"].update(recall_at_10=0.99)),
        "manifest.json",
    ),
    "other config": (lambda d: rewrite(d, lambda m: m["config"].update(layers=3)), "manifest.json"),
    "number too large for a float": (
        lambda d: (d / "manifest.json").write_text(
            (d / "manifest.json").read_text().replace('"layers": 2', '"layers": 1e999')
        ),
        "manifest.json",
    ),
    "unknown field": (lambda d: rewrite(d, lambda m: m.update(run="rm")), "manifest.json"),
    "later format": (lambda d: rewrite(d, lambda m: m.update(format=2)), "manifest.json"),
    "traversal in a file name": (
        lambda d: rewrite(d, lambda m: m["files"][0].update(name="../items.json")),
        "manifest.json",
    ),
    "absolute file name": (
        lambda d: rewrite(d, lambda m: m["files"][0].update(name="/etc/hosts.txt")),
        "manifest.json",
    ),
}


@pytest.mark.parametrize(("tamper", "where"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_found_by_the_files_name(version: Path, tamper: Callable[[Path], object], where: str) -> None:
    """Whatever was changed, added, removed or replaced: the error names that file and what to do."""
    verify_version(version)
    tamper(version)
    with pytest.raises(CorruptArtefact) as caught:
        verify_version(version)
    assert caught.value.where == where
    assert caught.value.why
    assert str(version) in caught.value.next_step


@pytest.mark.parametrize("name", ["../items.json", "/items.json", "a/b.json", "..", "manifest.json", "a.pt"])
def test_a_manifest_that_hashes_right_may_still_not_leave_its_folder(version: Path, name: str) -> None:
    """A forged manifest, consistent in itself, cannot name a path outside or a forbidden file."""
    manifest = Manifest.from_json((version / "manifest.json").read_bytes())
    files = (manifest.files[0].model_copy(update={"name": name}), *manifest.files[1:])
    forged = manifest.seal(files)
    target = version.with_name(forged.version)
    version.rename(target)
    (target / "manifest.json").write_bytes(forged.to_json())
    with pytest.raises(CorruptArtefact) as caught:
        verify_version(target)
    assert caught.value.where == "manifest.json"


def test_forged_weights_are_refused_although_their_hash_fits(registry: Registry, version: Path) -> None:
    """The header of a safetensors file is checked at use too, not only at push."""
    manifest = Manifest.from_json((version / "manifest.json").read_bytes())
    (version / "model.safetensors").write_bytes(b"\xff" * 8)
    broken = manifest.files[1].model_copy(update={"sha256": hashlib.sha256(b"\xff" * 8).hexdigest(), "size_bytes": 8})
    forged = manifest.seal([manifest.files[0], broken, manifest.files[2]])
    target = registry.directory(forged.version)
    version.rename(target)
    (target / "manifest.json").write_bytes(forged.to_json())
    with pytest.raises(CorruptArtefact, match="at most") as caught:
        verify_version(target)
    assert caught.value.where == "model.safetensors"


def test_an_id_that_is_not_the_hash_of_the_content_is_refused(version: Path) -> None:
    """A manifest with a right checksum and a chosen id is refused, also in a folder of that name."""
    manifest = Manifest.from_json((version / "manifest.json").read_bytes())
    renamed = manifest.model_copy(update={"version": "c" * 64})
    forged = renamed.model_copy(update={"checksum": renamed._checksum()})
    target = version.with_name("c" * 64)
    version.rename(target)
    (target / "manifest.json").write_bytes(forged.to_json())
    with pytest.raises(CorruptArtefact, match="not the hash of its content"):
        verify_version(target)


def test_a_version_under_another_name_is_refused(registry: Registry, version: Path) -> None:
    """The folder's name is the id: the folder of one version cannot stand in for another."""
    other = version.with_name("a" * 64)
    version.rename(other)
    with pytest.raises(CorruptArtefact, match="describes version"):
        verify_version(other)
    with pytest.raises(CorruptArtefact):
        registry.inspect("aaaa")


def test_a_folder_that_is_a_link_is_refused(version: Path, tmp_path: Path) -> None:
    """A version's folder is a real folder."""
    moved = tmp_path / "moved"
    version.rename(moved)
    version.symlink_to(moved)
    with pytest.raises(CorruptArtefact, match="plain folder"):
        verify_version(version)


def test_a_missing_folder_is_refused(registry: Registry) -> None:
    """A version that is not there is an error of the same kind."""
    with pytest.raises(CorruptArtefact, match="missing"):
        verify_version(registry.directory("b" * 64))


def test_one_damaged_version_does_not_hide_the_others(registry: Registry, tmp_path: Path) -> None:
    """The list goes on without it and tells of it; only `latest` refuses to guess."""
    source = make_artefact(tmp_path / "artefact")
    sound, broken = push(registry, source), push(registry, source, config={}, at_s=2_000.0)
    path = registry.directory(broken.version) / "manifest.json"
    path.chmod(0o600)
    flip(path, 40)
    assert registry.list() == (sound,)
    assert [problem.where for problem in registry.damaged()] == ["manifest.json"]
    assert registry.resolve(sound.version[:12], "shop") == sound
    with pytest.raises(CorruptArtefact):
        registry.resolve("latest", "shop")


@pytest.mark.parametrize("tamper", ["flip", "remove", "link", "file"])
def test_pushing_again_mends_a_damaged_version(registry: Registry, tmp_path: Path, tamper: str) -> None:
    """The same artefact pushed again replaces the damaged folder and leaves nothing else behind."""
    source = make_artefact(tmp_path / "artefact")
    manifest = push(registry, source)
    directory = registry.directory(manifest.version)
    if tamper == "flip":
        (directory / "items.json").chmod(0o600)
        flip(directory / "items.json")
    elif tamper == "remove":
        (directory / "items.json").unlink()
    else:
        directory.rename(tmp_path / "moved")
        directory.symlink_to(tmp_path / "moved") if tamper == "link" else directory.touch()
    again = push(registry, source, at_s=2_000.0)
    assert again.version == manifest.version
    assert verify_version(directory) == again
    assert sorted(path.name for path in registry.root.iterdir()) == [".lock", manifest.version]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound version that the fuzzers copy bytes from."""
    base = tmp_path_factory.mktemp("sound")
    registry = Registry(base / "registry")
    return registry.directory(push(registry, make_artefact(base / "artefact")).version)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_bytes_in_a_manifest_make_anything_but_a_refusal(sound: Path, data: st.DataObject) -> None:
    """Random edits of a manifest are refused as a corrupt artefact, or change nothing that counts."""
    original = (sound / "manifest.json").read_bytes()
    start = data.draw(st.integers(0, len(original)))
    length = data.draw(st.integers(0, 8))
    junk = data.draw(st.binary(max_size=8) | st.sampled_from([b"1e999", b"NaN", b'"', b"[[[[", b"null", b"\\ud800"]))
    edited = original[:start] + junk + original[start + length :]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / sound.name
        shutil.copytree(sound, copy)
        (copy / "manifest.json").chmod(0o600)
        (copy / "manifest.json").write_bytes(edited)
        try:
            found = verify_version(copy)
        except CorruptArtefact:
            return
        assert found == Manifest.from_json(original)
