"""What is installed is what was tested: locks with hashes, and a bill of materials that says what is there."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path
from types import ModuleType

import pytest
from cyclonedx.output.json import JsonV1Dot6

ROOT = Path(__file__).parents[2]
LAYERS = ("", "clusters-", "checks-", "train-")
LOCKS = {minor: [ROOT / f"requirements/{layer}py{minor}.txt" for layer in LAYERS] for minor in ("3.11", "3.12", "3.13")}
PIN = re.compile(r"([a-z0-9-]+)==[0-9][0-9A-Za-z.]* --hash=sha256:[0-9a-f]{64}")


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """requirements/sbom.py, which stands in no package."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "requirements/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_of(lock: Path) -> set[str]:
    """The packages that a lock pins."""
    return set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE))


def test_there_are_locks_for_each_python() -> None:
    """Every Python that the project allows has its locks, and there are no others."""
    files = {*(ROOT / "requirements").glob("*py3*.txt")}
    assert files == {lock for locks in LOCKS.values() for lock in locks}


@pytest.mark.parametrize("lock", [lock for locks in LOCKS.values() for lock in locks], ids=lambda lock: lock.stem)
def test_every_line_pins_a_version_and_a_hash(lock: Path) -> None:
    """A lock has a version and a SHA-256 for each package, each once, and names no address."""
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert lines
    pins = [PIN.fullmatch(line) for line in lines]
    assert [line for line, pin in zip(lines, pins, strict=True) if pin is None] == []
    names = [pin[1] for pin in pins if pin]
    assert len(set(names)) == len(names)
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("minor", LOCKS)
def test_what_the_project_declares_is_locked(minor: str) -> None:
    """The product's dependencies are in the first lock, but for torch, which brings its own; the rest in the others.

    What a daemon on clusters imports is in the second, with which the container image is made.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    every = [line for extra in extras.values() for line in extra]

    def declared(lines: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9_-]", line)[0].lower().replace("_", "-") for line in lines}

    product, clusters, checks, training = map(names_of, LOCKS[minor])
    assert declared(project["project"]["dependencies"]) - product == {"torch"}
    assert declared([*extras["aws"], *extras["kubernetes"], *extras["prometheus"]]) <= product | clusters
    assert declared([*every, *project["dependency-groups"]["dev"]]) <= product | clusters | checks | training


@pytest.mark.parametrize("minor", LOCKS)
def test_what_serve_would_import_for_nothing_stands_apart(minor: str) -> None:
    """pandas and pyarrow are locked for the extra `train` alone, and nothing is in two locks."""
    *others, training = map(names_of, LOCKS[minor])
    assert {"pandas", "pyarrow"} <= training
    assert sum(map(len, [*others, training])) == len(training.union(*others))


def test_the_install_demands_hashes() -> None:
    """The Makefile installs each lock with --require-hashes and takes no source archive."""
    text = (ROOT / "Makefile").read_text()
    (how,) = re.findall(r"^LOCKED := (.*)$", text, re.MULTILINE)
    assert "--require-hashes" in how
    assert "--only-binary :all:" in how
    installs = re.findall(r"^\t\$\((\w+)\) .*--requirement (?!requirements/torch)", text, re.MULTILINE)
    assert installs == ["LOCKED"] * 3


def test_what_the_lock_does_not_name_is_a_stray(sbom: ModuleType) -> None:
    """Another version or an unknown package is told; torch's own, pip and hcctl are not."""
    lock = sbom.read_lock(f"# head\nclick==8.2.0 --hash=sha256:{'a' * 64}\n")
    assert lock == {"click": ("8.2.0", "a" * 64)}
    fine = {"click": "8.2.0", "torch": "2.13.0", "nvidia-cudnn-cu13": "9", "triton": "3", "pip": "1", "hcctl": "0"}
    assert sbom.unlocked(fine, lock) == []
    assert sbom.unlocked({"click": "8.2.1", "evil": "1"}, lock) == ["click 8.2.1", "evil 1"]


def test_the_bill_names_version_hash_licence_and_needs(sbom: ModuleType) -> None:
    """A package stands in it with its purl, the hash of its wheel, its licence and what it needs here."""
    installed = {name: distribution(name) for name in ("httpx", "idna", "pydantic")}
    lock = {"httpx": (installed["httpx"].version, "b" * 64)}
    made = json.loads(JsonV1Dot6(sbom.bill(installed, lock)).output_as_string())
    parts = {part["name"]: part for part in made["components"]}
    version = installed["httpx"].version
    assert made["specVersion"] == "1.6"
    assert parts["httpx"]["purl"] == f"pkg:pypi/httpx@{version}"
    assert parts["httpx"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert "BSD" in json.dumps(parts["httpx"]["licenses"])
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in made["dependencies"]}
    assert needs[f"httpx@{version}"] == [f"idna@{installed['idna'].version}"]


def test_a_licence_that_is_not_declared_is_told(sbom: ModuleType, tmp_path: Path) -> None:
    """An expression goes before classifiers, classifiers before text, and nothing is guessed."""

    def of(*lines: str) -> str:
        (tmp_path / "METADATA").write_text(
            "\n".join(["Metadata-Version: 2.4", "Name: x", "Version: 1", *lines, "", ""])
        )
        return str(sbom.licence(Distribution.at(tmp_path)))

    assert of() == "not declared"
    assert of("License: Apache 2.0") == "Apache 2.0"
    classifier = "Classifier: License :: OSI Approved :: MIT License"
    assert of("License: all of it", classifier) == "MIT License"
    assert of("License-Expression: MIT", classifier) == "MIT"


def test_an_audit_that_could_check_nothing_is_no_success() -> None:
    """`make audit` fails where the advisory service knows none of the packages; pip-audit alone would end with 0."""
    audits = [line for line in (ROOT / "Makefile").read_text().splitlines() if "/pip-audit " in line]
    assert len(audits) == 1
    assert "--strict" in audits[0].split()
