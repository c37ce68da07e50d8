"""Routes: what the gateway should do, as one value, and the function that makes it.

A service has two tracks, `stable` and `candidate`; a track has one server per site,
filled in order (private first) up to its limit. Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from serving.sites.site import Endpoint
from serving.spec import HybridService
from serving.spec_relief import ReliefLevel

Track = Literal["stable", "candidate"]
TRACKS: tuple[Track, Track] = ("stable", "candidate")


@dataclass(frozen=True)
class ServerRoute:
    """One site of one track."""

    site: str
    endpoint: Endpoint | None
    """None while the site has no ingress; the server is then in maintenance."""
    limit: int
    """Requests it may hold at once. 0 means no new requests (drain), never `unlimited`."""


@dataclass(frozen=True)
class TrackRoute:
    """Where one track's requests go."""

    path_prefix: str
    """Put in front of the request's path: selects the version's application on the site."""
    servers: tuple[ServerRoute, ...]
    """In the order in which they are filled."""


@dataclass(frozen=True)
class ReliefRoute:
    """Relief of one service at this moment."""

    queue_from: Mapping[ReliefLevel, int]
    """Queue length, in requests, from which each level applies: 0 for one that is in force. Others never apply."""
    version: str = ""
    """Version from whose files the lighter variant is loaded; empty: none serves yet."""
    version_dir: str = ""


@dataclass(frozen=True)
class ServiceRoutes:
    """All routes of one service."""

    service: HybridService
    stable: TrackRoute
    candidate: TrackRoute
    candidate_share: float
    """Share of requests sent to the candidate, 0 to 1."""
    relief: ReliefRoute | None = None
    """None: no level applies, whatever the queue."""


Routes = tuple[ServiceRoutes, ...]


@dataclass(frozen=True)
class TrackPlacement:
    """What one track has on each site: the input of `service_routes`."""

    application: str | None
    """Serve application of the track's version; None: the track is empty."""
    path_prefix: str
    slots_per_replica: int = 1
    ready: Mapping[str, int] = field(default_factory=dict)
    """Replicas per site that may take requests."""
    withdrawn: frozenset[str] = frozenset()
    """Sites that get no new requests of this track, whatever is ready (draining, ejected)."""


EMPTY_TRACK = TrackPlacement(application=None, path_prefix="/")


def service_routes(
    service: HybridService,
    *,
    site_order: Sequence[str],
    endpoints: Mapping[str, Endpoint | None],
    stable: TrackPlacement,
    candidate: TrackPlacement,
    candidate_share: float,
    relief: ReliefRoute | None = None,
) -> ServiceRoutes:
    """Routes of a service from what is ready where.

    The limit of (track, site) is its ready replicas times the slots of one replica, so two
    versions never oversubscribe a site.
    """

    def track(placement: TrackPlacement) -> TrackRoute:
        servers = []
        for site in site_order:
            if site not in service.sites:
                continue
            ready = 0 if placement.application is None else placement.ready.get(site, 0)
            limit = ready * placement.slots_per_replica
            if site in placement.withdrawn:
                limit = 0
            servers.append(ServerRoute(site=site, endpoint=endpoints.get(site), limit=limit))
        return TrackRoute(path_prefix=placement.path_prefix, servers=tuple(servers))

    return ServiceRoutes(
        service=service,
        stable=track(stable),
        candidate=track(candidate),
        candidate_share=candidate_share if candidate.application else 0.0,
        relief=relief,
    )
