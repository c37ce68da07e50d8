"""How long requests waited, given what arrived and what served: a fluid backlog and the M/M/c tail.

In each second the wait of a request has two parts. What has piled up (arrivals beyond what the slots
can answer, the fluid limit of an overloaded queue) is waited for by everybody. On top comes the
stationary wait of an M/M/c queue (see `autoscaler.policy.queueing`) at the rate smoothed over
`SMOOTH_S`: it has no memory, so it is right while the load changes slowly against the time a queue
needs to settle, which is about a service time. `simulation.exact` is the check.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from autoscaler.policy.queueing import Floats, Ints, late_shares, waiting_shares

SMOOTH_S = 15
"""Seconds over which arrivals are averaged to the rate of the stationary queue."""


@dataclass(frozen=True, eq=False)
class Lateness:
    """Per second: what waited, and how many of the arrivals waited too long."""

    backlog: Floats
    """Requests piled up at the end of the second, beyond the stationary queue."""
    late: Floats
    """Expected number of the second's arrivals that wait longer than the patience."""

    @property
    def total(self) -> float:
        """Late requests."""
        return float(self.late.sum())


class Queue:
    """What waits at the gateway, in the order of its arrival, as a fluid; who has waited too long gives up."""

    def __init__(self, longest_wait_s: float = math.inf) -> None:
        self.length = 0.0
        """Requests that wait."""
        self._longest_wait_s = longest_wait_s
        self._waiting: deque[tuple[int, float]] = deque()
        """(second of arrival, how many of it wait), oldest first; not kept where nobody gives up."""
        self._now_s = 0

    def second(self, arrived: float, room: float) -> float:
        """One second in which so many arrive, and as many as there is room for are answered; how many were."""
        answered = min(self.length + arrived, room)
        self.length += arrived - answered
        if math.isfinite(self._longest_wait_s):
            self._waiting.append((self._now_s, arrived))
            self._leave(answered)
            self._give_up()
        self._now_s += 1
        return answered

    def _leave(self, answered: float) -> None:
        while self._waiting and answered > 0:
            since_s, count = self._waiting.popleft()
            if count > answered:
                self._waiting.appendleft((since_s, count - answered))
            answered -= count

    def _give_up(self) -> None:
        while self._waiting and self._now_s - self._waiting[0][0] >= self._longest_wait_s:
            self.length = max(0.0, self.length - self._waiting.popleft()[1])


def smoothed_rps(arrivals: Floats) -> Floats:
    """Mean over the last and next seconds, `SMOOTH_S` in all; at the ends over those there are."""
    window, before = np.ones(SMOOTH_S), SMOOTH_S // 2
    here = slice(before, before + len(arrivals))  # "same" of a trace shorter than the window is as long as the window
    return np.asarray(np.convolve(arrivals, window)[here] / np.convolve(np.ones(len(arrivals)), window)[here])


def backlogs(arrivals: Floats, slots: Ints, service_s: float, longest_wait_s: float = math.inf) -> Floats:
    """What is piled up at the end of each second: the fluid queue (Lindley's recursion).

    Whoever has waited `longest_wait_s` gives up.
    """
    if math.isfinite(longest_wait_s):
        queue = Queue(longest_wait_s)
        rooms = (slots / service_s).tolist()
        found = []
        for arrived, room in zip(arrivals.tolist(), rooms, strict=True):
            queue.second(arrived, room)
            found.append(queue.length)
        return np.array(found)
    # max(0, q + x) over time is the walk less its running minimum.
    walk = np.concatenate(([0.0], np.cumsum(arrivals - slots / service_s)))
    return np.asarray((walk - np.minimum.accumulate(walk))[1:])


