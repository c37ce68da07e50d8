"""The number of replicas that pays: monotone in what it should be, and never more than there can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy import staffing
from autoscaler.policy.forecast import Forecast
from autoscaler.policy.queueing import LateTable
from autoscaler.policy.staffing import Supply, cheapest, late_rps

LATE_USD = 5e-4


def supply(owned: int = 4, rented: int = 20, *, slots: int = 2, service_s: float = 0.4) -> Supply:
    """Owned replicas at 2 cents, rented ones at a dollar per hour; 5 req/s each."""
    return Supply(slots, service_s, 0.6, ((owned, 0.02), (rented, 1.0)))


def best(mean_rps: float, spread_rps: float = 1.0, **how: float) -> int:
    """The cheapest count at a rate."""
    settings = {"late_usd": LATE_USD, "rent_factor": 1.0} | how
    return cheapest(supply(), Forecast(mean_rps, spread_rps), **settings)


def test_no_load_needs_no_replica():
    """An idle service pays for nothing."""
    assert best(0.0, 1e-6) == 0


def test_a_load_beyond_everything_takes_everything():
    """More late requests do not make replicas less worth."""
    assert best(500.0) == 24


def test_the_margin_shrinks_with_size():
    """Large pools run fuller than small ones: the square-root rule of queueing."""
    small, large = best(15.0) / 3.0, best(90.0) / 18.0
    assert small > large > 1.0


def test_a_fleet_of_thousands_is_counted_in_groups():
    """The answer is within a group of what the load needs, and quick to find."""
    many = Supply(8, 0.1, 0.4, ((1_000, 0.02), (9_000, 1.0)))
    found = cheapest(many, Forecast(400_000.0, 2_000.0), late_usd=LATE_USD, rent_factor=1.0)
    assert 5_000 <= found <= 5_300


@pytest.mark.parametrize("slots", [1, 16, 10_000])
def test_any_number_of_slots_is_staffed(slots: int):
    """A replica may hold one request or thousands."""
    rate_rps = 6.5 * slots / 0.4
    found = cheapest(supply(slots=slots), Forecast(rate_rps, rate_rps**0.5), late_usd=LATE_USD, rent_factor=1.0)
    assert 7 <= found <= 14


@given(st.floats(0, 120), st.floats(0.1, 30), st.floats(0, 20))
def test_more_load_never_means_fewer_replicas(mean_rps: float, spread_rps: float, more_rps: float):
    """Monotone in the forecast's mean."""
    assert best(mean_rps + more_rps, spread_rps) >= best(mean_rps, spread_rps)


@given(st.floats(0, 120), st.floats(0.1, 30), st.floats(1, 20))
def test_dearer_lateness_never_means_fewer_and_dearer_rent_never_more(mean_rps: float, spread_rps: float, by: float):
    """Monotone in both prices, and never beyond what there can be."""
    found = best(mean_rps, spread_rps)
    assert 0 <= found <= 24
    assert best(mean_rps, spread_rps, late_usd=LATE_USD * by) >= found
    assert best(mean_rps, spread_rps, rent_factor=by) <= found


@pytest.mark.parametrize("slots", [1, 3, 16, 64])
@pytest.mark.parametrize("rented", [1, 20, 124])
def test_late_requests_are_those_of_the_queue(slots: int, rented: int):
    """What is left out and shared changes nothing: the same as a table of this very service says."""
    mine = supply(rented=rented, slots=slots)
    for share in (0.0, 0.4, 0.9, 1.3):
        rate_rps = share * mine.most * mine.replica_rps
        expected = Forecast(rate_rps, (rate_rps + 1.0) ** 0.5)
        rates_rps, weights = expected.points()
        table = LateTable(mine.most, slots, mine.service_s, mine.patience_s)
        counts_rps = np.arange(mine.most + 1) * mine.replica_rps
        unanswered = weights @ np.maximum(rates_rps[:, None] - counts_rps, 0.0)
        found, _ = late_rps(mine, expected)
        assert found == pytest.approx(table.expected_late_rps(rates_rps, weights) + unanswered, rel=1e-9, abs=1e-9)


def test_a_fleet_shares_its_tables():
    """A thousand services with a thousand service times and patiences need no table more than one."""
    staffing._shares.cache_clear()
    for index in range(1_000):
        service_s = 0.1 + index * 1e-3
        mine = Supply(2, service_s, service_s / (1 + index % 7), ((4, 0.02), (index % 12, 1.0)))
        cheapest(mine, Forecast(10.0, 3.0), late_usd=LATE_USD, rent_factor=1.0)
    assert staffing._shares.cache_info().misses == 1
