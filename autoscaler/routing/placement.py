"""Where replicas should be and what the gateway may send them: placements and routes of one service. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaler.routing.outlier import ejected
from autoscaler.routing.release import ReleaseView, SiteRelease, split
from autoscaler.snapshot import ServiceSnapshot, Snapshot, TrackSignals
from autoscaler.state import (
    Admission,
    DaemonState,
    Deployed,
    ServiceState,
    Verdict,
    admission_key,
    ready_key,
)
from serving.application import named_application
from serving.gateway.routes import EMPTY_TRACK, ReliefRoute, ServiceRoutes, Track, TrackPlacement, service_routes
from serving.sites.site import Application, ApplicationStatus
from serving.spec import HybridService

UNLISTED_S = 3.0
"""What was ready and is wanted does not vanish from a site's list by itself, but a list may be empty for a
moment (Serve's controller restarts while its replicas serve). So long it is not believed."""


@dataclass(frozen=True)
class SitePlacement:
    """Replicas of each track that one site should have."""

    stable: int
    candidate: int


NOWHERE = SitePlacement(0, 0)


def placements(
    service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot, rooms: Mapping[str, int]
) -> dict[str, SitePlacement]:
    """Replicas per site and track; a closed site loads only what is stable."""
    release = state.release
    placed = {}
    for site in service.spec.sites:
        target = state.targets.get(site, 0)
        view = None if release is None else site_release(service, state, snapshot, site, rooms[site])
        if release is None or view is None:
            # One that is announced to go serves beside the one that takes its place.
            both = min(target + len(_going(state, site)), snapshot.sites[site].max_nodes) if target else 0
            placed[site] = SitePlacement(max(target, both) if state.stable else 0, 0)
            continue
        elsewhere = any(
            usable_ready(state, snapshot, state.stable, other) > 0 for other in service.spec.sites if other != site
        )
        placed[site] = SitePlacement(*split(release, view, stable_elsewhere=elsewhere))
    return placed


def site_release(
    service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot, site: str, room: int
) -> SiteRelease | None:
    """What the release sees of a site; None while the site takes no part (closed, or not wanted)."""
    release, target = state.release, state.targets.get(site, 0)
    if release is None or target == 0 or snapshot.sites[site].observation.phase != "open":
        return None
    name = release.candidate.application
    return SiteRelease(
        target=target,
        room=room,
        stable_ready=usable_ready(state, snapshot, release.former, site),
        candidate_ready=seen_ready(state, snapshot, name, site),
        candidate=status_of(snapshot, site, name),
        admission=state.admissions.get(admission_key(site, name), Admission()),
        sample=service.candidate_sample.get(site, TrackSignals()),
    )


def release_view(
    service: ServiceSnapshot,
    state: ServiceState,
    snapshot: Snapshot,
    rooms: Mapping[str, int],
    interrupted: Verdict | None,
) -> ReleaseView:
    """What the release in progress decides from."""
    sites = {site: site_release(service, state, snapshot, site, rooms[site]) for site in service.spec.sites}
    leads_s = [
        pool.lead_time_s
        for site, share in service.spec.sites.items()
        if share.max_replicas > 0 and site != snapshot.private_site
        for pool in snapshot.sites[site].spec.pools
    ]
    return ReleaseView(
        now_s=snapshot.now_s,
        spec=service.spec,
        home=snapshot.private_site,
        sites={site: view for site, view in sites.items() if view is not None},
        lead_s=max(leads_s, default=None),
        candidate_in_use=_in_use(service, snapshot, "candidate"),
        stable_in_use=_in_use(service, snapshot, "stable"),
        queued=snapshot.queued(service.spec.name),
        interrupted=interrupted,
    )


Rooms = Mapping[str, Mapping[str, int]]
"""Per service, per site: replicas of all its versions that the site can hold beside the other services."""


def all_rooms(daemon: DaemonState, snapshot: Snapshot) -> Rooms:
    """Rooms of all services.

    What the targets say is reserved. What is left goes to the releases in progress, the oldest first,
    and no release gets more than its budget pays for.
    """
    held = {s.spec.name: dict(daemon.services[s.spec.name].targets) for s in snapshot.services}
    full = Counter[str]()
    for sites in held.values():
        full.update(sites)
    rooms: dict[str, dict[str, int]] = {}
    for service in sorted(snapshot.services, key=lambda s: _release_age(daemon.services[s.spec.name])):
        name, mine = service.spec.name, daemon.services[service.spec.name]
        rooms[name] = {
            site: max(
                0,
                min(
                    share.max_replicas,
                    mine.affordable.get(site, share.max_replicas),
                    snapshot.sites[site].max_nodes - (full[site] - held[name].get(site, 0)),
                ),
            )
            for site, share in service.spec.sites.items()
        }
        if mine.release is None:
            continue  # it has what its targets say
        placed = placements(service, mine, snapshot, rooms[name])
        full.subtract(held[name])
        full.update({site: max(held[name].get(site, 0), p.stable + p.candidate) for site, p in placed.items()})
    return rooms


def _release_age(state: ServiceState) -> tuple[float, str]:
    return (state.release.started_at_s, state.release.deployment) if state.release else (math.inf, "")


def applications(spec: HybridService, state: ServiceState, placed: SitePlacement) -> tuple[Application, ...]:
    """The applications one site should run for this service."""
    return tuple(
        named_application(d.application, spec.name, d.model, d.version, d.version_dir, replicas)
        for d, replicas in versions(state, placed)
    )


def versions(state: ServiceState, placed: SitePlacement) -> list[tuple[Deployed, int]]:
    """The versions one site should run for this service, and how many replicas of each."""
    release = state.release
    both = ((state.stable, placed.stable), (release and release.candidate, placed.candidate))
    return [(deployed, replicas) for deployed, replicas in both if deployed and replicas]


def routes(
    service: ServiceSnapshot,
    state: ServiceState,
    snapshot: Snapshot,
    placed: Mapping[str, SitePlacement],
    relief: ReliefRoute | None = None,
) -> ServiceRoutes:
    """The service's routes: only to what is ready, probed, wanted and not ejected."""
    release = state.release
    home = snapshot.private_site
    stable = _track(state, snapshot, state.stable, "stable", {s: p.stable for s, p in placed.items()})
    stable = _without_draining(stable, service.spec, state, snapshot)
    candidate = EMPTY_TRACK
    if release:
        counts = {s: p.candidate for s, p in placed.items()}
        candidate = _track(state, snapshot, release.candidate, "candidate", counts)
    if state.policy.shifted and service.spec.burst.cost is not None:
        stable = _keep_only(stable, home, service.spec.burst.cost.keep_private_share, state)
    share = release.share if release and any(_limits(candidate)) else 0.0
    return service_routes(
        service.spec,
        site_order=tuple(snapshot.sites),
        endpoints={name: site.observation.ingress for name, site in snapshot.sites.items()},
        stable=stable,
        candidate=candidate,
        candidate_share=share,
        relief=relief,
    )


def status_of(snapshot: Snapshot, site: str, application: str) -> ApplicationStatus | None:
    """What a site says about one application; None if it says nothing."""
    return snapshot.sites[site].statuses.get(application)


def seen_ready(state: ServiceState, snapshot: Snapshot, application: str, site: str) -> int:
    """Ready replicas; of a site out of sight, those last seen."""
    observation = snapshot.sites[site].observation
    if observation.phase != "open":
        return 0
    if observation.applications is None:
        return state.known_ready.get(ready_key(application, site), 0)
    status = status_of(snapshot, site, application)
    if status is None:
        return (
            state.known_ready.get(ready_key(application, site), 0) if doubted(state, snapshot, application, site) else 0
        )
    return status.replicas_ready if status.phase != "deleting" else 0


def doubted(state: ServiceState, snapshot: Snapshot, application: str, site: str) -> bool:
    """Whether a site stopped listing an application too short ago to believe that it is gone."""
    since_s = state.unlisted_since_s.get(ready_key(application, site))
    return since_s is not None and snapshot.now_s - since_s < UNLISTED_S


def unlisted(state: ServiceState, snapshot: Snapshot) -> dict[str, float]:
    """Since when open sites do not list what was ready there."""
    found = {}
    for key, ready in state.known_ready.items():
        application, _, site = key.partition("@")
        seen = snapshot.sites[site].observation if site in snapshot.sites else None
        if seen is None or seen.phase != "open" or seen.applications is None or ready == 0:
            continue
        if status_of(snapshot, site, application) is None:
            found[key] = state.unlisted_since_s.get(key, snapshot.now_s)
    return found


def usable_ready(state: ServiceState, snapshot: Snapshot, deployed: Deployed | None, site: str) -> int:
    """Ready replicas that have also answered their probes."""
    if deployed is None:
        return 0
    admission = state.admissions.get(admission_key(site, deployed.application))
    return seen_ready(state, snapshot, deployed.application, site) if admission and admission.ok else 0


def _track(
    state: ServiceState,
    snapshot: Snapshot,
    deployed: Deployed | None,
    track: Track,
    counts: Mapping[str, int],
) -> TrackPlacement:
    if deployed is None:
        return EMPTY_TRACK
    return TrackPlacement(
        application=deployed.application,
        path_prefix=f"/{deployed.application}",
        slots_per_replica=deployed.model.slots_per_replica,
        ready={site: min(count, usable_ready(state, snapshot, deployed, site)) for site, count in counts.items()},
        withdrawn=frozenset(site for site in counts if ejected(state.ejections, track, site, snapshot.now_s)),
    )


def _going(state: ServiceState, site: str) -> tuple[float, ...]:
    """When the nodes of a site end that are announced to go."""
    return state.going_s.get(site, ())


def _without_draining(
    track: TrackPlacement, spec: HybridService, state: ServiceState, snapshot: Snapshot
) -> TrackPlacement:
    """A node drains in its last seconds: the site's limit is lower by its replica, whichever that is."""
    if not state.going_s:
        return track
    ready = {}
    for site, count in track.ready.items():
        draining = sum(ends_s - snapshot.now_s <= spec.model.drain_s for ends_s in _going(state, site))
        ready[site] = max(0, count - draining)
    return replace(track, ready=ready)


def _limits(track: TrackPlacement) -> list[int]:
    return [0 if site in track.withdrawn else ready for site, ready in track.ready.items()]


def _keep_only(track: TrackPlacement, home: str, share: float, state: ServiceState) -> TrackPlacement:
    """Lower the private limit to its kept share, once the cloud holds what it moves there."""
    elsewhere = sum(ready for site, ready in track.ready.items() if site != home)
    total = sum(state.targets.values())
    kept = max(1, math.ceil(total * share))
    if elsewhere < total - kept or elsewhere == 0:
        return track
    ready = {**track.ready, home: min(track.ready.get(home, 0), kept)}
    return TrackPlacement(track.application, track.path_prefix, track.slots_per_replica, ready, track.withdrawn)


def _in_use(service: ServiceSnapshot, snapshot: Snapshot, track: Track) -> int | None:
    counts = [snapshot.in_use(service.spec.name, site, track) for site in service.spec.sites]
    return None if any(count is None for count in counts) else sum(count or 0 for count in counts)
