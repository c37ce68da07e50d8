"""What rented nodes cost, node by node: from launch until given back, at least the minimum billing. Pure.

A node of unknown fate stays on the bill: an estimate that is too high is safer than one that is too low.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    kept, returned = nodes[:count], nodes[count:]
    added = tuple(
        RentedNode(pool.name, now_s + index * _SAME_MOMENT_S)
        for index, pool in enumerate(further_pools(spec, kept, count))
    )
    entries = tuple(_entry(site, service, pool_of(spec, node), node, now_s) for node in (*kept, *returned, *added))
    return Bill((*kept, *added), entries)


def further_pools(spec: SiteSpec, nodes: Sequence[RentedNode], count: int) -> list[Pool]:
    """The pool of each node to be rented beside `nodes`, up to `count` in all: in declared order, by room."""
    wanted = {pool.name: taken for pool, taken in nodes_by_pool(spec, count)}
    for node in nodes:
        wanted[node.pool] = wanted.get(node.pool, 0) - 1
    found = [pool for pool in spec.pools for _ in range(wanted[pool.name])]
    missing = max(0, count - len(nodes))
    return (found + [spec.pools[-1]] * missing)[:missing]


def pool_of(spec: SiteSpec, node: RentedNode) -> Pool:
    """The declared pool of a node; the first one if it is no longer declared."""
    return next((pool for pool in spec.pools if pool.name == node.pool), spec.pools[0])


def _entry(site: str, service: str, pool: Pool, node: RentedNode, now_s: float) -> LedgerEntry:
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
