"""What several peers measure alike. Late signals shorten a window, they do not move it. Pure."""

from __future__ import annotations

from typing import TypeVar

from autoscaler.policy.queueing import Floats, Ints
from autoscaler.simulation.view import View

A = TypeVar("A", Floats, Ints)


def recent(values: A, now_s: int, window_s: int) -> A:
    """What is known of the `window_s` seconds before `now_s`; empty when all of it is late."""
    return values[max(0, now_s - window_s) : now_s]


def recent_mean(values: Floats, now_s: int, window_s: int) -> float | None:
    """The mean of `recent`; None when nothing is known, which is not zero."""
    seen = recent(values, now_s, window_s)
    return float(seen.sum()) / len(seen) if len(seen) else None


def replica_rate_rps(view: View, share: float) -> float:
    """Requests/s of a replica with this share of its slots in use; nine digits, as a person would write it down."""
    return round(share * view.slots_per_replica / view.service_s, 9)
