"""The port to a site: a place with its own Ray cluster that runs Serve applications.

Implementations: `serving.sites.local.LocalSite` (processes on this computer),
`serving.sites.kubernetes.site.KubernetesSite` (a RayService of KubeRay) and `tests.support.fake_site.FakeSite`.
Every implementation passes the contract in tests/support/site_contract.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

Phase = Literal["closed", "opening", "open", "closing", "lost"]
"""`lost`: it should be open, but its processes are gone. A site out of sight keeps its
last phase and reports `applications=None` (unknown is not none)."""

ApplicationPhase = Literal["starting", "running", "unhealthy", "failed", "deleting"]


@dataclass(frozen=True)
class Application:
    """One version of one service, as a Serve application that a site should run."""

    name: str
    """`<service>-<first 12 characters of the version>`; also Serve's name."""
    service: str
    version: str
    route_prefix: str
    """URL path of the application on the site's ingress."""
    args: dict[str, JsonValue]
    """What `serving.application:build` gets."""
    replicas: int
    """Desired replicas, at least 1."""


@dataclass(frozen=True)
class ApplicationStatus:
    """What a site says about one application."""

    name: str
    phase: ApplicationPhase
    message: str
    replicas_ready: int
    replicas_target: int


@dataclass(frozen=True)
class Endpoint:
    """Where a site's ingress listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Notice:
    """A provider's word about one rented node."""

    id: str
    """The same node has the same."""
    pool: str
    ends_s: float
    """When the node is gone, seconds since the epoch."""
    kind: Literal["reclaim", "launch_failed"] = "reclaim"


@dataclass(frozen=True)
class Worker:
    """A place for a replica that a site has asked for, and how far it has come; times by the site's own clock."""

    asked_s: float
    """When it was asked for, seconds since the epoch."""
    node_s: float | None = None
    """Since when it has a node; None: it has none yet."""
    running_s: float | None = None
    """Since when it runs, its image on the node; None: not yet."""


@dataclass(frozen=True)
class SiteObservation:
    """What is known about a site at one moment."""

    site: str
    phase: Phase
    applications: tuple[ApplicationStatus, ...] | None
    """None: the site did not answer, so what it runs is unknown."""
    ingress: Endpoint | None
    at_s: float
    """Wall-clock time of the observation, seconds since the epoch."""
    message: str = ""
    notices: tuple[Notice, ...] = ()
    """In any order, also those that are over; one that was given once is remembered by who reads it."""
    workers: tuple[Worker, ...] | None = None
    """Told while something is missing, by sites whose stages can be seen; None: it is not told."""


@dataclass(frozen=True)
class NodesInUse:
    """Names of the Kubernetes nodes on which pods of the site are."""

    workers: frozenset[str] = frozenset()
    """Those with replicas: each of them is a machine of ours, or it is not known which machine is in use."""
    others: frozenset[str] = frozenset()


class Site(Protocol):
    """A site. All methods are idempotent and safe to repeat after a crash.

    Raises (all but `observe`): serving.errors.SiteUnreachable when the site cannot be reached,
    serving.errors.HcctlError when it refuses.
    """

    @property
    def name(self) -> str: ...

    def observe(self) -> SiteObservation:
        """Look, within about a second; never raises for an unreachable site."""
        ...

    def open(self) -> None:
        """Start renting: launch the cluster and return at once; `observe` tells when it is open."""
        ...

    def close(self) -> None:
        """Stop everything the site runs and wait until it is gone."""
        ...

    def apply(self, applications: tuple[Application, ...]) -> None:
        """Make the site run exactly these applications (declarative, full set)."""
        ...

    def scale(self, application: str, replicas: int) -> None:
        """Set one application's replica target; cheaper than `apply`."""
        ...
