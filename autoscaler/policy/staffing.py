"""How many replicas pay: the cheapest number against the rent, given what the rate may be. Pure.

A late request has a price, a replica-second has one: the best number minimises their expected sum (the newsvendor
problem: Arrow, Harris and Marschak 1951, doi:10.2307/1906813), with late requests from the M/M/c queue
(`autoscaler.policy.queueing`). Launching pays the lead time on top, so it wants more reason than keeping what is there
(the break-even of ski rental: Karlin, Manasse, Rudolph and Sleator 1988, doi:10.1007/BF01762111).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from autoscaler.policy.forecast import Forecast
from autoscaler.policy.queueing import EXACT_SLOTS, RATE_STEPS_PER_REPLICA, Floats, late_shares, waiting_table

UNITS = 128
"""Finest resolution of a count of replicas: larger fleets are counted in groups."""
LEAST_TABLE = 16
"""Tables are made for this many replicas, or twice, four times, ... as many: fleets of about a size share one."""
NEVER = 40.0
"""Less than one of e to this power is late: nobody."""
LEAST_PATIENCE_S = 1e-3
TABLES_KEPT = 64
"""Of 2.1 MB at most. How long a request may wait and how long it is served is in none of them, so services that differ
in nothing else share one: a fleet needs as many tables as it has sizes and numbers of slots."""


@dataclass(frozen=True)
class Supply:
    """What one replica can do, how many there may be, and what they cost."""

    slots_per_replica: int
    service_s: float
    patience_s: float
    """Longest wait of a request that is not late."""
    prices_usd_per_hour: tuple[tuple[int, float], ...]
    """(replicas, price of each) in the order in which they are used; what one more costs."""

    @property
    def most(self) -> int:
        """Replicas there can be at all."""
        return sum(count for count, _ in self.prices_usd_per_hour)

    @property
    def replica_rps(self) -> float:
        """What one replica can answer."""
        return self.slots_per_replica / self.service_s

    @cached_property
    def rents_usd_per_s(self) -> Floats:
        """What 0, 1, ... `most` replicas cost."""
        counts = [count for count, _ in self.prices_usd_per_hour]
        each = np.repeat([price for _, price in self.prices_usd_per_hour], counts)
        return np.concatenate(([0.0], np.cumsum(each))) / 3_600.0


@lru_cache(maxsize=4)  # a forecast is asked for what to launch and for what to keep
def late_rps(supply: Supply, expected: Forecast) -> tuple[Floats, int]:
    """Expected late requests per second for each count of groups of replicas, and the replicas in a group.

    What no replica can ever answer counts once more: in an overload all are late, however many replicas there are,
    and yet each one more answers its share.
    """
    group = max(1, math.ceil(supply.most / UNITS))
    units, slots = math.ceil(supply.most / group), supply.slots_per_replica * group
    rates_rps, weights = expected.points()
    loads = rates_rps * supply.service_s  # the unit of time is a service
    counts = np.arange(units + 1.0) * slots
    late = _late(loads, weights, counts, slots, max(supply.patience_s, LEAST_PATIENCE_S) / supply.service_s)
    short = counts[: math.ceil(loads[-1] / slots)]
    late[: len(short)] += weights @ np.maximum(loads[:, None] - short, 0.0)
    return late / supply.service_s, group


def _late(loads: Floats, weights: Floats, counts: Floats, slots: int, patience: float) -> Floats:
    """Expected late requests per service time, for each count of slots: between the rows of a table, linearly.

    Only where there is doubt: with fewer slots than the least load all are late, with many more than the largest none.
    A load beyond the table is more than all replicas can hold: all of it is late.
    """
    shares = _shares(_table_size(len(counts) - 1, slots), slots)
    step = slots / RATE_STEPS_PER_REPLICA
    position = loads / step
    below = np.minimum(position.astype(np.int64), len(shares) - 2)
    part = np.minimum(position - below, 1.0)
    low, high = int(below[0]), int(below[-1]) + 2
    weight = np.bincount(below - low, weights * (1.0 - part), high - low)
    weight[1:] += np.bincount(below - low, weights * part, high - low - 1)
    first = min(len(counts) - 1, int(low * step / slots))
    last = min(len(counts), math.ceil((high * step + NEVER / patience) / slots) + 1)
    grid = np.arange(low, high, dtype=np.float64)[:, None] * np.float64(step)
    found = late_shares(shares[low:high, first:last], counts[first:last], grid, patience, 1.0) * grid
    late = np.zeros(len(counts))
    late[:first] = weights @ loads
    late[first:last] = weight @ found
    if position[-1] > len(shares) - 1:
        late[first:last] += weights @ np.maximum(loads - (len(shares) - 1) * step, 0.0)
    return late


def cheapest(supply: Supply, expected: Forecast, *, late_usd: float, rent_factor: float) -> int:
    """Replicas with the least expected cost, when a late request costs `late_usd`.

    Args:
        supply: replicas and their prices.
        expected: the rate.
        late_usd: price of a late request.
        rent_factor: how much dearer than its price a replica is, for what comes with it.
    """
    late, group = late_rps(supply, expected)
    counts = np.minimum(np.arange(len(late)) * group, supply.most)
    total = late * late_usd + supply.rents_usd_per_s[counts] * rent_factor
    return int(counts[int(np.argmin(total))])


def _table_size(units: int, slots: int) -> int:
    """Units of the table that serves so many; no more than it can hold exactly, if those asked for can be."""
    size = LEAST_TABLE
    while size < units:
        size *= 2
    return min(size, max(units, EXACT_SLOTS // slots))


@lru_cache(maxsize=TABLES_KEPT)
def _shares(units: int, slots: int) -> Floats:
    """`waiting_table`, once."""
    return waiting_table(units, slots)
