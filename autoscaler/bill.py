"""What rented nodes cost, node by node: from launch until given back, at least the minimum billing. Pure.

A node of unknown fate stays on the bill: an estimate that is too high is safer than one that is too low.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.cost import nodes_by_pool
from autoscaler.state import RentedNode
from serving.project import Pool, SiteSpec
from serving.state import LedgerEntry

_SAME_MOMENT_S = 1e-3


@dataclass(frozen=True)
class Bill:
    """The nodes still paid for, and the ledger entries to write (each replaces its earlier form)."""

    nodes: tuple[RentedNode, ...]
    entries: tuple[LedgerEntry, ...]


def bill(site: str, spec: SiteSpec, service: str, nodes: tuple[RentedNode, ...], *, count: int, now_s: float) -> Bill:
    """Bring the bill of one service on one site to `count` nodes at `now_s`.

    New nodes start now; given-back ones are the newest, as their minimum billing is lost anyway.
    """
    pools = {pool.name: pool for pool in spec.pools}
    kept = nodes[:count]
    returned = nodes[count:]
    added = []
    wanted = {pool.name: taken for pool, taken in nodes_by_pool(spec, count)}
    for node in kept:
        wanted[node.pool] = wanted.get(node.pool, 0) - 1
    names = [name for name, missing in wanted.items() for _ in range(max(0, missing))]
    for index in range(count - len(kept)):
        pool = names[index] if index < len(names) else spec.pools[-1].name
        added.append(RentedNode(pool, now_s + index * _SAME_MOMENT_S))
    entries = tuple(_entry(site, service, pools, node, now_s) for node in (*kept, *returned, *added))
    return Bill((*kept, *added), entries)


def _entry(site: str, service: str, pools: Mapping[str, Pool], node: RentedNode, now_s: float) -> LedgerEntry:
    pool = pools.get(node.pool) or next(iter(pools.values()))
    end_s = max(now_s, node.launched_at_s + pool.min_billing_s)
    seconds = end_s - node.launched_at_s
    return LedgerEntry(
        site=site,
        pool=pool.name,
        service=service,
        start_s=node.launched_at_s,
        end_s=end_s,
        node_seconds=seconds,
        usd=seconds * pool.price_usd_per_hour / 3_600,
    )
