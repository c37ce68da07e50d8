"""What is packaged is what is in the tree."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OUTSIDE = {"tests", "benchmarks", "examples", "docs", "build"}
"""Top folders that are not installed."""


def test_package_list_is_the_tree() -> None:
    """The explicit package list names every folder with an __init__.py, and no other."""
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ROOT.iterdir()
        if top.is_dir() and not top.name.startswith(".") and top.name not in OUTSIDE
        for path in top.rglob("__init__.py")
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_every_module_is_in_a_package() -> None:
    """No Python file stands in a folder that is not packaged; templates are data."""
    packaged = {Path(*name.split(".")) for name in PROJECT["tool"]["setuptools"]["packages"]}
    tops = {path.parts[0] for path in packaged}
    stray = [
        path.relative_to(ROOT)
        for top in tops
        for path in (ROOT / top).rglob("*.py")
        if path.relative_to(ROOT).parent not in packaged and "templates" not in path.parts
    ]
    assert stray == []


def test_data_of_packages_is_packaged() -> None:
    """Each file in a package that is no Python module matches its package-data patterns."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for name in PROJECT["tool"]["setuptools"]["packages"]:
        folder = ROOT / Path(*name.split("."))
        taken = {path for pattern in patterns.get(name, []) for path in folder.glob(pattern)}
        present = {path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
        assert present <= taken, name
    templates = set((ROOT / "cli" / "templates").iterdir())
    assert templates <= {path for pattern in patterns["cli"] for path in (ROOT / "cli").glob(pattern)}


def test_entry_point_exists() -> None:
    """The installed script calls a function that is there."""
    assert PROJECT["project"]["scripts"] == {"hcctl": "cli.main:main"}
    from cli.main import main

    assert callable(main)


def test_the_readme_says_how_many_packages_a_setup_installs() -> None:
    """Each lock pins as many as README and decision say."""
    (said,) = re.findall(r"(\d+) packages and torch", (ROOT / "README.md").read_text())
    decision = (ROOT / "docs/decisions/0001-dependencies-and-setup.md").read_text()
    assert f"{said} in all, without the checks" in decision
    for lock in (ROOT / "requirements").glob("py3.*.txt"):
        assert lock.read_text().count("==") == int(said), lock.name
