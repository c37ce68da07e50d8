"""The clairvoyant: the least cloud bill that keeps late requests below a given share, knowing all arrivals.

Choose the ready cloud replicas n_t of each tick. A replica costs its price from launch, so each
one more costs the lead time on top: bill = sum n_t * tick + lead * sum max(0, n_t - n_(t-1)).
Late requests of a tick follow from n_t and the tick's rate (the M/M/c tail; an overloaded tick
is late as a whole). The bound on their sum is priced in (Lagrange): for a price per late request the
best schedule is a shortest path over n, found by dynamic programming in O(ticks x replicas), because
the cost of a change is linear in it; the price is found by bisection. The path's value less the priced
budget is a lower bound of any schedule's bill in this model (weak duality), so the gap is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.policy.queueing import Floats, Ints, LateTable
from autoscaler.simulation.lateness import smoothed_rps

TICK_S = 10
BISECTIONS = 40
MIN_LATE_PRICE_S, MAX_LATE_PRICE_S = 1e-6, 1e9


@dataclass(frozen=True, eq=False)
class Clairvoyant:
    """The best schedule found, and how good it is known to be."""

    ready: Ints
    """Cloud replicas that serve in each second."""
    launching: Ints
    """Cloud replicas that are paid and do not serve yet."""
    replica_s: float
    """What is paid."""
    late_share: float
    """By the per-tick model that it was optimised on."""
    bound_replica_s: float
    """No schedule with so few late requests pays less than this, by that model; what is paid, if there is none."""

    @property
    def gap(self) -> float:
        """Bill over the lower bound, less one."""
        return self.replica_s / self.bound_replica_s - 1.0 if self.bound_replica_s > 0 else 0.0


def clairvoyant(
    arrivals: Floats, table: LateTable, *, private_replicas: int, lead_s: int, late_share: float, warm: int = 0
) -> Clairvoyant:
    """Solve one trace.

    Args:
        arrivals: requests in each second.
        table: late requests by rate and replicas; its largest count bounds private and cloud together.
        private_replicas: replicas that always serve and cost nothing here.
        lead_s: seconds from launch to ready, paid.
        late_share: at most this share of all requests may be late.
        warm: cloud replicas that serve when the trace begins: their launch was paid before.
    """
    problem = _Problem(_late_per_tick(arrivals, table)[:, private_replicas:], _lengths_s(len(arrivals)), lead_s, warm)
    allowed = late_share * float(arrivals.sum())
    cheap, dear = 0.0, 1.0
    path = problem.solve(dear)
    while problem.late_of(path) > allowed and dear < MAX_LATE_PRICE_S:
        cheap, dear = dear, dear * 8.0
        path = problem.solve(dear)
    best, bound = path, max(0.0, problem.bound(path, dear, allowed))  # no bill is below nothing
    for _ in range(BISECTIONS):
        price = (cheap * dear) ** 0.5 if cheap > 0 else dear / 8.0
        path = problem.solve(price)
        bound = max(bound, problem.bound(path, price, allowed))
        if problem.late_of(path) <= allowed:
            best, dear = path, price
        else:
            cheap = price
        if dear < cheap * 1.0001 or dear < MIN_LATE_PRICE_S:
            break
    # Where not even the dearest price buys so few late requests, there is no schedule to bound.
    return _result(best, problem, arrivals, bound if problem.late_of(best) <= allowed else problem.bill_s(best))


def _lengths_s(seconds: int) -> Floats:
    """Length of each tick: the last one ends with the trace."""
    starts = np.arange(0, seconds, TICK_S, dtype=np.float64)
    return np.asarray(np.minimum(TICK_S, seconds - starts))


def _late_per_tick(arrivals: Floats, table: LateTable) -> Floats:
    """Late requests in each tick (rows) for each count of replicas, at every other second's rate."""
    rate = smoothed_rps(arrivals)
    ticks = -(-len(arrivals) // TICK_S)
    found = np.empty((ticks, table.replicas + 1))
    for tick in range(ticks):
        rates = rate[tick * TICK_S : min((tick + 1) * TICK_S, len(rate)) : 2]
        seconds = min(TICK_S, len(arrivals) - tick * TICK_S)
        found[tick] = table.expected_late_rps(rates, np.full(len(rates), seconds / len(rates)))
    return found


@dataclass(frozen=True, eq=False)
class _Problem:
    """Shortest paths over the number of replicas."""

    late: Floats
    """Late requests in each tick for each count of cloud replicas."""
    length_s: Floats
    """Of each tick."""
    lead_s: int
    warm: int

    def solve(self, price_s: float) -> Ints:
        """Cheapest path: replicas in each tick, when a late request costs `price_s` replica-seconds."""
        ticks, counts = self.late.shape
        replicas = np.arange(counts, dtype=np.float64)
        rent_s = replicas * self.lead_s
        value, following = np.zeros(counts), np.empty((ticks, counts), dtype=np.int64)
        for tick in range(ticks - 1, -1, -1):
            stage = replicas * self.length_s[tick] + price_s * self.late[tick] + value
            # From m replicas before to n now: the rent of n - m more if n > m, nothing otherwise.
            rise = stage + rent_s
            above, below = _suffix_argmin(rise), _prefix_argmin(stage)
            climb, fall = rise[above] - rent_s, stage[below]
            following[tick] = np.where(climb < fall, above, below)
            value = np.minimum(climb, fall)
        path, now = np.empty(ticks, dtype=np.int64), min(self.warm, counts - 1)
        for tick in range(ticks):
            path[tick] = now = int(following[tick, now])
        return path

    def late_of(self, path: Ints) -> float:
        """Late requests of a path."""
        return float(self.late[np.arange(len(path)), path].sum())

    def bill_s(self, path: Ints) -> float:
        """Replica-seconds that are paid for a path."""
        rises = np.maximum(np.diff(path, prepend=self.warm), 0).sum()
        return float(path @ self.length_s + rises * self.lead_s)

    def bound(self, path: Ints, price_s: float, allowed: float) -> float:
        """No path with at most `allowed` late requests pays less than this, if `path` is the cheapest at the price."""
        return self.bill_s(path) + price_s * (self.late_of(path) - allowed)


def _prefix_argmin(values: Floats) -> Ints:
    """Index of the least value up to and including each place."""
    least = np.minimum.accumulate(values)
    return np.asarray(np.maximum.accumulate(np.where(values <= least, np.arange(len(values)), 0)))


def _suffix_argmin(values: Floats) -> Ints:
    """Index of the least value from each place on."""
    return np.asarray(len(values) - 1 - _prefix_argmin(values[::-1])[::-1])


def _result(path: Ints, problem: _Problem, arrivals: Floats, bound: float) -> Clairvoyant:
    seconds, lead_s, requests = len(arrivals), problem.lead_s, float(arrivals.sum())
    ready = np.repeat(path, TICK_S)[:seconds]
    rises = np.maximum(np.diff(ready, prepend=problem.warm), 0)
    # A replica that is ready at second t was launched at t - lead: what was launched by now and is not ready yet.
    launched = np.cumsum(rises)[np.minimum(np.arange(seconds) + lead_s, seconds - 1)]
    launching = launched - np.cumsum(rises)
    share = problem.late_of(path) / requests if requests else 0.0
    return Clairvoyant(ready, launching, problem.bill_s(path), share, bound)
