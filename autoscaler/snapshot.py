"""The values a tick starts from. All frozen; nothing here reads a clock or a socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from autoscaler.policy.earlier import NOTHING, Earlier
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.gateway.routes import Track
from serving.project import SiteSpec
from serving.sites.site import ApplicationStatus, SiteObservation
from serving.spec import HybridService
from serving.spec_relief import ReliefLevel


@dataclass(frozen=True)
class TrackSignals:
    """What one track on one site answered over a window."""

    requests: int = 0
    errors: int = 0
    """Answers with a 5xx status, or none at all."""


STEP_S = 5
"""Seconds of one `Step`. Steps begin at multiples of it since the epoch."""


@dataclass(frozen=True)
class Step:
    """Requests of one service that arrived in one step of time."""

    end_s: int
    """Wall clock, seconds since the epoch."""
    requests: float
    """What ended in it, and by how much more waited or was answered at its end than at its beginning."""
    late: float = 0.0
    """Requests that ended in it and had waited so long that the SLO left too little for the answer, or were refused
    for want of room."""


@dataclass(frozen=True)
class Signals:
    """What clients of one service saw at the gateway over the trigger window.

    None means there was no evidence, which is not the same as zero.
    """

    window_s: float
    requests: int = 0
    rate_rps: float = 0.0
    """Over the window, refused requests included."""
    recent_rate_rps: float = 0.0
    """Over the last complete seconds: sees a ramp earlier, with more noise."""
    p50_s: float | None = None
    p99_s: float | None = None
    queue_p99_s: float | None = None
    service_mean_s: float | None = None
    """Mean time a request held a slot (total less queue)."""
    bytes_mean: float | None = None
    """Mean size of an answer."""
    error_share: float | None = None
    refused: int = 0
    """Turned away at the gateway: no site took them, or relief refused them."""
    relief: Mapping[ReliefLevel, int] = field(default_factory=dict)
    """Answered lightly, or refused by priority, per level that did it. None of them is in the times above."""
    recent_relief_rps: Mapping[ReliefLevel, float] = field(default_factory=dict)
    """The same per second, over the last complete seconds."""
    overflow_share: float | None = None
    """Share of the answered requests that a cloud site answered."""
    private_in_use: float | None = None
    """Share of the private slots in use, averaged over the window."""
    queued: int = 0
    """Waiting at the gateway now."""
    in_use: int | None = None
    """Held by all sites now."""
    steps: tuple[Step, ...] = ()
    """The last complete steps in which the gateway was looked at, oldest first: what a forecast is made from."""
    by_site: Mapping[tuple[Track, str], TrackSignals] = field(default_factory=dict)
    """Over the last `OUTLIER_WINDOW_S` seconds only: fast failure must be seen fast."""

    @property
    def light_share(self) -> float | None:
        """Share of the requests that got a light answer."""
        return self.relief.get("light", 0) / self.requests if self.requests else None

    @property
    def shed_share(self) -> float | None:
        """Share of the requests that relief refused."""
        shed = self.relief.get("shed_low", 0) + self.relief.get("shed_normal", 0)
        return shed / self.requests if self.requests else None


@dataclass(frozen=True)
class Hold:
    """Replica counts an operator set by hand (`hcctl scale`)."""

    replicas: Mapping[str, int]
    until_s: float
    reason: str


@dataclass(frozen=True)
class Wanted:
    """The version a command asked for."""

    deployment: str
    """Identity of the request; the same request is served once."""
    version: str
    version_dir: str
    rollback: bool = False
    """Back to a version that has served before: health and probes only, no judging."""


@dataclass(frozen=True)
class ServiceSnapshot:
    """One service at one moment."""

    spec: HybridService
    wanted: Wanted | None
    signals: Signals
    hold: Hold | None = None
    abort: str | None = None
    """Deployment an operator asked to abort."""
    candidate_sample: Mapping[str, TrackSignals] = field(default_factory=dict)
    """Per site, what the candidate answered since its judging began."""
    leaving: bool = False
    """`hcctl remove` asked for it to go."""
    earlier: Earlier = NOTHING
    """What this time of day was like on earlier days."""


@dataclass(frozen=True)
class SiteSnapshot:
    """One site at one moment."""

    spec: SiteSpec
    observation: SiteObservation
    busy: bool = False
    """An action on this site is still running."""

    @cached_property
    def max_nodes(self) -> int:
        """Nodes over all its pools."""
        return self.spec.max_nodes

    @cached_property
    def statuses(self) -> Mapping[str, ApplicationStatus]:
        """What the site says, by application; empty also when it says nothing."""
        return {status.name: status for status in self.observation.applications or ()}

    @cached_property
    def replicas(self) -> Mapping[str, int]:
        """Replicas by service, of all its applications: those that are there or are to come."""
        found = Counter[str]()
        for status in self.statuses.values():
            found[status.name.rpartition("-")[0]] += max(status.replicas_ready, status.replicas_target)
        return found


@dataclass(frozen=True)
class Spend:
    """Rented capacity's spend of one service in the running calendar windows (UTC)."""

    hour_usd: float = 0.0
    day_usd: float = 0.0
    month_usd: float = 0.0


