"""A small seeded-free world for the daemon's pure step: fluid queue, lead times, failures by script.

One tick is half a second. The private site is filled first, as the gateway does; what no slot
takes waits in one queue. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from autoscaler.cost import spend
from autoscaler.plan import ApplyApplications, CloseSite, Decision, OpenSite, ProbeApplication, ScaleApplication
from autoscaler.snapshot import (
    Hold,
    ProbeResult,
    ServiceSnapshot,
    Signals,
    SiteSnapshot,
    Snapshot,
    Spend,
    TrackSignals,
    Wanted,
)
from autoscaler.state import DaemonState, Release
from autoscaler.step import Step, step
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.project import HybridProject
from serving.sites.site import Application, ApplicationStatus, Endpoint, SiteObservation
from serving.spec import HybridService
from serving.state import LedgerEntry

TICK_S = 0.5
START_S = 1_800_000_000.0

PROJECT = {
    "kind": "HybridProject",
    "name": "shop",
    "sites": {
        "private": {
            "role": "private",
            "pools": [
                {
                    "name": "owned",
                    "kind": "fixed",
                    "max_nodes": 4,
                    "power_kw_per_gpu": 0.3,
                    "tariff_usd_per_kwh": 0.2,
                    "opportunity_usd_per_gpu_hour": 0.1,
                }
            ],
        },
        "cloud": {
            "role": "cloud",
            "pools": [
                {
                    "name": "g5",
                    "kind": "on_demand",
                    "max_nodes": 6,
                    "price_usd_per_hour": 1.0,
                    "min_billing_s": 60.0,
                    "lead_time_s": 40.0,
                }
            ],
        },
    },
}

SERVICE = {
    "kind": "HybridService",
    "name": "shop",
    "model": {"import_path": "shop:Model", "slots_per_replica": 4, "drain_s": 5.0},
    "slo": {"latency_p99_s": 0.5},
    "sites": {"private": {"min_replicas": 1, "max_replicas": 4}, "cloud": {"max_replicas": 6}},
    "burst": {"calm_s": 30.0, "cooldown_s": 2.0},
    "release": {"judge_s": 2.0, "probe_requests": 5, "min_sample": 10},
}


def project(**changes: object) -> HybridProject:
    """The test project."""
    return HybridProject.model_validate(merged(PROJECT, changes))


def service(**changes: object) -> HybridService:
    """The test service with changed fields (nested mappings are merged)."""
    return HybridService.model_validate(merged(SERVICE, changes))


def merged(base: dict, changes: dict) -> dict:
    """`changes` laid over `base`, mapping by mapping."""
    out = dict(base)
    for key, value in changes.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


@dataclass
class Running:
    """One application on a site."""

    application: Application
    ready: int = 0
    ready_at_s: float = 0.0
    target: int = 1


@dataclass
class WorldSite:
    """One site as it really is."""

    phase: str = "closed"
    opens_at_s: float = 0.0
    apps: dict[str, Running] = field(default_factory=dict)
    in_sight: bool = True


class World:
    """Sites, gateway and clients around `step`."""

    def __init__(
        self,
        spec: HybridService | None = None,
        *,
        fleet: HybridProject | None = None,
        rate_rps: Callable[[float], float] = lambda _: 0.0,
        service_s: float = 0.1,
        lead_s: float = 20.0,
        load_s: float = 5.0,
    ) -> None:
        self.spec = spec or service()
        self.project = fleet or project()
        self.rate_rps, self.service_s, self.lead_s, self.load_s = rate_rps, service_s, lead_s, load_s
        self.now_s = START_S
        self.state = DaemonState()
        self.sites = {name: WorldSite() for name in self.project.site_order}
        self.wanted: Wanted | None = None
        self.hold: Hold | None = None
        self.abort: str | None = None
        self.scaling = "active"
        self.gateway_blind = False
        self.last_gateway: GatewayObservation | None = None
        self.queue = 0.0
        self.history: list[tuple[float, float]] = []  # (rate, wait) per tick
        self.decisions: list[tuple[float, Decision]] = []
        self.finished: list[Release] = []
        self.ledger: dict[tuple, LedgerEntry] = {}
        self.results: list[ProbeResult] = []
        self.bad_versions: dict[str, str] = {}  # version -> fails to `load`, `probe` or `err`
        self.failing_sites: dict[str, float] = {}  # site -> share of answers that are errors
        self.served = dict.fromkeys(self.sites, 0.0)
        self.candidate_seen: dict[str, list[float]] = {}
        self.last: Step | None = None

    # -- what a test does --

    def deploy(self, version: str, *, deployment: str | None = None, rollback: bool = False) -> None:
        """Ask for a version."""
        self.candidate_seen = {}
        self.wanted = Wanted(deployment or f"deploy-{version}", version, f"/versions/{version}", rollback)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let time pass, or until something holds."""
        for _ in range(int(seconds / TICK_S)):
            self.tick()
            if until is not None and until():
                return

    def reasons(self, action: str) -> list[str]:
        """Reasons of all decisions of a kind."""
        return [decision.reason for _, decision in self.decisions if decision.action == action]

    @property
    def mine(self):
        """The daemon's state of the service."""
        return self.state.services[self.spec.name]

    @property
    def targets(self) -> dict[str, int]:
        """Targets in force."""
        return dict(self.mine.targets)

    def ready(self, site: str) -> int:
        """Replicas ready on a site, of any version."""
        return sum(running.ready for running in self.sites[site].apps.values())

    # -- the world --

    def tick(self) -> Step:
        """Half a second of the world, then one step of the daemon."""
        self.now_s += TICK_S
        self._sites()
        signals, gateway = self._serve()
        if not self.gateway_blind:
            self.last_gateway = gateway
        snapshot = Snapshot(
            now_s=self.now_s,
            services=(
                ServiceSnapshot(
                    self.spec,
                    self.wanted,
                    signals,
                    self.hold,
                    self.abort,
                    {site: TrackSignals(int(n), int(e)) for site, (n, e) in self.candidate_seen.items()},
                ),
            ),
            sites={name: self._seen(name) for name in self.sites},
            gateway=self.last_gateway,
            stale_after_s=5.0,
            spend={self.spec.name: spend(self.ledger.values(), self.now_s) if self.ledger else Spend()},
            probes=tuple(self.results),
            scaling=self.scaling,
        )
        self.results = []
        self.last = step(snapshot, self.state)
        self.state = self.last.state
        self.decisions += [(self.now_s, decision) for decision in self.last.plan.decisions]
        self.finished += [release for _, release in self.last.finished]
        for entry in self.last.ledger:
            self.ledger[(entry.site, entry.pool, entry.service, entry.start_s)] = entry
        for action in self.last.plan.site_actions:
            self._act(action)
        self.results = [self._probe(probe) for probe in self.last.plan.probes]
        return self.last

    def _seen(self, name: str) -> SiteSnapshot:
        site = self.sites[name]
        apps = tuple(
            ApplicationStatus(
                app_name,
                "failed"
                if self.bad_versions.get(run.application.version) == "load"
                else "running"
                if run.ready
                else "starting",
                "import failed" if self.bad_versions.get(run.application.version) == "load" else "",
                run.ready,
                run.target,
            )
            for app_name, run in site.apps.items()
        )
        return SiteSnapshot(
            self.project.sites[name],
            SiteObservation(
                name,
                site.phase,
                apps if site.in_sight and site.phase == "open" else None if site.phase == "open" else (),
                Endpoint("127.0.0.1", 1000) if site.phase == "open" else None,
                self.now_s,
            ),
        )

    def _sites(self) -> None:
        for site in self.sites.values():
            if site.phase == "opening" and self.now_s >= site.opens_at_s:
                site.phase = "open"
            for run in site.apps.values():
                if run.ready > run.target:
                    run.ready = run.target
                elif run.ready < run.target and self.now_s >= run.ready_at_s:
                    run.ready = 0 if self.bad_versions.get(run.application.version) == "load" else run.target

    def _act(self, action: object) -> None:
        site = self.sites[action.site]
        if isinstance(action, OpenSite):
            site.phase, site.opens_at_s, site.apps = "opening", self.now_s + self.lead_s, {}
        elif isinstance(action, CloseSite):
            site.phase, site.apps = "closed", {}
        elif isinstance(action, ApplyApplications):
            names = {app.name for app in action.applications}
            site.apps = {name: run for name, run in site.apps.items() if name in names}
            for app in action.applications:
                run = site.apps.setdefault(app.name, Running(app, ready_at_s=self.now_s + self.load_s))
                run.target = app.replicas
        elif isinstance(action, ScaleApplication):
            run = site.apps[action.application]
            run.target, run.ready_at_s = action.replicas, self.now_s + self.load_s

    def _probe(self, probe: ProbeApplication) -> ProbeResult:
        run = self.sites[probe.site].apps.get(probe.application)
        bad = run is None or self.bad_versions.get(run.application.version) == "probe"
        bad = bad or self.failing_sites.get(probe.site, 0) > 0
        return ProbeResult(
            probe.site, probe.application, probe.requests, probe.requests if bad else 0, "status 500" if bad else ""
        )

    def _serve(self) -> tuple[Signals, GatewayObservation]:
        """One tick of a fluid queue: private slots first, then cloud, the rest waits."""
        rate = self.rate_rps(self.now_s - START_S)
        routes = self.last.plan.routes[0] if self.last and self.last.plan.routes else None
        limits = {site: {"stable": 0, "candidate": 0} for site in self.sites}
        if routes:
            for track_name in ("stable", "candidate"):
                for server in getattr(routes, track_name).servers:
                    if self.sites[server.site].phase == "open":
                        limits[server.site][track_name] = server.limit
        share = routes.candidate_share if routes else 0.0
        shares = {"candidate": share, "stable": 1.0 - share}
        capacity_rps = sum(sum(tracks.values()) for tracks in limits.values()) / self.service_s
        arrived = rate * TICK_S + self.queue
        servers, by_site, busy, taken = [], {}, 0.0, 0.0
        for track in ("candidate", "stable"):
            left = arrived * shares[track] / TICK_S * self.service_s
            for site, tracks in limits.items():
                used = min(left, tracks[track])
                left -= used
                busy += used
                taken += used / self.service_s * TICK_S
                self._count(track, site, used, routes, by_site)
                servers.append(ServerObservation("shop", track, site, True, tracks[track], round(used)))
        self.queue = min(arrived - taken, rate * 2.0)
        wait_s = self.queue / capacity_rps if capacity_rps else (2.0 if rate else 0.0)
        self.history = [*self.history, (rate, wait_s)][-20:]
        waits = [wait for _, wait in self.history]
        mean_rate = sum(r for r, _ in self.history) / len(self.history)
        answered = max(1e-9, sum(s.requests for s in by_site.values()))
        cloud = sum(s.requests for (_, site), s in by_site.items() if site != "private")
        private_limit = sum(limits["private"].values())
        has = mean_rate > 0
        signals = Signals(
            window_s=10.0,
            requests=round(mean_rate * 10),
            rate_rps=mean_rate,
            recent_rate_rps=sum(r for r, _ in self.history[-6:]) / len(self.history[-6:]),
            p50_s=self.service_s if has else None,
            p99_s=max(waits) + self.service_s if has else None,
            queue_p99_s=max(waits) if has else None,
            service_mean_s=self.service_s if has and busy else None,
            bytes_mean=1000.0,
            error_share=0.0,
            overflow_share=cloud / answered if has else None,
            private_in_use=min(1.0, busy / private_limit) if private_limit else None,
            queued=round(self.queue),
            by_site=by_site,
        )
        return signals, GatewayObservation(tuple(servers), {"shop": round(self.queue)}, self.now_s)

    def _count(self, track: str, site: str, used: float, routes, by_site: dict) -> None:
        """What a server answered in the last two seconds, and whether it was an error."""
        count = used / self.service_s * 2.0
        errors = count * self.failing_sites.get(site, 0.0)
        if self.bad_versions.get(self._version(site, routes, track)) == "err":
            errors = count
        by_site[(track, site)] = TrackSignals(round(count), round(errors))
        if track == "candidate":
            seen = self.candidate_seen.setdefault(site, [0.0, 0.0])
            seen[0] += count / 4
            seen[1] += errors / 4
        self.served[site] += used / self.service_s * TICK_S

    def _version(self, site: str, routes, track: str) -> str:
        if routes is None:
            return ""
        prefix = getattr(routes, track).path_prefix.strip("/")
        run = self.sites[site].apps.get(prefix)
        return run.application.version if run else ""


def with_spec(world: World, **changes: object) -> None:
    """Change the declared service in place, as a new intent would."""
    world.spec = replace_spec(world.spec, **changes)


def replace_spec(spec: HybridService, **changes: object) -> HybridService:
    """The spec with changed fields."""
    return HybridService.model_validate(merged(spec.model_dump(mode="json"), changes))


__all__ = ["START_S", "World", "merged", "project", "replace", "replace_spec", "service", "with_spec"]
