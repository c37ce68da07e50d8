"""Queueing formulas against the values of textbooks, and what any queue must obey."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.queueing import EXACT_SLOTS, LateTable, late_shares, many_waiting_shares, waiting_shares


def erlang_c(servers: int, offered: float) -> float:
    """By its definition, from the sum of states (Gross, Shortle, Thompson, Harris, 4th ed., section 2.3)."""
    states = [offered**n / math.factorial(n) for n in range(servers)]
    full = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return full / (sum(states) + full)


@pytest.mark.parametrize(
    ("servers", "offered", "share"),
    [
        (1, 0.7, 0.7),  # M/M/1: the share that waits is the load
        (2, 1.0, 1 / 3),  # M/M/2: 2 rho^2 / (1 + rho), rho = 0.5
        (3, 2.0, 4 / 9),  # Gross, Shortle, Thompson, Harris, 4th ed., example 2.2: r = 2, c = 3, p0 = 1/9
        (10, 8.0, 0.4092),  # by the definition above, as tables of Erlang C have it
    ],
)
def test_erlang_c_of_textbooks(servers: int, offered: float, share: float) -> None:
    """The recursion gives the published values."""
    assert waiting_shares(servers, np.array([offered]))[servers, 0] == pytest.approx(share, abs=5e-5)


@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_erlang_c_is_its_definition(servers: int, use: float) -> None:
    """At any size and load below one, the recursion is the sum of states."""
    found = waiting_shares(servers, np.array([use * servers]))[servers, 0]
    assert found == pytest.approx(erlang_c(servers, use * servers), rel=1e-9)


def test_the_limit_for_many_slots_is_near_erlang_c() -> None:
    """Where `LateTable` changes over, at any load from light to too much, shares differ by at most 0.004."""
    for count in (3 * EXACT_SLOTS // 4, EXACT_SLOTS):
        offered = np.linspace(0.8, 1.01, 500) * count
        exact = waiting_shares(count, offered)[count]
        assert many_waiting_shares(np.array([count]), offered)[0] == pytest.approx(exact, abs=0.004)


def test_wait_of_a_textbook() -> None:
    """M/M/3 with 6 arrivals and 3 x 3 services an hour: the mean wait is 4/27 h (the same example)."""
    share = waiting_shares(3, np.array([2.0]))[3]
    mean_h = float(share[0]) / (3 * 3.0 - 6.0)
    assert mean_h == pytest.approx(4 / 27, rel=1e-6)
    beyond = late_shares(share, 3.0, np.array([6.0]), 0.5, 1 / 3)
    assert float(beyond[0]) == pytest.approx(4 / 9 * math.exp(-3.0 * 0.5))


@given(st.lists(st.floats(0, 40), min_size=1, max_size=8), st.integers(1, 30))
def test_shares_are_shares(offered: list[float], slots: int) -> None:
    """Between 0 and 1, no more slots make more wait, no more load makes fewer wait, and an overload makes all."""
    shares = waiting_shares(slots, np.array(sorted(offered)))
    assert (shares >= 0).all()
    assert (shares <= 1).all()
    assert (np.diff(shares, axis=0) <= 1e-12).all()
    assert (np.diff(shares, axis=1) >= -1e-12).all()
    counts = np.arange(slots + 1)[:, None]
    assert (shares[np.broadcast_to(np.array(sorted(offered)) >= counts, shares.shape)] == 1).all()


@given(st.integers(1, 6), st.integers(1, 4), st.floats(0, 40), st.floats(0.05, 2.0))
def test_the_table_is_the_formula(replicas: int, slots: int, rate_rps: float, patience_s: float) -> None:
    """Late requests of any rate lie between those of the grid's rates around it; what none can hold is all late."""
    table = LateTable(replicas, slots, 0.4, patience_s)
    found = table.expected_late_rps(np.array([rate_rps]), np.array([1.0]))
    counts = np.arange(replicas + 1) * slots
    for grid_rps, sign in ((rate_rps // table.step_rps * table.step_rps, 1), (rate_rps + table.step_rps, -1)):
        shares = waiting_shares(replicas * slots, np.array([grid_rps * 0.4]))[counts, 0]
        late_rps = late_shares(shares, counts.astype(float), np.full(len(counts), grid_rps), patience_s, 0.4) * grid_rps
        assert (sign * (found - late_rps) >= -1e-9).all()
    assert found[0] == pytest.approx(rate_rps)
    assert (np.diff(found) <= 1e-9).all()
