"""Which rented nodes the services pay for: from what is wanted and what is seen, whichever is more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.bill import bill
from autoscaler.placement import SitePlacement
from autoscaler.snapshot import ServiceSnapshot, SiteSnapshot, Snapshot
from autoscaler.state import DaemonState, RentedNode
from serving.state import LedgerEntry


def rent(
    snapshot: Snapshot, state: DaemonState, placed: Mapping[str, Mapping[str, SitePlacement]]
) -> tuple[DaemonState, tuple[LedgerEntry, ...]]:
    """Bring the bill of every service up to date."""
    used = {site for sites in placed.values() for site, placement in sites.items() if _wanted(placement)}
    nodes: dict[str, tuple[RentedNode, ...]] = {}
    entries: list[LedgerEntry] = []
    for service in snapshot.services:
        for site, placement in placed[service.spec.name].items():
            spec = snapshot.sites[site].spec
            if spec.role != "cloud":
                continue
            key = f"{site}/{service.spec.name}"
            known = state.nodes.get(key, ())
            there = _there(service, snapshot.sites[site], len(known), used=site in used)
            count = min(max(_wanted(placement), there), spec.max_nodes)
            result = bill(site, spec, service.spec.name, known, count=count, now_s=snapshot.now_s)
            nodes[key] = result.nodes
            entries += result.entries
    return replace(state, nodes=nodes), tuple(entries)


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
