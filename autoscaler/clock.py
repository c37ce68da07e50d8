"""A wall clock that was set back: what the daemon remembers moves with it, so that every duration goes on. Pure.

Set forward, a clock looks like a daemon that was away, which is handled where durations are judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from autoscaler.plan import Decision
from autoscaler.policy.bids import PolicyState
from autoscaler.policy.leads import Lead
from autoscaler.state import DaemonState, Release, ServiceState

TOLERANCE_S = 1.0
"""Clocks are corrected by less than this all the time."""


def follow_clock(state: DaemonState, now_s: float) -> tuple[DaemonState, list[Decision]]:
    """The state at `now_s`, wall clock in seconds since the epoch, and what there is to tell."""
    back_s = 0.0 if state.seen_s is None else state.seen_s - now_s
    if back_s <= TOLERANCE_S:
        return replace(state, seen_s=now_s), []
    told = Decision("", "clock", f"the clock was set back by {back_s:.0f} s: what is remembered moves with it")
    return replace(_moved(state, -back_s), seen_s=now_s), [told]


def _moved(state: DaemonState, by_s: float) -> DaemonState:
    return replace(
        state,
        services={name: _service(mine, by_s) for name, mine in state.services.items()},
        nodes={
            key: tuple(
                replace(node, launched_at_s=node.launched_at_s + by_s, ends_s=_time(node.ends_s, by_s))
                for node in nodes
            )
            for key, nodes in state.nodes.items()
        },
        notices=_times(state.notices, by_s),
        rests_until_s=_times(state.rests_until_s, by_s),
        cheaper_since_s=_times(state.cheaper_since_s, by_s),
        billed_s=_time(state.billed_s, by_s),
        retry_at_s=_times(state.retry_at_s, by_s),
    )


def _service(mine: ServiceState, by_s: float) -> ServiceState:
    return replace(
        mine,
        release=None if mine.release is None else _release(mine.release, by_s),
        last_change_s=_times(mine.last_change_s, by_s),
        policy=_policy(mine.policy, by_s),
        admissions={key: replace(a, at_s=a.at_s + by_s) for key, a in mine.admissions.items()},
        ejections={key: replace(e, until_s=e.until_s + by_s) for key, e in mine.ejections.items()},
        emptying_since_s=_times(mine.emptying_since_s, by_s),
        unlisted_since_s=_times(mine.unlisted_since_s, by_s),
        home_down_since_s=_time(mine.home_down_since_s, by_s),
        leads={site: _lead(lead, by_s) for site, lead in mine.leads.items()},
        relief=replace(
            mine.relief,
            since_s=_time(mine.relief.since_s, by_s),
            calm_since_s=_time(mine.relief.calm_since_s, by_s),
        ),
    )


def _release(release: Release, by_s: float) -> Release:
    return replace(
        release,
        started_at_s=release.started_at_s + by_s,
        phase_since_s=release.phase_since_s + by_s,
        events=tuple(replace(event, at_s=event.at_s + by_s) for event in release.events),
    )


def _lead(lead: Lead, by_s: float) -> Lead:
    start = lead.going_on and replace(lead.going_on, since_s=lead.going_on.since_s + by_s)
    return replace(lead, at_s=_time(lead.at_s, by_s), going_on=start, warming_since_s=_time(lead.warming_since_s, by_s))


def _policy(policy: PolicyState, by_s: float) -> PolicyState:
    return replace(
        policy,
        enough_since_s=_time(policy.enough_since_s, by_s),
        breach_since_s=_time(policy.breach_since_s, by_s),
        needs=tuple((at_s + by_s, need) for at_s, need in policy.needs),
        needs_since_s=_time(policy.needs_since_s, by_s),
        cost_since_s=_time(policy.cost_since_s, by_s),
        history=replace(policy.history, until_s=math.floor(policy.history.until_s + by_s)),
        failover_s=_time(policy.failover_s, by_s),
    )


def _times(moments: Mapping[str, float], by_s: float) -> dict[str, float]:
    return {key: at_s + by_s for key, at_s in moments.items()}


def _time(moment_s: float | None, by_s: float) -> float | None:
    return None if moment_s is None else moment_s + by_s
