"""What the daemon counts for `/metrics`: requests, ticks, actions, decisions. No library, no clock.

Counters begin at nought with each daemon, as Prometheus expects. Their number is bounded by services, sites and words
of our own: nothing of a request becomes a label.
"""

from __future__ import annotations

import bisect
import copy
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from autoscaler.observing.signals import TOO_MANY_REQUESTS, is_error, is_load
from autoscaler.plan import Decision
from autoscaler.snapshot import Snapshot
from autoscaler.step import Step
from serving.gateway.gateway import RequestRecord

LATENCY_EDGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TICK_EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass
class Histogram:
    """Counts below each upper edge (not yet summed up), and one above all."""

    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.edges) + 1)

    def add(self, value: float) -> None:
        """Count one value; one that is exactly an edge is below it."""
        self.counts[bisect.bisect_left(self.edges, value)] += 1
        self.sum += value


def latency_edges(slo_s: float) -> tuple[float, ...]:
    """Edges in seconds, with one at the SLO: the share of late requests needs no interpolation."""
    return tuple(sorted({*LATENCY_EDGES_S, slo_s}))


@dataclass
class RequestCounts:
    """The finished requests of one service since the daemon started."""

    slo_s: float
    requests: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """By track, site, answer and class of status."""
    wanted: int = 0
    late: int = 0
    failed: int = 0
    duration: Histogram = field(init=False)
    queue: Histogram = field(init=False)

    def __post_init__(self) -> None:
        self.duration = Histogram(latency_edges(self.slo_s))
        self.queue = Histogram(latency_edges(self.slo_s))

    def add(self, record: RequestRecord) -> None:
        """Count one request. One that relief passed on has a record of its own."""
        if record.relief == "passed":
            return
        told = answer(record)
        self.requests[record.track, record.site, told, status_class(record.status)] += 1
        if not is_load(record):
            return
        self.wanted += 1
        self.failed += bool(record.site) and is_error(record)
        if told in ("light", "shed"):
            return
        self.late += not record.site or record.total_s > self.slo_s
        if record.status == TOO_MANY_REQUESTS and not record.site:  # refused at once: its time flatters
            return
        self.duration.add(record.total_s)
        waited_s = record.total_s if record.queue_s is None and not record.site else record.queue_s
        if waited_s is not None:
            self.queue.add(waited_s)


def answer(record: RequestRecord) -> str:
    """Who answered a request, in one word; see `hcctl_gateway_requests_total`."""
    if record.relief:
        return "light" if record.relief == "light" else "shed"
    if record.site:
        return "site"
    return "refused" if is_load(record) else "rejected"


def status_class(status: int) -> str:
    """`2xx` and the like; `none` for a request that ended without an answer."""
    return f"{status // 100}xx" if 100 <= status < 600 else "none"


@dataclass(frozen=True)
class Ticked:
    """The last tick that ended well."""

    snapshot: Snapshot
    step: Step
    ended_s: float


class Telemetry:
    """Counters of the loop and its last tick. Thread-safe: the tick writes, scrapes read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations = Histogram(TICK_EDGES_S)
        self._counts: dict[str, Counter[tuple[str, str]]] = {"actions": Counter(), "decisions": Counter()}
        self._failures = 0
        self._begun_s: float | None = None
        self._last: Ticked | None = None

    def begin(self, at_s: float) -> None:
        """The loop begins: until then this daemon stands by, and that it does not tick is no trouble."""
        with self._lock:
            self._begun_s = at_s

    @property
    def begun_s(self) -> float | None:
        """When the loop began; None while another daemon leads."""
        with self._lock:
            return self._begun_s

    def ticked(self, snapshot: Snapshot, step: Step, *, ended_s: float, took_s: float) -> None:
        """A tick ended well; its wall-clock time and duration in seconds."""
        with self._lock:
            self._last = Ticked(snapshot, step, ended_s)
            self._durations.add(max(0.0, took_s))
            if step.removed:
                decided = self._counts["decisions"]
                for key in [key for key in decided if key[0] in step.removed]:
                    del decided[key]

    def tick_failed(self) -> None:
        """A tick failed and will be tried again."""
        with self._lock:
            self._failures += 1

    def action(self, site: str, *, failed: bool) -> None:
        """An action on a site ended."""
        with self._lock:
            self._counts["actions"][site, "failed" if failed else "done"] += 1

    def decided(self, decisions: Iterable[Decision]) -> None:
        """Lines of the decision log are on disk."""
        with self._lock:
            for decision in decisions:
                # The phase of a release stands in a metric of its own.
                action = "release" if decision.action.startswith("release ") else decision.action
                self._counts["decisions"][decision.service, action] += 1

    def read(self) -> tuple[Ticked | None, Histogram, Mapping[str, Mapping[tuple[str, str], int]], int]:
        """Last tick, durations, counters by kind, failed ticks: a copy of one moment."""
        with self._lock:
            return self._last, copy.deepcopy(self._durations), copy.deepcopy(self._counts), self._failures
