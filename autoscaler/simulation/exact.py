"""Every request by itself: what the aggregate model of a world is checked against. Deterministic by seed.

A FIFO queue at the gateway before c(t) servers with exponential service times: M(t)/M/c(t). With constant rate and
capacity it is M/M/c, whose waits are known in closed form (Erlang C), and tested.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right

import numpy as np

from autoscaler.policy.queueing import Floats, Ints


def simulate_exact(arrival_times_s: Floats, capacity_slots_by_second: Ints, service_mean_s: float, seed: int) -> Floats:
    """Seconds each request waits for a slot, in order of arrival; inf where no slot ever comes.

    Args:
        arrival_times_s: Seconds since the start, not negative, in order.
        capacity_slots_by_second: Slots from second k to k + 1; the last value holds for ever after. A slot that is
            taken away ends the request it holds first.
        service_mean_s: Mean of the exponential time a request holds a slot.
        seed: The k-th request holds its slot equally long at any capacity, so two runs differ by capacity alone.

    Raises:
        ValueError: Arrivals out of order or negative, capacity missing or negative, or a senseless service time.
    """
    _check(arrival_times_s, capacity_slots_by_second, service_mean_s)
    holds_s = np.random.default_rng(seed).exponential(service_mean_s, size=len(arrival_times_s)).tolist()
    changes = np.flatnonzero(np.diff(capacity_slots_by_second)) + 1
    from_s: list[float] = [0.0, *changes.tolist()]
    slots: list[int] = capacity_slots_by_second[[0, *changes]].tolist()
    starts_s: list[float] = []
    ends_s: list[float] = []  # a heap: when the requests in slots leave
    step, start_s = 0, 0.0
    for arrival_s, hold_s in zip(arrival_times_s.tolist(), holds_s, strict=True):
        start_s = max(start_s, arrival_s)  # FIFO: none starts before those that came before it
        while True:
            while ends_s and ends_s[0] <= start_s:
                heapq.heappop(ends_s)
            step = bisect_right(from_s, start_s, lo=step) - 1
            if len(ends_s) < slots[step] or math.isinf(start_s):
                break
            next_end_s = ends_s[0] if ends_s else math.inf
            next_step_s = from_s[step + 1] if step + 1 < len(from_s) else math.inf
            start_s = min(next_end_s, next_step_s)
        heapq.heappush(ends_s, start_s + hold_s)
        starts_s.append(start_s)
    return np.array(starts_s) - arrival_times_s


def _check(arrival_times_s: Floats, capacity_slots_by_second: Ints, service_mean_s: float) -> None:
    if len(capacity_slots_by_second) == 0 or capacity_slots_by_second.min() < 0:
        raise ValueError("capacity_slots_by_second must say how many slots there are from second 0 on, none below 0")
    if not 0 < service_mean_s < math.inf:
        raise ValueError(f"service_mean_s is {service_mean_s}: it must be above 0 and finite")
    if len(arrival_times_s) and not (arrival_times_s[0] >= 0 and (np.diff(arrival_times_s) >= 0).all()):
        raise ValueError("arrival_times_s must not be negative and must be in order")
