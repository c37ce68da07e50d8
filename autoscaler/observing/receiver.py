"""Receives the gateway's request records from its log stream and keeps the windows.

One thread reads; the tick reads windows under the same lock. A malformed line is counted, never raised.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from autoscaler.observing.signals import SignalWindow, is_error, is_load
from autoscaler.observing.traffic import Counted, count
from autoscaler.snapshot import Signals, TrackSignals
from autoscaler.telemetry import RequestCounts
from serving.gateway.gateway import GatewayObservation, RequestRecord
from serving.gateway.logline import parse
from serving.gateway.logstream import LogStream
from serving.spec import HybridService

log = logging.getLogger(__name__)

PROCESS_NOTES = (b"Proxy ", b"Server ", b"Backend ", b"Health check ")
"""HAProxy's notes about itself come down the same socket; its own log file has them too."""


class RequestLog:
    """Windows of all services and the samples of candidates. Thread-safe."""

    def __init__(self) -> None:
        self.malformed = 0
        self.lost = 0
        """Lines that were gone before they could be fetched."""
        self._lock = threading.Lock()
        self._windows: dict[str, SignalWindow] = {}
        self._keys: dict[str, tuple[float, float, frozenset[str]]] = {}
        self._samples: dict[str, dict[str, list[int]]] = {}
        self._counted: Counted = {}
        self._totals: dict[str, RequestCounts] = {}

    def follow(self, service: HybridService, cloud_sites: frozenset[str]) -> None:
        """Keep a window for this service; a changed SLO or window starts a new one."""
        key = (service.slo.latency_p99_s, service.burst.latency.window_s, cloud_sites)
        with self._lock:
            if self._keys.get(service.name) != key:
                self._keys[service.name] = key
                self._windows[service.name] = SignalWindow(slo_s=key[0], window_s=key[1], cloud_sites=cloud_sites)
            known = self._totals.get(service.name)
            if known is None or known.slo_s != key[0]:
                self._totals[service.name] = RequestCounts(key[0])

    def unfollow(self, service: str) -> None:
        """Drop the window and the sample of a service that was removed."""
        with self._lock:
            self._keys.pop(service, None)
            self._windows.pop(service, None)
            self._samples.pop(service, None)
            self._totals.pop(service, None)

    def add(self, record: RequestRecord) -> None:
        """Count one finished request."""
        with self._lock:
            window = self._windows.get(record.service)
            if window is None:
                return
            window.add(record)
            self._totals[record.service].add(record)
            if is_load(record):
                count(self._counted, record)
            if record.track == "candidate" and record.site:
                counts = self._samples.setdefault(record.service, {}).setdefault(record.site, [0, 0])
                counts[0] += 1
                counts[1] += is_error(record)

    def take(self, line: bytes) -> None:
        """Read one line of the gateway's log and count its request."""
        if line.startswith(PROCESS_NOTES):
            return
        try:
            self.add(parse(line))
        except ValueError as error:
            self.malformed += 1
            if self.malformed in (1, 10, 100, 1_000):
                log.warning("malformed request line (%d so far): %s", self.malformed, error)

    def observe(self, gateway: GatewayObservation) -> None:
        """Sample slots in use and queue lengths."""
        with self._lock:
            for name, window in self._windows.items():
                window.observe(gateway, name)

    def signals(self, service: str, now_s: float) -> Signals:
        """What the window of a followed service says."""
        with self._lock:
            return self._windows[service].signals(now_s)

    def candidate_sample(self, service: str) -> Mapping[str, TrackSignals]:
        """What the candidate answered per site since `forget_sample`."""
        with self._lock:
            return {site: TrackSignals(*counts) for site, counts in self._samples.get(service, {}).items()}

    def take_counts(self) -> Counted:
        """Requests by service and step, of what was added since the last time."""
        with self._lock:
            taken, self._counted = self._counted, {}
            return taken

    def totals(self) -> Mapping[str, RequestCounts]:
        """What was counted of each followed service since the daemon started: a copy."""
        with self._lock:
            return copy.deepcopy(self._totals)

    def forget_sample(self, service: str) -> None:
        """Begin the candidate's sample anew."""
        with self._lock:
            self._samples.pop(service, None)


class Receiver:
    """The thread that reads the log stream."""

    def __init__(self, path: Path, requests: RequestLog) -> None:
        self._path = path
        self._requests = requests
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen (replacing the socket file of a dead daemon) and read."""
        stream = LogStream(self._path)
        self._thread = threading.Thread(target=self._run, args=(stream,), name="request-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and remove the socket file."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self, stream: LogStream) -> None:
        while not self._stopping.is_set():
            for line in stream.lines(timeout_s=0.5):
                self._requests.take(line)
        stream.close()
