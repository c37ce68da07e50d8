"""How fast the loop reacts: real bursts on a real project, from the first late request to the cloud's first answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autoscaler.snapshot import Wanted
from benchmarks.child import environment
from benchmarks.figures import Figure, Goal, Section, quantile
from benchmarks.stand import CLOUD as CLOUD_SITE
from benchmarks.stand import PRIVATE, Stand, gateway_process, service, stand, wait
from cli import intents, wiring
from cli.commands.up import wait_until_up
from cli.demo.outcome import ReplayResult
from cli.demo.replay import Request
from cli.demo.replay_process import replay_in_process
from serving.paths import private_dir
from serving.spec import HybridService
from serving.sqlite_store import SqliteStore

QUIET_RPS, BURST_RPS = 20.0, 110.0
QUIET_S, BURST_S = 12.0, 55.0
"""Long enough for a cloud site to open and answer within the burst."""
CLOUD = "cloud"
LOOK_S = 0.05
UP_TIMEOUT_S = 180.0
HOME_TIMEOUT_S = 120.0

HOW = f"""\
A private site of one replica (4 slots; a batch of at most 4 holds it 0.05 s, so about 75 requests/s) and a closed
cloud site; the latency triggers of `service.yaml` at their defaults (window 10 s, a breach counts after 1 s), SLO
p99 0.5 s. Requests arrive as a Poisson stream whose rate steps from {QUIET_RPS:g}/s to {BURST_RPS:g}/s, which opens the cloud;
when it has come home the next burst begins. Times come from the load generator (when each request was due and
answered, and by which site), from the decision log, and from looking at the cloud site every {LOOK_S:g} s as the daemon
does. A request is late when it has waited the SLO's latency for its answer. Ticks are those during bursts."""


@dataclass(frozen=True)
class Burst:
    """One burst; times in seconds since the epoch."""

    step_s: float
    """The rate steps up."""
    late_s: float
    """The first request is late."""
    decided_s: float
    """The decision to add capacity is in the log."""
    ready_s: float
    """The cloud site is seen with a ready replica."""
    answered_s: float
    """The first request is answered by the cloud."""
    end_s: float
    lost: int


def run(*, bursts: int, say: Callable[[str], None]) -> Section:
    """Bursts one after the other, each when the one before has come home."""
    spec, seen = declared(), list[Burst]()
    with stand(private=PRIVATE, cloud=CLOUD_SITE) as at:
        times_file = at.project.paths.root / "ticks"
        with gateway_process(at.project), _daemon(at, times_file), wiring.store(at.project.paths) as store:
            say("starting the project")
            wait_until_up(at.project, UP_TIMEOUT_S)
            _deploy(at, store, spec)
            for number in range(bursts):
                say(f"burst {number + 1} of {bursts}")
                seen.append(_burst(at, store, spec, seed=number))
                wait(lambda: at.sites[CLOUD].observe().phase == "closed", "the way home", HOME_TIMEOUT_S)
        lines = [line.split() for line in times_file.read_text().splitlines()]
    return section(seen, [(float(at_s), float(took_s)) for at_s, took_s in lines])


def declared() -> HybridService:
    """The service under test."""
    return service(
        "shop",
        "benchmarks.models:Held",
        [],
        model={"slots_per_replica": 4, "max_batch_size": 4, "emulated_accelerator_s": 0.05, "drain_s": 5.0},
        sites={"private": {"min_replicas": 1, "max_replicas": 1}, CLOUD: {"max_replicas": 2}},
        routing={"rules": [{"path": "/", "idempotent": True}], "queue_timeout_s": 60.0, "max_queue": 10_000},
        burst={"calm_s": 3.0, "cooldown_s": 1.0},
    )


