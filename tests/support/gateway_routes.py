"""Short ways to write a service and its routes in gateway tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from serving.gateway.config import ListenSettings
from serving.gateway.routes import ReliefRoute, ServerRoute, ServiceRoutes, TrackRoute
from serving.sites.site import Endpoint
from serving.spec import HybridService

LISTEN = ListenSettings("127.0.0.1", 8000, gateway_dir=Path("/gateway"), log_socket=Path("/requests.sock"))


class Listening(Protocol):
    """What has an endpoint, e.g. a running test site."""

    @property
    def endpoint(self) -> Endpoint: ...


def service(
    name: str = "shop",
    sites: tuple[str, ...] = ("private", "cloud"),
    relief: Mapping[str, Any] | None = None,
    **routing: Any,
) -> HybridService:
    """A declared service; `routing` overrides fields of its routing."""
    rules = [{"path": "/"}, {"path": "/again", "idempotent": True}, {"path": "/later", "priority": "low"}]
    return HybridService.model_validate(
        {
            "kind": "HybridService",
            "name": name,
            "model": {"import_path": "model:Model"},
            "slo": {"latency_p99_s": 0.5},
            "sites": {site: {"max_replicas": 4} for site in sites},
            "routing": {"prefix": f"/{name}", "rules": rules, **routing},
            "relief": relief,
        }
    )


def track(path: str, **servers: tuple[Endpoint | Listening | None, int]) -> TrackRoute:
    """A track from site=(where, limit), in the order in which the sites are filled."""
    return TrackRoute(
        path,
        tuple(
            ServerRoute(site, where if where is None or isinstance(where, Endpoint) else where.endpoint, limit)
            for site, (where, limit) in servers.items()
        ),
    )


def empty(route: TrackRoute) -> TrackRoute:
    """The same sites with no version on them."""
    return TrackRoute("/", tuple(replace(server, limit=0) for server in route.servers))


def routes(
    spec: HybridService,
    stable: TrackRoute,
    candidate: TrackRoute | None = None,
    share: float = 0.0,
    relief: ReliefRoute | None = None,
) -> ServiceRoutes:
    """Routes of one service; the candidate is empty unless given."""
    return ServiceRoutes(spec, stable, candidate or empty(stable), share, relief)
