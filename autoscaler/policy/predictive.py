"""The `predictive` policy: the replicas that are cheapest a lead time ahead, late requests priced in. Pure.

Each step of arrivals moves the forecast on; each tick asks how many replicas pay at the forecast rate. What is
launched must pay its lead time, too, so it takes more to launch than to keep: between the two numbers nothing
changes, which is also what keeps it from flapping. The price of a late request follows the share that was late
lately: below the promised share it falls, above it rises (a dual step: Boyd and Vandenberghe, Convex
Optimization, section 5.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autoscaler.money.cost import node_usd_per_hour
from autoscaler.money.market import REPLICA_WORTH, Offers
from autoscaler.policy.bids import Advice, Bid, Kind, PolicyState, Promise
from autoscaler.policy.forecast import Forecast, forecast, observe
from autoscaler.policy.staffing import Supply, cheapest
from autoscaler.snapshot import STEP_S, ServiceSnapshot, Snapshot, Step
from serving.spec import HybridService

PROMISE_WORTH = 1.0
"""So many rented replicas is worth what may be late: as many late requests as are promised cost, whatever the rate, as
much as these. A fixed price for each would let a small service be late often and a large one next to never."""
MOST_FACTOR = 3.0
"""A late request costs at most so many times that."""
PROMISE_MEMORY_S = 86_400.0
AHEAD_S = 3_600.0
"""The rate by which a late request is priced is that of the last day and of so long at what is expected."""
LEAST_RPS = 1.0 / 3_600.0
"""Fewer requests than one an hour are priced as if they were so many."""
AIM_SHARE = 0.65
"""So much of the promised share of late requests is aimed at: the rest is for what nobody foresees."""
SLACK_PULL, DEBT_PULL = 1.2, 2.0
"""How strongly the price of a late request follows what is left of a day's late requests, and what was overdrawn."""
LAUNCH_FACTOR, KEEP_FACTOR = REPLICA_WORTH, 2.0
"""How much dearer than its price a replica is taken for: what is launched pays its lead time and may be needed only
for a moment; what is there would have to be launched anew. Between the two lies what is left alone."""
NEAR_SHARE = 0.25
"""What is there is also kept for the rate at this share of the lead time: a fall is not believed before it comes.
And for the rate by when it could be back: what is given back entirely takes longest to return."""
BACKLOG_S = 60.0
"""What waits now counts as if it came evenly over so long: the sooner it is worked off, the fewer wait after it."""
STEADY_STEPS = 3
"""One replica more is launched, and any given back, once so many steps in a row say so: at a steady load the forecast's
noise alone passes from where one pays to launch to where it does not pay to keep."""
OWNED_SHARE = 0.02
"""An owned replica costs at least this share of a rented one: what is not needed is left to others."""
SERVICE_MEMORY_S = 300.0
SHORTEST_S = 1e-3
"""Times at the gateway are whole milliseconds: 0 means less than one."""


@dataclass(frozen=True)
class LeadTimes:
    """Seconds from the decision to the first request on rented capacity."""

    now_s: float
    """As things are now."""
    anew_s: float
    """If all that is rented was given back before; at least `now_s`."""

    @property
    def horizons_s(self) -> tuple[float, float, float]:
        """How far ahead the forecast looks: for what is kept, what is launched, what would have to come back."""
        return (NEAR_SHARE * self.anew_s, self.now_s, self.anew_s)


def predictive(
    service: ServiceSnapshot, snapshot: Snapshot, state: PolicyState, leads: LeadTimes, offers: Offers
) -> tuple[Bid, PolicyState]:
    """One service's bid, from what `take_in` has counted."""
    spec = service.spec
    state = _at_rest(spec, state, snapshot.now_s)
    known = state.advice
    if known is None or (known.until_s, known.lead_s) != (state.history.until_s, leads.now_s):
        # A lead time that was just learned has no forecast before the next step: until then the last advice holds.
        state = replace(state, advice=_advice(service, snapshot, state, leads, offers) or known)
    advice = state.advice
    if advice is None:
        return _bid(spec, state, state.level, "keep", "nothing was seen yet to forecast from"), state
    wanted = max(advice.launch, min(state.level, advice.keep), 1)
    kind: Kind = "grow" if wanted > state.level else "shrink" if wanted < state.level else "keep"
    bid = _bid(spec, state, wanted, kind, advice.reason)
    return bid, state if kind == "keep" else replace(state, level=wanted, because=advice.reason)


def take_in(service: ServiceSnapshot, state: PolicyState, leads: LeadTimes) -> PolicyState:
    """Count the steps that are new, and what is known of the service time; whoever decides in this tick."""
    seen_s = service.signals.service_mean_s
    for step in service.signals.steps:
        if step.end_s <= state.history.until_s:
            continue
        state = replace(
            state,
            history=observe(state.history, step.end_s, step.requests, leads.horizons_s, service.earlier),
            promise=_counted(state.promise, step),
            service_s=_followed(state.service_s, seen_s),
        )
    return state if state.service_s is not None else replace(state, service_s=seen_s)