def section(bursts: list[Burst], ticks: list[tuple[float, float]]) -> Section:
    """Figures and goals from all bursts."""
    during = [
        sorted(1_000 * took_s for at_s, took_s in ticks if burst.step_s <= at_s <= burst.end_s) for burst in bursts
    ]
    decided = tuple(burst.decided_s - burst.late_s for burst in bursts)
    answered = tuple(burst.answered_s - burst.ready_s for burst in bursts)
    p99_ms = tuple(quantile(took_ms, 0.99) for took_ms in during)
    figures = (
        Figure("from the step in the load to the first late request", "s", tuple(b.late_s - b.step_s for b in bursts)),
        Figure("from the step in the load to the decision", "s", tuple(b.decided_s - b.step_s for b in bursts)),
        Figure("from the first late request to the decision", "s", decided),
        Figure("from the decision to the cloud replica ready", "s", tuple(b.ready_s - b.decided_s for b in bursts)),
        Figure("from the replica ready to its first answer", "s", answered),
        Figure("a tick, p50", "ms", tuple(quantile(took_ms, 0.50) for took_ms in during)),
        Figure("a tick, p99", "ms", p99_ms),
        Figure("requests lost or refused", "of a burst", tuple(float(burst.lost) for burst in bursts)),
    )
    goals = (
        Goal("from the first late request to the decision", "s", 3.0, "at most", decided),
        Goal("from capacity ready to the first request there", "s", 1.0, "at most", answered),
        Goal(f"a daemon tick, p99, two sites, one service, {BURST_RPS:g} req/s", "ms", 50.0, "at most", p99_ms),
    )
    return Section("reaction", "Reaction", HOW, figures, goals)


@contextlib.contextmanager
def _daemon(at: Stand, times_file: Path) -> Iterator[None]:
    """The project's daemon in a child process that times its ticks."""
    paths = at.project.paths
    command = [sys.executable, "-m", "benchmarks.timed_daemon", str(paths.root), str(times_file)]
    private_dir(paths.log_dir)
    with (paths.log_dir / "daemon.log").open("ab") as log:
        child = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def _deploy(at: Stand, store: SqliteStore, spec: HybridService) -> None:
    version = at.push_nothing(spec.name)
    wanted = Wanted(intents.new_deployment(), version, str(at.directory(version)))
    intents.request(store, spec, wanted, 0)
    intents.watch_release(
        store,
        wanted.deployment,
        timeout_s=UP_TIMEOUT_S,
        say=lambda _: None,
        alive=lambda: wiring.daemon_alive(at.project.paths),
    )


def _burst(at: Stand, store: SqliteStore, spec: HybridService, seed: int) -> Burst:
    url = wiring.endpoint(at.project)
    assert url is not None
    with _Watch(at) as watch:
        result = asyncio.run(replay_in_process(url, arrivals_s(seed), [Request("/", "{}")]))
    step_s = result.started_at_s + QUIET_S
    decided = [line.at_s for line in store.decisions(spec.name) if line.at_s > step_s and _grows(line.body)]
    if not decided or watch.ready_s is None:
        raise RuntimeError(f"the burst did not open the cloud; decisions: {store.decisions(limit=10)}")
    late_s, answered_s = _moments(result, spec.slo.latency_p99_s)
    lost = len(result.outcomes) - result.count("served")
    return Burst(step_s, late_s, min(decided), watch.ready_s, answered_s, step_s + BURST_S, lost)


def arrivals_s(seed: int) -> list[float]:
    """A Poisson stream that steps from quiet to burst; seconds from its start."""
    rng = random.Random(seed)
    found, now_s = [], 0.0
    while now_s < QUIET_S + BURST_S:
        now_s += rng.expovariate(QUIET_RPS if now_s < QUIET_S else BURST_RPS)
        found.append(now_s)
    return found


def _moments(result: ReplayResult, slo_s: float) -> tuple[float, float]:
    """When a request was first late, and when the cloud first answered; seconds since the epoch."""
    late = [o.intended_s + slo_s for o in result.outcomes if o.latency_s is None or o.latency_s > slo_s]
    cloud = [o.intended_s + o.latency_s for o in result.outcomes if o.site == CLOUD and o.latency_s is not None]
    after = [at_s for at_s in late if at_s > QUIET_S]
    if not after or not cloud:
        raise RuntimeError("no request was late, or none was answered by the cloud")
    return result.started_at_s + min(after), result.started_at_s + min(cloud)


def _grows(body: object) -> bool:
    return isinstance(body, dict) and body.get("action") == "scale" and body["to"] > body["from"]


class _Watch:
    """Looks at the cloud site until it has a ready replica."""

    def __init__(self, at: Stand) -> None:
        self._at = at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.ready_s: float | None = None

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            if self._at.ready(CLOUD):
                self.ready_s = time.time()
                return