@dataclass(frozen=True)
class ProbeResult:
    """What a site answered to probes of one application."""

    site: str
    application: str
    requests: int
    errors: int
    message: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything a tick decides from."""

    now_s: float
    """Wall clock, seconds since the epoch."""
    services: tuple[ServiceSnapshot, ...]
    sites: Mapping[str, SiteSnapshot]
    """In the order in which the gateway fills them, the private site first."""
    gateway: GatewayObservation | None
    """The latest answer of the gateway, however old; None if there was none yet."""
    stale_after_s: float
    spend: Mapping[str, Spend] = field(default_factory=dict)
    """Per service."""
    probes: tuple[ProbeResult, ...] = ()
    """Probes that finished since the last tick."""
    probing: frozenset[tuple[str, str]] = frozenset()
    """(site, application) pairs whose probes are still running."""
    scaling: Literal["active", "paused", "shadow"] = "active"
    """`paused` by an operator, or `shadow`: decide and record, change nothing."""

    @cached_property
    def private_site(self) -> str:
        """Name of the home site."""
        return next(name for name, site in self.sites.items() if site.spec.role == "private")

    @cached_property
    def stale_reason(self) -> str | None:
        """Why the gateway's signals must not be trusted; None if they are fresh."""
        if self.gateway is None:
            return "the gateway has not answered yet"
        age_s = self.now_s - self.gateway.at_s
        if age_s > self.stale_after_s:
            return f"the gateway has not answered for {age_s:.0f} s"
        return None

    def in_use(self, service: str, site: str, track: Track | None = None) -> int | None:
        """Requests a site holds for a service; None if the gateway does not say."""
        if self.stale_reason is not None or self.gateway is None:
            return None
        servers = self._servers.get(service, ())
        return sum(server.in_use for server in servers if server.site == site and track in (None, server.track))

    def queued(self, service: str) -> int | None:
        """Requests of a service that wait at the gateway; None if it does not say."""
        if self.stale_reason is not None or self.gateway is None:
            return None
        return self.gateway.queued.get(service, 0)

    def slots(self, service: str) -> int | None:
        """Requests that all sites together may hold for a service; None if the gateway does not say."""
        if self.stale_reason is not None or self.gateway is None:
            return None
        return sum(server.limit for server in self._servers.get(service, ()) if server.up)

    def server_up(self, service: str, site: str, track: Track) -> bool | None:
        """Whether the gateway sends to this server; None if it does not say."""
        if self.stale_reason is not None or self.gateway is None:
            return None
        for server in self._servers.get(service, ()):
            if (server.site, server.track) == (site, track):
                return server.up
        return None

    @property
    def _servers(self) -> Mapping[str, Sequence[ServerObservation]]:
        """The gateway's servers, by service."""
        return self.gateway.by_service if self.gateway else {}


OUTLIER_WINDOW_S = 2.0
