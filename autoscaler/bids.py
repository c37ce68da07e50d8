"""What a policy answers: a bid for capacity, with its reason, and the state it keeps.

A policy is a pure function `(service, snapshot, state) -> (bid, state)`; it never
decides where capacity comes from or whether it is affordable: `autoscaler.allocate` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bid:
    """How many replicas one service wants, over all sites."""

    service: str
    replicas: int
    kind: Literal["grow", "keep", "shrink"]
    reason: str
    failover: bool = False
    """The private site cannot serve: all of it is wanted in the cloud, now."""
    shift: bool = False
    """Cost asks that traffic leaves the private site although it could serve."""


@dataclass(frozen=True)
class PolicyState:
    """What the threshold policy remembers between ticks. Plain values: it is stored."""

    breach_since_s: float | None = None
    needs: tuple[tuple[float, int], ...] = ()
    """(time last seen, replicas needed), falling: the first is the maximum over the dwell time."""
    needs_since_s: float | None = None
    """Since when needs were seen without a gap."""
    cost_since_s: float | None = None
    """Since when the cost ratio has asked to change sides."""
    shifted: bool = False
