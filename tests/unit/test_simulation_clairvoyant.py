"""The clairvoyant: nothing with as few late requests is cheaper."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.policy.queueing import Floats, LateTable
from autoscaler.simulation.clairvoyant import TICK_S, Clairvoyant, clairvoyant
from autoscaler.simulation.lateness import smoothed_rps

TABLE = LateTable(replicas=6, slots_per_replica=2, service_s=0.4, patience_s=0.6)
PRIVATE = 1
MOST = TABLE.replicas - PRIVATE


def solved(arrivals: Floats, *, lead_s: int, late_share: float, warm: int = 0) -> Clairvoyant:
    return clairvoyant(arrivals, TABLE, private_replicas=PRIVATE, lead_s=lead_s, late_share=late_share, warm=warm)


def bill_s(path: list[int], seconds: int, *, lead_s: int, warm: int) -> float:
    """By definition: time held in each tick, and a lead time for each replica more than before."""
    lengths = [min(TICK_S, seconds - start) for start in range(0, seconds, TICK_S)]
    rises = sum(max(0, now - before) for before, now in itertools.pairwise([warm, *path]))
    return float(np.dot(path, lengths)) + lead_s * rises


def late(path: list[int], arrivals: Floats) -> float:
    """By definition: the table at every other second's smoothed rate."""
    rates, total = smoothed_rps(arrivals), 0.0
    for tick, count in enumerate(path):
        chosen = rates[tick * TICK_S : (tick + 1) * TICK_S : 2]
        seconds = min(TICK_S, len(arrivals) - tick * TICK_S)
        total += TABLE.expected_late_rps(chosen, np.full(len(chosen), seconds / len(chosen)))[PRIVATE + count]
    return total


traces = st.lists(st.integers(0, 28), min_size=1, max_size=6).flatmap(
    lambda rates: st.integers(1, TICK_S).map(
        lambda rest: np.repeat(np.array(rates, dtype=float), TICK_S)[: len(rates) * TICK_S - rest + 1]
    )
)


@settings(max_examples=60, deadline=None)
@given(traces, st.lists(st.integers(0, MOST), min_size=6, max_size=6), st.integers(0, 60), st.integers(0, 3))
def test_no_schedule_with_so_few_late_costs_less(arrivals: Floats, tried: list[int], lead_s: int, warm: int) -> None:
    """Any schedule at all: allowed as many late requests as it has, the bound is at most its bill."""
    path = tried[: -(-len(arrivals) // TICK_S)]
    allowed = 1e-5 + late(path, arrivals) / max(1.0, float(arrivals.sum()))
    found = solved(arrivals, lead_s=lead_s, late_share=allowed, warm=warm)
    assert found.bound_replica_s <= bill_s(path, len(arrivals), lead_s=lead_s, warm=warm) + 1e-6
    assert found.gap >= -1e-9
    assert found.late_share <= allowed + 1e-9


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=3, max_size=3), st.integers(0, 40), st.sampled_from([0.001, 0.01, 0.2]))
def test_the_best_of_all_schedules_is_within_the_gap(rates: list[int], lead_s: int, share: float) -> None:
    """Against every schedule there is: it is none better than the best, and its bound is none above it."""
    arrivals = np.repeat(np.array(rates, dtype=float), TICK_S)
    allowed = share * arrivals.sum() + late([MOST] * 3, arrivals)
    paths = [list(path) for path in itertools.product(range(MOST + 1), repeat=3)]
    least = min(bill_s(p, 30, lead_s=lead_s, warm=0) for p in paths if late(p, arrivals) <= allowed + 1e-9)
    found = solved(arrivals, lead_s=lead_s, late_share=(allowed + 1e-9) / max(1.0, arrivals.sum()))
    assert found.bound_replica_s <= least + 1e-6
    assert found.replica_s >= least - 1e-6
    assert found.replica_s == pytest.approx(found.bound_replica_s * (1 + found.gap))


def test_its_schedule_is_what_it_pays_for() -> None:
    """Ready and starting replicas, second by second, add up to the bill where all launches lie inside the trace."""
    arrivals = np.concatenate((np.full(200, 0.2), np.full(200, 15.0), np.full(200, 0.2)))
    found = solved(arrivals, lead_s=60, late_share=0.001)
    assert float((found.ready + found.launching).sum()) == pytest.approx(found.replica_s)
    assert found.ready[:190].max() == 0
    assert found.ready[210:390].min() >= 3
    assert (found.ready + found.launching)[150:190].min() >= 3  # it knows beforehand


def test_a_warm_start_was_paid_before() -> None:
    """What serves at the beginning costs its time, not its launch; a trace that ends within a tick pays its seconds."""
    arrivals = np.full(25, 15.0)
    cold, warm = (solved(arrivals, lead_s=100, late_share=0.001, warm=w) for w in (0, 5))
    count = int(warm.ready[0])
    assert warm.replica_s == pytest.approx(count * 25)
    assert cold.replica_s == pytest.approx(count * 125)


def test_what_no_schedule_can_do_is_told_by_its_late_share() -> None:
    """More load than all replicas hold: every tick is late as a whole, so nothing is rented and nothing bounded."""
    found = solved(np.full(60, 100.0), lead_s=60, late_share=0.001)
    assert found.late_share == pytest.approx(1.0)
    assert (found.replica_s, found.gap) == (0, 0)


def test_no_traffic_needs_nothing() -> None:
    """Nothing is rented, what was warm goes at once, and the gap of nothing is none."""
    found = solved(np.zeros(500), lead_s=60, late_share=0.001, warm=2)
    assert (found.replica_s, found.late_share, found.gap) == (0, 0, 0)
    assert found.ready.sum() == found.launching.sum() == 0
