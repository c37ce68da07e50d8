"""How many replicas pay: the cheapest number against the rent, given what the rate may be. Pure.

A late request has a price, a replica-second has one: the best number minimises their expected sum (the newsvendor
problem: Arrow, Harris and Marschak 1951, doi:10.2307/1906813), with late requests from the M/M/c queue
(`autoscaler.queueing`). Launching pays the lead time on top, so it wants more reason than keeping what is there
(the break-even of ski rental: Karlin, Manasse, Rudolph and Sleator 1988, doi:10.1007/BF01762111).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from autoscaler.forecast import Forecast
from autoscaler.queueing import Floats, LateTable

UNITS = 128
"""Finest resolution of a count of replicas: larger fleets are counted in groups."""
PATIENCE_STEPS = 24
"""Steps per factor e of the patience: the table of one step serves a few per cent around it."""


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


def late_rps(supply: Supply, expected: Forecast) -> tuple[Floats, int]:
    """Expected late requests per second for each count of groups of replicas, and the replicas in a group.

    What no replica can ever answer counts once more: in an overload all are late, however many replicas there are,
    and yet each one more answers its share.
    """
    group = max(1, math.ceil(supply.most / UNITS))
    table = _table(
        math.ceil(supply.most / group),
        supply.slots_per_replica * group,
        round(math.log(max(supply.patience_s, 1e-3) / supply.service_s) * PATIENCE_STEPS),
    )
    rates_rps, weights = expected.points()
    loads = rates_rps * supply.service_s  # the table's unit of time is a service
    slots = np.arange(table.replicas + 1) * table.slots_per_replica
    unanswered = weights @ np.maximum(loads[:, None] - slots, 0.0)
    return (table.expected_late_rps(loads, weights) + unanswered) / supply.service_s, group


def cheapest(supply: Supply, expected: Forecast, *, late_usd: float, rent_factor: float) -> int:
    """Replicas with the least expected cost, when a late request costs `late_usd`.

    Args:
        supply: replicas and their prices.
        expected: the rate.
        late_usd: price of a late request.
        rent_factor: how much dearer than its price a replica is, for what comes with it.
    """
    late, group = late_rps(supply, expected)
    rent_usd_per_s = np.concatenate(([0.0], np.cumsum(_rents(supply)))) / 3_600.0
    counts = np.minimum(np.arange(len(late)) * group, supply.most)
    total = late * late_usd + rent_usd_per_s[counts] * rent_factor
    return int(counts[int(np.argmin(total))])


def _rents(supply: Supply) -> Floats:
    """Price of each further replica."""
    counts = [count for count, _ in supply.prices_usd_per_hour]
    return np.repeat([price for _, price in supply.prices_usd_per_hour], counts)


@lru_cache(maxsize=128)
def _table(replicas: int, slots: int, patience_step: int) -> LateTable:
    """Late requests when time is counted in services."""
    return LateTable(replicas, slots, 1.0, math.exp(patience_step / PATIENCE_STEPS))
