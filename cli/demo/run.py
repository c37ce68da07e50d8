"""The demo, from nothing to a burst that opened and came home.

Start the project and train beside it, push, deploy, replay a shop's day with a flash sale,
watch, wait until the rented site is closed, judge, report, stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.snapshot import Wanted
from cli import intents, output, wiring
from cli.commands.down import stop
from cli.commands.up import start, wait_until_up
from cli.context import Project, load_service
from cli.demo import workspace
from cli.demo.arrivals import poisson_arrivals, shape
from cli.demo.outcome import ReplayResult, Snapshot
from cli.demo.replay_process import replay_in_process
from cli.demo.verdict import Check, Sample, checks
from serving.errors import HcctlError
from serving.spec import HybridService
from serving.state import Decision, Store

DURATION_S = 170.0
SALE_AT_S = 20.0
SALE_HOLD_S = 100.0
BASE_RPS = 18.0
PEAK_RPS = 140.0
HOME_TIMEOUT_S = 90.0
POLL_S = 0.5
CLOUD = "cloud"


@dataclass
class Demo:
    """What a demo run gathers."""

    project: Project
    service: HybridService
    trained: workspace.Trained
    version: str
    result: ReplayResult
    samples: list[Sample]
    decisions: list[Decision]
    checks: list[Check]
    times_s: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Every check holds."""
        return all(check.ok for check in self.checks)


Watch = Callable[[Sample, Snapshot | None, list[Decision]], None]


def run(folder: Path, *, data: Path | None, seed: int, keep: bool, watch: Watch) -> Demo:
    """Run the demo in `folder`; everything it started is stopped again unless `keep`.

    Raises:
        InvalidInput: the folder or the data cannot be used.
        HcctlError: a part did not start; nothing is left running.
    """
    begun_s = time.monotonic()
    times_s: dict[str, float] = {}

    def lap(name: str) -> None:
        times_s[name] = round(time.monotonic() - begun_s, 1)

    project = workspace.prepare(folder)
    output.progress(f"project in {project.paths.root}; training the recommender while the private site starts")
    training = workspace.Training(project, data, seed)
    try:
        start(project)
        wait_until_up(project, 180.0)
        lap("private site open")
        trained = training.result()
        lap("trained")
        service = load_service(None, project)
        output.progress(
            f"both sites share this computer; its accelerator is emulated: {service.model.max_batch_size} requests "
            f"hold a replica for {service.model.emulated_accelerator_s:g} s"
        )
        version = workspace.push(wiring.registry(project.paths), trained, service.name)
        with wiring.store(project.paths) as store:
            _deploy(project, store, service, version)
            lap("deployed")
            observer = Observer(store, service, watch)
            result = _replay(project, trained, seed, observer)
            lap("replayed")
            observer.until_home()
            lap("home")
            decisions = list(reversed(store.decisions(limit=1_000)))
    finally:
        training.stop()
        if not keep:
            stop(project)
    lap("stopped")
    found = checks(
        result,
        observer.samples,
        cloud=CLOUD,
        slo_s=service.slo.latency_p99_s,
        sale_at_s=SALE_AT_S,
        sale_until_s=SALE_AT_S + SALE_HOLD_S,
    )
    return Demo(project, service, trained, version, result, observer.samples, decisions, found, times_s)


def _deploy(project: Project, store: Store, service: HybridService, version: str) -> None:
    directory = str(wiring.registry(project.paths).directory(version))
    wanted = Wanted(intents.new_deployment(), version, directory)
    intents.request(store, service, wanted, 0)
    intents.watch_release(
        store,
        wanted.deployment,
        timeout_s=180.0,
        say=lambda text: output.progress(f"deploy: {text}"),
        alive=lambda: wiring.daemon_alive(project.paths),
    )


def _replay(project: Project, trained: workspace.Trained, seed: int, observer: Observer) -> ReplayResult:
    curve = shape(
        trained.hour_counts,
        duration_s=DURATION_S,
        base_rps=BASE_RPS,
        peak_rps=PEAK_RPS,
        sale_at_s=SALE_AT_S,
        sale_hold_s=SALE_HOLD_S,
    )
    url = wiring.endpoint(project)
    if url is None:
        raise HcctlError("the gateway has no port yet", where=str(project.paths.root))
    arrivals = poisson_arrivals(curve, seed)
    output.progress(f"replaying {len(arrivals):,} requests of a shop's day; the flash sale begins at {SALE_AT_S:g} s")
    customers = workspace.requests(trained, seed)
    return asyncio.run(replay_in_process(url, arrivals.tolist(), customers, on_tick=observer.tick))


class Observer:
    """Samples the project twice a second, as the replay's clock goes."""

    def __init__(self, store: Store, service: HybridService, watch: Watch) -> None:
        self.samples: list[Sample] = []
        self._store = store
        self._service = service
        self._watch = watch
        self._last: Snapshot | None = None
        self._last_at_s = 0.0

    def tick(self, snapshot: Snapshot) -> None:
        """Take one sample beside the replay's own figures."""
        self._last, self._last_at_s = snapshot, time.monotonic()
        self._sample(snapshot.t_s, snapshot)

    def until_home(self) -> None:
        """Go on sampling after the replay until no rented site is open, or the time is over."""
        deadline_s = time.monotonic() + HOME_TIMEOUT_S
        offset_s = self._last.t_s - self._last_at_s if self._last else -time.monotonic()
        while time.monotonic() < deadline_s and not (self.samples and self.samples[-1].phases[CLOUD] == "closed"):
            time.sleep(POLL_S)
            self._sample(time.monotonic() + offset_s, None)

    def _sample(self, t_s: float, snapshot: Snapshot | None) -> None:
        document = self._store.observation("service", self._service.name)
        if document is None:
            return
        body: dict[str, Any] = dict(document.body)
        now_s = time.time()
        rent = sum(_accrued(e.usd, e.start_s, e.end_s, now_s) for e in self._store.ledger())
        sites = body["sites"]
        sample = Sample(
            t_s=t_s,
            rate_rps=snapshot.rate_rps if snapshot else 0.0,
            p50_s=snapshot.p50_s if snapshot else None,
            p99_s=snapshot.p99_s if snapshot else None,
            queued=int(body["signals"]["queued"]),
            replicas={name: sum(site["ready"].values()) for name, site in sites.items()},
            limits={name: int(site["limit"]) for name, site in sites.items()},
            phases={name: str(site["phase"]) for name, site in sites.items()},
            rented_usd=rent,
        )
        self.samples.append(sample)
        self._watch(sample, snapshot, list(reversed(self._store.decisions(limit=5))))


def _accrued(usd: float, start_s: float, end_s: float, now_s: float) -> float:
    """The part of a ledger entry whose time has passed; the minimum billing is booked ahead."""
    return usd * min(1.0, (now_s - start_s) / (end_s - start_s)) if end_s > start_s else usd
