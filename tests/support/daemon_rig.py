"""A whole daemon on doubles: fake sites, gateway, clock and memory; one thread, no waiting."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from autoscaler.capacity.hands import Rented
from autoscaler.daemon import Daemon
from autoscaler.handles import InlineExecutor
from autoscaler.observing.history import History
from autoscaler.observing.receiver import RequestLog
from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult, Wanted
from autoscaler.step import Step
from autoscaler.telemetry import Telemetry
from serving.gateway.gateway import RequestRecord
from serving.project import HybridProject
from serving.spec import HybridService
from serving.state import Store
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_site import FakeClock, FakeSite
from tests.support.memory_store import MemoryStore
from tests.support.world import project, service

TICK_S = 0.5


class DaemonRig:
    """Doubles around `Daemon`; `restart` makes a new daemon on the same world, as after kill -9."""

    def __init__(self, *, fleet: HybridProject | None = None, spec: HybridService | None = None) -> None:
        self.fleet, self.spec = fleet or project(), spec or service()
        self.clock = FakeClock(1_800_000_000.0)
        self.store: Store = MemoryStore()
        self.gateway = FakeGateway(self.clock)
        self.sites = {name: FakeSite(name, self.clock) for name in self.fleet.site_order}
        self.requests = RequestLog()
        self.failing_probes: set[str] = set()
        """Versions' applications whose probes fail."""
        self.rented: dict[str, Rented] = {}
        """Machines of sites, for the next daemon."""
        self.last: Step | None = None
        self.telemetry: Telemetry | None = None
        """Of the next daemon; its own if unset."""
        self.past: History | None = None
        self.restart()

    def restart(self, *, shadow: bool = False) -> None:
        """A new daemon, which knows only what is stored and what it sees."""
        self.requests = RequestLog()
        self.daemon = Daemon(
            self.fleet,
            store=self.store,
            sites=self.sites,
            gateway=self.gateway,
            requests=self.requests,
            prober=self._probe,
            executor=InlineExecutor(),
            clock=self.clock,
            shadow=shadow,
            rented=self.rented,
            telemetry=self.telemetry,
            past=self.past,
        )
        self.daemon.resume()

    def deploy(self, version: str) -> None:
        """Write the intent that `hcctl deploy` would."""
        wanted = Wanted(f"deploy-{version}", version, f"/versions/{version}")
        self.intent(self.spec.model_dump(mode="json", by_alias=True), asdict(wanted))

    def intent(self, spec: Any, wanted: Any) -> None:
        """Write a service intent as it is."""
        body = {"spec": spec, "wanted": wanted}
        self.store.put_intent("service", self.spec.name, body, expected_revision=None, at_s=self.clock())

    def run(self, seconds: float) -> None:
        """Tick for some time."""
        for _ in range(int(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            self.last = self.daemon.tick()

    def load(self, seconds: float, *, rate_rps: int, total_s: float, queue_s: float = 0.0) -> None:
        """Tick while the gateway reports requests answered by the private site."""
        for _ in range(int(seconds)):
            for _ in range(rate_rps):
                record = RequestRecord(
                    self.spec.name, "stable", "private", 200, queue_s, total_s, "--", 100, "id", self.clock() - total_s
                )
                self.requests.add(record)
            self.run(1.0)

    def actions(self) -> list[str]:
        """Actions in the decision log, oldest first."""
        return [str(d.body["action"]) for d in reversed(self.store.decisions(limit=1_000))]

    def _probe(self, action: ProbeApplication) -> ProbeResult:
        failed = action.application in self.failing_probes
        return ProbeResult(action.site, action.application, action.requests, action.requests if failed else 0, "")
