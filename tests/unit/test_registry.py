"""Pushing, finding and naming versions."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import CorruptArtefact, InvalidInput
from serving.manifest import FILES_LIMIT, Manifest
from serving.registry import Registry, verify_version
from tests.support.artefacts import make_artefact, push, tensor_bytes
from tests.support.processes import files_below


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / ".hcctl" / "registry")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_artefact(tmp_path / "artefact")


def test_a_pushed_version_is_read_back_and_verified(registry: Registry, source: Path) -> None:
    """What was pushed is listed, found by name and by prefix, and sound."""
    manifest = push(registry, source)
    assert registry.list() == (manifest,)
    assert registry.resolve("latest", "shop") == manifest
    assert registry.inspect(manifest.version[:6]) == manifest
    assert verify_version(registry.directory(manifest.version)) == manifest
    assert [file.name for file in manifest.files] == ["items.json", "model.safetensors"]
    assert (manifest.metrics, manifest.provenance.created_at_s) == ({"recall_at_10": 0.25}, 1_000.0)


def test_files_of_a_version_are_read_only_and_private(registry: Registry, source: Path) -> None:
    """Each file has mode 0400 in a folder 0700, and nothing but files and manifest is there."""
    directory = registry.directory(push(registry, source).version)
    assert stat.S_IMODE(registry.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert files_below(directory) == {"items.json", "manifest.json", "model.safetensors"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o400}


def test_the_same_content_is_the_same_version(registry: Registry, source: Path) -> None:
    """Time, metrics and provenance are not part of the id; the first push's stay."""
    first = push(registry, source)
    again = push(registry, source, at_s=2_000.0, metrics={"recall_at_10": 0.5}, provenance={})
    assert again == first
    assert registry.list() == (first,)


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"config": {"layers": 3}}, {"schema": {}}, {"config": {"layers": 2.0}}]
)
def test_other_content_is_another_version(registry: Registry, source: Path, changes: dict[str, Any]) -> None:
    """Name, config and schema are part of the id."""
    assert push(registry, source, **changes).version != push(registry, source).version


def test_a_changed_byte_is_another_version(registry: Registry, source: Path) -> None:
    """The files' bytes and names are part of the id."""
    versions = {push(registry, source).version}
    make_artefact(source, items__json=b'["a", "c"]')
    versions.add(push(registry, source).version)
    (source / "items.json").rename(source / "things.json")
    versions.add(push(registry, source).version)
    assert len(versions) == 3


def test_the_id_does_not_depend_on_the_order_of_keys(registry: Registry, source: Path) -> None:
    """The hash is over a canonical form."""
    one = push(registry, source, config={"a": 1, "b": {"c": 2, "d": 3}})
    two = push(registry, source, config={"b": {"d": 3, "c": 2}, "a": 1})
    assert one == two


@pytest.mark.parametrize("files", [{}, {"vocab__txt": b"a\nb\n"}], ids=["no-files", "text-only"])
def test_a_model_may_be_code_only(registry: Registry, tmp_path: Path, files: dict[str, bytes]) -> None:
    """An artefact without weights, or without any file, is a version of its name and config."""
    folder = tmp_path / "code"
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    manifest = push(registry, folder)
    assert verify_version(registry.directory(manifest.version)) == manifest


def test_latest_is_the_last_pushed_of_that_name(registry: Registry, source: Path) -> None:
    """`latest` looks at one name only, and by time, not by id."""
    versions = [push(registry, source, config={"n": n}, at_s=100.0 + n).version for n in range(4)]
    push(registry, source, name="other", at_s=999.0)
    assert registry.resolve("latest", "shop").version == versions[-1]
    assert [found.version for found in registry.list()[1:]] == versions[::-1]


