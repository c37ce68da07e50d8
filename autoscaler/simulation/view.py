"""What an autoscaler may look at. Values only: a policy that takes a `View` cannot see the future. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoscaler.policy.queueing import Floats, Ints
from serving.spec_relief import ReliefLevel


@dataclass(frozen=True)
class NodeNotice:
    """A node that will be taken back, or whose launch failed."""

    node: int
    """Its number; no other has it."""
    pool: str
    ends_s: float
    """Second at which it is gone."""
    failed: bool = False


@dataclass(frozen=True)
class View:
    """What any autoscaler may see at a tick: each past second of one service, newest last.

    Element k of an array covers the second from k to k + 1. Where signals are late the newest seconds are
    missing: arrays are then shorter than `now_s`, never padded.
    """

    now_s: int
    """Seconds since the start; arrays have this length, or fewer where signals are late."""
    arrivals: Floats
    """Requests that arrived in each second."""
    ongoing: Floats
    """Mean requests in the service in each second: held by a slot, or waiting at the gateway."""
    in_slots: Floats
    """Mean requests held by a slot in each second."""
    ready: Ints
    """Replicas ready in each second."""
    asked: int
    """Replicas asked for now: ready and starting."""
    slots_per_replica: int
    service_s: float
    """Mean time a request holds a slot while all are full, as a load test would show it."""
    kept_away: Mapping[ReliefLevel, Floats] = field(default_factory=dict)
    """Of the arrivals in each second, those that each level of relief kept from the queue; empty without relief."""
    notices: tuple[NodeNotice, ...] = ()
    """What providers said of nodes, each for as long as it is of use."""
