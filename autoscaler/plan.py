"""What a tick decides: actions on sites, routes at the gateway, and lines for the decision log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from serving.gateway.routes import Routes, ServiceRoutes
from serving.sites.site import Application
from serving.spec import Probe


@dataclass(frozen=True)
class OpenSite:
    """Launch a site's cluster."""

    site: str
    reason: str


@dataclass(frozen=True)
class CloseSite:
    """Stop everything on a site; its requests have been drained."""

    site: str
    reason: str


@dataclass(frozen=True)
class ApplyApplications:
    """Make a site run exactly these applications."""

    site: str
    applications: tuple[Application, ...]
    reason: str


@dataclass(frozen=True)
class ScaleApplication:
    """Change one application's replica count."""

    site: str
    application: str
    replicas: int
    reason: str


@dataclass(frozen=True)
class ProbeApplication:
    """Send probes to one application on one site, past the gateway."""

    site: str
    application: str
    host: str
    port: int
    path_prefix: str
    probe: Probe
    requests: int
    concurrency: int
    timeout_s: float
    reason: str


SiteAction = OpenSite | CloseSite | ApplyApplications | ScaleApplication


Details = Mapping[str, str | int | float | None]


@dataclass(frozen=True)
class Decision:
    """One line for the decision log."""

    service: str
    action: str
    reason: str
    details: Details = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All that should happen after this tick."""

    routes: Routes
    site_actions: tuple[SiteAction, ...]
    probes: tuple[ProbeApplication, ...]
    decisions: tuple[Decision, ...]

    @cached_property
    def routes_of(self) -> Mapping[str, ServiceRoutes]:
        """The routes by service."""
        return {route.service.name: route for route in self.routes}
