"""A world for the daemon's pure step: sites with lead times, a gateway, clients, failures by script.

Deterministic and without I/O. In each tick the world is checked against what must hold whatever
happens: see `World.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import TypeAdapter

from autoscaler.money.cost import spend
from autoscaler.plan import CloseSite, Decision, ProbeApplication, SiteAction
from autoscaler.routing.placement import all_rooms, placements
from autoscaler.snapshot import ProbeResult, ServiceSnapshot, SiteSnapshot, Snapshot, TrackSignals
from autoscaler.state import DaemonState, Release, ServiceState
from autoscaler.step import Step, step
from serving.gateway.gateway import GatewayObservation
from serving.gateway.routes import TRACKS, Track
from serving.project import HybridProject
from serving.sites.site import Endpoint, SiteObservation
from serving.spec import HybridService
from serving.state import LedgerEntry
from tests.support.clients import Clients
from tests.support.declared import project, service
from tests.support.world_sites import WorldSite

START_S = 1_800_000_000.0
"""A full hour, so that calendar windows begin with the test."""
_STATE = TypeAdapter(DaemonState)


class World:
    """Sites, gateway and clients around `step`."""

    def __init__(
        self,
        spec: HybridService | None = None,
        *,
        fleet: HybridProject | None = None,
        rate_rps: Callable[[float], float] = lambda _: 0.0,
        service_s: float = 0.1,
        others: tuple[Clients, ...] = (),
        lead_s: float = 20.0,
        load_s: float = 5.0,
        tick_s: float = 0.5,
        start_s: float = START_S,
    ) -> None:
        self.project = fleet or project()
        self.clients = (Clients(spec or service(), rate_rps, service_s), *others)
        for clients in self.clients:
            clients.epoch_s = start_s
        self.lead_s, self.load_s, self.tick_s = lead_s, load_s, tick_s
        self.start_s = self.now_s = start_s
        self.state = DaemonState()
        self.sites = {name: WorldSite() for name in self.project.site_order}
        self.scaling = "active"
        self.gateway_blind = False
        self.restarts_each_tick = False
        """Store the state and read it back between ticks, as a daemon that is killed each time would."""
        self.bad_versions: dict[str, str] = {}
        """Version -> fails to `load`, `probe` or `err` (under traffic)."""
        self.failing_sites: dict[str, float] = {}
        """Site -> share of its answers that are errors."""
        self.stuck: set[str] = set()
        """Versions whose replicas beyond the first never get ready."""
        self.decisions: list[tuple[float, Decision]] = []
        self.actions: list[tuple[float, SiteAction]] = []
        self.finished: list[Release] = []
        self.ledger: dict[tuple[str, str, str, float], LedgerEntry] = {}
        self.violations: list[str] = []
        self.last: Step | None = None
        self.snapshot: Snapshot | None = None
        self._gateway: GatewayObservation | None = None
        self._results: tuple[ProbeResult, ...] = ()

    # -- what a test does and asks --

    @property
    def at_s(self) -> float:
        """Seconds since the start."""
        return self.now_s - self.start_s

    @property
    def shop(self) -> Clients:
        """Clients of the first service."""
        return self.clients[0]

    def deploy(self, version: str, **how: object) -> None:
        """Ask for a version of the first service."""
        self.shop.deploy(version, **how)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, or until something holds; whether it came to hold."""
        for _ in range(round(seconds / self.tick_s)):
            self.tick()
            if until is not None and until():
                return True
        return until is None

    def reasons(self, action: str, since_s: float = 0.0) -> list[str]:
        """Reasons of all decisions of a kind."""
        return [decision.reason for at_s, decision in self.decided(since_s) if decision.action == action]

    def decided(self, since_s: float = 0.0) -> list[tuple[float, Decision]]:
        """Decisions since so many seconds after the start."""
        return [(at_s, decision) for at_s, decision in self.decisions if at_s >= since_s]

    @property
    def mine(self) -> ServiceState:
        """The daemon's state of the first service."""
        return self.state.services[self.shop.spec.name]

    @property
    def targets(self) -> dict[str, int]:
        """Targets in force of the first service."""
        return dict(self.mine.targets)

    @property
    def phase(self) -> str:
        """Phase of the release in progress; empty without one."""
        return self.mine.release.phase if self.mine.release else ""

    @property
    def verdicts(self) -> list[str]:
        """How the releases ended."""
        return [str(release.verdict) for release in self.finished]

    def serving(self, site: str) -> dict[str, int]:
        """Ready replicas by version."""
        found: dict[str, int] = {}
        for run in self.sites[site].apps.values():
            found[run.application.version] = found.get(run.application.version, 0) + run.ready
        return found

    def ready(self, site: str) -> int:
        """Ready replicas on a site, of any version and service."""
        return sum(self.serving(site).values())

    @property
    def spent_usd(self) -> float:
        """Everything on the ledger."""
        return sum(entry.usd for entry in self.ledger.values())

    def usd_between(self, start_s: float, end_s: float) -> float:
        """Spend inside a span of wall-clock time."""
        total = 0.0
        for entry in self.ledger.values():
            inside_s = min(entry.end_s, end_s) - max(entry.start_s, start_s)
            if inside_s > 0:
                total += entry.usd * inside_s / (entry.end_s - entry.start_s)
        return total

    # -- the world --

    def tick(self) -> Step:
        """One tick of the world, then one step of the daemon."""
        self.now_s += self.tick_s
        for site in self.sites.values():
            site.advance(self.now_s, self._broken, self.stuck)
        self._serve()
        self.snapshot = self._look()
        if self.restarts_each_tick:
            self.state = _STATE.validate_python(_STATE.dump_python(self.state, mode="json"), strict=False)
        self.last = step(self.snapshot, self.state)
        self.state = self.last.state
        self.decisions += [(self.at_s, decision) for decision in self.last.plan.decisions]
        self.finished += [release for _, release in self.last.finished]
        for entry in self.last.ledger:
            self.ledger[(entry.site, entry.pool, entry.service, entry.start_s)] = entry
        self.check()
        for action in self.last.plan.site_actions:
            self.actions.append((self.at_s, action))
            self._act(action)
        self._results = tuple(self._probe(probe) for probe in self.last.plan.probes)
        return self.last

    def check(self) -> None:
        """Note what must never be: routes beyond what serves, and sites with more than they hold."""
        assert self.last is not None
        assert self.snapshot is not None
        for routes in self.last.plan.routes:
            for track in TRACKS:
                route = routes.stable if track == "stable" else routes.candidate
                for server in route.servers:
                    self._check_limit(route.path_prefix.strip("/"), server.site, server.limit)
        rooms = all_rooms(self.state, self.snapshot)
        for site in self.sites:
            size = self.project.sites[site].max_nodes
            placed = 0
            for seen in self.snapshot.services:
                name = seen.spec.name
                mine = placements(seen, self.state.services[name], self.snapshot, rooms[name]).get(site)
                placed += mine.stable + mine.candidate if mine else 0
            targets = sum(mine.targets.get(site, 0) for mine in self.state.services.values())
            if max(placed, targets) > size:
                self._violation(f"{site} has {size} nodes; targets {targets}, placed {placed}")

    def _check_limit(self, application: str, site: str, limit: int) -> None:
        if limit == 0 or not self.sites[site].in_sight:  # out of sight, what was last seen is kept
            return
        slots = self.sites[site].slots(application)
        if limit > slots:
            self._violation(f"limit {limit} on {site} for {application}, which has {slots} slots")
        if application not in self.sites[site].probed:
            self._violation(f"limit {limit} on {site} for {application}, which was not probed")

    def _violation(self, text: str) -> None:
        self.violations.append(f"{self.at_s:.1f} s: {text}")

    def _look(self) -> Snapshot:
        return Snapshot(
            now_s=self.now_s,
            services=tuple(self._service(clients) for clients in self.clients),
            sites={name: self._seen(name) for name in self.sites},
            gateway=self._gateway,
            stale_after_s=max(5.0, 2 * self.tick_s),
            spend={
                clients.spec.name: spend(
                    [entry for entry in self.ledger.values() if entry.service == clients.spec.name], self.now_s
                )
                for clients in self.clients
            },
            probes=self._results,
            scaling=self.scaling,
        )

    def _service(self, clients: Clients) -> ServiceSnapshot:
        sample = {site: TrackSignals(int(n), int(errors)) for site, (n, errors) in clients.sample.items()}
        return ServiceSnapshot(
            clients.spec, clients.wanted, clients.signals(self.tick_s), clients.hold, clients.abort, sample
        )

    def _seen(self, name: str) -> SiteSnapshot:
        site = self.sites[name]
        endpoint = Endpoint("127.0.0.1", 1000) if site.phase == "open" else None
        said = tuple(site.notices) if site.in_sight else ()
        seen = SiteObservation(name, site.phase, site.statuses(self._broken), endpoint, self.now_s, notices=said)
        return SiteSnapshot(self.project.sites[name], seen)

    @property
    def _broken(self) -> set[str]:
        return {version for version, fault in self.bad_versions.items() if fault == "load"}

    def _act(self, action: SiteAction) -> None:
        if isinstance(action, CloseSite):
            for clients in self.clients:  # what is still in flight is lost
                clients.cut += round(sum(n for (_, site), n in clients.in_use.items() if site == action.site))
        self.sites[action.site].act(action, self.now_s, lead_s=self.lead_s, load_s=self.load_s)

    def _probe(self, probe: ProbeApplication) -> ProbeResult:
        site = self.sites[probe.site]
        run = site.apps.get(probe.application)
        bad = run is None or run.ready == 0 or self.bad_versions.get(run.application.version) == "probe"
        bad = bad or self.failing_sites.get(probe.site, 0.0) > 0
        if not bad:
            site.probed.add(probe.application)
        errors = probe.requests if bad else 0
        return ProbeResult(probe.site, probe.application, probe.requests, errors, "status 500" if bad else "")

    def _serve(self) -> None:
        """One tick of all clients, on the routes of the last step."""
        plan = {routes.service.name: routes for routes in self.last.plan.routes} if self.last else {}
        for clients in self.clients:
            routes = plan.get(clients.spec.name)
            slots, names = {}, {}
            for track in TRACKS:
                route = (routes.stable if track == "stable" else routes.candidate) if routes else None
                names[track] = route.path_prefix.strip("/") if route else ""
                for site in self.sites:
                    slots[track, site] = self.sites[site].slots(names[track])
            self._forget_sample(clients)
            clients.serve(self.at_s, self.tick_s, routes, slots, self._error_share(names))
        if not self.gateway_blind:
            servers = tuple(server for clients in self.clients for server in clients.servers())
            queued = {clients.spec.name: round(sum(clients.queue.values())) for clients in self.clients}
            self._gateway = GatewayObservation(servers, queued, self.now_s)

    def _error_share(self, names: Mapping[Track, str]) -> Callable[[Track, str], float]:
        def share(track: Track, site: str) -> float:
            run = self.sites[site].apps.get(names[track])
            if run and self.bad_versions.get(run.application.version) == "err":
                return 1.0
            return self.failing_sites.get(site, 0.0)

        return share

    def _forget_sample(self, clients: Clients) -> None:
        """As the daemon does: a candidate's sample begins when its judging begins."""
        mine = self.state.services.get(clients.spec.name)
        release = mine.release if mine else None
        if release is None or (release.phase == "judging" and release.phase_since_s >= self.now_s - self.tick_s):
            clients.sample = {}
