"""What became of each request of a replay, and the figures made from it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["served", "refused", "rejected", "lost", "unsent"]
"""served: 2xx. refused: 429 or 503 with Retry-After, so the client knows when to come back.
rejected: any other answer below 500, the request itself was wrong. lost: no answer, or another 5xx.
unsent: the client held as many open requests as it may; never counted as served."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request."""

    intended_s: float
    """When it should be sent, seconds since the start of the replay."""
    kind: Kind
    late_s: float | None
    """How much later the client sent it; None if it never did."""
    latency_s: float | None
    """From the intended time to the last byte of the answer; None without an answer."""
    status: int | None
    site: str | None
    track: str | None
    error: str | None
    """Why there is no answer: connect, disconnected, timeout or client limit."""


@dataclass(frozen=True)
class Snapshot:
    """The replay at one moment, for a live view. Rates and percentiles look at the last 5 s."""

    t_s: float
    sent: int
    served: int
    refused: int
    rejected: int
    lost: int
    unsent: int
    in_flight: int
    rate_rps: float
    """Requests that should have been sent, per second."""
    p50_s: float | None
    p99_s: float | None
    by_site: dict[str, int]
    """Served in the window."""


@dataclass(frozen=True)
class Window:
    """The requests that should have been sent in [t_s, t_s + width)."""

    t_s: float
    rate_rps: float
    served: int
    served_by_site: dict[str, int]
    refused: int
    lost: int
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True)
class ReplayResult:
    """All requests of a replay, in the order of their intended times."""

    started_at_s: float
    """Seconds since the epoch: second 0 of the outcomes."""
    duration_s: float
    cpu_s: float
    """Processor time of the load generator."""
    outcomes: tuple[Outcome, ...]

    def count(self, kind: Kind) -> int:
        return sum(outcome.kind == kind for outcome in self.outcomes)

    def served_by_site(self) -> dict[str, int]:
        """Served requests per site; an answer that names no site counts under `unknown`."""
        return _served_by_site(self.outcomes)

    def errors(self) -> dict[str, int]:
        """Lost and unsent requests by reason."""
        reasons = (o.error or f"status {o.status}" for o in self.outcomes if o.kind in {"lost", "unsent"})
        return dict(sorted(Counter(reasons).items()))

    def latency_s(self, share: float, *, from_s: float = 0.0, until_s: float = math.inf) -> float | None:
        """Latency that `share` of the requests served in the span stayed within; None without any."""
        span = (o for o in self.outcomes if from_s <= o.intended_s < until_s)
        return percentile((o.latency_s for o in span if o.kind == "served" and o.latency_s is not None), share)

    def late_s(self, share: float) -> float | None:
        """How late the client itself was, for `share` of the requests it sent."""
        return percentile((o.late_s for o in self.outcomes if o.late_s is not None), share)

    def windows(self, width_s: float) -> list[Window]:
        """The replay cut into windows of `width_s`; one that the last request leaves incomplete is left out."""
        last_s = self.outcomes[-1].intended_s if self.outcomes else 0.0
        parts: list[list[Outcome]] = [[] for _ in range(int(last_s / width_s) + 1)]
        for outcome in self.outcomes:
            parts[int(outcome.intended_s / width_s)].append(outcome)
        return [_window(index * width_s, width_s, part) for index, part in enumerate(parts[:-1])]


def classify(status: int, *, retry_after: bool) -> Kind:
    """What an answer with this status means; see `Kind`."""
    if 200 <= status < 300:
        return "served"
    if status in {429, 503} and retry_after:
        return "refused"
    return "lost" if status >= 500 else "rejected"


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed; None without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _served_by_site(outcomes: Iterable[Outcome]) -> dict[str, int]:
    sites = Counter(outcome.site or "unknown" for outcome in outcomes if outcome.kind == "served")
    return dict(sorted(sites.items()))


def _window(t_s: float, width_s: float, outcomes: Sequence[Outcome]) -> Window:
    kinds = Counter(outcome.kind for outcome in outcomes)
    latencies = [o.latency_s for o in outcomes if o.kind == "served" and o.latency_s is not None]
    return Window(
        t_s=t_s,
        rate_rps=len(outcomes) / width_s,
        served=kinds["served"],
        served_by_site=_served_by_site(outcomes),
        refused=kinds["refused"],
        lost=kinds["lost"],
        p50_s=percentile(latencies, 0.50),
        p99_s=percentile(latencies, 0.99),
    )