def lateness(
    arrivals: Floats,
    slots: Ints,
    *,
    service_s: float,
    patience_s: float,
    longest_wait_s: float = math.inf,
    waiting: Floats | None = None,
) -> Lateness:
    """Judge a capacity by the requests it was given.

    Args:
        arrivals: requests in each second.
        slots: slots that served in each second, of all sites.
        service_s: mean time a request holds a slot; it is exponential.
        patience_s: a request that waits longer is late.
        longest_wait_s: who has waited so long gives up, and is late.
        waiting: at least so many wait when a second begins; for a queue that is held by letting fewer in, whose
            quick beginning smoothing hides.
    """
    rate = smoothed_rps(arrivals)
    # Of the smoothed rate: the noise of seconds is in the tail.
    backlog = backlogs(rate, slots, service_s, longest_wait_s)
    capacity_rps = np.maximum(slots / service_s, 1e-9)
    before = np.concatenate(([0.0], backlog[:-1]))
    before_s = (before if waiting is None else np.maximum(before, waiting)) / capacity_rps
    left_s = patience_s - before_s
    late = np.empty(len(arrivals))
    for count in np.unique(slots):
        here = slots == count
        shares = _erlang_c(int(count), rate[here] * service_s)
        late[here] = late_shares(shares, float(count), rate[here], left_s[here], service_s)
    late[left_s <= 0] = 1.0
    return Lateness(backlog, late * arrivals)


def fluid_waits(arrivals: Floats, slots: Ints, service_s: float, longest_wait_s: float = math.inf) -> Floats:
    """How long a request that comes in the middle of each second waits until all that piled up before it has left.

    First come, first served, also by who gives up: it leaves when as many have left as came before it. What comes into
    service meanwhile counts; after the last second its slots stay.
    """
    backlog = backlogs(arrivals, slots, service_s, longest_wait_s)
    came = np.concatenate(([0.0], np.cumsum(arrivals)))
    left = came - np.concatenate(([0.0], backlog))
    ends_s = np.arange(len(came), dtype=np.float64)
    # Where nothing leaves for a while, it is when that ends; the least step keeps times and counts in one order.
    left = np.maximum.accumulate(left) + ends_s * 1e-9
    gone_s = np.interp(came, left, ends_s) + np.maximum(came - left[-1], 0.0) * service_s / max(int(slots[-1]), 1e-9)
    waits = np.maximum(gone_s - ends_s, 0.0)
    return np.asarray(np.minimum((waits[:-1] + waits[1:]) / 2.0, longest_wait_s))


def wait_quantile(
    arrivals: Floats, slots: Ints, share: float, span: slice, *, service_s: float, longest_wait_s: float
) -> float:
    """The wait that `share` of the requests of some seconds stay within, to a millisecond.

    At least as long as in `fluid_waits`, of the requests as they came: smoothing would begin a rush before it does. In
    seconds that are not overloaded at the smoothed rate some wait longer, by the M/M/c tail. An overloaded one has no
    stationary wait: `lateness` takes all of it for late, which is right for a patience of about a second and says
    nothing of how long they wait.
    """
    rate = smoothed_rps(arrivals)
    piled_s = fluid_waits(arrivals, slots, service_s, longest_wait_s)[span]
    loads, counts, weights = (rate * service_s)[span], slots[span], arrivals[span]
    tails = np.zeros(len(loads))
    for count in np.unique(counts):
        here = (counts == count) & (loads < count)
        tails[here] = _erlang_c(int(count), loads[here])
    spare_rps = np.maximum(counts - loads, 0.0) / service_s
    allowed = (1.0 - share) * float(weights.sum())

    def later(wait_s: float) -> float:
        shares = np.where(piled_s > wait_s, 1.0, tails * np.exp(-spare_rps * wait_s))
        return float(shares @ weights)

    low_s, high_s = 0.0, 1.0
    while later(high_s) > allowed and high_s < longest_wait_s:
        low_s, high_s = high_s, 2.0 * high_s
    while high_s - low_s > 1e-3:
        middle_s = (low_s + high_s) / 2.0
        low_s, high_s = (middle_s, high_s) if later(middle_s) > allowed else (low_s, middle_s)
    return min(high_s, longest_wait_s)


def _erlang_c(slots: int, offered: Floats) -> Floats:
    return np.asarray(waiting_shares(slots, offered)[slots])
