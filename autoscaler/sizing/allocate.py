"""From bids to targets: which site gives how many replicas to which service.

Owned nodes first, rented ones for the rest, spend caps above all; a replacement is ready
before what it replaces leaves. One arbiter for the whole fleet; pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoscaler.money.cost import Affordable, Commitment, affordable_nodes
from autoscaler.money.market import Offer, Offers, further, going, pool_of, staying
from autoscaler.money.market import told as told_offers
from autoscaler.policy.bids import Bid
from autoscaler.snapshot import Hold, Snapshot, Spend
from autoscaler.state import RentedNode
from serving.project import SiteSpec
from serving.spec import Budget, HybridService

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
    offers: Offers = field(default_factory=dict)
    """What may be rented, per cloud site, the cheapest first."""
    stays_s: Mapping[str, float] = field(default_factory=dict)
    """How long nodes stayed, per cloud site; absent: none was given back yet."""
    billed_s: float | None = None
    """Up to when the spend has what those nodes cost."""
    hold: Hold | None = None
    rent: int = 0
    """Cloud replicas a release needs to make room on a full private site."""

    @property
    def held(self) -> Mapping[str, int]:
        """Replica counts an operator set by hand, per site."""
        return self.hold.replicas if self.hold else {}


@dataclass(frozen=True)
class Target:
    """Replicas one service should have on one site."""

    replicas: int
    reason: str
    forced: bool = False
    """A spend cap or a failover: no cooldown or step bound delays it."""
    told: bool = False
    """It is less than was wanted, for a reason an operator should read."""
    commanded: bool = False
    """A command asks for it, by a hold or a release: a pause of the autoscaler does not stop it."""
    affordable: int | None = None
    """Replicas that the site's room and every spend cap allow; None where the guard put the target."""


Targets = dict[str, dict[str, Target]]
"""Per service, per site."""


def allocate(demands: Sequence[Demand], snapshot: Snapshot) -> Targets:
    """Targets of all services, in the order given.

    Nobody gets what another one still has or has a minimum right to, so that the targets of a site
    fit it at every moment, however slowly some of them come into force.
    """
    reserved = {d.spec.name: {site: _reserved(d, site) for site in d.spec.sites} for d in demands}
    full = Counter[str]()
    for sites in reserved.values():
        full.update(sites)
    targets: Targets = {}
    for demand in demands:
        name = demand.spec.name
        room = {
            site: min(share.max_replicas, snapshot.sites[site].max_nodes - (full[site] - reserved[name][site]))
            for site, share in demand.spec.sites.items()
        }
        targets[name] = _allocate_one(demand, snapshot, {site: max(0, count) for site, count in room.items()})
        for site, target in targets[name].items():
            full[site] += max(target.replicas, demand.current.get(site, 0)) - reserved[name][site]
    return targets


def _reserved(demand: Demand, site: str) -> int:
    return max(demand.spec.sites[site].min_replicas, demand.current.get(site, 0))


def _allocate_one(demand: Demand, snapshot: Snapshot, room: Mapping[str, int]) -> dict[str, Target]:
    spec, bid = demand.spec, demand.bid
    home = snapshot.private_site
    cloud_sites = [site for site in snapshot.sites if site in spec.sites and site != home]
    goal = _home_goal(demand, home, room[home])
    left = _left_for_cloud(demand, home, goal, cloud_sites)
    spent = snapshot.spend.get(spec.name, Spend())
    clouds = {}
    for site in cloud_sites:
        clouds[site], spent = _cloud_target(demand, snapshot, site, left, room[site], spent)
        left -= clouds[site].replicas
    replicas = goal
    if bid.shift and home not in demand.held:
        carried = max(goal, min(room[home], bid.replicas))
        goal = min(carried, goal + max(0, left))  # what the cloud cannot take stays at home
        moved = _sum(demand.ready, cloud_sites) >= bid.replicas - goal
        replicas = goal if moved else max(goal, min(carried, demand.current.get(home, 0)))
    reason = _reason(bid)
    if home in demand.held:
        reason = _held_reason(demand)
    elif bid.kind == "keep" and not bid.shift and replicas != demand.current.get(home, 0):
        fit = "all" if replicas >= bid.replicas else f"{replicas} of"
        reason = f"private first, {fit} {bid.replicas} replicas fit at home; {reason}"
    return {home: Target(replicas, reason, bid.failover, commanded=home in demand.held), **clouds}


def _home_goal(demand: Demand, home: str, room: int) -> int:
    """How much of the bid the private site carries in the end."""
    spec, bid = demand.spec, demand.bid
    least = spec.sites[home].min_replicas
    if home in demand.held:
        return min(room, max(least, demand.held[home]))
    if bid.failover:
        return min(room, max(least, demand.current.get(home, 0)))
    if bid.shift and spec.burst.cost is not None:
        return min(room, max(least, math.ceil(bid.replicas * spec.burst.cost.keep_private_share)))
    return min(room, max(least, bid.replicas))


