"""The gateway's relief in a world: which requests of a second never come to the queue. Pure.

The daemon tells the gateway, for each level, the queue length from which it applies (0: in force). In force a level
takes every request that it may; else those beyond its length at the end of the second: a fluid queue with a controlled
inflow, which stays at the length while enough may be taken (the sliding motion of Filippov, Differential Equations
with Discontinuous Righthand Sides, 1988, chapter 2). Levels act in the order of their severity: who gets a light answer
is not refused. What a level may take is a share of the arrivals, the same in each priority; light answers only as many
as the relief process gives (`docs/guides/relief.md`).

The queue of a level is the one that is piled up. The noise of single requests around it is in the late share
(`simulation.lateness`), not here: near saturation fewer answers are light, and more are late, than would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscaler.policy.queueing import Floats
from serving.spec_relief import RELIEF_LEVELS, ReliefLevel

LIGHT_RPS = 1_000.0
"""Kept answers per second of one relief process behind HAProxy: 990 to 1,200 with 16 to 32 clients, measured on two
cores that also ran clients and other work."""
RELIEF: Mapping[str, Any] = {
    "relief": {"light": {}, "shed": {}},
    "routing": {
        "rules": [
            {"path": "/light", "idempotent": True, "relief": "shared"},
            {"path": "/low", "priority": "low"},
        ]
    },
}
"""Sections of a declaration: light answers and low priority, each with its defaults."""


@dataclass(frozen=True)
class Mix:
    """What of the traffic relief may take. A log does not tell, so it is assumed; shares are of all requests."""

    light_share: float = 0.8
    """Has a light answer: an idempotent route with `relief`, and an answer that is kept or that a variant gives."""
    low_share: float = 0.2
    """Low priority."""
    high_share: float = 0.2
    """High priority; what is left of 1 is normal."""
    light_rps: float = LIGHT_RPS
    """Light answers per second at the most."""

    def may_take(self, level: ReliefLevel, arrived: float, light: float) -> float:
        """Requests of a second that a level may take, after `light` of those that arrived got light answers."""
        if level == "light":
            return min(self.light_share * arrived, self.light_rps)
        share = self.low_share if level == "shed_low" else max(0.0, 1.0 - self.low_share - self.high_share)
        return share * (arrived - light)


def kept_away(
    queue_from: Mapping[ReliefLevel, int], mix: Mix, *, waiting: float, arrived: float, room: float
) -> dict[ReliefLevel, float]:
    """Requests that each level keeps from the queue in a second; levels that do not apply have 0.

    Args:
        queue_from: queue length from which each level applies; others never do.
        mix: what may be taken.
        waiting: requests that waited when the second began.
        arrived: requests that come in it.
        room: requests that the slots can answer in it.
    """
    kept = dict.fromkeys(RELIEF_LEVELS, 0.0)
    left = waiting + arrived - room
    for level in RELIEF_LEVELS:
        length = queue_from.get(level)
        if length is None or (0 < length >= left):
            continue
        most = mix.may_take(level, arrived, kept["light"])
        kept[level] = most if length == 0 else min(most, left - length)
        left -= kept[level]
    return kept


class Gateway:
    """A run's gateway with relief: what it kept from the queue, as it was and as the signals show it."""

    def __init__(self, mix: Mix, seconds: int) -> None:
        self._mix = mix
        self.kept_away: dict[ReliefLevel, Floats] = {level: np.zeros(seconds) for level in RELIEF_LEVELS}
        """Requests of each second."""
        self.seen: dict[ReliefLevel, Floats] = {level: np.zeros(seconds) for level in RELIEF_LEVELS}
        """Those whose log lines were not lost."""

    def second(
        self,
        now_s: int,
        queue_from: Mapping[ReliefLevel, int],
        *,
        waiting: float,
        arrived: float,
        seen: float,
        room: float,
    ) -> float:
        """One second; returns how many of the requests that arrived come to the queue."""
        kept = kept_away(queue_from, self._mix, waiting=waiting, arrived=arrived, room=room)
        for level, count in kept.items():
            self.kept_away[level][now_s] = count
            self.seen[level][now_s] = count * seen / arrived if arrived else 0.0
        return arrived - sum(kept.values())
