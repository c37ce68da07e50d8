"""Fills the daemon's record of traffic from another history: a daemon that is new knows last week after a minute.

Asked beside the tick, for one service at a time; put into the record by the tick, in its transaction. What the record
knows itself is never replaced. A source that does not answer is asked again later: forecasts do without.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass

from autoscaler.handles import Executor
from autoscaler.observing.history import History
from autoscaler.observing.traffic import TrafficLog
from autoscaler.policy.earlier import HOUR_S, MINUTE_S
from serving.errors import HcctlError

log = logging.getLogger(__name__)

RETRY_S = 600.0


@dataclass(frozen=True)
class _Found:
    """What the source said of one service."""

    service: str
    start_s: int
    rates_rps: list[float | None]


class Backfill:
    """Each service once in the life of a daemon."""

    def __init__(self, past: History, executor: Executor) -> None:
        self._past = past
        self._executor = executor
        self._lock = threading.Lock()
        self._done: set[str] = set()
        self._asking: str | None = None
        self._found: _Found | None = None
        self._retry_at_s = 0.0

    def go_on(self, record: TrafficLog, services: Collection[str], now_s: float) -> None:
        """Take what was found, and ask for the next service."""
        with self._lock:
            found, self._found = self._found, None
            asking = self._asking
        if found is not None and found.service in services:
            record.fill(found.service, found.start_s, found.rates_rps, now_s)
            known = sum(rate is not None for rate in found.rates_rps)
            log.info("minutes of traffic known from elsewhere: %d", known, extra={"service": found.service})
        waiting = sorted(set(services) - self._done)
        if asking is not None or not waiting or now_s < self._retry_at_s:
            return
        service = waiting[0]
        unknown = record.unknown(service, now_s)
        if not unknown:
            self._done.add(service)
            return
        start_s, minutes = unknown[0], (unknown[-1] + HOUR_S - unknown[0]) // MINUTE_S
        with self._lock:
            self._asking = service
        self._executor.submit(lambda: self._ask(service, start_s, minutes, now_s))

    def _ask(self, service: str, start_s: int, minutes: int, now_s: float) -> None:
        found = None
        try:
            found = _Found(service, start_s, self._past.rates(service, start_s=start_s, minutes=minutes))
        except HcctlError as error:
            log.warning("the past of a service is not known: %s", error.one_line(), extra={"service": service})
        with self._lock:
            self._asking, self._found = None, found
            if found is None:
                self._retry_at_s = now_s + RETRY_S
            else:
                self._done.add(service)