def _left_for_cloud(demand: Demand, home: str, goal: int, cloud_sites: Sequence[str]) -> int:
    """What the cloud has to carry, and for how long it stays while private replicas start."""
    bid = demand.bid
    if bid.failover:
        return max(bid.replicas, demand.rent)
    there = _sum(demand.current, cloud_sites)
    staying = there if bid.standby else min(there, bid.replicas - demand.ready.get(home, 0))
    return max(bid.replicas - goal, staying, demand.rent)


def _cloud_target(
    demand: Demand, snapshot: Snapshot, site: str, left: int, room: int, spent: Spend
) -> tuple[Target, Spend]:
    """What one cloud site gives, and what is spent with that booked."""
    bid, least = demand.bid, demand.spec.sites[site].min_replicas
    held = site in demand.held
    wanted = min(room, max(least, demand.held[site] if held else left))
    reason = _held_reason(demand) if held else _reason(bid)
    if demand.rent and not held:
        reason = f"a release rents {demand.rent} to make room at home; {bid.reason}"
    paid, booked_usd = Affordable(room, ""), 0.0
    if demand.spec.budget != Budget():  # without a cap nobody asks what nodes commit to
        paid, booked_usd = within_budget(
            demand.spec,
            snapshot.sites[site].spec,
            demand.rented.get(site, ()),
            spent,
            offers=demand.offers[site],
            stay_s=demand.stays_s.get(site),
            billed_s=demand.billed_s,
            room=room,
            wanted=wanted,
            now_s=snapshot.now_s,
        )
    spent = Spend(spent.hour_usd + booked_usd, spent.day_usd + booked_usd, spent.month_usd + booked_usd)
    told, cut = paid.nodes < wanted, paid.nodes < max(wanted, demand.current.get(site, 0))
    if wanted > len(demand.rented.get(site, ())) and len(demand.offers[site]) > 1:
        reason = f"{reason}; cheapest first, per useful hour: {told_offers(demand.offers[site])}"
    if cut and paid.reason:
        reason = f"{paid.reason}; wanted {wanted}: {reason}"
    forced, commanded = cut or bid.failover, held or demand.rent > 0
    return Target(min(wanted, paid.nodes), reason, forced, told, commanded, paid.nodes), spent


def within_budget(
    service: HybridService,
    site: SiteSpec,
    nodes: Sequence[RentedNode],
    spent: Spend,
    *,
    offers: Sequence[Offer],
    stay_s: float | None = None,
    billed_s: float | None = None,
    room: int,
    wanted: int,
    now_s: float,
) -> tuple[Affordable, float]:
    """How many of `room` replicas every spend cap pays for, and what the `wanted` ones commit to, in usd.

    Args:
        service: whose caps they are.
        site: the rented site.
        nodes: those already paid for, oldest first.
        spent: what is booked in the running windows.
        offers: what may be rented beside them, the cheapest first.
        stay_s: how long nodes stay there; None: not known, so a node counts with the least that it commits to.
        billed_s: up to when `spent` has what `nodes` cost; None: up to now.
        room: replicas there may be.
        wanted: replicas that are wanted of them.
        now_s: wall clock.
    """
    horizon_s = service.model.drain_s + CLOSE_MARGIN_S
    leaving, there = going(nodes, now_s), staying(nodes)
    running = []
    for node in (*there, *leaving):
        pool = pool_of(site, node)
        # Below 0 it has cost something since that is not booked yet.
        booked_s = max(node.launched_at_s + pool.min_billing_s, now_s if billed_s is None else billed_s) - now_s
        left_s, expected_s = (horizon_s, stay_s) if node.ends_s is None else (node.ends_s - now_s, None)
        running.append(Commitment(pool.price_usd_per_hour, max(0.0, left_s - booked_s), expected_s, booked_s))
    renting = []
    for pool in further(offers, nodes, max(0, room - len(there))):
        # Rented for less, a node would be given back before it served.
        least_s = max(pool.min_billing_s, pool.lead_time_s + horizon_s)
        expected_s = None if stay_s is None else pool.lead_time_s + stay_s
        renting.append(Commitment(pool.price_usd_per_hour, least_s, expected_s))
    most = room + len(leaving)
    paid = affordable_nodes(service.budget, spent, wanted=most, running=running, renting=renting, now_s=now_s)
    paid = replace(paid, nodes=max(0, paid.nodes - len(leaving)))
    new = max(0, min(paid.nodes, wanted) - len(there))
    return paid, sum(node.least_usd for node in (*running, *renting[:new]))


def _reason(bid: Bid) -> str:
    """A target may follow its bid late: cooldown, steps, private replicas that start first."""
    return bid.because or bid.reason if bid.kind == "keep" else bid.reason


def _held_reason(demand: Demand) -> str:
    return f"held by an operator: {demand.hold.reason if demand.hold else ''}"


def _sum(counts: Mapping[str, int], sites: Sequence[str]) -> int:
    return sum(counts.get(site, 0) for site in sites)
