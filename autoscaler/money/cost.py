"""Money that moves: what a pool costs per hour, per 1,000 requests, and what a budget still allows.

Private usd per 1,000 = (power_kw x tariff(t) + opportunity per GPU-hour) x GPUs x 1000 /
requests per hour. Cloud adds the node price and egress. All amounts are usd, all times
seconds since the epoch (UTC).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from autoscaler.snapshot import Spend
from serving.project import Pool
from serving.spec import Budget
from serving.state import LedgerEntry

HOUR_S = 3_600.0
MIN_RATE_RPS = 0.01
"""Below this a cost per 1,000 requests says nothing."""
EPSILON_USD = 1e-9
"""Rounding of sums of floats; a billionth of a dollar is not an overspend."""


def tariff_usd_per_kwh(pool: Pool, now_s: float) -> float:
    """Electricity price at `now_s`.

    Bands are times of day in UTC; they may cross midnight, and one that ends where it begins is a whole day.
    """
    if not pool.tariff_bands:
        return pool.tariff_usd_per_kwh
    clock = datetime.fromtimestamp(now_s, UTC).strftime("%H:%M")
    for band in pool.tariff_bands:
        if band.start < band.until:
            inside = band.start <= clock < band.until
        else:
            inside = clock >= band.start or clock < band.until
        if inside:
            return band.usd_per_kwh
    return pool.tariff_usd_per_kwh


def node_usd_per_hour(pool: Pool, now_s: float) -> float:
    """What one busy node of the pool costs per hour: rent, energy and lost opportunity."""
    energy = pool.power_kw_per_gpu * tariff_usd_per_kwh(pool, now_s)
    return pool.price_usd_per_hour + (energy + pool.opportunity_usd_per_gpu_hour) * pool.gpus_per_node


def nodes_by_pool(pools: Sequence[Pool], nodes: int) -> list[tuple[Pool, int]]:
    """`nodes` spread over the pools in the order given, each up to its size."""
    spread, left = [], nodes
    for pool in pools:
        taken = min(left, pool.max_nodes)
        spread.append((pool, taken))
        left -= taken
    return spread


def site_usd_per_hour(pools: Sequence[Pool], nodes: int, now_s: float) -> float:
    """What `nodes` busy nodes cost per hour, with the pools used in the order given."""
    return sum(node_usd_per_hour(pool, now_s) * count for pool, count in nodes_by_pool(pools, nodes))


def usd_per_1000(usd_per_hour: float, rate_rps: float) -> float | None:
    """Cost of 1,000 requests at this rate; None when there is too little traffic to say."""
    if rate_rps < MIN_RATE_RPS:
        return None
    return usd_per_hour * 1_000 / (rate_rps * HOUR_S)


@dataclass(frozen=True)
class CostView:
    """What serving the present load would cost on either side, in usd per 1,000 requests."""

    private_usd_per_1000: float
    cloud_usd_per_1000: float

    @property
    def ratio(self) -> float:
        """Private over cloud; above 1 the private site is the dearer one."""
        return self.private_usd_per_1000 / self.cloud_usd_per_1000


def compare(
    private: Sequence[Pool],
    cloud: Sequence[Pool],
    *,
    nodes: int,
    rate_rps: float,
    egress_gb_per_1000: float,
    now_s: float,
) -> CostView | None:
    """Cost of the same load on either side; None without enough traffic or a cloud price.

    Pools are used in the order given. A load that needs more `nodes` than a site has is compared by the part that
    both can hold.
    """
    held = min(nodes, *(sum(pool.max_nodes for pool in pools) for pools in (private, cloud)))
    part_rps = rate_rps * held / nodes
    here = usd_per_1000(site_usd_per_hour(private, held, now_s), part_rps)
    there = usd_per_1000(site_usd_per_hour(cloud, held, now_s), part_rps)
    if here is None or not there:
        return None
    egress_usd_per_gb = sum(pool.egress_usd_per_gb * count for pool, count in nodes_by_pool(cloud, held)) / held
    return CostView(here, there + egress_usd_per_gb * egress_gb_per_1000)


def spend(ledger: Iterable[LedgerEntry], now_s: float) -> Spend:
    """Spend in the running hour, day and month (UTC calendar windows).

    A span that began before a window counts by the part that lies inside.
    """
    starts_s, _ = windows(now_s)
    totals = [0.0, 0.0, 0.0]
    for entry in ledger:
        for index, start_s in enumerate(starts_s):
            totals[index] += usd_between(entry, start_s, math.inf)
    return Spend(*totals)


def usd_between(entry: LedgerEntry, begin_s: float, end_s: float) -> float:
    """What of a span's cost lies between two moments."""
    return entry.usd * part_between(entry, begin_s, end_s)


