"""Money that moves: what a pool costs per hour, per 1,000 requests, and what a budget still allows.

Private usd per 1,000 = (power_kw x tariff(t) + opportunity per GPU-hour) x GPUs x 1000 /
requests per hour. Cloud adds the node price and egress. All amounts are usd, all times
seconds since the epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from autoscaler.snapshot import Spend
from serving.project import Pool, SiteSpec
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


def nodes_by_pool(site: SiteSpec, nodes: int) -> list[tuple[Pool, int]]:
    """`nodes` spread over the site's pools in declared order, each up to its size."""
    spread, left = [], nodes
    for pool in site.pools:
        taken = min(left, pool.max_nodes)
        spread.append((pool, taken))
        left -= taken
    return spread


def site_usd_per_hour(site: SiteSpec, nodes: int, now_s: float) -> float:
    """What `nodes` busy nodes of a site cost per hour."""
    return sum(node_usd_per_hour(pool, now_s) * count for pool, count in nodes_by_pool(site, nodes))


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
    private: SiteSpec,
    cloud: SiteSpec,
    *,
    nodes: int,
    rate_rps: float,
    egress_gb_per_1000: float,
    now_s: float,
) -> CostView | None:
    """Cost of the same load on either side; None without enough traffic or a cloud price.

    A load that needs more `nodes` than a site has is compared by the part that both can hold.
    """
    held = min(nodes, private.max_nodes, cloud.max_nodes)
    part_rps = rate_rps * held / nodes
    here = usd_per_1000(site_usd_per_hour(private, held, now_s), part_rps)
    there = usd_per_1000(site_usd_per_hour(cloud, held, now_s), part_rps)
    if here is None or not there:
        return None
    return CostView(here, there + cloud.pools[0].egress_usd_per_gb * egress_gb_per_1000)


def spend(ledger: Iterable[LedgerEntry], now_s: float) -> Spend:
    """Spend in the running hour, day and month (UTC calendar windows).

    A span that began before a window counts by the part that lies inside.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    starts = (hour, hour.replace(hour=0), hour.replace(day=1, hour=0))
    totals = [0.0, 0.0, 0.0]
    for entry in ledger:
        length_s = entry.end_s - entry.start_s
        for index, start in enumerate(starts):
            inside_s = entry.end_s - max(entry.start_s, start.timestamp())
            if inside_s >= 0:
                totals[index] += entry.usd * (min(1.0, inside_s / length_s) if length_s > 0 else 1.0)
    return Spend(*totals)


@dataclass(frozen=True)
class Affordable:
    """How many rented nodes the budget allows."""

    nodes: int
    reason: str
    """Empty when no cap binds, else which and by how much."""


def affordable_nodes(
    budget: Budget, spent: Spend, *, wanted: int, leaving_usd: Sequence[float], renting_usd: Sequence[float]
) -> Affordable:
    """Most of the `wanted` nodes that every envelope still pays for.

    Args:
        budget: the spend caps.
        spent: what is booked in the running windows.
        wanted: nodes asked for.
        leaving_usd: per rented node, what it costs beyond what is booked until it can be gone. That is
            owed whatever is decided, so when a cap no longer holds more than that, all of them must leave.
        renting_usd: per further node, the least that it commits to.
    """
    nodes, reason = wanted, ""
    owed_usd = sum(leaving_usd)
    for name, cap, used in (
        ("usd_per_hour", budget.usd_per_hour, spent.hour_usd),
        ("usd_per_day", budget.usd_per_day, spent.day_usd),
        ("usd_per_month", budget.usd_per_month, spent.month_usd),
    ):
        if cap is None:
            continue
        left_usd = cap - used - owed_usd + EPSILON_USD
        further = sum(total <= left_usd for total in accumulate(renting_usd))
        paid = len(leaving_usd) + further if left_usd >= 0 else 0
        if paid < nodes:
            nodes = paid
            reason = f"budget.{name} {cap:g} usd, {max(cap - used, 0):.4g} usd left: at most {nodes} nodes"
    return Affordable(nodes, reason)
