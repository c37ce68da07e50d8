"""Single moments for unit tests of the pure core: a snapshot and its parts, with harmless defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoscaler.snapshot import ServiceSnapshot, Signals, SiteSnapshot, Snapshot, TrackSignals, Wanted
from autoscaler.state import Admission, Deployed, Release, ServiceState
from serving.application import application_name
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.gateway.routes import Track
from serving.project import HybridProject
from serving.sites.site import ApplicationStatus, Endpoint, SiteObservation
from serving.spec import HybridService
from tests.support.declared import project, service

NOW_S = 1_800_000_000.0
INGRESS = Endpoint("127.0.0.1", 1000)


def signals(**fields: Any) -> Signals:
    """A busy and healthy service: 50 req/s of 0.1 s each, nobody waits."""
    defaults: dict[str, Any] = {
        "window_s": 10.0,
        "requests": 500,
        "rate_rps": 50.0,
        "recent_rate_rps": 50.0,
        "p50_s": 0.1,
        "p99_s": 0.2,
        "queue_p99_s": 0.0,
        "service_mean_s": 0.1,
        "bytes_mean": 1_000.0,
        "error_share": 0.0,
        "overflow_share": 0.0,
        "private_in_use": 0.5,
        "in_use": 5,
    }
    return Signals(**{**defaults, **fields})


def hurting(**fields: Any) -> Signals:
    """The same service with a queue that breaks its promise."""
    return signals(**{"p99_s": 2.0, "queue_p99_s": 1.5, "private_in_use": 1.0, **fields})


def asked(spec: HybridService | None = None, **fields: Any) -> ServiceSnapshot:
    """One service at this moment."""
    defaults = {"wanted": Wanted("d1", "v1", "/versions/v1"), "signals": signals()}
    return ServiceSnapshot(spec or service(), **{**defaults, **fields})


def site(
    name: str,
    phase: str = "open",
    apps: Sequence[ApplicationStatus] | None = (),
    *,
    fleet: HybridProject | None = None,
    busy: bool = False,
) -> SiteSnapshot:
    """One site at this moment; `apps` None: out of sight, or not open."""
    seen = tuple(apps) if apps is not None and phase == "open" else None
    endpoint = INGRESS if phase == "open" else None
    spec = (fleet or project()).sites[name]
    return SiteSnapshot(spec, SiteObservation(name, phase, seen, endpoint, NOW_S), busy)


def app(name: str, ready: int = 1, target: int | None = None, phase: str = "running") -> ApplicationStatus:
    """What a site says about one application."""
    return ApplicationStatus(name, phase, "", ready, ready if target is None else target)


def gateway(in_use: Mapping[tuple[Track, str], int] | None = None, *, at_s: float = NOW_S) -> GatewayObservation:
    """What the gateway says; all servers are up."""
    counts = in_use or {}
    servers = [
        ServerObservation("shop", track, name, True, 4, counts.get((track, name), 0))
        for track in ("stable", "candidate")
        for name in ("private", "cloud")
    ]
    return GatewayObservation(tuple(servers), {"shop": 0}, at_s)


def moment(*services: ServiceSnapshot, **fields: Any) -> Snapshot:
    """Everything at this moment; the private site is open, the cloud closed, the gateway fresh."""
    defaults: dict[str, Any] = {
        "now_s": NOW_S,
        "services": services or (asked(),),
        "sites": {"private": site("private"), "cloud": site("cloud", "closed")},
        "gateway": gateway(),
        "stale_after_s": 5.0,
    }
    return Snapshot(**{**defaults, **fields})


def deployed(version: str = "v1", spec: HybridService | None = None) -> Deployed:
    """A version as the daemon remembers it."""
    spec = spec or service()
    return Deployed(version, f"/versions/{version}", spec.model, application_name(spec, version))


def serving(version: str = "v1", **fields: Any) -> ServiceState:
    """A service whose version serves on the private site with one probed replica."""
    stable = deployed(version)
    defaults: dict[str, Any] = {
        "stable": stable,
        "seen_deployment": "d1",
        "targets": {"private": 1, "cloud": 0},
        "admissions": {f"private/{stable.application}": Admission(ok=True, requests=5, attempts=1)},
        "home_served": True,
    }
    return ServiceState(**{**defaults, **fields})


def releasing(phase: str = "loading", **fields: Any) -> Release:
    """The release of v2 in the place of v1, in some phase since this moment."""
    defaults: dict[str, Any] = {
        "deployment": "d2",
        "candidate": deployed("v2"),
        "former": deployed("v1"),
        "started_at_s": NOW_S,
        "phase": phase,
        "phase_since_s": NOW_S,
    }
    return Release(**{**defaults, **fields})


def errors(track: Track, name: str, requests: int, failed: int) -> dict[tuple[Track, str], TrackSignals]:
    """Answers of one server over the last seconds."""
    return {(track, name): TrackSignals(requests, failed)}
