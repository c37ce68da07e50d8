"""The harness itself: a hang, a flood of memory, a wrong error and a long refusal are faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.errors import InvalidInput
from tests.fuzz import target as harness
from tests.fuzz import test_fuzz
from tests.fuzz.target import Exceeded, Target, Unusable, accepts


def fed(feed: Callable[[bytes, Path], object], folder: Path) -> bool:
    """Whether a parser takes one input."""
    return accepts(Target("made", feed, (InvalidInput,)), b"input", folder)


def raising(error: Exception) -> Callable[[bytes, Path], object]:
    """A parser that raises."""

    def feed(_data: bytes, _folder: Path) -> None:
        raise error

    return feed


def test_a_refusal_is_no_fault(tmp_path: Path) -> None:
    """Accepted, refused in its own words, or not for it at all."""
    assert fed(lambda *_: None, tmp_path)
    assert not fed(raising(InvalidInput("no")), tmp_path)
    assert not fed(raising(Unusable()), tmp_path)


def test_another_error_is_a_fault(tmp_path: Path) -> None:
    """What the target does not name as its refusal comes out."""
    with pytest.raises(KeyError):
        fed(raising(KeyError("x")), tmp_path)
    with pytest.raises(AssertionError, match="a refusal of"):
        fed(raising(InvalidInput("x" * 5_000)), tmp_path)


def test_a_hang_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a parser that catches every Exception is stopped."""
    monkeypatch.setattr(harness, "TIME_LIMIT_S", 0.1)

    def spin(_data: bytes, _folder: Path) -> None:
        while True:
            try:
                sum(range(1_000))
            except Exception:
                continue

    with pytest.raises(Exceeded):
        fed(spin, tmp_path)


def test_memory_beyond_the_bound_is_a_fault(tmp_path: Path) -> None:
    """Also when it is given back at once."""
    with pytest.raises(AssertionError, match="bytes of memory"):
        fed(lambda *_: len(bytes(64 << 20)), tmp_path)


def test_a_failing_input_is_shrunk_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file holds the simplest input that still fails."""
    monkeypatch.setattr(harness, "CORPUS", tmp_path / "corpus")
    monkeypatch.setattr(harness, "FOUND", tmp_path / "found")
    (tmp_path / "corpus" / "made").mkdir(parents=True)
    (tmp_path / "corpus" / "made" / "valid").write_bytes(b"a=1")

    def feed(data: bytes, _folder: Path) -> None:
        assert b"{" not in data

    with pytest.raises(AssertionError):
        test_fuzz.attack(Target("made", feed, tokens=("{",)), tmp_path, 200)
    assert (tmp_path / "found" / "made").read_bytes() == b"{"
