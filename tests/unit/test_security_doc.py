"""docs/security.md names the test behind each statement: they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
FILES = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}


def test_the_files_named_exist() -> None:
    """Every test file, and every path from the top, is there."""
    named = set(re.findall(r"\btest_\w+\.py", TEXT))
    assert len(named) > 25
    assert named - FILES.keys() == set()
    for path in re.findall(r"`(tests/[\w/]+\.py)", TEXT):
        assert (ROOT / path).is_file(), path


def test_the_tests_named_exist() -> None:
    """Every test that is named stands in the file named with it, or in some file."""
    everything = "".join(path.read_text() for path in FILES.values())
    pairs = re.findall(r"(test_\w+\.py)::(test_\w+)", TEXT)
    assert len(pairs) > 10
    for file, name in pairs:
        assert f"def {name}(" in FILES[file].read_text(), f"{file}::{name}"
    for name in re.findall(r"`(test_\w+)`", TEXT):
        assert f"def {name}(" in everything, name


def test_the_modules_named_exist() -> None:
    """Every module of the column `where` is there, below serving/ unless it says otherwise."""
    column = [line.split("|")[3] for line in TEXT.splitlines() if line.startswith("|") and line.count("|") == 6]
    named = {name for cell in column for name in re.findall(r"`([\w/]+\.py)`", cell)}
    assert len(named) > 12
    tops = [ROOT, ROOT / "serving", ROOT / "autoscaler"]
    assert [name for name in sorted(named) if not any((top / name).is_file() for top in tops)] == []
