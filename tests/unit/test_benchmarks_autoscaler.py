"""The tables of the autoscaler benchmark: what is printed of days without rent, and who beats whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import autoscaler
from benchmarks.autoscaler import Case, Row, duels, rows, table


def row(policy: str, usd: float, late_share: float = 0.0, *, day: int = 0, ratio: float | None = 1.5) -> Row:
    """A day at 120 s of lead time."""
    return Row(day, 1, 120.0, 1.0, policy, usd, ratio, late_share, actions=0, gap=0.0)


def test_a_day_without_rent_is_counted_and_has_no_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet day is run like any other; where no day has rent the bill is a dash."""
    monkeypatch.setattr(autoscaler, "DAY_S", 600.0)
    trace = tmp_path / "quiet.csv"
    trace.write_text("t_seconds,requests\n" + "".join(f"{at},0\n" for at in range(0, 600, 60)))
    quiet = rows(Case(str(trace), 0, 1, 120.0, 1.0, 1.0), ["threshold"])
    assert [(found.cloud_usd, found.ratio, found.late_share) for found in quiet] == [(0.0, None, 0.0)]
    assert table(quiet).splitlines()[-1] == "| 120 s | 1 x mean | threshold | 0 of 1 | - | - | 0.000% | 0.000% |"
    both = table([*quiet, row("threshold", 3.0, 0.002, day=1)])
    assert both.splitlines()[-1] == "| 120 s | 1 x mean | threshold | 1 of 2 | 1.50 x | 1.50 x | 0.100% | 0.200% |"


def test_a_duel_is_with_the_cheapest_peer_that_keeps_the_promise() -> None:
    """A peer that is late more than 0.1 % counts not, one at 0.1 % does; each day is judged by itself."""
    told = duels(
        [
            row("predictive", 10.0), row("hpa", 15.0), row("kpa", 11.0, 0.001), row("keda", 5.0, 0.0011),
            row("predictive", 12.0, day=1), row("hpa", 11.0, day=1),
            row("predictive", 12.0, day=2), row("hpa", 11.0, 0.5, day=2),
            row("predictive", 0.0, day=3), row("hpa", 0.0, day=3),
        ]
    )  # fmt: skip
    days = [[cell.strip() for cell in line.split("|")[4:-1]] for line in told.splitlines()[2:6]]
    assert days == [
        ["0", "predictive", "10.00 usd", "kpa", "11.00 usd", "yes"],
        ["1", "predictive", "12.00 usd", "hpa", "11.00 usd", "no"],
        ["2", "predictive", "12.00 usd", "-", "-", "-"],
        ["3", "predictive", "0.00 usd", "hpa", "0.00 usd", "-"],
    ]
    assert told.endswith("predictive: cheaper than each peer that is at most 0.1 % late on 1 of 2 days")


def test_other_worlds_are_other_duels() -> None:
    """A peer is met only under the same lead time, private pool and seed."""
    other = Row(0, 2, 120.0, 1.0, "hpa", 1.0, 1.5, 0.0, actions=0, gap=0.0)
    assert "| predictive | 10.00 usd | hpa | 15.00 usd | yes |" in duels(
        [row("predictive", 10.0), row("hpa", 15.0), other]
    )
