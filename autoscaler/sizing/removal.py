"""A service that was removed: its requests are finished, its replicas freed, and then it is forgotten. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.plan import Decision
from autoscaler.routing.placement import NOWHERE, versions
from autoscaler.sizing.wish import wished
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import DaemonState, Release, ReleaseEvent, ServiceState

REASON = "the service is removed"


def leave(
    service: ServiceSnapshot, mine: ServiceState, now_s: float
) -> tuple[ServiceState, Release | None, list[Decision]]:
    """Want nothing of any site any more; also the release that ends with it, and what there is to tell."""
    name, decisions = service.spec.name, []
    if any(mine.targets.values()) or mine.release:
        decisions.append(Decision(name, "remove", f"{REASON}: its requests are finished, then its replicas go"))
    ended = None
    if mine.release is not None:
        event = ReleaseEvent(now_s, "done", f"aborted: {REASON}")
        ended = replace(
            mine.release,
            phase="done",
            phase_since_s=now_s,
            verdict="aborted",
            reason=REASON,
            events=(*mine.release.events, event),
        )
    since_s = {site: mine.emptying_since_s.get(site, now_s) for site in service.spec.sites}
    nothing = dict.fromkeys(service.spec.sites, 0)
    return replace(mine, targets=nothing, release=None, emptying_since_s=since_s, notes={}), ended, decisions


def gone(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, state: DaemonState) -> bool:
    """Whether nothing of it is left on any site, as far as is known, nor on the bill."""
    name = service.spec.name
    if any(versions(mine, wished(service, mine, snapshot, site, NOWHERE)) for site in service.spec.sites):
        return False
    if any(state.nodes.get(f"{site}/{name}") for site in service.spec.sites):
        return False
    return not any(_listed(snapshot, site, name) for site in service.spec.sites)


def forget(state: DaemonState, names: tuple[str, ...]) -> DaemonState:
    """The state without these services."""
    kept: Mapping[str, ServiceState] = {name: mine for name, mine in state.services.items() if name not in names}
    nodes = {key: rented for key, rented in state.nodes.items() if key.partition("/")[2] not in names}
    return replace(state, services=kept, nodes=nodes)


def _listed(snapshot: Snapshot, site: str, service: str) -> bool:
    """An open site that is out of sight may still run it."""
    seen = snapshot.sites[site].observation
    if seen.phase == "closed":
        return False
    if seen.applications is None:
        return seen.phase == "open"
    return any(status.name.rpartition("-")[0] == service for status in seen.applications)
