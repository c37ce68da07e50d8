"""Relief as a pure decision: when it begins, how it ends, and what it never does."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.routing.relief import ReliefState, ReliefView, expected_wait_s, queue_from, refuses, relieve
from serving.spec_relief import RELIEF_LEVELS, Relief, ReliefLevel

SLO_S = 1.0
SETTINGS = Relief.model_validate({"light": {"over": 0.5}, "shed": {"low_over": 1.0, "normal_over": 4.0}})
CALM = ReliefView(now_s=0.0, queued=0, slots=10, service_mean_s=0.1, through_rps=10.0)

levels = st.sampled_from([None, *RELIEF_LEVELS])
rates = st.floats(0, 1_000)
views = st.builds(
    ReliefView,
    now_s=st.floats(0, 1_000),
    queued=st.none() | st.integers(0, 10_000),
    slots=st.none() | st.integers(0, 1_000),
    service_mean_s=st.none() | st.floats(0.001, 10),
    through_rps=rates,
    kept_away_rps=st.dictionaries(st.sampled_from(RELIEF_LEVELS), rates),
    starting=st.integers(0, 10),
)
states = st.builds(
    ReliefState,
    level=levels,
    calm_since_s=st.none() | st.floats(0, 1_000),
    service_mean_s=st.none() | st.floats(0.001, 10),
)
settings = st.sampled_from(
    [
        SETTINGS,
        Relief.model_validate({"light": {}}),
        Relief.model_validate({"shed": {}}),
        Relief.model_validate({"light": {"over": 2.0}, "shed": {"low_over": 2.0}, "leave_share": 0.0}),
    ]
)


def rank(level: ReliefLevel | None) -> int:
    return -1 if level is None else RELIEF_LEVELS.index(level)


def played(seen: Iterable[ReliefView], state: ReliefState | None = None) -> list[ReliefState]:
    """The states of a timeline of views."""
    return list(itertools.accumulate(seen, lambda s, v: relieve(SETTINGS, SLO_S, v, s), initial=state or ReliefState()))


def seconds(first: int, last: int, **seen: Any) -> list[ReliefView]:
    """The same view once a second."""
    return [replace(CALM, now_s=float(at), **seen) for at in range(first, last)]


def test_a_level_begins_when_the_expected_wait_is_over_its_bound() -> None:
    """With 10 slots of 0.1 s, 50 waiting mean 0.5 s: at the bound nothing begins, one more begins light."""
    assert relieve(SETTINGS, SLO_S, replace(CALM, queued=50), ReliefState()).level is None
    state = relieve(SETTINGS, SLO_S, replace(CALM, queued=51, starting=2), ReliefState())
    assert state.level == "light"
    assert state.reason == "expected wait 0.51 s over 0.5 s: 51 wait for 10 slots, 2 replicas are starting"


def test_a_sudden_queue_begins_the_level_it_asks_for_at_once() -> None:
    """Levels are not climbed one by one while requests are late."""
    assert relieve(SETTINGS, SLO_S, replace(CALM, queued=500), ReliefState()).level == "shed_normal"


def test_it_returns_by_itself_one_level_at_a_time() -> None:
    """Calm for 5 s leaves one level; after 15 s there is no relief."""
    states = played([*seconds(0, 1, queued=500), *seconds(1, 30)])
    told = [key for key, _ in itertools.groupby(state.level for state in states)]
    assert told == [None, "shed_normal", "shed_low", "light", None]
    assert next(s.since_s for s in states if s.level is None and s.since_s is not None) == 18.0


def test_a_level_stays_while_what_it_kept_away_would_not_fit() -> None:
    """An empty queue alone ends nothing: 60 requests per second through and 60 answered lightly need 12 of 10 slots."""
    busy = seconds(1, 100, through_rps=60.0, kept_away_rps={"light": 60.0})
    assert {s.level for s in played(busy, ReliefState("light"))} == {"light"}
    fits = seconds(1, 100, through_rps=60.0, kept_away_rps={"light": 29.0})
    assert played(fits, ReliefState("light"))[-1].level is None


def test_calm_that_breaks_off_is_counted_anew() -> None:
    """Four calm seconds, one busy, four calm seconds leave nothing."""
    busy = seconds(5, 6, queued=40)
    assert played([*seconds(1, 5), *busy, *seconds(6, 10)], ReliefState("light"))[-1].level == "light"


def test_when_all_was_refused_the_last_known_time_lets_it_end() -> None:
    """Nothing is measured while nothing is answered; the level must end all the same."""
    refusing = seconds(1, 40, service_mean_s=None, through_rps=0.0, kept_away_rps={"shed_normal": 20.0})
    states = played([replace(CALM, queued=500), *refusing])
    assert states[1].level == "shed_normal"
    assert states[-1].level is None


def test_without_slots_any_queue_waits_without_end() -> None:
    """No site holds a request: who waits, waits for capacity to start."""
    state = relieve(SETTINGS, SLO_S, replace(CALM, queued=1, slots=0), ReliefState())
    assert (state.level, state.queue_from["light"]) == ("shed_normal", 1)
    assert "without end" in state.reason


def test_a_level_that_is_not_declared_any_more_is_left_at_once() -> None:
    """A changed declaration takes effect: the next milder level that it has, or none."""
    light = Relief.model_validate({"light": {}})
    busy = replace(CALM, queued=20, through_rps=200.0)
    assert relieve(light, SLO_S, busy, ReliefState("shed_normal")).level == "light"
    shed = Relief.model_validate({"shed": {}})
    assert relieve(shed, SLO_S, busy, ReliefState("light")).level is None


def test_priorities_are_refused_in_their_order() -> None:
    """Low first, then normal, high never."""
    told = {level: [p for p in ("low", "normal", "high") if refuses(level, p)] for level in (None, *RELIEF_LEVELS)}
    assert told == {None: [], "light": [], "shed_low": ["low"], "shed_normal": ["low", "normal"]}


@given(settings, views, states)
def test_what_is_not_known_keeps_the_level(declared: Relief, seen: ReliefView, state: ReliefState) -> None:
    """Without queue or slots the level stays, and calm is counted anew."""
    if state.level not in (None, *declared.entries_s(SLO_S)):
        return
    for blind in (replace(seen, queued=None), replace(seen, slots=None, queued=3), replace(seen, slots=None)):
        after = relieve(declared, SLO_S, blind, state)
        assert (after.level, after.calm_since_s, after.queue_from) == (state.level, None, state.queue_from)


@given(settings, views, states, st.integers(0, 1_000), st.floats(1, 5), rates)
def test_more_load_never_means_less_relief(
    declared: Relief, seen: ReliefView, state: ReliefState, more: int, longer: float, faster: float
) -> None:
    """A longer queue, slower answers or more requests give the same level or a more severe one; more slots do not."""
    before = rank(relieve(declared, SLO_S, seen, state).level)
    heavier = [replace(seen, through_rps=seen.through_rps + faster)]
    if seen.queued is not None:
        heavier.append(replace(seen, queued=seen.queued + more))
    if seen.service_mean_s is not None:
        heavier.append(replace(seen, service_mean_s=seen.service_mean_s * longer))
    if seen.slots is not None:
        heavier.append(replace(seen, slots=max(0, seen.slots - more)))
    assert all(rank(relieve(declared, SLO_S, view, state).level) >= before for view in heavier)


@given(settings, views, states)
def test_only_declared_levels_come_into_force(declared: Relief, seen: ReliefView, state: ReliefState) -> None:
    """Whatever was before, the level is one of those declared or none, and falls by one at most."""
    after = relieve(declared, SLO_S, seen, state).level
    known = [None, *declared.entries_s(SLO_S)]
    assert after in known
    if state.level in known:
        assert known.index(after) >= known.index(state.level) - 1


@given(settings, views, states)
def test_a_changed_level_says_why_and_since_when(declared: Relief, seen: ReliefView, state: ReliefState) -> None:
    """Each change has a reason, and nothing else changes it."""
    after = relieve(declared, SLO_S, seen, state)
    if after.level != state.level:
        assert after.reason
    else:
        assert after.since_s == state.since_s


@given(settings, st.integers(0, 1_000), st.floats(0.001, 10))
def test_the_gateways_queue_lengths_are_those_of_the_levels(declared: Relief, slots: int, mean_s: float) -> None:
    """From its queue length on a level's bound is crossed; two requests less and it is not."""
    entries_s = declared.entries_s(SLO_S)
    for level, length in queue_from(entries_s, slots, mean_s).items():
        at, below = (expected_wait_s(max(0, n), slots, mean_s) or 0.0 for n in (length + 1, length - 2))
        assert below <= entries_s[level] < at


