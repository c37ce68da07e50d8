"""Rented replicas of a world: they start late, some never, some are taken back; each is paid from its launch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.money.cost import HOUR_S
from autoscaler.simulation.view import NodeNotice

FAILURES_TOLD = 32
"""Failed launches that are told: each for as long as so few came after it."""


@dataclass(frozen=True)
class CloudPool:
    """Nodes of one kind and price; one node carries one replica."""

    name: str
    price_usd_per_hour: float
    lead_s: float
    """From launch to ready: the median, where it varies."""
    max_replicas: int = 1_000
    lead_spread: float = 0.0
    """Standard deviation of the lead time's logarithm; 0: it is always the same."""
    failed_launch_share: float = 0.0
    """Launches that never get ready; known when they should have been, and paid until then."""
    reclaims_per_hour: float = 0.0
    """How often the provider takes one replica back (spot); exponential."""
    notice_s: float = 120.0
    """From the notice of a reclaim to the end; the replica serves until then."""
    min_billing_s: float = 0.0
    """A node is paid at least so long."""
    leave_s: float = 0.0
    """From the decision to give a node back until it is gone: it is paid and serves no more."""
    egress_usd_per_gb: float = 0.0


@dataclass
class Node:
    """One rented node."""

    launched_s: int
    ready_s: float
    fails: bool
    noticed_s: float
    """When its reclaim is announced; infinite if never."""
    number: int
    """No other node has it."""
    serving: bool = False
    noticed: bool = False


class Fleet:
    """The nodes of all pools, and the bill."""

    def __init__(self, pools: Sequence[CloudPool], rng: np.random.Generator, warm: int) -> None:
        self.pools = tuple(pools)
        self.nodes: list[list[Node]] = [[] for _ in pools]
        """By pool, oldest first."""
        self.reclaimed = self.failed_launches = 0
        self._rng = rng
        self._wanted = [0] * len(self.pools)
        self._owed_usd, self._launched = 0.0, 0
        self._failed: deque[NodeNotice] = deque(maxlen=FAILURES_TOLD)
        for index, pool in enumerate(self.pools):
            count = min(warm, pool.max_replicas)
            warm -= count
            self._wanted[index] = count
            self.nodes[index] = [self._launch(pool, 0, ready_s=0.0) for _ in range(count)]
        self._count()

    def _launch(self, pool: CloudPool, now_s: int, ready_s: float | None = None) -> Node:
        warm = ready_s is not None
        if ready_s is None:
            spread = math.exp(pool.lead_spread * self._rng.standard_normal()) if pool.lead_spread else 1.0
            ready_s = now_s + pool.lead_s * spread
        fails = not warm and pool.failed_launch_share > 0 and self._rng.random() < pool.failed_launch_share
        rate = pool.reclaims_per_hour / HOUR_S
        noticed_s = ready_s + self._rng.exponential(1.0 / rate) if rate else math.inf
        self._launched += 1
        return Node(now_s, ready_s, fails, noticed_s, self._launched)

    def advance(self, now_s: int) -> None:
        """What has become ready, failed, been announced to go, or gone."""
        if now_s < self._due_s:
            return
        for pool, nodes in zip(self.pools, self.nodes, strict=True):
            for node in list(nodes):
                if not node.serving and now_s >= node.ready_s:
                    if node.fails:
                        self.failed_launches += 1
                        self._failed.append(NodeNotice(node.number, pool.name, now_s, failed=True))
                        self._end(pool, nodes, node, now_s)
                        continue
                    node.serving = True
                node.noticed = now_s >= node.noticed_s
                if now_s >= node.noticed_s + pool.notice_s:
                    self.reclaimed += 1
                    self._end(pool, nodes, node, now_s)
        self._count()

    def notices(self) -> tuple[NodeNotice, ...]:
        """Nodes that were announced to go, and the latest launches that failed."""
        going = [
            NodeNotice(node.number, pool.name, node.noticed_s + pool.notice_s)
            for pool, nodes in zip(self.pools, self.nodes, strict=True)
            if pool.reclaims_per_hour
            for node in nodes
            if node.noticed
        ]
        return (*going, *self._failed)

    def order(self, wanted: Sequence[int], now_s: int) -> int:
        """Launch or give back until there is as much as wanted; how many pools are wanted differently.

        A node that was announced to go counts no more: another takes its place now.
        """
        changed = 0
        for index, pool in enumerate(self.pools):
            count = max(0, min(wanted[index], pool.max_replicas))
            changed += count != self._wanted[index]
            self._wanted[index] = count
            nodes = self.nodes[index]
            staying = [node for node in nodes if not node.noticed]
            for _ in range(count - len(staying)):
                nodes.append(self._launch(pool, now_s))
            # The youngest goes first: one that does not serve yet is no loss.
            for node in staying[count:][::-1]:
                self._end(pool, nodes, node, now_s, leave_s=pool.leave_s)
        self._count()
        return changed

    def _end(self, pool: CloudPool, nodes: list[Node], node: Node, now_s: int, *, leave_s: float = 0.0) -> None:
        nodes.remove(node)
        unpaid_s = max(leave_s, pool.min_billing_s - (now_s - node.launched_s))
        self._owed_usd += unpaid_s * pool.price_usd_per_hour / HOUR_S

    def _count(self) -> None:
        nodes = [node for pool in self.nodes for node in pool]
        self.ready = sum(node.serving for node in nodes)
        self.launching = len(nodes) - self.ready
        self.asked = sum(self._wanted)
        self._usd_per_s = sum(
            len(mine) * pool.price_usd_per_hour / HOUR_S for pool, mine in zip(self.pools, self.nodes, strict=True)
        )
        busiest = max(range(len(self.pools)), key=lambda i: len(self.nodes[i]), default=0)
        self.egress_usd_per_gb = self.pools[busiest].egress_usd_per_gb if self.pools else 0.0
        due = [node.ready_s for node in nodes if not node.serving]
        due += [node.noticed_s for node in nodes if not node.noticed]
        due += [
            node.noticed_s + pool.notice_s
            for pool, mine in zip(self.pools, self.nodes, strict=True)
            for node in mine
            if node.noticed
        ]
        self._due_s = min(due, default=math.inf)

    def pay(self) -> float:
        """The bill of this second, and what nodes given back still owe of their minimum."""
        owed, self._owed_usd = self._owed_usd, 0.0
        return self._usd_per_s + owed
