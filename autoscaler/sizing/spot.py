"""Nodes that leave early: taken back by their provider, or moved from because others became cheaper. Pure.

A node that is announced to go is replaced at once, from the cheapest pool that gave no trouble lately; it serves until
it has to drain. Replicas cannot be told apart from outside, so what drains is one replica's share of the site's limit.
A node that pays more than the cheapest pool asks is moved from once the difference has paid for the move: never
before, so that what is spent on moves is at most what was lost by waiting (ski rental: Karlin, Manasse, Rudolph and
Sleator 1988, doi:10.1007/BF01762111).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoscaler.money.cost import HOUR_S
from autoscaler.money.market import Offer, Offers, staying
from autoscaler.plan import Decision
from autoscaler.snapshot import Snapshot
from autoscaler.state import DaemonState, RentedNode, ServiceState
from serving.sites.site import Notice
from serving.spec import HybridService

REST_S = 900.0
"""A pool that took a node back, or failed to launch one, is avoided for so long where another has room."""
REMEMBERED_S = 3_600.0
"""A notice is known for so long after its node is gone; providers repeat them. One that is older is of the past."""


def take_notices(snapshot: Snapshot, state: DaemonState) -> tuple[DaemonState, list[Decision]]:
    """The state with new notices of all sites taken in: nodes get their end, pools rest."""
    known = {key: at_s for key, at_s in state.notices.items() if snapshot.now_s - at_s < REMEMBERED_S}
    rests = {key: until_s for key, until_s in state.rests_until_s.items() if until_s > snapshot.now_s}
    nodes, decisions = dict(state.nodes), []
    for site, seen in snapshot.sites.items():
        for notice in seen.observation.notices:
            key = f"{site}/{notice.id}"
            if key not in known and snapshot.now_s - notice.ends_s < REMEMBERED_S:
                rests[f"{site}/{notice.pool}"] = snapshot.now_s + REST_S
                decisions += _ended(site, notice, nodes, snapshot)
            known[key] = max(snapshot.now_s, notice.ends_s)
    return replace(state, notices=known, rests_until_s=rests, nodes=nodes), decisions


def _ended(site: str, notice: Notice, nodes: dict[str, tuple[RentedNode, ...]], snapshot: Snapshot) -> list[Decision]:
    """Give the node of a notice its end: the oldest of the pool that serves, or the newest that failed to."""
    found = [
        (node.launched_at_s, f"{site}/{service.spec.name}", service.spec.name)
        for service in snapshot.services
        for node in staying(nodes.get(f"{site}/{service.spec.name}", ()))
        if node.pool == notice.pool
    ]
    if not found:
        return []
    launched_s, key, name = min(found) if notice.kind == "reclaim" else max(found)
    nodes[key] = tuple(
        replace(node, ends_s=notice.ends_s, notice=notice.id)
        if (node.pool, node.launched_at_s, node.ends_s) == (notice.pool, launched_s, None)
        else node
        for node in nodes[key]
    )
    left_s = notice.ends_s - snapshot.now_s
    what = f"takes a node back in {left_s:.0f} s" if notice.kind == "reclaim" else "failed to launch a node"
    why = f"pool {notice.pool} {what}; another is rented now, elsewhere for {REST_S / 60:.0f} min where there is room"
    return [Decision(name, "reclaim", why, {"site": site})]


def move_to_cheaper(
    snapshot: Snapshot, state: DaemonState, offered: Mapping[str, Offers]
) -> tuple[DaemonState, list[Decision]]:
    """The state with at most one node of each service and site on its way to a cheaper pool.

    `offered` is what each service may rent.
    """
    since, nodes, decisions = {}, dict(state.nodes), []
    for service in snapshot.services:
        mine = state.services[service.spec.name]
        for site, offers in offered.get(service.spec.name, {}).items():
            key = f"{site}/{service.spec.name}"
            choice = _cheaper(mine, site, snapshot, state.nodes.get(key, ()), offers)
            if choice is None:
                continue
            node, there, cheapest = choice
            since_s = since[key] = state.cheaper_since_s.get(key, snapshot.now_s)
            saved_usd = (there.usd_per_hour - cheapest.usd_per_hour) * (snapshot.now_s - since_s) / HOUR_S
            overlap_s = _overlap_s(service.spec, cheapest)
            if saved_usd < there.pool.price_usd_per_hour * overlap_s / HOUR_S:
                continue
            del since[key]
            moved = replace(node, ends_s=snapshot.now_s + overlap_s)
            nodes[key] = tuple(moved if other is node else other for other in nodes[key])
            why = (
                f"{cheapest.pool.name} at {cheapest.usd_per_hour:.3g} usd per useful hour has been cheaper than "
                f"{there.pool.name} at {there.usd_per_hour:.3g} for {snapshot.now_s - since_s:.0f} s, which pays a move"
            )
            decisions.append(Decision(service.spec.name, "move", why, {"site": site}))
    return replace(state, nodes=nodes, cheaper_since_s=since), decisions


def _overlap_s(spec: HybridService, cheapest: Offer) -> float:
    """How long the old node stays beside the new one: twice its lead time, which may vary, and the drain."""
    return 2.0 * cheapest.pool.lead_time_s + spec.model.drain_s


def _cheaper(
    mine: ServiceState, site: str, snapshot: Snapshot, nodes: Sequence[RentedNode], offers: Sequence[Offer]
) -> tuple[RentedNode, Offer, Offer] | None:
    """The dearest node, its pool's offer, and the cheapest offer with room; None where nothing is to be gained now."""
    seen = snapshot.sites[site]
    calm = seen.observation.phase == "open" and mine.release is None and snapshot.scaling == "active"
    if len(seen.spec.pools) < 2 or not nodes or not calm or len(staying(nodes)) < len(nodes):
        return None
    target = mine.targets.get(site, 0)
    if mine.affordable.get(site, 0) <= target or target < len(nodes) or seen.max_nodes <= len(nodes):
        return None  # while it moves there is one node more
    cheapest = next(
        (o for o in offers if o.room > sum(node.pool == o.pool.name for node in nodes)),
        None,
    )
    by_name = {offer.pool.name: offer for offer in offers}
    dearest = max(nodes, key=lambda node: by_name[node.pool].usd_per_hour if node.pool in by_name else 0.0)
    there = by_name.get(dearest.pool)
    if cheapest is None or there is None or cheapest.rests or there.usd_per_hour <= cheapest.usd_per_hour:
        return None
    return dearest, there, cheapest
