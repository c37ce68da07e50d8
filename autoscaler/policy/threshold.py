"""The `threshold` policy: burst when a latency or cost threshold is crossed, come home when calm.

Latency triggers ask for more; how much is sized by Little's law (slots needed = arrival rate x
time a request holds a slot; Little 1961, doi:10.1287/opre.9.3.383). Leaving is the maximum need
over the dwell time, as the Kubernetes HPA's stabilisation window does. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autoscaler.money.cost import CostView, compare
from autoscaler.money.market import in_order
from autoscaler.policy.bids import Bid, Kind, PolicyState
from autoscaler.snapshot import ServiceSnapshot, Signals, Snapshot
from autoscaler.values import updated
from serving.spec import HybridService

BACKLOG_DRAIN_S = 5.0
"""Capacity is sized so that what waits now is gone in this time."""
MAX_REFUSED_SHARE = 0.01
"""Of the requests. Also of light answers: relief bridges the time until there is capacity, it is none."""
WAITING_SHARE = 0.05
"""A p99 wait of this share of the SLO's latency says that late answers are late for want of capacity."""


@dataclass(frozen=True)
class Capacity:
    """What serves now."""

    ready: int
    """Replicas, summed over all sites."""
    elsewhere: int
    """Those that are not on the private site."""
    private_down: str | None = None
    """Why the private site cannot serve; None while it can."""


def threshold(
    service: ServiceSnapshot, snapshot: Snapshot, capacity: Capacity, state: PolicyState
) -> tuple[Bid, PolicyState]:
    """One service's bid. Stale signals keep what was asked for: they neither add nor remove."""
    spec, signals, now_s = service.spec, service.signals, snapshot.now_s
    if snapshot.stale_reason is not None:
        keep = _bid(spec, state, state.level, "keep", f"signals are stale: {snapshot.stale_reason}")
        return keep, replace(state, breach_since_s=None, cost_since_s=None, needs_since_s=now_s)
    need = needed_replicas(spec, signals)
    if capacity.private_down is not None:
        bid, state = _failover(spec, capacity, state, need, now_s)
    else:
        text = "; ".join(breaches(spec, signals))
        state = _watch(service, snapshot, capacity, state, need, breached=bool(text))
        grown = _grow(spec, signals, capacity, state, text, now_s) if text else None
        bid = grown or _shrink(spec, signals, state, text, now_s)
        if text and _capacity_would_help(spec, signals):  # what hurts at this level is no calm at it
            state = _remember(state, bid.replicas, now_s, spec.burst.calm_s)
    if bid.replicas == state.level:
        return bid, state
    enough_s = state.enough_since_s if bid.replicas < state.level else None
    return bid, replace(state, level=bid.replicas, because=bid.reason, enough_since_s=enough_s)


def _watch(
    service: ServiceSnapshot,
    snapshot: Snapshot,
    capacity: Capacity,
    state: PolicyState,
    need: int | None,
    *,
    breached: bool,
) -> PolicyState:
    """Take in what is seen while the private site serves."""
    spec, now_s = service.spec, snapshot.now_s
    need = state.level if need is None else need
    state = _cost_side(service, snapshot, need, _remember(state, need, now_s, spec.burst.calm_s))
    back = state.failover_s is not None and now_s - state.failover_s >= spec.burst.calm_s
    return updated(
        state,
        breach_since_s=_since(state.breach_since_s, now_s, holds=breached),
        enough_since_s=_since(state.enough_since_s, now_s, holds=capacity.ready >= state.level),
        failover_s=None if back else state.failover_s,
    )


def _since(since_s: float | None, now_s: float, *, holds: bool) -> float | None:
    """Since when something holds; None while it does not."""
    if not holds:
        return None
    return now_s if since_s is None else since_s


def needed_replicas(spec: HybridService, signals: Signals) -> int | None:
    """Replicas that hold the present load at the target use; None when the signals cannot say."""
    if signals.requests == 0 and signals.queued == 0:
        return None if signals.in_use else 0  # what is held and not finished has a length nobody knows yet
    if signals.service_mean_s is None:
        return None
    rate_rps = max(signals.rate_rps, signals.recent_rate_rps)
    slots = (rate_rps + signals.queued / BACKLOG_DRAIN_S) * signals.service_mean_s
    return replicas_for(spec, slots)


