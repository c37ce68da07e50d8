"""The `threshold` policy: burst when a latency or cost threshold is crossed, come home when calm.

Latency triggers ask for more; how much is sized by Little's law (slots needed = arrival rate x
time a request holds a slot; Little 1961, doi:10.1287/opre.9.3.383). Leaving is the maximum need
over the dwell time, as the Kubernetes HPA's stabilisation window does. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autoscaler.bids import Bid, PolicyState
from autoscaler.cost import CostView, compare
from autoscaler.snapshot import ServiceSnapshot, Signals, Snapshot
from serving.spec import HybridService

BACKLOG_DRAIN_S = 5.0
"""Capacity is sized so that what waits now is gone in this time."""
MAX_REFUSED_SHARE = 0.01


@dataclass(frozen=True)
class Capacity:
    """What a service has: decided targets and ready replicas, summed over its sites."""

    target: int
    ready: int
    private_down: str | None = None
    """Why the private site cannot serve; None while it can."""


def threshold(
    service: ServiceSnapshot, snapshot: Snapshot, capacity: Capacity, state: PolicyState
) -> tuple[Bid, PolicyState]:
    """One service's bid. Stale signals keep what there is: they neither add nor remove."""
    spec, signals, now_s = service.spec, service.signals, snapshot.now_s
    if snapshot.stale_reason is not None:
        keep = Bid(
            spec.name,
            capacity.target,
            "keep",
            f"signals are stale: {snapshot.stale_reason}",
            shift=state.shifted,
        )
        return keep, replace(state, breach_since_s=None, cost_since_s=None, needs_since_s=now_s)
    need = needed_replicas(spec, signals)
    if capacity.private_down is not None:
        return _failover(spec.name, capacity, state, need, now_s)
    if need is None:
        need = capacity.target
    state = _remember(state, need, now_s, spec.burst.calm_s)
    state = _cost_side(service, snapshot, need, state)
    breached = breaches(spec, signals)
    state = replace(state, breach_since_s=(state.breach_since_s or now_s) if breached else None)
    if breached:
        return _grow(spec, signals, capacity, state, need, breached, now_s), state
    return _shrink(spec, signals, capacity, state, now_s), state


def needed_replicas(spec: HybridService, signals: Signals) -> int | None:
    """Replicas that hold the present load at the target use; None when the signals cannot say."""
    if signals.requests == 0 and signals.queued == 0:
        return 0
    if signals.service_mean_s is None:
        return None
    rate_rps = max(signals.rate_rps, signals.recent_rate_rps)
    slots = (rate_rps + signals.queued / BACKLOG_DRAIN_S) * signals.service_mean_s
    return math.ceil(slots / (spec.model.slots_per_replica * spec.burst.target_slots_in_use) - 1e-9)


def breaches(spec: HybridService, signals: Signals) -> list[str]:
    """The latency triggers that are crossed now, each with its value and bound."""
    triggers = spec.burst.latency
    if signals.requests < triggers.min_requests:
        return []
    refused = signals.refused / signals.requests
    candidates = (
        ("p99", signals.p99_s, spec.p99_over_s, " s"),
        ("queue p99", signals.queue_p99_s, spec.queue_p99_over_s, " s"),
        ("private slots in use", signals.private_in_use, triggers.slots_in_use_over, ""),
        ("overflow share", signals.overflow_share, triggers.overflow_share_over, ""),
        ("refused share", refused, MAX_REFUSED_SHARE, ""),
    )
    return [
        f"{name} {value:.3g}{unit} over {bound:.3g}{unit}"
        for name, value, bound, unit in candidates
        if value is not None and value > bound
    ]


def _grow(
    spec: HybridService,
    signals: Signals,
    capacity: Capacity,
    state: PolicyState,
    need: int,
    breached: list[str],
    now_s: float,
) -> Bid:
    text = "; ".join(breached)
    lasted_s = now_s - (state.breach_since_s if state.breach_since_s is not None else now_s)
    if lasted_s < spec.burst.breach_s:
        return _keep(spec, capacity, state, f"{text}, for {lasted_s:.1f} s of {spec.burst.breach_s:g} s")
    if need <= capacity.target and capacity.ready >= capacity.target and _capacity_would_help(spec, signals):
        need = capacity.target + 1
        text += "; the sizing says enough, the clients say not: one more"
    if need > capacity.target:
        rate = max(signals.rate_rps, signals.recent_rate_rps)
        return Bid(spec.name, need, "grow", f"{text}; {rate:.3g} req/s need {need} replicas", shift=state.shifted)
    if capacity.ready < capacity.target:
        return _keep(spec, capacity, state, f"{text}; {capacity.target - capacity.ready} replicas are on their way")
    return _keep(spec, capacity, state, f"{text}; {capacity.target} replicas suffice for the load")


