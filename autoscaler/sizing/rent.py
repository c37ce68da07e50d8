"""Which rented nodes the services pay for: from what is wanted and what is seen, whichever is more. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from autoscaler.money.bill import bill
from autoscaler.money.market import learned_stay_s, market, pool_of, staying, taken
from autoscaler.routing.placement import SitePlacement
from autoscaler.snapshot import ServiceSnapshot, SiteSnapshot, Snapshot
from autoscaler.state import DaemonState, RentedNode
from serving.project import SiteSpec
from serving.state import LedgerEntry


def rent(
    snapshot: Snapshot, state: DaemonState, placed: Mapping[str, Mapping[str, SitePlacement]]
) -> tuple[DaemonState, tuple[LedgerEntry, ...]]:
    """Bring the bill of every service up to date."""
    used = {site for sites in placed.values() for site, placement in sites.items() if _wanted(placement)}
    nodes: dict[str, tuple[RentedNode, ...]] = {}
    everybodys = Counter(taken(state.nodes))
    stays_s = dict(state.stays_s)
    entries: list[LedgerEntry] = []
    for service in snapshot.services:
        for site, placement in placed[service.spec.name].items():
            spec = snapshot.sites[site].spec
            if spec.role != "cloud":
                continue
            key = f"{site}/{service.spec.name}"
            known = state.nodes.get(key, ())
            alive = [node for node in known if node.ends_s is None or node.ends_s > snapshot.now_s]
            there = _there(service, snapshot.sites[site], len(alive), used=site in used)
            count = min(max(_wanted(placement), there), snapshot.sites[site].max_nodes)
            offers = market(service, site, spec, state, everybodys) if count > len(alive) else ()
            result = bill(site, spec, service.spec.name, known, count=count, offers=offers, now_s=snapshot.now_s)
            for node in known:
                everybodys[site, node.pool] -= 1
            for node in result.nodes:
                everybodys[site, node.pool] += 1
            nodes[key] = result.nodes
            entries += result.entries
            served_s = [_served_s(spec, node, snapshot.now_s) for node in staying(result.returned)]
            stay_s = learned_stay_s(stays_s.get(key), served_s)
            stays_s |= {} if stay_s is None else {key: stay_s}
    stays_s = {key: stay_s for key, stay_s in stays_s.items() if key in nodes}
    return replace(state, nodes=nodes, stays_s=stays_s, billed_s=snapshot.now_s), tuple(entries)


def _served_s(spec: SiteSpec, node: RentedNode, now_s: float) -> float:
    """How long a node that goes now has served, as far as its declared lead time says."""
    return max(0.0, now_s - node.launched_at_s - pool_of(spec, node).lead_time_s)


def _wanted(placement: SitePlacement) -> int:
    return placement.stable + placement.candidate


def _there(service: ServiceSnapshot, seen: SiteSnapshot, known: int, *, used: bool) -> int:
    """Nodes that a service has on a site, as far as one can tell."""
    phase = seen.observation.phase
    if not used and phase in ("opening", "open", "closing"):
        return known  # everybody has left, but until it is closed its nodes are paid for
    if seen.observation.applications is None:
        return known if phase in ("open", "closing") else 0
    replicas = seen.replicas.get(service.spec.name, 0)
    # One that leaves and one that comes in its place are two replicas for a while, but one node.
    return min(replicas, known) if known else replicas
