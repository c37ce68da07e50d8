"""A peer as a controller, and replicas spread over pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.peers import Peer
from autoscaler.simulation.view import View
from autoscaler.simulation.world import WorldSpec

S = TypeVar("S")


class PeerController(Generic[S]):
    """A peer says how many replicas there should be in all; private ones come first, then pools in order.

    It knows of no prices, so the order of the pools is that of the declaration.
    """

    def __init__(self, peer: Peer[S], world: WorldSpec) -> None:
        self.tick_s = peer.tick_s
        self._peer, self._world, self._state = peer, world, peer.start()

    def decide(self, view: View) -> Sequence[int]:
        replicas, self._state = self._peer.decide(view, self._state)
        rented = min(self._world.most_rented, replicas - self._world.private_replicas)
        return fill(self._world.pools, rented)


def fill(pools: Sequence[CloudPool], replicas: int) -> list[int]:
    """Replicas spread over pools in their order, each up to its size."""
    left, counts = max(0, replicas), []
    for pool in pools:
        counts.append(min(left, pool.max_replicas))
        left -= counts[-1]
    return counts
