"""A day on clusters and rented machines, with all that goes wrong in it: it converges, and nothing is there twice."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from moto import mock_aws

from autoscaler.simulation.trace import from_trace
from tests.support.campaign import keep
from tests.support.cluster_day import Asked, Day, turns

READS_A_SITE, FIGURES_EVERY_S = 2, 10.0
HOUR_S, DAY_S = 3_600.0, 86_400.0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """AWS in moto, and what a day opens."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws(), ExitStack() as stack:
        yield stack


def storm(day: Day) -> None:
    """Both API servers refuse, each in three ways."""
    for double in day.doubles.values():
        for status in (409, 429, 500):
            double.fail(status, times=3)


def skewed(day: Day, by_s: float) -> Callable[[], None]:
    """The daemon's clock is wrong by so much from now on."""
    return lambda: setattr(day, "skew_s", by_s)


def troubles(day: Day, rush_s: float, full_s: float) -> list[tuple[float, Callable[[], None]]]:
    """Every fault, by when: spot machines run out in a rush; the rest comes, tick by tick, while the cloud serves.

    Args:
        day: the world.
        rush_s: when some spot machines are there and more are wanted.
        full_s: when they serve.
    """
    private, cloud, aws = day.doubles["private"], day.doubles["cloud"], day.aws
    later: list[Callable[[], None]] = [
        day.reclaim,
        lambda: private.restart(down_s=0.05),
        lambda: storm(day),
        private.cut,
        skewed(day, -45.0),
        skewed(day, 90.0),
        skewed(day, 0.0),
        lambda: cloud.restart(down_s=0.05),
        lambda: aws.throttle(4),
    ]
    first = [
        (rush_s, lambda: aws.lack("spot")),
        (rush_s, lambda: cloud.fail(500, verb="patch", plural="rayclusters")),  # half of what was ordered
        (full_s, lambda: aws.restock("spot")),
    ]
    return [*first, *((full_s + number * day.tick_s, fault) for number, fault in enumerate(later, 1))]


def at_rest(day: Day) -> bool:
    """The private site serves alone, and nothing is rented or under way."""
    there = {name: operator.all("rayservices") for name, operator in day.operators.items()}
    idle = not day.paid and not day.aws.running() and not day.store.open_actions()
    return day.serving and idle and len(there["private"]) == 1 and not there["cloud"]


def nothing_doubled(day: Day, deployments: int) -> None:
    """Actions and decisions are there once, each release ended once, a replica for each that is wanted."""
    keys = [entry.key for entry in day.store.actions(limit=10_000)]
    assert len(keys) == len(set(keys))
    decisions = day.store.decisions(limit=10_000)
    assert [decision.number for decision in decisions] == list(range(decisions[0].number, 0, -1))
    assert sum("promoted" in str(decision.body["reason"]) for decision in decisions) == deployments
    (application,) = day.replicas("private")
    assert day.replicas("private")[application] == day.daemon.state.services["shop"].targets["private"]


def few_calls(day: Day, least: int) -> str:
    """While nothing changes two reads a site and no write; the state's figures at their pace. Returns it in words.

    Args:
        day: that is over.
        least: ticks that must have been quiet.
    """
    words = []
    for site, asked in day.asked.items():
        quiet = [each for each in asked if each.quiet]
        assert len(quiet) >= least
        assert max(each.reads for each in quiet) <= READS_A_SITE
        assert sum(each.writes for each in quiet) == 0
        quiet_s = len({each.at_s for each in quiet}) * day.tick_s
        assert sum(each.told for each in quiet) <= quiet_s / FIGURES_EVERY_S
        words.append(f"{site}: {_mean(asked)} a tick, {_mean(quiet)} in the {len(quiet)} of {len(asked)} quiet ones")
    return "; ".join(words)


def _mean(asked: list[Asked]) -> str:
    count = len(asked)
    reads, writes, told = (sum(getattr(each, name) for each in asked) / count for name in ("reads", "writes", "told"))
    return f"{reads:.2f} reads, {writes:.2f} writes, {told:.2f} of state"


def test_half_an_hour_with_every_fault(tmp_path: Path, opened: ExitStack) -> None:
    """A rush on a site that is full, every fault at its height, a release after it; then all is given back."""

    def rate_rps(at_s: float) -> float:
        return 40.0 + 140.0 * max(0.0, min(1.0, (at_s - 150) / 240, (960 - at_s) / 60))

    day = Day(tmp_path, opened, rate_rps, tick_s=30.0, calm_s=100.0)
    day.deploy("a")
    day.due = deque(troubles(day, rush_s=330.0, full_s=570.0))
    day.run(960.0)
    assert (len(day.due), day.reclaims) == (0, 1)
    day.deploy("c")
    assert day.run(1_200.0, lambda: at_rest(day)), "it does not come to rest"
    day.run(15 * day.tick_s)
    assert at_rest(day)
    assert turns(day.targets, 60.0) == [], day.targets
    nothing_doubled(day, deployments=2)
    pools = Counter(str(entry.pool) for entry in day.store.ledger())
    assert pools.keys() == {"spot", "on-demand"}
    few_calls(day, 8)


@pytest.mark.campaign
@pytest.mark.shared
def test_a_day_of_the_world_cup(tmp_path: Path, opened: ExitStack) -> None:
    """30 June 1998 at a fifteenth of its rate, every fault in both rushes: few late, no turns; calls are reported."""
    beside = Path(__file__).parents[3] / "shared/data/online-retail"
    folder = Path(os.environ.get("HCCTL_DATA", beside)).parent / "traces"
    curve = from_trace(folder / "worldcup98_0608_0704_1min.csv").part(22 * DAY_S, DAY_S)
    rates_rps = curve.rate_rps / 15

    def rate_rps(at_s: float) -> float:
        return float(rates_rps[min(int(at_s / curve.step_s), len(rates_rps) - 1)])

    day = Day(tmp_path, opened, rate_rps, tick_s=60.0, calm_s=300.0)
    day.deploy("a")
    afternoon = troubles(day, rush_s=14.75 * HOUR_S, full_s=16 * HOUR_S)
    evening = troubles(day, rush_s=20.25 * HOUR_S, full_s=21 * HOUR_S)
    day.due = deque([(8 * HOUR_S, lambda: day.deploy("c")), *afternoon, *evening])
    day.run(DAY_S)
    assert (len(day.due), day.reclaims) == (0, 2)
    calls = few_calls(day, 1_000)
    flapping = turns(day.targets, 120.0)
    assert day.run(4 * HOUR_S, lambda: at_rest(day)), "it does not come to rest"
    nothing_doubled(day, deployments=2)
    report = [
        f"{day.arrived:,.0f} requests, {day.late / day.arrived:.2%} late, {day.failed_ticks} ticks failed",
        f"the cloud's target changed {len(day.targets)} times, {len(flapping)} turns within 2 min",
        calls,
    ]
    keep("world-cup-day", report)
    assert day.late / day.arrived < 0.03
    assert flapping == []