def part_between(entry: LedgerEntry, begin_s: float, end_s: float) -> float:
    """The part of a span that lies between two moments; one without length is where it starts."""
    length_s = entry.end_s - entry.start_s
    if length_s <= 0:
        return 1.0 if begin_s <= entry.start_s < end_s else 0.0
    return max(0.0, min(entry.end_s, end_s) - max(entry.start_s, begin_s)) / length_s


@dataclass(frozen=True)
class Affordable:
    """How many rented nodes the budget allows."""

    nodes: int
    reason: str
    """Empty when no cap binds, else which and by how much."""


@dataclass(frozen=True)
class Commitment:
    """What one node costs from now on, beyond what is booked of it."""

    usd_per_hour: float
    least_s: float
    """Time that is paid whatever is decided: until a running node can be gone, or the least a new one is paid for."""
    expected_s: float | None = None
    """From now until it is given back, if it stays as others did; None: not known."""
    booked_s: float = 0.0
    """Time from now that is booked already; below 0: it is not booked yet for so long."""

    @property
    def least_usd(self) -> float:
        """Owed in any case."""
        return self.least_s * self.usd_per_hour / HOUR_S

    def usd_within(self, left_s: float) -> float:
        """What is expected in a window that ends in `left_s`; never less than what is owed in any case."""
        expected_s = 0.0 if self.expected_s is None else min(self.expected_s, left_s) - self.booked_s
        return max(self.least_s, expected_s) * self.usd_per_hour / HOUR_S


def affordable_nodes(
    budget: Budget,
    spent: Spend,
    *,
    wanted: int,
    running: Sequence[Commitment],
    renting: Sequence[Commitment],
    now_s: float,
) -> Affordable:
    """Most of the `wanted` nodes that every envelope still pays for.

    A further node must fit with what it and the running ones are expected to cost until the window ends. Running ones
    stay as long as what they owe in any case fits: when it no longer does, all of them must leave.

    Args:
        budget: the spend caps.
        spent: what is booked in the running windows.
        wanted: nodes asked for.
        running: the rented nodes.
        renting: the further ones, in the order in which they would be rented.
        now_s: wall clock.
    """
    nodes, reason = wanted, ""
    owed_usd = sum(node.least_usd for node in running)
    _, ends_s = windows(now_s)
    for name, cap, used, end_s in (
        ("usd_per_hour", budget.usd_per_hour, spent.hour_usd, ends_s[0]),
        ("usd_per_day", budget.usd_per_day, spent.day_usd, ends_s[1]),
        ("usd_per_month", budget.usd_per_month, spent.month_usd, ends_s[2]),
    ):
        if cap is None:
            continue
        left_usd = cap - used + EPSILON_USD
        expected_usd = sum(node.usd_within(end_s - now_s) for node in running)
        totals = accumulate((node.usd_within(end_s - now_s) for node in renting), initial=expected_usd)
        further = max(0, sum(total <= left_usd for total in totals) - 1)
        paid = len(running) + further if owed_usd <= left_usd else 0
        if paid < nodes:
            nodes = paid
            told = f", {expected_usd:.4g} usd of it for those there" if expected_usd > owed_usd + EPSILON_USD else ""
            left = f"{max(cap - used, 0):.4g} usd left{told}"
            reason = f"budget.{name} {cap:g} usd, {left}: at most {nodes} nodes"
    return Affordable(nodes, reason)


def windows(now_s: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Begin and end of the running hour, day and month (UTC), in seconds since the epoch."""
    now = datetime.fromtimestamp(now_s, UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    month = day.replace(day=1)
    after = (hour + timedelta(hours=1), day + timedelta(days=1), (month + timedelta(days=32)).replace(day=1))
    return (
        (hour.timestamp(), day.timestamp(), month.timestamp()),
        (after[0].timestamp(), after[1].timestamp(), after[2].timestamp()),
    )
