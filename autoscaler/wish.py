"""What all services together want of each site, and the actions that follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.placement import SitePlacement, applications, status_of
from autoscaler.plan import ApplyApplications, CloseSite, Decision, OpenSite, SiteAction
from autoscaler.reconcile import SiteWish, site_action
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import DaemonState, ServiceState
from serving.sites.site import Application

SETTLE_S = 1.0
"""After its routes are withdrawn a site is given this long before `no request there` is believed."""

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
        action = site_action(site, seen, _wish(site, snapshot, state, placed))
        if action is None:
            continue
        actions.append(action)
        if type(action) in VERBS:  # a changed replica count was told when its target changed
            owners = [s.spec.name for s in snapshot.services if site in s.spec.sites]
            verb = VERBS[type(action)]
            decisions.append(Decision(owners[0] if owners else "", verb, action.reason, {"site": site}))
    return tuple(actions), tuple(decisions)


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
        found = applications(service.spec, mine, placed[service.spec.name][site])
        if not found:
            found = _finishing(service, mine, snapshot, site)
        target = mine.targets.get(site, 0)
        text = f"{service.spec.name} wants {target} replicas" if target else f"{service.spec.name} has left"
        text = f"{text} ({mine.reasons[site]})" if site in mine.reasons else text
        texts.append(text)
        wanted += found
        reasons |= {application.name: text for application in found}
    return SiteWish(tuple(wanted), reasons, "; ".join(texts) or "no service uses it")


def _finishing(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, site: str) -> tuple[Application, ...]:
    """What must stay on a site that is being left until its requests are done, or their time is over."""
    since_s = mine.emptying_since_s.get(site)
    if mine.stable is None or since_s is None:
        return ()
    status = status_of(snapshot, site, mine.stable.application)
    if status is None:
        return ()
    waited_s = snapshot.now_s - since_s
    in_use = snapshot.in_use(service.spec.name, site)
    finished = in_use == 0 and waited_s >= SETTLE_S
    if finished or waited_s > mine.stable.model.drain_s:
        return ()
    kept = applications(service.spec, mine, SitePlacement(max(1, status.replicas_target), 0))
    return tuple(replace(application, replicas=max(1, status.replicas_target)) for application in kept)
