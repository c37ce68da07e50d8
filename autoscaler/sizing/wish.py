"""What all services together want of each site, and the actions that follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from autoscaler.plan import ApplyApplications, CloseSite, Decision, OpenSite, SiteAction
from autoscaler.routing.placement import NOWHERE, SitePlacement, applications, doubted, seen_ready, status_of, versions
from autoscaler.routing.release import SETTLE_S
from autoscaler.sizing.reconcile import SiteWish, site_action
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import DaemonState, Deployed, ServiceState
from serving.sites.site import Application

VERBS: Mapping[type[SiteAction], str] = {
    OpenSite: "open site",
    CloseSite: "close site",
    ApplyApplications: "load",
}


def site_actions(
    snapshot: Snapshot, state: DaemonState, placed: Mapping[str, Mapping[str, SitePlacement]]
) -> tuple[tuple[SiteAction, ...], tuple[Decision, ...]]:
    """At most one action per site, with its line for the decision log."""
    actions, decisions = [], []
    for site, seen in snapshot.sites.items():
        if snapshot.now_s < state.retry_at_s.get(site, 0.0):
            continue
        wish = _wish(site, snapshot, state, placed)
        doubt = any(doubted(state.services[app.service], snapshot, app.name, site) for app in wish.applications)
        action = None if doubt else site_action(site, seen, wish)
        if action is None:
            continue
        actions.append(action)
        if type(action) in VERBS:  # a changed replica count was told when its target changed
            decisions.append(Decision(_owner(site, snapshot, wish), VERBS[type(action)], action.reason, {"site": site}))
    return tuple(actions), tuple(decisions)


def _owner(site: str, snapshot: Snapshot, wish: SiteWish) -> str:
    """The service in whose log an action on a site stands: one that wants something there, or could."""
    wanting = [app.service for app in wish.applications]
    return next(iter(wanting + [s.spec.name for s in snapshot.services if site in s.spec.sites]), "")


def _wish(
    site: str,
    snapshot: Snapshot,
    state: DaemonState,
    placed: Mapping[str, Mapping[str, SitePlacement]],
) -> SiteWish:
    wanted: list[Application] = []
    reasons: dict[str, str] = {}
    texts = []
    for service in snapshot.services:
        if site not in service.spec.sites:
            continue
        mine = state.services[service.spec.name]
        wish = wished(service, mine, snapshot, site, placed[service.spec.name][site])
        found = applications(service.spec, mine, wish)
        target = mine.targets.get(site, 0)
        text = f"{service.spec.name} wants {target} replicas" if target else f"{service.spec.name} has left"
        text = f"{text} ({mine.reasons[site]})" if site in mine.reasons else text
        texts.append(text)
        wanted += found
        reasons |= {application.name: text for application in found}
    always = "the private site is always open" if snapshot.sites[site].spec.role == "private" else "no service uses it"
    return SiteWish(tuple(wanted), reasons, "; ".join(texts) or always)


def wished(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, site: str, placement: SitePlacement
) -> SitePlacement:
    """What a service wants of a site, replicas still finishing their requests included."""
    return placement if versions(mine, placement) else _finishing(service, mine, snapshot, site)


def _finishing(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, site: str) -> SitePlacement:
    """What must stay on a site that is being left until its requests are done, or their time is over."""
    since_s = mine.emptying_since_s.get(site)
    if since_s is None:
        return NOWHERE
    waited_s = snapshot.now_s - since_s
    finished = waited_s >= SETTLE_S and snapshot.in_use(service.spec.name, site) == 0
    if finished or waited_s > service.spec.model.drain_s:
        return NOWHERE
    candidate = mine.release.candidate if mine.release else None
    return SitePlacement(*(_there(mine, snapshot, site, deployed) for deployed in (mine.stable, candidate)))


def _there(mine: ServiceState, snapshot: Snapshot, site: str, deployed: Deployed | None) -> int:
    """Replicas that a version is to keep on a site, as far as is known."""
    if deployed is None:
        return 0
    status = status_of(snapshot, site, deployed.application)
    if status is None:
        return seen_ready(mine, snapshot, deployed.application, site)
    return max(1, status.replicas_target)
