"""How fast the loop reacts: real bursts on a real project, from the first late request to the cloud's first answer."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscaler.snapshot import Wanted
from benchmarks.child import environment
from benchmarks.figures import Figure, Goal, Section, quantile
from benchmarks.stand import CLOUD as CLOUD_SITE
from benchmarks.stand import PRIVATE, Stand, gateway_process, service, stand, wait
from benchmarks.stream import Stream
from cli import intents, wiring
from cli.commands.up import wait_until_up
from serving.paths import private_dir
from serving.spec import HybridService
from serving.sqlite_store import SqliteStore

QUIET_RPS, BURST_RPS = 20.0, 110.0
QUIET_S, AFTER_S = 12.0, 5.0
"""Before the step, and after the cloud's first answer: longer than the window of the signals, and enough for ticks."""
CLOUD = "cloud"
LOOK_S = 0.05
MOST_TRIES = 2
"""For each burst; some are void."""
UP_TIMEOUT_S = 180.0
HOME_TIMEOUT_S = 120.0

HOW = f"""\
A private site of one replica (4 slots; a batch of at most 4 holds it 0.05 s, so about 75 requests/s) and a closed
cloud site; the latency triggers of `service.yaml` at their defaults (window 10 s, a breach counts after 1 s), SLO
p99 0.5 s. Requests arrive as a Poisson stream whose rate steps from {QUIET_RPS:g}/s to {BURST_RPS:g}/s, which opens
the cloud; when it has come home the next burst begins. Times come from the load generator (when each request was due
and answered, and by which site), from the decision log, and from looking at the cloud site every {LOOK_S:g} s as the
daemon does. A request is late when it has waited the SLO's latency for its answer. Ticks are those during bursts."""


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


@dataclass(frozen=True)
class Tick:
    """One round of the daemon."""

    at_s: float
    """Seconds since the epoch."""
    took_s: float
    cpu_s: float


def run(*, bursts: int, say: Callable[[str], None]) -> Section:
    """Bursts one after the other, each when the one before has come home."""
    spec, seen = declared(), list[Burst]()
    with stand(private=PRIVATE, cloud=CLOUD_SITE) as at:
        times_file = at.project.paths.root / "ticks"
        with gateway_process(at.project), _daemon(at, times_file), wiring.store(at.project.paths) as store:
            say("starting the project")
            wait_until_up(at.project, UP_TIMEOUT_S)
            _deploy(at, store, spec)
            for number in range(MOST_TRIES * bursts):
                say(f"burst {len(seen) + 1} of {bursts}")
                burst = _burst(at, store, spec, seed=number)
                if burst is None:
                    say("void: the machine was so busy that the cloud opened before the step")
                else:
                    seen.append(burst)
                wait(lambda: at.sites[CLOUD].observe().phase == "closed", "the way home", HOME_TIMEOUT_S)
                if len(seen) == bursts:
                    break
        lines = [line.split() for line in times_file.read_text().splitlines()]
    return section(seen, [Tick(*map(float, line)) for line in lines])


def declared() -> HybridService:
    """The service under test."""
    return service(
        "shop",
        "benchmarks.models:Held",
        {"private": {"min_replicas": 1, "max_replicas": 1}, CLOUD: {"max_replicas": 2}},
        model={"slots_per_replica": 4, "max_batch_size": 4, "emulated_accelerator_s": 0.05, "drain_s": 5.0},
        routing={"rules": [{"path": "/", "idempotent": True}], "queue_timeout_s": 60.0, "max_queue": 10_000},
        burst={"calm_s": 3.0, "cooldown_s": 1.0},
    )


def section(bursts: Sequence[Burst], ticks: Sequence[Tick]) -> Section:
    """Figures and goals from all bursts."""
    during = [tick for tick in ticks if any(burst.step_s <= tick.at_s <= burst.end_s for burst in bursts)]
    wall_ms, cpu_ms = (
        sorted(1_000 * s for s in column) for column in zip(*((t.took_s, t.cpu_s) for t in during), strict=True)
    )
    p50_ms, p99_ms, p50_cpu_ms, p99_cpu_ms = ((quantile(o, part),) for o in (wall_ms, cpu_ms) for part in (0.50, 0.99))
    decided = tuple(burst.decided_s - burst.late_s for burst in bursts)
    answered = tuple(burst.answered_s - burst.ready_s for burst in bursts)
    rows = {
        "from the step in the load to the first late request, s": tuple(b.late_s - b.step_s for b in bursts),
        "from the step in the load to the decision, s": tuple(b.decided_s - b.step_s for b in bursts),
        "from the first late request to the decision, s": decided,
        "from the decision to the cloud replica ready, s": tuple(b.ready_s - b.decided_s for b in bursts),
        "from the replica ready to its first answer, s": answered,
        f"a tick, p50 of {len(during)}, ms": p50_ms,
        f"a tick, p99 of {len(during)}, ms": p99_ms,
        "processor time of a tick, p50, ms": p50_cpu_ms,
        "processor time of a tick, p99, ms": p99_cpu_ms,
        "requests of a burst that were lost or refused": tuple(float(burst.lost) for burst in bursts),
    }
    goals = (
        Goal("from the first late request to the decision", "s", 3.0, "at most", decided),
        Goal("from capacity ready to the first request there", "s", 1.0, "at most", answered),
        Goal(f"a daemon tick, p99, two sites, one service, {BURST_RPS:g} req/s", "ms", 50.0, "at most", p99_ms),
    )
    figures = tuple(Figure(subject, f"{len(bursts)} bursts", values) for subject, values in rows.items())
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


def _burst(at: Stand, store: SqliteStore, spec: HybridService, seed: int) -> Burst | None:
    """One burst; None if it does not count."""
    url = wiring.endpoint(at.project)
    assert url is not None
    with _Watch(at) as watch, Stream(url, QUIET_RPS, seed) as stream:
        quiet_s = time.time()
        time.sleep(QUIET_S)
        step_s, stream.rate_rps = time.time(), BURST_RPS
        wait(lambda: stream.first_of(CLOUD) is not None, "the cloud's first answer")
        time.sleep(AFTER_S)
        end_s, stream.rate_rps = time.time(), QUIET_RPS
    slo_s, answered_s = spec.slo.latency_p99_s, stream.first_of(CLOUD)
    late_s = [one.due_s + slo_s for one in stream.answers if one.end_s - one.due_s > slo_s]
    decided_s = [line.at_s for line in store.decisions(spec.name) if line.at_s > quiet_s and _grows(line.body)]
    if not decided_s or answered_s is None or watch.ready_s is None:
        raise RuntimeError(f"the burst did not open the cloud; decisions: {store.decisions(limit=10)}")
    if min(decided_s) < step_s:
        return None
    lost = sum(one.status != 200 for one in stream.answers)
    first_late_s = min(moment_s for moment_s in late_s if moment_s > step_s)
    return Burst(step_s, first_late_s, min(decided_s), watch.ready_s, answered_s, end_s, lost)


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
