"""A seeded world for one service: private replicas, rented ones, one queue, and a controller that is asked each tick.

Resolution is one second. What the gateway does is aggregated: all slots of both sites serve one queue,
the private ones first, so the cloud's share of the work is the overflow. What happens in a second
depends only on what was decided before it. Same arrivals, same seed, same controller: the same run, byte by byte.
Where the world has relief, the gateway keeps requests from the queue as the controller told it (`simulation.gateway`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from autoscaler.policy.queueing import Floats, Ints
from autoscaler.policy.staffing import LEAST_PATIENCE_S
from autoscaler.simulation.fleet import CloudPool, Fleet
from autoscaler.simulation.gateway import Gateway, Mix
from autoscaler.simulation.lateness import Queue
from autoscaler.simulation.view import View
from serving.spec_relief import ReliefLevel

WARM_S = 60
"""The run begins with what serves the first minute's rate at `WARM_USE`, as a service that was running before."""
WARM_USE = 0.7


@dataclass(frozen=True)
class WorldSpec:
    """What does not change during a run."""

    private_replicas: int
    """Always there; what they cost does not depend on the policy."""
    slots_per_replica: int
    service_s: float
    """Mean time a request holds a slot, where none wait for one; exponential."""
    slo_latency_s: float
    pools: tuple[CloudPool, ...]
    """In the order in which what is there at the beginning, and whatever a peer wants, is spread over them."""
    max_rented: int | None = None
    """Cloud replicas there may be over all pools; None: as many as the pools hold."""
    signal_delay_s: int = 0
    """What a controller sees is so many seconds old."""
    signal_loss_share: float = 0.0
    """Share of requests whose log lines are lost, at random."""
    answer_bytes: float = 0.0
    queue_timeout_s: float = math.inf
    """A request that has waited so long is refused by the gateway."""
    tick_s: int = 5
    """From one decision of the product's own policies to the next; peers have their own."""
    start_s: float = 1_800_000_000.0
    """Wall clock of the first second; by default a full hour (UTC), so that budget windows begin with the run."""
    mix: Mix | None = None
    """What relief may take of the traffic; None: the gateway has no relief."""
    full_service_s: float | None = None
    """Mean time a request holds a slot while others wait for one; None: `service_s`. Where replicas work in batches it
    is less: with all slots full no batch waits for the one before it, and all its places are taken."""

    @property
    def queue_service_s(self) -> float:
        """Mean time a request holds a slot while all are full: what a queue is worked off by."""
        return self.service_s if self.full_service_s is None else self.full_service_s

    @property
    def most_rented(self) -> int:
        """Cloud replicas that there can be."""
        held = sum(pool.max_replicas for pool in self.pools)
        return held if self.max_rented is None else min(self.max_rented, held)

    @property
    def patience_s(self) -> float:
        """Longest wait of a request that is not late: what the SLO leaves beside the mean service time of who waits."""
        return max(LEAST_PATIENCE_S, self.slo_latency_s - self.queue_service_s)

    @property
    def replica_rps(self) -> float:
        """What one replica can answer."""
        return self.slots_per_replica / self.queue_service_s


class Controller(Protocol):
    """Who decides how much is rented. It may keep state: one controller sees one run."""

    @property
    def tick_s(self) -> int:
        """Seconds from one decision to the next."""

    def decide(self, view: View) -> Sequence[int]:
        """Cloud replicas wanted, ready and starting, for each pool."""


@runtime_checkable
class RelievingController(Controller, Protocol):
    """A controller that also tells the gateway when to relieve."""

    @property
    def queue_from(self) -> Mapping[ReliefLevel, int]:
        """Queue length from which each level applies until the next tick, 0 for one in force; others never do."""


@dataclass(frozen=True, eq=False)
class Run:
    """What happened, second by second."""

    arrivals: Floats
    private: Ints
    ready: Ints
    """Cloud replicas that serve."""
    launching: Ints
    """Cloud replicas that are paid and do not serve yet."""
    usd: Floats
    """Cloud spend, egress included."""
    egress: Floats
    """Egress alone, in usd."""
    actions: int
    """Times the number of wanted cloud replicas changed."""
    reclaimed: int = 0
    failed_launches: int = 0
    kept_away: Mapping[ReliefLevel, Floats] | None = None
    """Of the arrivals, those that each level of relief kept from the queue; None: the gateway has no relief."""

    @property
    def to_replicas(self) -> Floats:
        """Requests of each second that came to the queue: neither answered lightly nor refused by priority."""
        return self.arrivals if self.kept_away is None else self.arrivals - sum(self.kept_away.values())

    @property
    def light_share(self) -> float | None:
        """Share of all requests that got a light answer; None: the gateway has no relief."""
        return self._share("light")

    @property
    def shed_share(self) -> float | None:
        """Share of all requests that were refused by their priority; None: the gateway has no relief."""
        return self._share("shed_low", "shed_normal")

    def _share(self, *levels: ReliefLevel) -> float | None:
        if self.kept_away is None:
            return None
        return sum(float(self.kept_away[level].sum()) for level in levels) / max(1.0, float(self.arrivals.sum()))

    @property
    def rent(self) -> Floats:
        """Rent of the nodes alone, in usd."""
        return self.usd - self.egress

    @property
    def egress_usd(self) -> float:
        """All that was paid for egress."""
        return float(self.egress.sum())

    @property
    def cloud_usd(self) -> float:
        """The whole bill of the cloud."""
        return float(self.usd.sum())

    @property
    def replica_s(self) -> float:
        """Paid seconds of cloud replicas."""
        return float((self.ready + self.launching).sum())