def _capacity_would_help(spec: HybridService, signals: Signals) -> bool:
    """Slow answers of an idle service are the model's doing; more replicas would not mend them."""
    late = signals.p99_s is not None and signals.p99_s > spec.p99_over_s
    waiting = signals.queue_p99_s is not None and signals.queue_p99_s > 0.05 * spec.slo.latency_p99_s
    full = signals.private_in_use is not None and signals.private_in_use >= spec.burst.target_slots_in_use
    return (late and full and waiting) or (
        signals.queue_p99_s is not None and signals.queue_p99_s > spec.queue_p99_over_s
    )


def _shrink(spec: HybridService, signals: Signals, capacity: Capacity, state: PolicyState, now_s: float) -> Bid:
    highest = state.needs[0][1]
    covered_s = now_s - (now_s if state.needs_since_s is None else state.needs_since_s)
    if highest < capacity.target and covered_s >= spec.burst.calm_s:
        reason = f"calm: at most {highest} replicas needed for {spec.burst.calm_s:g} s; {signals.rate_rps:.3g} req/s"
        return Bid(spec.name, highest, "shrink", reason, shift=state.shifted)
    if highest < capacity.target:
        return _keep(spec, capacity, state, f"calm for {covered_s:.0f} s of {spec.burst.calm_s:g} s")
    return _keep(spec, capacity, state, "no trigger crossed")


def _keep(spec: HybridService, capacity: Capacity, state: PolicyState, reason: str) -> Bid:
    return Bid(spec.name, capacity.target, "keep", reason, shift=state.shifted)


def _failover(
    name: str, capacity: Capacity, state: PolicyState, need: int | None, now_s: float
) -> tuple[Bid, PolicyState]:
    """The whole load goes to the cloud; sized by the last load that was seen being served."""
    replicas = max(1, need or 0, *(past for _, past in state.needs))
    bid = Bid(name, replicas, "grow", f"failover: {capacity.private_down}", failover=True)
    return bid, replace(state, needs=((now_s, replicas),), needs_since_s=now_s)


def _remember(state: PolicyState, need: int, now_s: float, calm_s: float) -> PolicyState:
    """Note the present need; only needs above all later ones can still be the window's maximum."""
    higher = tuple(entry for entry in state.needs if now_s - entry[0] <= calm_s and entry[1] > need)
    since_s = now_s if state.needs_since_s is None else state.needs_since_s
    return replace(state, needs=(*higher, (now_s, need)), needs_since_s=since_s)


def _cost_side(service: ServiceSnapshot, snapshot: Snapshot, need: int, state: PolicyState) -> PolicyState:
    """Decide, with dwell and hysteresis, on which side cost wants the traffic."""
    trigger = service.spec.burst.cost
    view = cost_view(service, snapshot, need)
    if trigger is None:
        return replace(state, shifted=False, cost_since_s=None)
    if view is None:
        return replace(state, cost_since_s=None)
    wants_change = view.ratio < trigger.return_ratio if state.shifted else view.ratio > trigger.private_over_cloud_ratio
    if not wants_change:
        return replace(state, cost_since_s=None)
    since_s = state.cost_since_s if state.cost_since_s is not None else snapshot.now_s
    if snapshot.now_s - since_s >= trigger.dwell_s:
        return replace(state, shifted=not state.shifted, cost_since_s=None)
    return replace(state, cost_since_s=since_s)


def cost_view(service: ServiceSnapshot, snapshot: Snapshot, need: int) -> CostView | None:
    """Private against the first cloud site of the service, for the present load."""
    cloud = next(
        (n for n in service.spec.sites if n in snapshot.sites and snapshot.sites[n].spec.role == "cloud"),
        None,
    )
    if cloud is None or service.signals.requests < service.spec.burst.latency.min_requests:
        return None
    return compare(
        snapshot.sites[snapshot.private_site].spec,
        snapshot.sites[cloud].spec,
        nodes=max(1, need),
        rate_rps=service.signals.rate_rps,
        egress_gb_per_1000=(service.signals.bytes_mean or 0.0) * 1_000 / 1e9,
        now_s=snapshot.now_s,
    )
