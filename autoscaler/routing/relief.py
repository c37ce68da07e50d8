"""Relief: what the gateway does for requests while capacity is short. Pure.

The measure is the expected wait of a request that arrives now: those who wait before it, times the time a
request holds a slot, shared by all slots (a fluid backlog: Newell, Applications of Queueing Theory, 1982,
chapter 2). A level begins at once when that wait is over its bound, and is left slowly: only when what the
level kept away would fit as well. Without that, light answers would empty the queue, end themselves, and
begin again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serving.spec import Priority
from serving.spec_relief import RELIEF_LEVELS, SHED, Relief, ReliefLevel

FITS_SHARE = 0.9
"""What a level kept away comes back only if then at most this share of the slots is in use: at all of them
the queue would grow again."""
_NONE = -1


@dataclass(frozen=True)
class ReliefView:
    """What is seen of one service at one moment; None: nobody knows."""

    now_s: float
    """Any clock; whoever sets it back moves the times of `ReliefState` with it."""
    queued: int | None
    """Requests that wait at the gateway."""
    slots: int | None
    """Requests that all sites may hold at once."""
    service_mean_s: float | None
    """Mean time a request holds a slot."""
    through_rps: float = 0.0
    """Requests per second that are answered by a replica, wait for one, or are refused for want of room."""
    kept_away_rps: Mapping[ReliefLevel, float] = field(default_factory=dict)
    """Requests per second that each level answered lightly or refused."""
    starting: int = 0
    """Replicas that are asked for and not ready."""


@dataclass(frozen=True)
class ReliefState:
    """The level in force, and what is remembered for the next decision."""

    level: ReliefLevel | None = None
    """None: no relief."""
    since_s: float | None = None
    """Since when this level is in force; None before the first change."""
    reason: str = ""
    """Why it changed last."""
    calm_since_s: float | None = None
    """Since when the level could be left."""
    service_mean_s: float | None = None
    """Last known: when all is refused nothing is measured, and the level must still end."""
    queue_from: Mapping[ReliefLevel, int] = field(default_factory=dict)
    """Queue length from which each level applies at the gateway between two decisions; empty: not known."""


def relieve(settings: Relief, slo_s: float, seen: ReliefView, state: ReliefState) -> ReliefState:
    """Decide the level for this moment: up at once to what the wait asks for, down one level at a time.

    Args:
        settings: what the service declares.
        slo_s: the SLO's latency in seconds.
        seen: what is seen now. Unknown parts keep the level.
        state: what the last decision returned.
    """
    entries_s = settings.entries_s(slo_s)
    state = _declared(state, entries_s)
    mean_s = seen.service_mean_s if seen.service_mean_s is not None else state.service_mean_s
    wait_s = expected_wait_s(seen.queued, seen.slots, mean_s)
    state = replace(state, service_mean_s=mean_s)
    if wait_s is None or seen.slots is None:
        return replace(state, calm_since_s=None)
    if mean_s is not None:
        state = replace(state, queue_from=queue_from(entries_s, seen.slots, mean_s))
    asked = max((level for level in entries_s if wait_s > entries_s[level]), key=_rank, default=None)
    if _rank(asked) > _rank(state.level) and asked is not None:
        reason = f"expected wait {_seconds(wait_s)} over {entries_s[asked]:.3g} s: {_scene(seen)}"
        return replace(state, level=asked, since_s=seen.now_s, reason=reason, calm_since_s=None)
    if state.level is None or not _calm(settings, entries_s[state.level], wait_s, mean_s, seen, state.level):
        return replace(state, calm_since_s=None)
    since_s = seen.now_s if state.calm_since_s is None else state.calm_since_s
    if seen.now_s - since_s < settings.leave_after_s:
        return replace(state, calm_since_s=since_s)
    milder = max((level for level in entries_s if _rank(level) < _rank(state.level)), key=_rank, default=None)
    reason = f"calm for {settings.leave_after_s:g} s, what {state.level} kept away fits again: {_scene(seen)}"
    return replace(state, level=milder, since_s=seen.now_s, reason=reason, calm_since_s=None)


def expected_wait_s(queued: int | None, slots: int | None, service_mean_s: float | None) -> float | None:
    """Seconds until all who wait now have a slot; infinite without slots, None when a part is unknown."""
    if queued == 0:
        return 0.0
    if queued is None or slots is None:
        return None
    if slots == 0:
        return math.inf
    return None if service_mean_s is None else queued * service_mean_s / slots


def refuses(level: ReliefLevel | None, priority: Priority) -> bool:
    """Whether requests of this priority are refused at a level, unless they get a light answer.

    HAProxy does this by rules of its own, which the tests hold against this; it is for whoever stands in for HAProxy.
    """
    return any(SHED.get(included) == priority for included in RELIEF_LEVELS[: _rank(level) + 1])


def gateway_level(state: ReliefState, queued: int) -> ReliefLevel | None:
    """The level that the gateway acts on between two decisions, with so many requests waiting.

    For whoever stands in for HAProxy, like `refuses`.
    """
    reached = [level for level, length in state.queue_from.items() if queued >= length]
    return max([state.level, *reached], key=_rank)


def queue_from(entries_s: Mapping[ReliefLevel, float], slots: int, service_mean_s: float) -> dict[ReliefLevel, int]:
    """The shortest queue, in requests, whose expected wait is over each level's bound (`entries_s`, in seconds)."""
    rate_rps = slots / service_mean_s if service_mean_s > 0 else math.inf
    longest = {level: bound_s * rate_rps for level, bound_s in entries_s.items()}
    return {level: math.floor(length) + 1 for level, length in longest.items() if math.isfinite(length)}


def _declared(state: ReliefState, entries_s: Mapping[ReliefLevel, float]) -> ReliefState:
    """The state without a level that is not declared any more; the next milder one takes its place."""
    if state.level is None or state.level in entries_s:
        return state
    milder = max((level for level in entries_s if _rank(level) < _rank(state.level)), key=_rank, default=None)
    return replace(state, level=milder, reason=f"{state.level} is not declared any more", calm_since_s=None)


def _calm(
    settings: Relief, entry_s: float, wait_s: float, mean_s: float | None, seen: ReliefView, level: ReliefLevel
) -> bool:
    """Whether the level could be left: hardly anybody waits, and what it kept away would fit."""
    load_rps = seen.through_rps + seen.kept_away_rps.get(level, 0.0)
    if mean_s is None:  # nothing was ever answered: only no load at all is known to fit
        return wait_s == 0 and load_rps == 0
    return wait_s <= settings.leave_share * entry_s and load_rps * mean_s <= FITS_SHARE * (seen.slots or 0)


def _rank(level: ReliefLevel | None) -> int:
    return _NONE if level is None else RELIEF_LEVELS.index(level)


def _seconds(wait_s: float) -> str:
    return f"{wait_s:.3g} s" if math.isfinite(wait_s) else "without end"


def _scene(seen: ReliefView) -> str:
    starting = f"{seen.starting} replicas are starting" if seen.starting else "no replica is starting"
    return f"{seen.queued} wait for {seen.slots} slots, {starting}"
