"""From bids to targets: which site gives how many replicas to which service.

Owned nodes first, rented ones for the rest, spend caps above all; a replacement is ready
before what it replaces leaves. One arbiter for the whole fleet; pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.bids import Bid
from autoscaler.cost import HOUR_S, affordable_nodes
from autoscaler.snapshot import Hold, Snapshot, Spend
from autoscaler.state import RentedNode
from serving.spec import HybridService

CLOSE_MARGIN_S = 10.0
"""A rented node is paid from the decision to give it up until it is gone: its drain, and this."""


@dataclass(frozen=True)
class Demand:
    """One service at the table."""

    spec: HybridService
    bid: Bid
    current: Mapping[str, int] = field(default_factory=dict)
    """Targets in force, per site."""
    ready: Mapping[str, int] = field(default_factory=dict)
    """Replicas that serve, per site."""
    rented: Mapping[str, tuple[RentedNode, ...]] = field(default_factory=dict)
    """Nodes being paid for, per site, oldest first."""
    hold: Hold | None = None
    rent: int = 0
    """Cloud replicas a release needs to make room on a full private site."""


@dataclass(frozen=True)
class Target:
    """Replicas one service should have on one site."""

    replicas: int
    reason: str
    forced: bool = False
    """A spend cap or a failover: no cooldown or step bound delays it."""
    told: bool = False
    """It is less than was wanted, for a reason an operator should read."""


Targets = dict[str, dict[str, Target]]
"""Per service, per site."""


def allocate(demands: Sequence[Demand], snapshot: Snapshot) -> Targets:
    """Targets of all services. Minimum counts are reserved first, then bids in the order given."""
    free = {name: site.spec.max_nodes for name, site in snapshot.sites.items()}
    for demand in demands:
        for site, share in demand.spec.sites.items():
            free[site] -= share.min_replicas
    targets: Targets = {}
    for demand in demands:
        mine = {site: free[site] + share.min_replicas for site, share in demand.spec.sites.items()}
        chosen = _allocate_one(demand, snapshot, mine)
        targets[demand.spec.name] = chosen
        for site, target in chosen.items():
            free[site] -= target.replicas - demand.spec.sites[site].min_replicas
    return targets


def _allocate_one(demand: Demand, snapshot: Snapshot, free: Mapping[str, int]) -> dict[str, Target]:
    spec, bid = demand.spec, demand.bid
    home = snapshot.private_site
    room = {site: max(0, min(share.max_replicas, free[site])) for site, share in spec.sites.items()}
    cloud_sites = [site for site in snapshot.sites if site in spec.sites and site != home]
    private = _private_share(demand, home, room[home], cloud_sites)
    targets = {home: Target(private, bid.reason, bid.failover)}
    left = max(bid.replicas - (0 if bid.failover else private), demand.rent)
    if not bid.failover:  # what is still needed from the cloud while private replicas start
        left = max(left, min(_sum(demand.current, cloud_sites), bid.replicas - demand.ready.get(home, 0)))
    spent = snapshot.spend.get(spec.name, Spend())
    for site in cloud_sites:
        wanted = min(max(left, spec.sites[site].min_replicas), room[site])
        reason = bid.reason if not demand.rent else f"{bid.reason}; a release rents {demand.rent} to make room"
        wanted, reason = _held(demand.hold, site, wanted, room[site], reason)
        target, spent = _within_budget(demand, snapshot, site, wanted, reason, spent)
        targets[site] = target
        left -= target.replicas
    moved = bid.kind == "keep" and private != demand.current.get(home, 0)
    why = f"private first, {private} of {bid.replicas} replicas fit at home; {bid.reason}" if moved else bid.reason
    held, reason = _held(demand.hold, home, private, room[home], why)
    if left > 0 and bid.shift and not demand.hold:  # the cloud cannot take it: it stays at home
        held = min(room[home], held + left)
    targets[home] = Target(held, reason, bid.failover)
    return targets


def _private_share(demand: Demand, home: str, room: int, cloud_sites: Sequence[str]) -> int:
    """How much of the bid the private site carries."""
    spec, bid = demand.spec, demand.bid
    least = spec.sites[home].min_replicas
    if bid.failover:
        return min(room, max(least, demand.current.get(home, 0)))
    carried = min(room, max(least, bid.replicas))
    if not bid.shift or spec.burst.cost is None:
        return carried
    kept = min(carried, max(least, math.ceil(bid.replicas * spec.burst.cost.keep_private_share)))
    moved_ready = _sum(demand.ready, cloud_sites) >= bid.replicas - kept
    return kept if moved_ready else max(kept, min(carried, demand.current.get(home, 0)))


def _held(hold: Hold | None, site: str, replicas: int, room: int, reason: str) -> tuple[int, str]:
    if hold is None or site not in hold.replicas:
        return replicas, reason
    return min(hold.replicas[site], room), f"held by an operator: {hold.reason}"


def _within_budget(
    demand: Demand, snapshot: Snapshot, site: str, wanted: int, reason: str, spent: Spend
) -> tuple[Target, Spend]:
    """Cut `wanted` to what every spend cap pays for, and book the rest for the next site."""
    pool = max(snapshot.sites[site].spec.pools, key=lambda p: p.price_usd_per_hour)
    horizon_s = demand.spec.model.drain_s + CLOSE_MARGIN_S
    nodes = demand.rented.get(site, ())
    booked_s = [max(0.0, node.launched_at_s + pool.min_billing_s - snapshot.now_s) for node in nodes]
    keep_s = [max(0.0, horizon_s - booked) for booked in booked_s]
    allowed = affordable_nodes(pool, demand.spec.budget, spent, wanted=wanted, keep_s=keep_s, horizon_s=horizon_s)
    booked_usd = allowed.nodes * pool.price_usd_per_hour / HOUR_S * max(horizon_s, pool.min_billing_s)
    spent = Spend(spent.hour_usd + booked_usd, spent.day_usd + booked_usd, spent.month_usd + booked_usd)
    if allowed.nodes < wanted:
        return Target(allowed.nodes, f"{allowed.reason}; wanted {wanted}: {reason}", forced=True, told=True), spent
    return Target(wanted, reason, demand.bid.failover), spent


def _sum(counts: Mapping[str, int], sites: Sequence[str]) -> int:
    return sum(counts.get(site, 0) for site in sites)
