"""Queueing formulas: how long requests wait for a slot, and how many of them too long. Pure.

The model is M/M/c with one queue in front of all slots, which is what the gateway keeps: Erlang C
(A. K. Erlang 1917) gives the share that waits, and the wait of those is exponential:
P(W > t) = C(c, a) exp(-(c mu - lambda) t), a = lambda / mu < c
(Gross, Shortle, Thompson, Harris, Fundamentals of Queueing Theory, 4th ed., section 2.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXACT_SLOTS = 2_048
"""Up to so many slots `waiting_table` has Erlang C itself, beyond its limit for many slots."""
RATE_STEPS_PER_REPLICA = 16
"""Fineness of the grid of loads in a table; between its points late requests are interpolated linearly."""


def waiting_shares(slots: int, offered: Floats) -> Floats:
    """Erlang C for each count of slots 0..`slots` (rows) and each offered load (columns).

    Args:
        slots: most slots.
        offered: loads in slots (rate times service time), any shape (n,).

    Returns:
        Shares of requests that wait, shape (slots + 1, n); 1 where the load is not below the slots.
    """
    shares = np.ones((slots + 1, len(offered)))
    blocked = np.ones(len(offered))  # Erlang B by its recursion, which is stable for any number of slots
    for count in range(1, slots + 1):
        blocked = offered * blocked / (count + offered * blocked)
        use = offered / count
        shares[count] = np.where(use < 1.0, blocked / np.maximum(1.0 - use * (1.0 - blocked), 1e-12), 1.0)
    return np.minimum(shares, 1.0)


def many_waiting_shares(counts: Ints, offered: Floats) -> Floats:
    """Erlang C for many slots, by its limit; shapes (counts, 1) and (n,) give (counts, n).

    C = 1 / (1 + b Phi(b) / phi(b)) with b = (c - a) / sqrt(a) (Halfin and Whitt, Operations Research 29(3), 1981).
    At `EXACT_SLOTS` it is off by less than 0.004; by less the more slots there are.
    """
    spare = (counts[:, None] - offered) / np.sqrt(np.maximum(offered, 1e-9))
    spare = np.clip(spare, 0.0, 30.0)
    density = np.exp(-(spare**2) / 2.0) / math.sqrt(2.0 * math.pi)
    below = 0.5 * (1.0 + _erf(spare / math.sqrt(2.0)))
    return np.asarray(1.0 / (1.0 + spare * below / np.maximum(density, 1e-300)))


def _erf(x: Floats) -> Floats:
    """The error function for x >= 0, to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1.0 / (1.0 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(1.0 - series * np.exp(-(x**2)))


def late_shares(
    shares: Floats, slots: Floats | float, rate_rps: Floats, wait_s: Floats | float, service_s: float
) -> Floats:
    """Share of requests that wait longer than `wait_s`, given the share that waits at all; 1 when overloaded."""
    spare_rps = np.maximum(slots / service_s - rate_rps, 0.0)
    return np.asarray(shares * np.exp(-spare_rps * np.maximum(wait_s, 0.0)))


def waiting_table(replicas: int, slots_per_replica: int) -> Floats:
    """Erlang C for loads and counts of replicas, shape (loads, replicas + 1).

    Row i is for a load of i / `RATE_STEPS_PER_REPLICA` replicas, up to as many as there are.
    """
    slots = replicas * slots_per_replica
    loads = np.arange(replicas * RATE_STEPS_PER_REPLICA + 1) * np.float64(slots_per_replica / RATE_STEPS_PER_REPLICA)
    counts = np.arange(replicas + 1) * slots_per_replica
    shares = waiting_shares(slots, loads)[counts] if slots <= EXACT_SLOTS else many_waiting_shares(counts, loads)
    return np.ascontiguousarray(shares.T)


@dataclass(frozen=True)
class LateTable:
    """Late requests per second for each count of replicas and any rate.

    A request is late when it waits longer than `patience_s`: what the SLO leaves beside the mean
    service time.
    """

    replicas: int
    """Most replicas."""
    slots_per_replica: int
    service_s: float
    patience_s: float

    @property
    def replica_rps(self) -> float:
        """What one replica can answer."""
        return self.slots_per_replica / self.service_s

    @property
    def step_rps(self) -> float:
        """Distance of the rates in `late_rps`."""
        return self.replica_rps / RATE_STEPS_PER_REPLICA

    @cached_property
    def late_rps(self) -> Floats:
        """Shape (rates, replicas + 1): row i is for the rate `i * step_rps`."""
        shares = waiting_table(self.replicas, self.slots_per_replica)
        rates = np.arange(len(shares), dtype=np.float64)[:, None] * np.float64(self.step_rps)
        slots = np.arange(self.replicas + 1.0) * self.slots_per_replica
        return np.asarray(late_shares(shares, slots, rates, self.patience_s, self.service_s) * rates)

    def expected_late_rps(self, rates_rps: Floats, weights: Floats) -> Floats:
        """Late requests per second for 0..`replicas` replicas, when the rate is one of `rates_rps` by `weights`.

        A rate beyond the table is more than all replicas can hold: all of it is late.
        """
        position = np.maximum(rates_rps, 0.0) / self.step_rps
        below = np.minimum(position.astype(np.int64), len(self.late_rps) - 2)
        part = np.minimum(position - below, 1.0)
        found = weights * (1.0 - part) @ self.late_rps[below] + weights * part @ self.late_rps[below + 1]
        beyond = weights @ np.maximum(rates_rps - (len(self.late_rps) - 1) * self.step_rps, 0.0)
        return np.asarray(found + beyond)
