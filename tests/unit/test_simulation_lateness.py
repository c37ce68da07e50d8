"""The aggregate queue against closed forms, against every request by itself, and against what any queue must obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.queueing import Floats, Ints, late_shares, waiting_shares
from autoscaler.simulation.exact import simulate_exact
from autoscaler.simulation.lateness import (
    SMOOTH_S,
    backlogs,
    fluid_waits,
    lateness,
    smoothed_rps,
    wait_quantile,
)

SERVICE_S, PATIENCE_S = 0.4, 0.6


def judged(arrivals: Floats, slots: Ints) -> float:
    """Share of the requests that the aggregate finds late."""
    return lateness(arrivals, slots, service_s=SERVICE_S, patience_s=PATIENCE_S).total / float(arrivals.sum())


def played(arrivals: Ints, slots: Ints, seed: int, repeats: int = 4) -> float:
    """The same of single requests, at random moments of their second; the mean of several service times."""
    rng = np.random.default_rng(seed)
    times = np.sort(np.repeat(np.arange(len(arrivals)), arrivals) + rng.uniform(size=int(arrivals.sum())))
    shares = [np.mean(simulate_exact(times, slots, SERVICE_S, seed + k) > PATIENCE_S) for k in range(repeats)]
    return float(np.mean(shares))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_hour_with_a_burst_is_judged_within_5_percent(seed: int) -> None:
    """Compared is the share of requests that wait longer than the patience: it is what policies are ranked by.

    An hour at 67 % use, a doubling for five minutes, and capacity that comes three minutes late.
    """
    rate, slots = np.full(3_600, 20.0), np.full(3_600, 12)
    rate[600:900], slots[780:1_500] = 40.0, 24
    arrivals = np.random.default_rng(seed).poisson(rate)
    share = played(arrivals, slots, seed)
    assert share > 0.1, "there must be real waiting"
    assert judged(arrivals.astype(float), slots) == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize(("slots", "use"), [(10, 0.8), (24, 0.9)])
def test_noise_at_a_steady_load_is_judged_too_hard_not_too_softly(slots: int, use: float) -> None:
    """The tail is taken at a rate that still has noise in it, so near saturation up to three times as many are late."""
    capacity = np.full(3_600, slots)
    arrivals = np.random.default_rng(5).poisson(np.full(3_600, use * slots / SERVICE_S))
    share = played(arrivals, capacity, seed=5)
    assert 0.9 * share <= judged(arrivals.astype(float), capacity) <= 3.0 * share


def test_a_constant_rate_is_the_closed_form() -> None:
    """Without noise each second has the stationary tail of M/M/c, also at the ends."""
    found = lateness(np.full(100, 20.0), np.full(100, 10), service_s=SERVICE_S, patience_s=PATIENCE_S)
    share = waiting_shares(10, np.array([8.0]))[10]
    expected = late_shares(share, 10.0, np.array([20.0]), PATIENCE_S, SERVICE_S) * 20.0
    assert found.late == pytest.approx(np.full(100, expected[0]))
    assert found.backlog == pytest.approx(0.0)


def test_overload_piles_up_and_is_worked_off() -> None:
    """30/s before 25/s of capacity for 60 s leave 300; at 5/s they are gone 15 s later."""
    arrivals = np.concatenate((np.full(60, 30.0), np.full(60, 5.0)))
    found = backlogs(arrivals, np.full(120, 10), SERVICE_S)
    assert found[59] == pytest.approx(300)
    assert found[73] == pytest.approx(20)
    assert found[74] == pytest.approx(0)


def test_without_slots_all_are_late_and_without_requests_none() -> None:
    """Zero capacity divides by nothing."""
    found = lateness(np.array([3.0, 0.0, 2.0]), np.zeros(3, dtype=np.int64), service_s=SERVICE_S, patience_s=PATIENCE_S)
    assert found.late.tolist() == [3, 0, 2]
    assert lateness(np.zeros(30), np.full(30, 2), service_s=SERVICE_S, patience_s=PATIENCE_S).total == 0


@given(st.lists(st.floats(0, 500), min_size=1, max_size=60))
def test_smoothing_is_a_mean_of_neighbours(arrivals: list[float]) -> None:
    """As long as the trace, however short that is; never outside of what it has seen."""
    values = np.array(arrivals)
    found = smoothed_rps(values)
    half = SMOOTH_S // 2
    assert found == pytest.approx(
        [values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))], abs=1e-9
    )


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=1, max_size=80))
def test_late_requests_are_requests_and_fewer_with_more_slots(seconds: list[tuple[int, int]]) -> None:
    """Each second between none and all; one slot more in every second makes no second worse."""
    arrivals = np.array([requests for requests, _ in seconds], dtype=float)
    slots = np.array([count for _, count in seconds], dtype=np.int64)
    found = lateness(arrivals, slots, service_s=SERVICE_S, patience_s=PATIENCE_S)
    more = lateness(arrivals, slots + 1, service_s=SERVICE_S, patience_s=PATIENCE_S)
    assert (found.late >= 0).all()
    assert (found.late <= arrivals + 1e-9).all()
    assert (more.late <= found.late + 1e-9).all()
    assert (more.backlog <= found.backlog + 1e-9).all()


def test_who_has_waited_too_long_gives_up() -> None:
    """What waits is at most what came within the time-out; until then, and without one, nobody leaves the queue."""
    arrivals, slots = np.full(100, 40.0), np.full(100, 10)
    free, bounded = (backlogs(arrivals, slots, SERVICE_S, longest_s) for longest_s in (np.inf, 8.0))
    assert free.max() == pytest.approx(100 * 15.0)
    assert bounded[:20] == pytest.approx(free[:20])
    assert bounded[-1] == bounded.max() == pytest.approx(8.0 * 40.0)


def test_a_queue_that_nobody_leaves_is_the_fluid_queue() -> None:
    """A time-out that never comes changes nothing."""
    rng = np.random.default_rng(1)
    arrivals, slots = rng.poisson(20.0, 300).astype(float), rng.integers(4, 12, 300)
    assert backlogs(arrivals, slots, SERVICE_S, 1e6) == pytest.approx(backlogs(arrivals, slots, SERVICE_S))


@given(st.floats(5, 30), st.integers(13, 20), st.floats(0.5, 0.999))
def test_a_quantile_of_the_wait_has_its_share_behind_it(rate_rps: float, count: int, share: float) -> None:
    """Where there is room, as many wait longer as the closed form says."""
    arrivals, slots, span = np.full(60, rate_rps), np.full(60, count), slice(10, 50)
    wait_s = wait_quantile(arrivals, slots, share, span, service_s=SERVICE_S, longest_wait_s=20.0)
    assert 0 <= wait_s < 20.0
    found = lateness(arrivals, slots, service_s=SERVICE_S, patience_s=wait_s)
    assert found.late[span].sum() <= (1 - share) * arrivals[span].sum() + 1e-9


@pytest.mark.parametrize("over", [1.1, 1.5, 3.0])
def test_a_quantile_of_the_wait_in_a_rush_is_that_of_single_requests(over: float) -> None:
    """As long as the queue that is there, not for ever: a rush of two minutes, with capacity from its middle on."""
    rate, slots = np.full(300, 15.0), np.full(300, 10)
    rate[60:180], slots[120:] = over * 10 / SERVICE_S, 40
    arrivals = np.random.default_rng(3).poisson(rate)
    rng = np.random.default_rng(4)
    times = np.sort(np.repeat(np.arange(300), arrivals) + rng.uniform(size=int(arrivals.sum())))
    waits = np.concatenate([simulate_exact(times, slots, SERVICE_S, seed) for seed in range(4)])
    found = wait_quantile(arrivals.astype(float), slots, 0.99, slice(None), service_s=SERVICE_S, longest_wait_s=1_000.0)
    assert found == pytest.approx(np.quantile(waits, 0.99), rel=0.15)


def test_who_waits_gains_by_what_comes_into_service() -> None:
    """100 that wait after the first second are gone 4 s later, or 1 s later with four times the slots then."""
    arrivals, few, more = np.zeros(30), np.full(30, 10), np.array([10, *[40] * 29])
    arrivals[0] = 125.0
    assert fluid_waits(arrivals, few, SERVICE_S)[:6] == pytest.approx([2.0, 3.5, 2.5, 1.5, 0.5, 0.0])
    assert fluid_waits(arrivals, more, SERVICE_S)[:3] == pytest.approx([0.5, 0.5, 0.0])


def test_nobody_waits_longer_than_until_he_gives_up() -> None:
    """Nor for ever where the trace ends before the queue does: its last slots stay."""
    arrivals, slots = np.full(100, 40.0), np.full(100, 10)
    assert fluid_waits(arrivals, slots, SERVICE_S, 8.0).max() == pytest.approx(8.0, abs=0.5)
    assert fluid_waits(arrivals, slots, SERVICE_S)[-1] == pytest.approx(1_492.5 / 25.0)
