"""From what should run on a site and what was seen there to at most one action. Pure.

Level-triggered: an action that was lost is simply decided again from the next observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.plan import ApplyApplications, CloseSite, OpenSite, ScaleApplication, SiteAction
from autoscaler.snapshot import SiteSnapshot
from serving.sites.site import Application, ApplicationStatus


@dataclass(frozen=True)
class SiteWish:
    """What all services together want of one site."""

    applications: tuple[Application, ...]
    """Those still finishing their requests included."""
    reasons: Mapping[str, str]
    """Per application, why it should be as it is."""
    reason: str
    """Why the site is open or closed."""


def site_action(site: str, seen: SiteSnapshot, wish: SiteWish) -> SiteAction | None:
    """The next action on a site; None when it is as it should be, or busy."""
    if seen.busy:
        return None
    wanted = bool(wish.applications) or seen.spec.role == "private"
    phase = seen.observation.phase
    if phase == "closing":
        return CloseSite(site, "it was closing when the daemon stopped")
    if not wanted:
        return None if phase == "closed" else CloseSite(site, wish.reason)
    if phase in ("closed", "lost"):
        return OpenSite(site, f"its processes are gone; {wish.reason}" if phase == "lost" else wish.reason)
    if phase == "opening" or seen.observation.applications is None:
        return None
    return _application_action(site, seen.observation.applications, wish)


def takes_away(action: SiteAction, observed: Sequence[ApplicationStatus]) -> bool:
    """Whether an action removes capacity that the gateway may still send to."""
    if isinstance(action, ApplyApplications):
        kept = {application.name for application in action.applications}
        return any(status.name not in kept for status in observed if status.phase != "deleting")
    if isinstance(action, ScaleApplication):
        return any(s.name == action.application and s.replicas_target > action.replicas for s in observed)
    return isinstance(action, CloseSite)


def _application_action(site: str, observed: tuple[ApplicationStatus, ...], wish: SiteWish) -> SiteAction | None:
    """What shrinks goes first, so that two versions that exchange replicas never hold more than their room."""
    there = {status.name: status for status in observed if status.phase != "deleting"}
    wanted = {application.name: application for application in wish.applications}
    alive = [name for name in wanted if name in there and there[name].phase != "failed"]
    for name in alive:
        if there[name].replicas_target > wanted[name].replicas:
            return _scale(site, there[name], wanted[name], wish)
    missing = [name for name in wanted if name not in there]
    surplus = [name for name in there if name not in wanted]
    if missing or surplus:
        changed = [f"load {name}" for name in missing] + [f"remove {name}" for name in surplus]
        why = "; ".join(dict.fromkeys(wish.reasons[name] for name in missing)) or "no service wants it there any more"
        return ApplyApplications(site, wish.applications, f"{', '.join(changed)}: {why}")
    for name in alive:
        # A target of 0 is an application that Serve is still building: it has no deployment to scale yet.
        growing = 0 < there[name].replicas_target < wanted[name].replicas
        if growing and not _waits_for_room(wanted[name], there, wish):
            return _scale(site, there[name], wanted[name], wish)
    return None


def _waits_for_room(application: Application, there: Mapping[str, ApplicationStatus], wish: SiteWish) -> bool:
    """Whether another version of the service still holds replicas that this one is to have."""
    others = [app for app in wish.applications if app.service == application.service and app != application]
    held = sum(max(there[app.name].replicas_ready, there[app.name].replicas_target) for app in others)
    return held > sum(app.replicas for app in others)


def _scale(site: str, status: ApplicationStatus, wanted: Application, wish: SiteWish) -> ScaleApplication:
    why = f"{status.replicas_target} -> {wanted.replicas} replicas: {wish.reasons[wanted.name]}"
    return ScaleApplication(site, wanted.name, wanted.replicas, why)
