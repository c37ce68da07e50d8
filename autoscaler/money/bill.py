"""What rented nodes cost, node by node: from launch until given back, at least the minimum billing. Pure.

A node of unknown fate stays on the bill: an estimate that is too high is safer than one that is too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.money.market import Offer, further, going, keep, pool_of, staying
from autoscaler.state import RentedNode
from serving.project import Pool, SiteSpec
from serving.state import LedgerEntry

_SAME_MOMENT_S = 1e-3


@dataclass(frozen=True)
class Bill:
    """What is paid for after a change."""

    nodes: tuple[RentedNode, ...]
    """Still paid for, oldest first."""
    returned: tuple[RentedNode, ...]
    """Given back now."""
    entries: tuple[LedgerEntry, ...]
    """To write; each replaces its earlier form."""


def bill(
    site: str,
    spec: SiteSpec,
    service: str,
    nodes: tuple[RentedNode, ...],
    *,
    count: int,
    offers: Sequence[Offer],
    now_s: float,
) -> Bill:
    """Bring the bill of one service on one site to `count` nodes at `now_s`.

    New nodes start now, from the cheapest of `offers`; which ones are given back, `market.keep` says. Those announced
    to go are among them until they end.
    """
    leaving = going(nodes, now_s)[:count]
    kept = (*leaving, *keep(spec, staying(nodes), count - len(leaving), now_s))
    kept = tuple(sorted(kept, key=lambda node: node.launched_at_s))
    staying_on = set(kept)
    returned = tuple(node for node in nodes if node not in staying_on)
    added = tuple(
        RentedNode(pool.name, now_s + index * _SAME_MOMENT_S)
        for index, pool in enumerate(further(offers, kept, max(0, count - len(kept))))
    )
    entries = tuple(_entry(site, service, pool_of(spec, node), node, now_s) for node in (*kept, *returned, *added))
    return Bill((*kept, *added), returned, entries)


def _entry(site: str, service: str, pool: Pool, node: RentedNode, now_s: float) -> LedgerEntry:
    gone_s = now_s if node.ends_s is None else min(now_s, max(node.ends_s, node.launched_at_s))
    end_s = max(gone_s, node.launched_at_s + pool.min_billing_s)
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
