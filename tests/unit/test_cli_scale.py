"""What `hcctl scale` takes as duration and counts."""

from __future__ import annotations

import pytest
from click import BadParameter

from cli.commands.scale import _counts, _duration_s


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7_200), (" 1d ", 86_400)])
def test_durations(text: str, seconds: float) -> None:
    """A number and a unit."""
    assert _duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "-5s", "0s", "1e3s", "5 s", "nan", "s" * 5_000])
def test_what_is_no_duration_is_quoted_shortly(text: str) -> None:
    """The error shows what was written, not all of it."""
    with pytest.raises(BadParameter, match="is no duration") as refusal:
        _duration_s(text)
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("pairs", [("cloud",), ("=2",), ("cloud=-1",), ("cloud=1.5",), ("a=1", "a=2"), ("=" * 5_000,)])
def test_what_is_no_count_is_quoted_shortly(pairs: tuple[str, ...]) -> None:
    """A site and a whole number, once per site."""
    with pytest.raises(BadParameter, match="SITE=REPLICAS") as refusal:
        _counts(pairs)
    assert len(refusal.value.message) < 200


def test_counts_by_site() -> None:
    """Several sites at once."""
    assert _counts(("private=2", "cloud=0")) == {"private": 2, "cloud": 0}