def replicas_for(spec: HybridService, slots: float) -> int:
    """Replicas that hold so many requests at the target use."""
    return math.ceil(slots / (spec.model.slots_per_replica * spec.burst.target_slots_in_use) - 1e-9)


def breaches(spec: HybridService, signals: Signals) -> list[str]:
    """The latency triggers that are crossed now, each with its value and bound."""
    triggers = spec.burst.latency
    if signals.requests < triggers.min_requests:
        return []
    candidates = (
        ("p99", signals.p99_s, spec.p99_over_s, " s"),
        ("queue p99", signals.queue_p99_s, spec.queue_p99_over_s, " s"),
        ("private slots in use", signals.private_in_use, triggers.slots_in_use_over, ""),
        ("overflow share", signals.overflow_share, triggers.overflow_share_over, ""),
        ("refused share", signals.refused / signals.requests, MAX_REFUSED_SHARE, ""),
        ("light share", signals.light_share, MAX_REFUSED_SHARE, ""),
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
    text: str,
    now_s: float,
) -> Bid | None:
    """The bid of a breach; None when it is none that capacity mends, so that it may as well leave."""
    need = state.needs[-1][1]
    lasted_s = now_s - (state.breach_since_s if state.breach_since_s is not None else now_s)
    most = sum(share.max_replicas for share in spec.sites.values())
    wanted = max(1, min(need, most))
    if lasted_s < spec.burst.breach_s:
        return _bid(spec, state, state.level, "keep", f"{text}, for {lasted_s:.1f} s of {spec.burst.breach_s:g} s")
    if wanted > state.level:
        rate_rps = max(signals.rate_rps, signals.recent_rate_rps)
        return _bid(spec, state, wanted, "grow", f"{text}; {rate_rps:.3g} req/s need {need} replicas")
    if not _capacity_would_help(spec, signals):
        return None
    waits = _waits_with_more(spec, capacity, state, most, now_s)
    if waits:
        return _bid(spec, state, state.level, "keep", f"{text}; {waits}")
    more = state.level + 1
    return _bid(spec, state, more, "grow", f"{text}; the sizing says {need}, the clients say more: {more} replicas")


def _waits_with_more(
    spec: HybridService, capacity: Capacity, state: PolicyState, most: int, now_s: float
) -> str | None:
    """Why one replica more than the sizing says is not asked for yet; None if it is."""
    if state.level >= most:
        return f"all {most} replicas that are allowed are asked for"
    if state.enough_since_s is None:
        return f"{state.level - capacity.ready} of {state.level} replicas are not ready"
    if now_s - state.enough_since_s < spec.burst.latency.window_s:
        return "the window still shows the time before the last change"
    return None


def _capacity_would_help(spec: HybridService, signals: Signals) -> bool:
    """Slow answers of an idle service are the model's doing; more replicas would not mend them."""
    if max(signals.refused, signals.relief.get("light", 0)) > MAX_REFUSED_SHARE * signals.requests:
        return True
    if signals.queue_p99_s is None:
        return False
    late = signals.p99_s is not None and signals.p99_s > spec.p99_over_s
    full = signals.private_in_use is not None and signals.private_in_use >= spec.burst.target_slots_in_use
    waiting = signals.queue_p99_s > WAITING_SHARE * spec.slo.latency_p99_s
    return (late and full and waiting) or signals.queue_p99_s > spec.queue_p99_over_s


def _shrink(spec: HybridService, signals: Signals, state: PolicyState, breached: str, now_s: float) -> Bid:
    highest = max(1, state.needs[0][1])
    calm_s = now_s - (now_s if state.needs_since_s is None else state.needs_since_s)
    if highest >= state.level:
        text = f"{breached}; {state.level} replicas suffice for the load" if breached else "no trigger crossed"
        return _bid(spec, state, state.level, "keep", text)
    if calm_s < spec.burst.calm_s:
        return _bid(spec, state, state.level, "keep", f"calm for {calm_s:.0f} s of {spec.burst.calm_s:g} s")
    text = f"calm: at most {highest} replicas needed for {spec.burst.calm_s:g} s; {signals.rate_rps:.3g} req/s"
    return _bid(spec, state, highest, "shrink", text)


