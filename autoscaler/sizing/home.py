"""How the private site is: whether its loss asks the cloud to take over. Pure."""

from __future__ import annotations

from autoscaler.routing.outlier import ejected, fails_fast
from autoscaler.routing.placement import usable_ready
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import ServiceState
from autoscaler.values import updated

GRACE_S = 2.0
"""A replica that restarts within this time is not a lost site."""


def watch_home(service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot) -> ServiceState:
    """Note whether the private site serves, and since when it does not.

    A site that has not served since it was opened is starting, not lost: no failover for it.
    """
    home = snapshot.private_site
    if snapshot.sites[home].observation.phase == "closed":
        return updated(state, home_served=False, home_down_since_s=None)
    if _trouble(service, state, snapshot) is None:
        return updated(state, home_served=True, home_down_since_s=None)
    if not state.home_served:
        return updated(state, home_down_since_s=None)
    return updated(state, home_down_since_s=state.home_down_since_s or snapshot.now_s)


def home_down(service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot) -> str | None:
    """Why the private site cannot serve this service; None while it can, or is only starting."""
    if state.home_down_since_s is None or state.targets.get(snapshot.private_site, 0) == 0:
        return None
    trouble = _trouble(service, state, snapshot)
    if trouble is None or snapshot.now_s - state.home_down_since_s < GRACE_S:
        return None
    return f"private site {snapshot.private_site} {trouble}"


def _trouble(service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot) -> str | None:
    home, name = snapshot.private_site, service.spec.name
    observation = snapshot.sites[home].observation
    if observation.phase != "open":
        return f"is {observation.phase}"
    if ejected(state.ejections, "stable", home, snapshot.now_s):
        return "was ejected for errors"
    if _ready(state, snapshot) == 0:
        return "has no ready replica"
    if fails_fast(service.signals, "stable", home):
        return "answers with errors"
    if state.release is None and snapshot.server_up(name, home, "stable") is False:
        return "fails the gateway's checks"
    return None


def _ready(state: ServiceState, snapshot: Snapshot) -> int:
    serving = [d for d in (state.stable, state.release and state.release.candidate) if d]
    return sum(usable_ready(state, snapshot, deployed, snapshot.private_site) for deployed in serving)
