"""Warm standby: capacity for a declared event is ready when it starts, whatever the policy asks for by then. Pure.

From a lead time before an event until its end the bid is at least what the declared rate needs. The policy goes on
deciding by what it sees; when the event is over its own level holds again, at once. Budgets, room and guards come
after the bid, so they bound this as they bound any other. How many replicas an event needs is settled before it
starts: rent must not follow the noise of what was measured.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from autoscaler.money.cost import HOUR_S
from autoscaler.money.market import Offers, further
from autoscaler.policy.bids import Bid, PolicyState, Standing
from autoscaler.policy.forecast import stated
from autoscaler.policy.predictive import KEEP_FACTOR, late_price_usd, supply_of
from autoscaler.policy.staffing import Supply, cheapest
from autoscaler.policy.threshold import replicas_for
from autoscaler.snapshot import Snapshot
from autoscaler.values import updated
from serving.spec import HybridService
from serving.spec_events import Event, Occurrence

LEAD_FACTOR = 1.5
"""Capacity is asked for so many lead times ahead: a start may take longer than the last few did."""
LEAST_LEAD_S = 60.0
"""Private replicas take their time, too."""
BASE_AVERAGE = 3
"""Of the moving averages, that of six minutes: the rate just before an event."""
TOLD_S = 600.0
"""What leaves in the first minutes after an event leaves because it is over."""


def with_standby(
    spec: HybridService, snapshot: Snapshot, bid: Bid, state: PolicyState, lead_s: float, offers: Offers
) -> tuple[Bid, PolicyState]:
    """The policy's bid, raised to what the events of this moment need.

    Args:
        spec: the service.
        snapshot: this moment.
        bid: what the policy asks for.
        state: the policy's, with the history of arrivals and the service time.
        lead_s: longest time from a decision to the first request on new capacity.
        offers: what each site has for rent.
    """
    standing = _standing(spec, snapshot, state, lead_s, offers)
    state = updated(state, standing=standing)
    running = [each for each in standing if snapshot.now_s < each.ends_s]
    over = next((each for each in standing if each not in running), None)
    largest = max(running, key=lambda each: each.replicas, default=None)
    if largest is None or largest.replicas <= bid.replicas:
        if over is not None and bid.kind == "keep":
            bid = replace(bid, because=f"event {over.name} is over; {bid.reason}")
        return bid, state
    if spec.burst.policy == "threshold" and state.needs:
        # Warm capacity crosses no trigger, so the level would stay behind a load that is there: it follows the need.
        followed = max(state.level, min(state.needs[0][1], largest.replicas))
        state = replace(state, level=followed)
    reason = _reason(spec, largest, spec.sites[snapshot.private_site].max_replicas, offers)
    told = f"{bid.reason}; {reason}" if bid.failover else reason
    return replace(bid, replicas=largest.replicas, kind="grow", reason=told, because=reason), state


def _standing(
    spec: HybridService, snapshot: Snapshot, state: PolicyState, lead_s: float, offers: Offers
) -> tuple[Standing, ...]:
    """What stands by now, or did until just now; an event is taken up when it comes near."""
    now_s = snapshot.now_s
    known = {(each.name, each.starts_s): each for each in state.standing if each.since_s <= now_s}
    found: list[Standing] = []
    for event in spec.events:
        found += [e for e in known.values() if e.name == event.name and e.ends_s <= now_s < e.ends_s + TOLD_S]
        next_ = event.occurrence(now_s)
        if next_ is None:
            continue
        each = known.get((event.name, next_.start_s))
        if each is None or each.declared != _declared(event):
            each = _taken_up(event, next_, spec, snapshot, state, lead_s, offers)
        if each is not None:
            found.append(replace(each, ends_s=next_.end_s))
    return tuple(found)


def _taken_up(
    event: Event,
    next_: Occurrence,
    spec: HybridService,
    snapshot: Snapshot,
    state: PolicyState,
    lead_s: float,
    offers: Offers,
) -> Standing | None:
    """An event that is near enough; None before, and while what it needs cannot be known."""
    rate_rps = _rate_rps(event, next_, snapshot, state)
    if rate_rps is None or state.service_s is None:
        return None
    last_s = next_.start_s - max(LEAST_LEAD_S, LEAD_FACTOR * lead_s)
    if snapshot.now_s < last_s - _steps_s(spec, _most(spec)):
        return None
    needed = _needed(spec, supply_of(spec, snapshot, state.service_s, offers), state, rate_rps, lead_s)
    if snapshot.now_s < last_s - _steps_s(spec, needed):
        return None
    return Standing(event.name, next_.start_s, next_.end_s, snapshot.now_s, _declared(event), rate_rps, needed)


def _steps_s(spec: HybridService, replicas: int) -> float:
    """How long the bounds on steps take to let so many replicas through."""
    return math.ceil(replicas / spec.burst.max_step) * spec.burst.cooldown_s


def _declared(event: Event) -> float:
    return event.expected_rps or event.rate_factor or 0.0


def _rate_rps(event: Event, next_: Occurrence, snapshot: Snapshot, state: PolicyState) -> float | None:
    """The rate that is declared; None where it is a multiple of one that nobody saw."""
    if event.rate_factor is None:
        return event.expected_rps
    if not state.history.averages or snapshot.now_s >= next_.start_s:
        return None  # from its start on the rate is that of the event
    return event.rate_factor * state.history.averages[BASE_AVERAGE]


def _needed(spec: HybridService, supply: Supply, state: PolicyState, rate_rps: float, lead_s: float) -> int:
    """Replicas for a rate, sized as the service's policy sizes; at most what its sites may hold."""
    if spec.burst.policy == "threshold":
        return max(1, min(replicas_for(spec, rate_rps * supply.service_s), _most(spec)))
    late_usd = late_price_usd(spec, supply, state.promise, rate_rps)
    return max(1, cheapest(supply, stated(rate_rps, lead_s), late_usd=late_usd, rent_factor=KEEP_FACTOR))


def _most(spec: HybridService) -> int:
    return sum(share.max_replicas for share in spec.sites.values())


def _reason(spec: HybridService, each: Standing, at_home: int, offers: Offers) -> str:
    """What stands by for which event, from when, and what its rent comes to."""
    rented = left = max(0, each.replicas - at_home)
    usd_per_hour = 0.0
    for site, there in offers.items():
        here = min(left, spec.sites[site].max_replicas)
        left -= here
        usd_per_hour += sum(pool.price_usd_per_hour for pool in further(there, (), here))
    usd = usd_per_hour * (each.ends_s - each.since_s) / HOUR_S
    limit = ", all that are allowed" if each.replicas >= _most(spec) else ""
    return (
        f"event {each.name}: {each.rate_rps:.3g} req/s declared from {_utc(each.starts_s)} to {_utc(each.ends_s)}; "
        f"{each.replicas} replicas{limit}, from {_utc(each.since_s)} on; {rented} of them rented: "
        f"{usd_per_hour:.3g} usd an hour, {usd:.3g} usd in all"
    )


def _utc(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
