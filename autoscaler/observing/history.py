"""The port to a service's past: its rate and its latency, for forecasts and for people.

Implementations: `RecordedHistory` here, from the daemon's own record, and `PrometheusHistory` in prometheus.py; both
pass tests/contract/test_history.py. What nobody watched is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autoscaler.observing.traffic import HOURS_KEPT, MINUTE_STEPS, RECORD_STEP_S, Hour, stored_hour
from autoscaler.policy.earlier import HOUR_S, MINUTE_S
from autoscaler.telemetry import LATENCY_EDGES_S
from serving.errors import InvalidInput
from serving.state import Store


class History(Protocol):
    """What is known of the past of services. Times are seconds since the epoch.

    Raises (all methods): HcctlError when the source cannot be asked; an unknown service is no error.
    """

    def rates(self, service: str, *, start_s: int, minutes: int) -> list[float | None]:
        """Requests per second that wanted an answer of the model, refused ones too: a mean for each minute.

        Args:
            service: its name.
            start_s: begin of the first minute; a multiple of 60.
            minutes: how many.
        """
        ...

    def latency_s(self, service: str, q: float, *, start_s: int, hours: int) -> float | None:
        """The `q` quantile of the time to answer, queue included, interpolated within its bucket.

        Args:
            service: its name.
            q: 0 to 1.
            start_s: begin of the first hour; a multiple of 3,600.
            hours: how many.
        """
        ...


class RecordedHistory:
    """The daemon's own record in the store: every request of the last weeks, counted where it arrived."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def rates(self, service: str, *, start_s: int, minutes: int) -> list[float | None]:
        """See `History`."""
        check_start(start_s, MINUTE_S)
        hours: dict[int, Hour | None] = {}
        found = []
        for at_s in range(start_s, start_s + minutes * MINUTE_S, MINUTE_S):
            hour_s = at_s // HOUR_S * HOUR_S
            if hour_s not in hours:
                hours[hour_s] = stored_hour(self._store, service, hour_s)
            found.append(_rate_rps(hours[hour_s], at_s))
        return found

    def latency_s(self, service: str, q: float, *, start_s: int, hours: int) -> float | None:
        """See `History`."""
        check_start(start_s, HOUR_S)
        starts = range(start_s, start_s + min(hours, HOURS_KEPT) * HOUR_S, HOUR_S)
        known = [hour for at_s in starts if (hour := stored_hour(self._store, service, at_s)) is not None]
        return quantile([sum(column) for column in zip(*(hour.latency for hour in known), strict=True)], q)


def check_start(start_s: int, step_s: int) -> None:
    """Refuse a span that does not begin where its steps do.

    Raises:
        InvalidInput: it does not.
    """
    if start_s % step_s:
        raise InvalidInput(
            "a span of history begins between two steps",
            where="start_s",
            why=f"{start_s} is no multiple of {step_s}",
            next_step="round it down",
        )


def quantile(counts: Sequence[int], q: float) -> float | None:
    """A quantile of `LATENCY_EDGES_S` buckets, interpolated as Prometheus' `histogram_quantile` does; None of none."""
    total = sum(counts)
    if not total:
        return None
    rank, seen, lower = q * total, 0, 0.0
    for edge, count in zip(LATENCY_EDGES_S, counts, strict=False):
        if count and seen + count >= rank:
            return lower + (edge - lower) * max(0.0, rank - seen) / count
        seen, lower = seen + count, edge
    return LATENCY_EDGES_S[-1]


def _rate_rps(hour: Hour | None, at_s: int) -> float | None:
    """Mean over the known steps of a minute."""
    if hour is None:
        return None
    first = (at_s - hour.start_s) // RECORD_STEP_S
    steps = [count for count in hour.requests[first : first + MINUTE_STEPS] if count is not None]
    return sum(steps) / (len(steps) * RECORD_STEP_S) if steps else None
