"""Admission: an application on a site gets traffic only after it has answered probes there.

A site that fails fast loses its admission and has to be probed again. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from autoscaler.plan import Decision, ProbeApplication
from autoscaler.routing.outlier import backoff_s, eject, ejected
from autoscaler.routing.placement import doubted, seen_ready, site_release, status_of, usable_ready
from autoscaler.routing.release import ReleaseView, probes_wanted
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import Admission, Deployed, ServiceState, admission_key
from autoscaler.values import updated

RETRY_S = 5.0
LONGEST_RETRY_S = 60.0


def admit(service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot) -> dict[str, Admission]:
    """Admissions with the finished probes counted in, and those of closed sites forgotten."""
    mine = {d.application for d in _deployed(state)}
    kept = {key: known for key, known in state.admissions.items() if _may_keep(key, mine, service, state, snapshot)}
    for result in snapshot.probes:
        if result.application not in mine:
            continue
        key = admission_key(result.site, result.application)
        before = kept.get(key, Admission())
        passed = result.errors == 0 and result.requests > 0
        base = before if before.ok else replace(before, requests=0, errors=0)
        kept[key] = replace(
            base,
            ok=before.ok or passed,
            requests=base.requests + result.requests,
            errors=base.errors + result.errors,
            attempts=before.attempts + 1,
            at_s=snapshot.now_s,
            message=result.message,
        )
    return kept


def _may_keep(
    key: str, mine: Collection[str], service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot
) -> bool:
    """It holds for as long as the application is there; what is loaded again is probed again."""
    site, _, application = key.partition("/")
    if site not in service.spec.sites or application not in mine:
        return False
    seen = snapshot.sites[site].observation
    gone = seen.applications is not None and status_of(snapshot, site, application) is None
    return seen.phase == "open" and (not gone or doubted(state, snapshot, application, site))


def eject_failing(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot
) -> tuple[ServiceState, list[Decision]]:
    """Apply the outlier rule to the stable track; who is ejected must be probed before it returns."""
    if snapshot.stale_reason is not None or mine.stable is None:
        return mine, []
    serving = frozenset(site for site in service.spec.sites if usable_ready(mine, snapshot, mine.stable, site) > 0)
    ejections = eject(mine.ejections, service.signals, serving, snapshot.now_s)
    admissions, decisions = dict(mine.admissions), []
    for key, ejection in ejections.items():
        if mine.ejections.get(key) == ejection:
            continue
        site, out_s = key.partition("/")[2], ejection.until_s - snapshot.now_s
        admissions.pop(admission_key(site, mine.stable.application), None)
        why = f"at least half of its answers in the last seconds were errors; out until probed after {out_s:.0f} s"
        decisions.append(Decision(service.spec.name, "eject", why, {"site": site}))
    return updated(mine, ejections=ejections, admissions=admissions), decisions


def probes(
    service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot, rooms: Mapping[str, int]
) -> tuple[ProbeApplication, ...]:
    """The probes to send now: to what became ready and is not admitted, or lacks a sample."""
    found = []
    for deployed in _deployed(state):
        for site in service.spec.sites:
            endpoint = snapshot.sites[site].observation.ingress
            if endpoint is None or (site, deployed.application) in snapshot.probing:
                continue
            wanted = _wanted(service, state, snapshot, deployed, site, rooms[site])
            if wanted > 0:
                found.append(
                    ProbeApplication(
                        site=site,
                        application=deployed.application,
                        host=endpoint.host,
                        port=endpoint.port,
                        path_prefix=f"/{deployed.application}",
                        probe=service.spec.release.probe,
                        requests=wanted,
                        concurrency=deployed.model.slots_per_replica,
                        timeout_s=service.spec.routing.timeout_s,
                        reason=f"{deployed.application} is ready on {site}",
                    )
                )
    return tuple(found)


def _wanted(
    service: ServiceSnapshot,
    state: ServiceState,
    snapshot: Snapshot,
    deployed: Deployed,
    site: str,
    room: int,
) -> int:
    release = state.release
    if release and deployed.application == release.candidate.application:
        view = site_release(service, state, snapshot, site, room)
        if view is None:
            return 0
        shell = ReleaseView(snapshot.now_s, service.spec, snapshot.private_site, {site: view}, None, None, None)
        return probes_wanted(release, shell, view)
    if seen_ready(state, snapshot, deployed.application, site) == 0:
        return 0
    admission = state.admissions.get(admission_key(site, deployed.application), Admission())
    if admission.ok or ejected(state.ejections, "stable", site, snapshot.now_s):
        return 0
    wait_s = backoff_s(RETRY_S, LONGEST_RETRY_S, admission.attempts)
    if admission.attempts and snapshot.now_s - admission.at_s < wait_s:
        return 0
    return service.spec.release.probe_requests


def _deployed(state: ServiceState) -> Iterable[Deployed]:
    """What the service runs: the stable version, and the candidate of a release."""
    if state.stable:
        yield state.stable
    if state.release and state.release.candidate != state.stable:
        yield state.release.candidate