def _bid(spec: HybridService, state: PolicyState, replicas: int, kind: Kind, reason: str) -> Bid:
    standby = state.failover_s is not None
    return Bid(spec.name, replicas, kind, reason, state.because, standby=standby, shift=state.shifted)


def _failover(
    spec: HybridService, capacity: Capacity, state: PolicyState, need: int | None, now_s: float
) -> tuple[Bid, PolicyState]:
    """The whole load goes to the cloud; sized by what was served before until the cloud serves it."""
    if capacity.elsewhere == 0 or need is None:
        replicas = max(1, need or 0, *(past for _, past in state.needs))
        state = replace(state, needs=((now_s, replicas),), needs_since_s=now_s)
    else:
        state = _remember(state, need, now_s, spec.burst.calm_s)
        replicas = max(1, state.needs[0][1])
    bid = Bid(spec.name, replicas, "grow", f"failover: {capacity.private_down}", failover=True)
    return bid, replace(state, failover_s=now_s)


def _remember(state: PolicyState, need: int, now_s: float, calm_s: float) -> PolicyState:
    """Note the present need; only needs above all later ones can still be the window's maximum."""
    higher = tuple(entry for entry in state.needs if now_s - entry[0] <= calm_s and entry[1] > need)
    since_s = state.needs_since_s
    if since_s is None or not state.needs or now_s - state.needs[-1][0] > calm_s:
        since_s = now_s  # nobody looked for so long that calm is not known: it is counted anew
    return replace(state, needs=(*higher, (now_s, need)), needs_since_s=since_s)


def _cost_side(service: ServiceSnapshot, snapshot: Snapshot, need: int, state: PolicyState) -> PolicyState:
    """Decide, with dwell and hysteresis, on which side cost wants the traffic."""
    trigger = service.spec.burst.cost
    if trigger is None:
        return updated(state, shifted=False, cost_since_s=None)
    view = cost_view(service, snapshot, need)
    if view is None:
        return updated(state, cost_since_s=None)
    wants_change = view.ratio < trigger.return_ratio if state.shifted else view.ratio > trigger.private_over_cloud_ratio
    if not wants_change:
        return updated(state, cost_since_s=None)
    since_s = state.cost_since_s if state.cost_since_s is not None else snapshot.now_s
    if snapshot.now_s - since_s >= trigger.dwell_s:
        because = _cost_reason(view, home=state.shifted, dwell_s=trigger.dwell_s)
        return replace(state, shifted=not state.shifted, cost_since_s=None, because=because)
    return replace(state, cost_since_s=since_s)


def _cost_reason(view: CostView, *, home: bool, dwell_s: float) -> str:
    """Why traffic changes sides."""
    prices = (
        f"1,000 requests cost {view.private_usd_per_1000:.3g} usd at home, {view.cloud_usd_per_1000:.3g} in the cloud"
    )
    return f"cost: {prices}, for {dwell_s:g} s; traffic {'comes home' if home else 'moves to the cloud'}"


def cost_view(service: ServiceSnapshot, snapshot: Snapshot, need: int) -> CostView | None:
    """Private against the first cloud site of the service, for the present load."""
    cloud = next(
        (
            name
            for name, share in service.spec.sites.items()
            if share.max_replicas > 0 and snapshot.sites[name].spec.role == "cloud"
        ),
        None,
    )
    if cloud is None or service.signals.requests < service.spec.burst.latency.min_requests:
        return None
    return compare(
        snapshot.sites[snapshot.private_site].spec.pools,
        in_order(service, snapshot.sites[cloud].spec),
        nodes=max(1, need),
        rate_rps=service.signals.rate_rps,
        egress_gb_per_1000=(service.signals.bytes_mean or 0.0) * 1_000 / 1e9,
        now_s=snapshot.now_s,
    )
