"""Replicas that work in batches: the aggregate world against every request by itself.

A batch holds a replica for a fixed time. Who finds a free slot often waits in it for the batch before; while all are
full a batch takes all slots of its replica at once, and they are free at once. So a slot is held longer by who finds it
free than by who had waited for it, and a queue is worked off faster than the mean of both says.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from autoscaler.observing.traffic import Counts
from autoscaler.policy.queueing import Floats, Ints, LateTable
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.lateness import backlogs, wait_quantile
from autoscaler.simulation.own import signals_of
from autoscaler.simulation.view import View
from autoscaler.simulation.world import WorldSpec, simulate
from serving.gateway.gateway import RequestRecord

SLOTS, HOLD_S, FILL_S = 4, 0.1, 0.01
"""Slots of a replica, which are a batch; how long that holds it; how long a batch waits to fill."""
WORLD = WorldSpec(3, SLOTS, 0.2, 0.5, (CloudPool("cloud", 1.0, 45.0, max_replicas=4),), full_service_s=0.11)


@dataclass
class Replica:
    """Requests in its slots: those of the batch under way, and those that wait for the next."""

    busy: int = 0
    gathered: list[int] = field(default_factory=list)
    begins: bool = False


def played(arrivals_s: Floats, replicas_by_second: Ints) -> tuple[Floats, Counts]:
    """Each request by itself, first come first served, to the replica with most free slots.

    Returns how long each waited for a slot, and what a gateway's log tells of all.
    """
    replicas = [Replica() for _ in range(int(replicas_by_second.max()))]
    events = [(at_s, "arrives", index) for index, at_s in enumerate(arrivals_s.tolist())]
    events += [(float(at_s + 1), "more", 0) for at_s in np.flatnonzero(np.diff(replicas_by_second))]
    heapq.heapify(events)
    waiting: deque[int] = deque()
    began_s, counts = np.zeros(len(arrivals_s)), Counts()
    while events:
        now_s, what, index = heapq.heappop(events)
        if what == "arrives":
            waiting.append(index)
        elif what == "batch":
            replica = replicas[index]
            replica.busy, replica.begins = len(replica.gathered), False
            for each in replica.gathered:
                queue_s, held_s = began_s[each] - arrivals_s[each], now_s + HOLD_S - began_s[each]
                counts.add(record(arrivals_s[each], queue_s, held_s))
            replica.gathered = []
            heapq.heappush(events, (now_s + HOLD_S, "done", index))
        elif what == "done":
            replicas[index].busy = 0
        there = replicas[: int(replicas_by_second[min(int(now_s), len(replicas_by_second) - 1)])]
        while waiting and (replica := min(there, key=held)) and held(replica) < SLOTS:
            each = waiting.popleft()
            began_s[each] = now_s
            replica.gathered.append(each)
        for number, replica in enumerate(there):
            if replica.gathered and not replica.busy and not replica.begins:
                replica.begins = True
                heapq.heappush(events, (now_s + FILL_S, "batch", number))
    return began_s - arrivals_s, counts


def held(replica: Replica) -> int:
    """Slots of it that are not free."""
    return replica.busy + len(replica.gathered)


def record(at_s: float, queue_s: float, held_s: float) -> RequestRecord:
    """An answered request, as the gateway logs it: in whole milliseconds."""
    queue_s, held_s = round(queue_s, 3), round(held_s, 3)
    return RequestRecord("shop", "stable", "private", 200, queue_s, queue_s + held_s, "--", 100, "", at_s)


def rush(seed: int) -> Floats:
    """25 requests per second, and 125 from the 20th to the 120th second; at random moments."""
    rng = np.random.default_rng(seed)
    rates = np.where((np.arange(160) >= 20) & (np.arange(160) < 120), 125.0, 25.0)
    counts = rng.poisson(rates)
    return np.sort(np.repeat(np.arange(160), counts) + rng.uniform(size=int(counts.sum())))


@dataclass
class Rents:
    """Wants all there is from the 25th second on."""

    tick_s: int = 5

    def decide(self, view: View) -> list[int]:
        return [4 if view.now_s >= 25 else 0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_queue_is_worked_off_at_the_time_that_full_slots_are_held(seed: int) -> None:
    """In a rush that rented capacity meets late the longest queue and the p99 of its waits agree within a tenth."""
    times_s = rush(seed)
    arrivals = np.bincount(times_s.astype(int), minlength=160).astype(float)
    run = simulate(arrivals, WORLD, Rents(), seed=0, warm=0)
    waits_s, counts = played(times_s, run.private + run.ready)
    free_s = (counts.held_s - counts.waited_held_s) / (counts.answered - counts.waited)
    full_s, mean_s = counts.waited_held_s / counts.waited, counts.held_s / counts.answered
    assert full_s == pytest.approx(HOLD_S + FILL_S, rel=0.02)
    assert free_s > 1.3 * full_s
    wait_s, queued = np.quantile(waits_s, 0.99), (np.searchsorted(np.sort(times_s + waits_s), times_s))
    most = float((np.arange(len(times_s)) - queued).max())
    told = replace(WORLD, service_s=free_s, full_service_s=full_s)
    assert judged(arrivals, run.private + run.ready, told.queue_service_s) == pytest.approx((wait_s, most), rel=0.1)
    alike = judged(arrivals, run.private + run.ready, mean_s)
    assert alike[0] > 1.3 * wait_s, "one mean for all tells another story"


def test_a_daemon_is_told_what_its_requests_held() -> None:
    """Mean time in a slot: that of free slots, of full ones, or of both by how many requests had them."""
    seconds, rates = 60, np.array([20.0] * 20 + [200.0] * 20 + [0.0] * 20)
    views: list[View] = []

    class Looks(Rents):
        def decide(self, view: View) -> list[int]:
            views.append(view)
            return [0]

    simulate(rates, WORLD, Looks(tick_s=1), seed=0, warm=0)
    table = LateTable(7, SLOTS, WORLD.queue_service_s, WORLD.patience_s)

    def told(at_s: int) -> float | None:
        return signals_of(views[at_s], WORLD, 5.0, table).service_mean_s

    assert len(views) == seconds
    assert told(10) == pytest.approx(0.2)
    assert told(30) == pytest.approx(0.11)
    free, full = 3 * 20.0, 2 * 3 * SLOTS / 0.11
    assert told(22) == pytest.approx((free * 0.2 + full * 0.11) / (free + full))


def test_a_world_whose_slots_are_held_longer_when_full_answers_less() -> None:
    """Requests that share a processor slow each other down: then the queue is that of the longer time."""
    arrivals, slow = np.full(60, 50.0), replace(WORLD, service_s=0.2, full_service_s=0.4)
    assert slow.replica_rps == pytest.approx(SLOTS / 0.4)
    assert slow.patience_s == pytest.approx(0.1)
    assert replace(slow, full_service_s=0.6).patience_s > 0, "a wait that is too long for anybody is still a wait"
    looked: list[float] = []

    class Looks(Rents):
        def decide(self, view: View) -> list[int]:
            looked.append(float(view.ongoing[-1] - view.in_slots[-1]) if len(view.ongoing) else 0.0)
            return [0]

    simulate(arrivals, slow, Looks(tick_s=1), seed=0, warm=0)
    assert looked[50] == pytest.approx(50 * (50.0 - 3 * SLOTS / 0.4))


def judged(arrivals: Floats, replicas: Ints, service_s: float) -> tuple[float, float]:
    """p99 of the waits and the longest queue, as the aggregate has them."""
    slots = replicas * SLOTS
    wait_s = wait_quantile(arrivals, slots, 0.99, slice(None), service_s=service_s, longest_wait_s=60.0)
    return wait_s, float(backlogs(arrivals, slots, service_s).max())