def test_a_missing_name_is_told_with_those_there_are(registry: Registry, source: Path) -> None:
    """`latest` of a name without versions says which names have some, or that there are none."""
    with pytest.raises(InvalidInput, match="the registry is empty"):
        registry.resolve("latest", "shop")
    push(registry, source, name="other")
    with pytest.raises(InvalidInput, match="versions of other") as caught:
        registry.resolve("latest", "shop")
    assert "hcctl version push" in caught.value.next_step


@pytest.mark.parametrize("prefix", ["", "zzzz", "../..", "/", "f" * 65, "*", "ABCDEF"])
def test_a_reference_to_nothing_is_invalid_input(registry: Registry, source: Path, prefix: str) -> None:
    """A prefix that no id begins with is an error, whatever characters it has."""
    push(registry, source)
    with pytest.raises(InvalidInput, match="no such version"):
        registry.resolve(prefix, "shop")


def test_an_ambiguous_prefix_names_the_candidates(registry: Registry, source: Path) -> None:
    """A prefix of two ids is refused with both, long enough to choose from."""
    by_first: dict[str, str] = {}
    for n in range(17):
        version = push(registry, source, config={"n": n}).version
        if version[0] in by_first:
            break
        by_first[version[0]] = version
    with pytest.raises(InvalidInput, match="more than one") as caught:
        registry.inspect(version[0])
    assert version[:9] in caught.value.why
    assert by_first[version[0]][:9] in caught.value.why


def test_a_registry_that_was_never_used_is_empty(registry: Registry) -> None:
    """Reading makes no folder."""
    assert registry.list() == ()
    assert registry.damaged() == ()
    assert not registry.root.exists()


@pytest.mark.parametrize(
    "name",
    [
        "model.pt",
        "model.bin",
        "model.pkl",
        "model.pickle",
        "weights.npz",
        "code.py",
        ".env",
        ".hidden.json",
        "model",
        "model.safetensors.bak",
        "a b.json",
        "a\nb.json",
        "-rf.json",
        "x" * 130 + ".json",
        "MODEL.JSON",
        "\udcff.json",
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(registry: Registry, source: Path, name: str) -> None:
    """Anything not on the list of suffixes, above all what is unpickled, is refused and nothing is stored."""
    (source / name).write_bytes(b"x")
    with pytest.raises(InvalidInput) as caught:
        push(registry, source)
    assert caught.value.where == str(source / name)
    assert registry.list() == ()


def test_a_pushed_manifest_is_refused(registry: Registry, source: Path) -> None:
    """The manifest is the registry's to write."""
    (source / "manifest.json").write_text("{}")
    with pytest.raises(InvalidInput, match="the registry writes this file itself"):
        push(registry, source)


@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe"])
def test_only_plain_files_are_pushed(registry: Registry, source: Path, tmp_path: Path, kind: str) -> None:
    """A link, a folder or a pipe is refused by name, at once."""
    path = source / "extra.json"
    if kind == "symlink":
        (tmp_path / "secret.json").write_text("{}")
        path.symlink_to(tmp_path / "secret.json")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nothing.json")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(InvalidInput) as caught:
        push(registry, source)
    assert caught.value.where == str(path)
    assert files_below(registry.root) == {".lock"}


def test_a_source_that_is_no_folder_is_invalid_input(registry: Registry, source: Path) -> None:
    """A file or a missing path as the artefact is told before anything is made."""
    for wrong in (source / "items.json", source / "missing"):
        with pytest.raises(InvalidInput) as caught:
            push(registry, wrong)
        assert caught.value.where == str(wrong)
    assert not registry.root.exists()


def test_too_many_files_are_refused(registry: Registry, source: Path) -> None:
    """The number of files is bounded."""
    for n in range(FILES_LIMIT):
        (source / f"f{n}.txt").touch()
    with pytest.raises(InvalidInput, match=f"at most {FILES_LIMIT}"):
        push(registry, source)


def test_malformed_weights_are_refused_at_push(registry: Registry, source: Path) -> None:
    """A broken safetensors file is named, and nothing is stored."""
    make_artefact(source, model__safetensors=tensor_bytes()[:-1])
    with pytest.raises(CorruptArtefact) as caught:
        push(registry, source)
    assert caught.value.where == "model.safetensors"
    assert files_below(registry.root) == {".lock"}


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"metrics": {"recall": NAN}}, "metrics.recall"),
        ({"metrics": {"recall": float("inf")}}, "metrics.recall"),
        ({"metrics": {"recall": "0.5"}}, "metrics.recall"),
        ({"metrics": {"recall": None}}, "metrics.recall"),
        ({"name": "No Name"}, "name"),
        ({"name": "../x"}, "name"),
        ({"provenance": {"git_commit": "HEAD"}}, "provenance.git_commit"),
        ({"provenance": {"parents": ["abc"]}}, "provenance.parents.0"),
        ({"provenance": {"unknown": 1}}, "provenance.unknown"),
        ({"at_s": -1.0}, "provenance.created_at_s"),
        ({"at_s": NAN}, "provenance.created_at_s"),
        ({"config": {"a": NAN}}, "shop"),
        ({"config": {"a": {"b": [float("-inf")]}}}, "shop"),
        ({"config": {"a": object()}}, "shop"),
        ({"config": {"a": "\ud800"}}, ""),
        ({"config": {"a": "x" * (1 << 20)}}, "shop"),
    ],
)
def test_a_field_that_is_not_allowed_is_named(
    registry: Registry, source: Path, changes: dict[str, Any], where: str
) -> None:
    """NaN metrics, bad names and unknown fields are invalid input and store nothing."""
    with pytest.raises(InvalidInput) as caught:
        push(registry, source, **changes)
    assert caught.value.where == where
    assert registry.list() == ()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), json_values, max_size=4)