def _advice(
    service: ServiceSnapshot, snapshot: Snapshot, state: PolicyState, leads: LeadTimes, offers: Offers
) -> Advice | None:
    """What pays now; None before there is a forecast."""
    spec, queued = service.spec, service.signals.queued
    near, ahead, back = (forecast(state.history, horizon_s) for horizon_s in leads.horizons_s)
    if near is None or ahead is None or back is None or state.service_s is None:
        return None
    supply = supply_of(spec, snapshot, state.service_s, offers)
    late_usd = late_price_usd(spec, supply, state.promise, ahead.mean_rps)
    loaded = replace(ahead, mean_rps=ahead.mean_rps + queued / BACKLOG_S)
    found = cheapest(supply, loaded, late_usd=late_usd, rent_factor=LAUNCH_FACTOR)
    kept = [cheapest(supply, seen, late_usd=late_usd, rent_factor=KEEP_FACTOR) for seen in {near, ahead, back}]
    before = state.advice
    launches = (*(before.launches if before else ()), found)[-STEADY_STEPS:]
    keeps = (*(before.keeps if before else ()), max(found, *kept))[-STEADY_STEPS:]
    launch, keep = max(min(launches), found - 1), max(keeps)
    reason = _reason(ahead, leads.now_s, queued, launch, keep)
    return Advice(state.history.until_s, leads.now_s, launch, keep, reason, launches, keeps)


def late_price_usd(spec: HybridService, supply: Supply, promise: Promise, expected_rps: float) -> float:
    """What a late request costs: the rent of the dearest replicas over the late requests promised meanwhile."""
    aim = AIM_SHARE * spec.burst.late_share
    allowed = aim * promise.day_requests
    over = (promise.late - aim * promise.requests) / allowed if allowed > 0 else 0.0
    factor = min(MOST_FACTOR, math.exp(min(50.0, (DEBT_PULL if over > 0 else SLACK_PULL) * over)))
    mean_rps = (promise.requests + AHEAD_S * expected_rps) / (promise.seconds + AHEAD_S)
    dearest_usd_per_s = max(usd for _, usd in supply.prices_usd_per_hour) / 3_600.0
    return factor * PROMISE_WORTH * dearest_usd_per_s / (spec.burst.late_share * max(LEAST_RPS, mean_rps))


def supply_of(spec: HybridService, snapshot: Snapshot, service_s: float, offers: Offers) -> Supply:
    """What could serve the service, in the order in which it is used, at its marginal price."""
    service_s = max(service_s, SHORTEST_S)
    rented = []
    for site in snapshot.sites:
        left = spec.sites[site].max_replicas if site in offers else 0
        for offer in offers.get(site, ()):
            rented.append((min(offer.room, left), offer.usd_per_hour))
            left -= rented[-1][0]
    rented = [(count, usd) for count, usd in rented if count > 0]
    home = snapshot.sites[snapshot.private_site].spec
    owned_usd = max(node_usd_per_hour(pool, snapshot.now_s) for pool in home.pools)
    floor_usd = OWNED_SHARE * max((usd for _, usd in rented), default=1.0)
    owned = (spec.sites[snapshot.private_site].max_replicas, max(owned_usd, floor_usd))
    patience_s = max(0.0, spec.slo.latency_p99_s - service_s)
    return Supply(spec.model.slots_per_replica, service_s, patience_s, (owned, *rented))


def _at_rest(spec: HybridService, state: PolicyState, now_s: float) -> PolicyState:
    """What `threshold` remembers, as it would find it: a failover is sized by the level, and no cost has moved traffic.

    After a failover what the cloud has stays for the dwell time.
    """
    over = state.failover_s is not None and now_s - state.failover_s >= spec.burst.calm_s
    return replace(
        state,
        needs=((now_s, state.level),),
        needs_since_s=now_s,
        shifted=False,
        cost_since_s=None,
        failover_s=None if over else state.failover_s,
    )


def _followed(known_s: float | None, seen_s: float | None) -> float | None:
    if known_s is None or seen_s is None:
        return seen_s if known_s is None else known_s
    return known_s + (1.0 - math.exp(-STEP_S / SERVICE_MEMORY_S)) * (seen_s - known_s)


def _counted(promise: Promise, step: Step) -> Promise:
    """The promise with a step counted, and what is a day old fading."""
    fade = math.exp(-STEP_S / PROMISE_MEMORY_S)
    return Promise(
        promise.requests * fade + step.requests,
        promise.late * fade + step.late,
        promise.seconds * fade + STEP_S,
    )


def _bid(spec: HybridService, state: PolicyState, replicas: int, kind: Kind, reason: str) -> Bid:
    return Bid(spec.name, replicas, kind, reason, state.because, standby=state.failover_s is not None)


def _reason(ahead: Forecast, lead_s: float, queued: int, launch: int, keep: int) -> str:
    low, high = max(0.0, ahead.mean_rps - 2 * ahead.spread_rps), ahead.mean_rps + 2 * ahead.spread_rps
    waiting = f", {queued} waiting now" if queued else ""
    return (
        f"{ahead.mean_rps:.3g} req/s ({low:.3g} to {high:.3g}) forecast in {lead_s:.0f} s{waiting}: "
        f"{launch} replicas pay to launch, {keep} to keep"
    )