@dataclass
class _Gauges:
    """What the signals show, filled as time passes."""

    arrivals: Floats
    ongoing: Floats
    in_slots: Floats
    ready: Ints
    queue: Queue

    def second(self, now_s: int, arrived: float, slots: int, world: WorldSpec) -> float:
        """One second of the queue; returns how many requests were answered."""
        room = slots / world.queue_service_s
        answered = self.queue.second(arrived, room)
        self.in_slots[now_s] = slots if answered >= room else min(slots, answered * world.service_s)
        self.ongoing[now_s] = self.in_slots[now_s] + self.queue.length
        return answered


def warm_replicas(arrivals: Floats, world: WorldSpec) -> int:
    """Cloud replicas that serve when the run begins."""
    rate_rps = float(arrivals[:WARM_S].mean()) if len(arrivals) else 0.0
    needed = np.ceil(rate_rps / (world.replica_rps * WARM_USE) - 1e-9)
    return min(world.most_rented, max(0, int(needed) - world.private_replicas))


def simulate(arrivals: Floats, world: WorldSpec, controller: Controller, *, seed: int, warm: int | None = None) -> Run:
    """Run a controller over a trace.

    Args:
        arrivals: requests in each second.
        world: what does not change.
        controller: asked at second 0 and each `tick_s`; one that was not asked before.
        seed: of everything random: lead times, failed launches, reclaims, lost log lines.
        warm: cloud replicas that serve when the run begins; `warm_replicas` where nothing is said.
    """
    seconds, rng = len(arrivals), np.random.default_rng(seed)
    seen = arrivals if world.signal_loss_share == 0 else rng.binomial(arrivals.astype(int), 1 - world.signal_loss_share)
    none = np.zeros(seconds, dtype=np.int64)
    gauges = _Gauges(seen.astype(float), np.zeros(seconds), np.zeros(seconds), none, Queue(world.queue_timeout_s))
    gateway = Gateway(world.mix, seconds) if world.mix else None
    relieving = controller if isinstance(controller, RelievingController) else None
    fleet = Fleet(world.pools, rng, warm_replicas(arrivals, world) if warm is None else warm)
    ready, launching = np.zeros(seconds, dtype=np.int64), np.zeros(seconds, dtype=np.int64)
    usd, egress, actions = np.zeros(seconds), np.zeros(seconds), 0
    private_slots = world.private_replicas * world.slots_per_replica
    for now_s in range(seconds):
        fleet.advance(now_s)
        if now_s % controller.tick_s == 0:
            actions += fleet.order(controller.decide(_view(now_s, gauges, world, fleet, gateway)), now_s)
        ready[now_s], launching[now_s] = fleet.ready, fleet.launching
        gauges.ready[now_s] = world.private_replicas + fleet.ready
        slots = private_slots + fleet.ready * world.slots_per_replica
        arrived = arrivals[now_s]
        if gateway is not None:
            told = relieving.queue_from if relieving is not None else {}
            room, seen_here = slots / world.queue_service_s, gauges.arrivals[now_s]
            arrived = gateway.second(
                now_s, told, waiting=gauges.queue.length, arrived=arrived, seen=seen_here, room=room
            )
        answered = gauges.second(now_s, arrived, slots, world)
        overflow = max(0.0, answered - private_slots / world.queue_service_s)
        egress[now_s] = overflow * world.answer_bytes / 1e9 * fleet.egress_usd_per_gb
        usd[now_s] = fleet.pay() + egress[now_s]
    private = np.full(seconds, world.private_replicas, dtype=np.int64)
    counts = (actions, fleet.reclaimed, fleet.failed_launches)
    kept_away = gateway.kept_away if gateway is not None else None
    return Run(arrivals, private, ready, launching, usd, egress, *counts, kept_away)


def _view(now_s: int, gauges: _Gauges, world: WorldSpec, fleet: Fleet, gateway: Gateway | None) -> View:
    known = max(0, now_s - world.signal_delay_s)
    kept_away = gateway.seen if gateway is not None else {}
    return View(
        now_s=now_s,
        arrivals=gauges.arrivals[:known],
        ongoing=gauges.ongoing[:known],
        in_slots=gauges.in_slots[:known],
        ready=gauges.ready[:known],
        asked=world.private_replicas + fleet.asked,
        slots_per_replica=world.slots_per_replica,
        service_s=world.queue_service_s,
        kept_away={level: counts[:known] for level, counts in kept_away.items()},
        notices=fleet.notices(),
    )