@settings(deadline=None)
@given(config=objects, schema=objects, details=objects, metric=st.floats(allow_nan=False, allow_infinity=False))
def test_a_manifest_survives_writing_and_reading(
    config: dict[str, Any], schema: dict[str, Any], details: dict[str, Any], metric: float
) -> None:
    """Any JSON in config, schema and details comes back equal, with its hashes intact."""
    manifest = Manifest.declare(
        {
            "name": "shop",
            "config": config,
            "io_schema": schema,
            "metrics": {"m": metric},
            "provenance": {"created_at_s": 1.0, "details": details},
        }
    ).seal([])
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert (manifest.config, manifest.io_schema, manifest.provenance.details) == (config, schema, details)


def test_the_id_of_a_given_content_never_changes(registry: Registry, source: Path) -> None:
    """The hash is part of the format: versions pushed by an older hcctl keep their ids."""
    assert push(registry, source).version == "a971ebaec1c08cef696d02ac3e93be21f939980bee974e8289e3f6c74d2777b5"


def test_safetensors_written_by_its_own_library_are_accepted(registry: Registry, source: Path) -> None:
    """A file with several dtypes and metadata, as the library saves it, is well formed."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {
        "a": np.zeros((2, 3), "float32"),
        "b": np.ones((4,), "int64"),
        "c": np.zeros((0, 5), "float16"),
        "d": np.array(True),
    }
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    manifest = push(registry, source)
    assert verify_version(registry.directory(manifest.version)) == manifest


def test_verifying_needs_neither_torch_nor_numpy() -> None:
    """A version can be checked on a machine without the libraries that load it."""
    script = "import sys, serving.registry; print(sorted({'torch', 'numpy', 'ray', 'safetensors'} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "[]\n"


def test_a_manifest_is_plain_json(registry: Registry, source: Path) -> None:
    """Other tools can read `manifest.json`."""
    manifest = push(registry, source)
    found = json.loads((registry.directory(manifest.version) / "manifest.json").read_text())
    assert found["version"] == manifest.version
    assert found["files"][0]["name"] == "items.json"
