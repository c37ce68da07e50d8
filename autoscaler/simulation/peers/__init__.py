"""Today's autoscalers, as their documents and sources say, for a fair comparison in the same world.

Each is a frozen value of its documented parameters and a pure step. docs/reference/peers.md has every default
with its source, and what had to be decided where sources leave room.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from autoscaler.simulation.peers.hpa import Hpa
from autoscaler.simulation.peers.keda import Keda
from autoscaler.simulation.peers.kpa import Kpa
from autoscaler.simulation.peers.ray_serve import RayServe
from autoscaler.simulation.peers.skyserve import SkyServe
from autoscaler.simulation.view import View

S = TypeVar("S")


class Peer(Protocol[S]):
    """An autoscaler that remembers a value of type S from tick to tick."""

    @property
    def name(self) -> str:
        """As the command line and reports call it."""

    @property
    def tick_s(self) -> int:
        """Seconds from one decision to the next."""

    def start(self) -> S:
        """What it remembers before its first tick."""

    def decide(self, view: View, state: S) -> tuple[int, S]:
        """Replicas wanted in all, at least 1, and what to remember; bounds and sites are the caller's."""


def _by_name(*peers: Peer[Any]) -> Mapping[str, Peer[Any]]:
    return MappingProxyType({peer.name: peer for peer in peers})


PEERS: Mapping[str, Peer[Any]] = _by_name(Hpa(), Kpa(), Keda(), RayServe(), SkyServe())
"""Every peer with its default parameters."""
