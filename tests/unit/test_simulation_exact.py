"""The per-request queue against closed forms of M/M/c, and against what capacity must do to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.policy.queueing import Floats, Ints, waiting_shares
from autoscaler.simulation.exact import simulate_exact

MEAN_S = 0.4


def poisson(rate_rps: float, seconds: int, seed: int) -> Floats:
    """Arrival times of a Poisson stream."""
    random = np.random.default_rng(seed)
    return np.sort(random.uniform(0, seconds, size=random.poisson(rate_rps * seconds)))


def capacity(*spans: tuple[int, int]) -> Ints:
    """Slots by second from (slots, seconds)."""
    return np.repeat([slots for slots, _ in spans], [seconds for _, seconds in spans])


@pytest.mark.parametrize(("slots", "use"), [(1, 0.6), (4, 0.8), (24, 0.9)])
def test_waits_are_those_of_mmc(slots: int, use: float) -> None:
    """C of the requests wait, those that do exponentially with rate c mu - lambda."""
    rate_rps = use * slots / MEAN_S
    waits = simulate_exact(poisson(rate_rps, 20_000, seed=1), capacity((slots, 1)), MEAN_S, seed=2)
    share, spare_rps = waiting_shares(slots, np.array([use * slots]))[slots, 0], slots / MEAN_S - rate_rps
    assert np.mean(waits > 0) == pytest.approx(share, rel=0.05)
    assert waits.mean() == pytest.approx(share / spare_rps, rel=0.1)
    for t_s in (0.5 / spare_rps, 1.0 / spare_rps):
        assert np.mean(waits > t_s) == pytest.approx(share * math.exp(-spare_rps * t_s), rel=0.1)


def naive_starts(arrivals: Floats, slots: list[int], holds_s: Floats) -> list[float]:
    """By definition: the first moment, of all at which anything changes, with fewer requests held than slots."""
    starts, ends, before = [], [], 0.0
    for arrival_s, hold_s in zip(arrivals, holds_s, strict=True):
        before = max(before, arrival_s)
        moments = sorted(
            {before, *(e for e in ends if e > before), *(float(s) for s in range(len(slots)) if s > before)}
        )
        free = (m for m in moments if sum(e > m for e in ends) < slots[int(min(m, len(slots) - 1))])
        before = next(free, math.inf)
        starts.append(before)
        ends.append(before + hold_s)
    return starts


@settings(max_examples=60, deadline=None)
@given(
    slots=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    rate_rps=st.floats(0.5, 8.0),
    mean_s=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_changing_capacity_is_as_defined(slots: list[int], rate_rps: float, mean_s: float, seed: int) -> None:
    """Through any rise and fall of capacity requests start when the definition says, to the last bit."""
    arrivals = poisson(rate_rps, len(slots) + 3, seed)
    holds_s = np.random.default_rng(seed).exponential(mean_s, size=len(arrivals))
    waits = simulate_exact(arrivals, np.array(slots), mean_s, seed)
    assert waits.tolist() == (np.array(naive_starts(arrivals, slots, holds_s)) - arrivals).tolist()


def test_a_slot_taken_away_ends_its_request_first() -> None:
    """Four requests hold four slots when three go: none is cut, and the fifth waits for the last but none of them."""
    arrivals = np.array([0.1, 0.2, 0.3, 0.4, 1.5])
    calm = simulate_exact(arrivals[:4], capacity((4, 1)), 100.0, seed=3)
    waits = simulate_exact(arrivals, capacity((4, 1), (1, 1)), 100.0, seed=3)
    holds_s = np.random.default_rng(3).exponential(100.0, size=5)
    assert (waits[:4] == calm).all()
    assert waits[4] == pytest.approx((arrivals[:4] + holds_s[:4]).max() - 1.5)


def test_capacity_that_comes_is_used_at_once() -> None:
    """Without a slot requests wait for the second in which two come, and the third for the first to end."""
    waits = simulate_exact(np.array([0.0, 1.0, 2.0]), capacity((0, 10), (2, 1)), MEAN_S, seed=4)
    holds_s = np.random.default_rng(4).exponential(MEAN_S, size=3)
    assert waits[:2] == pytest.approx([10.0, 9.0])
    assert waits[2] == pytest.approx(8.0 + holds_s[:2].min())


def test_nobody_is_served_where_no_slot_comes() -> None:
    """Capacity that ends at nothing: an endless wait is infinite, not zero."""
    waits = simulate_exact(np.array([0.5, 1.5, 2.5]), capacity((1, 1), (0, 1)), 0.001, seed=5)
    assert waits[0] == 0.0
    assert np.isinf(waits[1:]).all()


@settings(max_examples=60, deadline=None)
@given(
    slots=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    rate_rps=st.floats(0.5, 20.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_more_capacity_makes_nobody_wait_longer(slots: list[int], rate_rps: float, seed: int) -> None:
    """With the same requests one slot more in every second delays none of them; the same seed is the same result."""
    arrivals = poisson(rate_rps, len(slots), seed)
    waits = simulate_exact(arrivals, np.array(slots), MEAN_S, seed)
    more = simulate_exact(arrivals, np.array(slots) + 1, MEAN_S, seed)
    assert (waits >= 0).all()
    assert (more <= waits + 1e-9).all()
    assert simulate_exact(arrivals, np.array(slots), MEAN_S, seed).tobytes() == waits.tobytes()


@pytest.mark.parametrize(
    ("arrivals", "slots", "mean_s", "says"),
    [
        ([0.0], [], 0.4, "capacity_slots_by_second"),
        ([0.0], [1], 0.0, "service_mean_s"),
        ([0.0], [1], math.nan, "service_mean_s"),
        ([0.0], [1, -1], 0.4, "capacity_slots_by_second"),
        ([1.0, 0.5], [1], 0.4, "in order"),
        ([-1.0], [1], 0.4, "negative"),
        ([0.0, math.nan], [1], 0.4, "in order"),
    ],
)
def test_senseless_worlds_are_refused(arrivals: list[float], slots: list[int], mean_s: float, says: str) -> None:
    """What makes no queue is refused by its name."""
    with pytest.raises(ValueError, match=says):
        simulate_exact(np.array(arrivals), np.array(slots, dtype=np.int64), mean_s, seed=0)


def test_no_requests_wait_for_nothing() -> None:
    """An hour without traffic has no waits."""
    assert len(simulate_exact(np.array([]), capacity((1, 3_600)), MEAN_S, seed=0)) == 0
