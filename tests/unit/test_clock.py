from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from autoscaler.clock import follow_clock
from autoscaler.policy.bids import PolicyState
from autoscaler.policy.forecast import History
from autoscaler.policy.leads import Lead, Start
from autoscaler.routing.relief import ReliefState
from autoscaler.state import Admission, DaemonState, Ejection, RentedNode
from tests.support.moments import NOW_S, releasing, serving


def everything() -> DaemonState:
    """A state in which every moment is set."""
    policy = PolicyState(
        enough_since_s=NOW_S - 1,
        breach_since_s=NOW_S - 2,
        needs=((NOW_S - 3, 4), (NOW_S, 1)),
        needs_since_s=NOW_S - 4,
        cost_since_s=NOW_S - 5,
        failover_s=NOW_S - 6,
        history=History(until_s=int(NOW_S) - 19),
    )
    mine = serving(
        release=releasing(),
        last_change_s={"private": NOW_S - 7},
        policy=policy,
        admissions={"private/x": Admission(at_s=NOW_S - 8)},
        ejections={"stable/private": Ejection(NOW_S + 9, 1)},
        emptying_since_s={"cloud": NOW_S - 10},
        unlisted_since_s={"x@cloud": NOW_S - 11},
        home_down_since_s=NOW_S - 12,
        leads={"cloud": Lead(at_s=NOW_S - 18, going_on=Start("load", NOW_S - 17, 1), warming_since_s=NOW_S - 20)},
        relief=ReliefState("light", since_s=NOW_S - 15, calm_since_s=NOW_S - 16),
    )
    nodes = {"cloud/shop": (RentedNode("g5", NOW_S - 13),)}
    return DaemonState(services={"shop": mine}, nodes=nodes, retry_at_s={"cloud": NOW_S + 14}, seen_s=NOW_S)


def moments(value: object) -> list[float]:
    """Every number beyond a billion, wherever it is."""
    if isinstance(value, int | float):
        return [value] if value > 1e9 else []
    if is_dataclass(value):
        return [m for field in fields(value) for m in moments(getattr(value, field.name))]
    if isinstance(value, dict):
        return [m for inner in value.values() for m in moments(inner)]
    if isinstance(value, tuple):
        return [m for inner in value for m in moments(inner)]
    return []


def test_a_clock_that_is_set_back_takes_every_moment_with_it():
    """All durations are what they were: a moment that stayed behind would delay something for as long."""
    state = everything()
    after, (told,) = follow_clock(state, NOW_S - 3_700)
    assert len(moments(state)) > 19
    assert [round(m) for m in moments(after)] == [round(m - 3_700) for m in moments(state)]
    assert told.reason.startswith("the clock was set back by 3700 s")


def test_an_ordinary_tick_changes_only_its_own_time():
    """Also a correction of less than a second, a clock set forward, and the first tick."""
    state = everything()
    for now_s in (NOW_S + 0.5, NOW_S - 0.9, NOW_S + 3_700):
        assert follow_clock(state, now_s) == (replace(state, seen_s=now_s), [])
    assert follow_clock(DaemonState(), NOW_S) == (DaemonState(seen_s=NOW_S), [])