@given(st.integers(1, 200), st.integers(1, 50))
def test_a_constant_load_does_not_make_it_flap(rate_rps: int, slots: int) -> None:
    """Constant load against constant slots changes the level only while the first queue builds or drains.

    A fluid queue; of the requests half are eligible, a quarter low, a quarter normal.
    """
    mean_s, queue, state, changes = 0.1, 0.0, ReliefState(), 0
    for at in range(400):
        away = {
            "light": rate_rps / 2 if rank(state.level) >= 0 else 0.0,
            "shed_low": rate_rps / 4 if refuses(state.level, "low") else 0.0,
            "shed_normal": rate_rps / 4 if refuses(state.level, "normal") else 0.0,
        }
        through = rate_rps - sum(away.values())
        queue = max(0.0, queue + through - slots / mean_s)
        view = ReliefView(float(at), int(queue), slots, mean_s, through, {k: v for k, v in away.items() if v})  # type: ignore[misc]
        after = relieve(SETTINGS, SLO_S, view, state)
        changes += at >= 200 and after.level != state.level
        state = after
    assert changes == 0


def test_a_sale_is_bridged_until_capacity_serves() -> None:
    """Four times the load, capacity after 120 s: relief begins within seconds and is over soon after it serves.

    A fluid queue; half of the requests are eligible and always find an answer, a fifth has low priority.
    """
    mean_s, queue, state, told = 0.4, 0.0, ReliefState(), dict[int, ReliefLevel | None]()
    for at in range(900):
        rate_rps = 100.0 if 60 <= at < 660 else 25.0
        slots = 60 if at >= 180 else 14
        level = rank(state.level)
        away: dict[ReliefLevel, float] = {
            "light": rate_rps * 0.5 * (level >= 0),
            "shed_low": rate_rps * 0.2 * (level >= 1),
        }
        through = rate_rps - sum(away.values())
        queue = max(0.0, queue + through - slots / mean_s)
        told[at] = state.level
        state = relieve(SETTINGS, SLO_S, ReliefView(float(at), int(queue), slots, mean_s, through, away), state)
    assert {told[at] for at in range(60)} == {None}
    assert None not in {told[at] for at in range(64, 180)}
    assert told[200] is None
    assert {told[at] for at in range(200, 900)} == {None}
