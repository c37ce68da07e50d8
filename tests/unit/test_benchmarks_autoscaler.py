"""The tables of the autoscaler benchmark: what is printed of days without rent, and who beats whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import autoscaler
from benchmarks.autoscaler import RELIEVED, Case, Row, duels, rows, sales, table


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


def test_a_day_with_sales_has_relief_beside_the_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every policy without relief, and the predictive one with it: less late, and what it relieved is told."""
    monkeypatch.setattr(autoscaler, "DAY_S", 2_400.0)
    trace = tmp_path / "day.csv"
    trace.write_text("t_seconds,requests\n" + "".join(f"{at},1800\n" for at in range(0, 2_400, 60)))
    without, relieved = rows(Case(str(trace), 0, 1, 120.0, 1.0, 1.0, flash_sale=True), ["predictive"])
    assert (without.policy, without.light_share, without.shed_share) == ("predictive", None, None)
    assert relieved.policy == RELIEVED
    assert relieved.late_share < 0.1 * without.late_share
    assert relieved.light_share is not None
    assert relieved.light_share > 0.01


def test_what_is_wanted_of_a_day_with_sales() -> None:
    """Better than every peer, or undominated; with relief at most 0.1 % late and at most 5 % light."""

    def verdicts(*peers: Row, light_share: float = 0.05, late_share: float = 0.001) -> list[str]:
        own = [row("predictive", 10.0, 0.02), replace(row(RELIEVED, 9.0, late_share), light_share=light_share)]
        return [line.split("|")[-2].strip() for line in sales([*own, *peers]).splitlines()[2:4]]

    dear, late = row("hpa", 12.0, 0.03), row("kpa", 9.0, 0.03)
    assert verdicts(dear) == ["yes", "yes: less late than every peer for no more"]
    assert verdicts(dear, late) == ["yes", "yes: undominated"]
    assert verdicts(dear, row("keda", 10.0, 0.02), light_share=0.06)[0] == "no"
    assert verdicts(dear, late_share=0.0011)[0] == "no"
    told = sales([row("predictive", 10.0, 0.02), row("keda", 10.0, 0.02)])
    assert "| no: keda is as good for as little |" in told
    assert told.splitlines()[-1].endswith("| keda | 10.00 usd | 2.000% | - | - | - |")
