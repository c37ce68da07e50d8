"""What a run's bill has in the running hour, day and month, without reading all of it again at each tick."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoscaler.money.cost import usd_between, windows
from autoscaler.snapshot import Spend
from serving.state import LedgerEntry


class Spending:
    """`cost.spend` of a ledger that grows: asking costs as much as nodes are rented, however long it is.

    A span that is not told again is settled: its node was given back.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, float], LedgerEntry] = {}
        """Spans of nodes that are still paid for, by pool and start."""
        self._windows = (_Window(), _Window(), _Window())
        """Hour, day and month."""

    def book(self, entries: Iterable[LedgerEntry]) -> None:
        """Take in what a tick wrote down: all spans that go on, and those that end with it."""
        told = {(entry.pool, entry.start_s): entry for entry in entries}
        for key, entry in self._running.items():
            if key not in told:
                for window in self._windows:
                    window.add(entry)
        self._running = told

    def spent(self, now_s: float) -> Spend:
        """Spend in the running windows; moments asked for never go back."""
        starts_s, _ = windows(now_s)
        totals = []
        for window, start_s in zip(self._windows, starts_s, strict=True):
            running_usd = sum(usd_between(entry, start_s, math.inf) for entry in self._running.values())
            totals.append(window.since(start_s) + running_usd)
        return Spend(*totals)


class _Window:
    """Settled spans of a calendar window."""

    def __init__(self) -> None:
        self._start_s, self._usd = -math.inf, 0.0
        self._spans: list[LedgerEntry] = []

    def add(self, entry: LedgerEntry) -> None:
        self._spans.append(entry)
        self._usd += usd_between(entry, self._start_s, math.inf)

    def since(self, start_s: float) -> float:
        """Their cost from the window's begin on; what ended before is forgotten."""
        if start_s != self._start_s:
            self._start_s = start_s
            self._spans = [entry for entry in self._spans if entry.end_s >= start_s]
            self._usd = sum(usd_between(entry, start_s, math.inf) for entry in self._spans)
        return self._usd
