"""What a tick of a large fleet costs: in work, which is the same on every machine."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from autoscaler.policy.earlier import NOTHING
from autoscaler.snapshot import Snapshot
from autoscaler.state import DaemonState
from autoscaler.step import step
from benchmarks.tick import POLICIES, Fleet, run


def work(snapshot: Snapshot, state: DaemonState) -> int:
    """Instructions that Python carries out in one `step`."""
    count = 0

    def watch(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        step(snapshot, state)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("policy", POLICIES)
def test_ten_times_the_services_are_ten_times_the_work(policy: str) -> None:
    """Nothing in a tick is done for each pair of services."""
    done = []
    for services in (10, 100):
        fleet = Fleet(services, policy, seed=1)
        state = fleet.state
        for number in range(4):
            state = step(fleet.look(number, state), state).state
        done.append(work(fleet.look(4, state), state))
    assert done[1] <= 10.5 * done[0]


def test_the_forecasts_that_are_timed_know_earlier_days() -> None:
    """As they do in a service that has run for a week, in every tick; who does not forecast is told nothing."""
    predictive, threshold = (Fleet(3, policy, seed=1) for policy in ("predictive", "threshold"))
    for number in (0, 22):
        snapshot = predictive.look(number, predictive.state)
        for service in snapshot.services:
            assert None not in service.earlier.growths(snapshot.now_s, snapshot.now_s + 300.0)
    assert {service.earlier for service in threshold.look(0, threshold.state).services} == {NOTHING}


def test_time_and_growth_are_goals() -> None:
    """Of the largest fleet, under each policy: a tick in seconds, and over the fleet before."""
    section = run(sizes=(2, 4), warm=1, ticks=1, say=lambda _: None)
    assert [(goal.unit, goal.bound) for goal in section.goals] == [("s", 1.0), ("times", 12.0)] * len(POLICIES)
