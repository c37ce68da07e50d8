"""Rented nodes of a world: never too many, paid from launch, replaced when they fail or are taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.cost import HOUR_S
from autoscaler.simulation.fleet import CloudPool, Fleet

USD_PER_S = 1 / HOUR_S
Ordered = list[list[int]]


def driven(pools: Sequence[CloudPool], orders: Ordered, *, warm: int = 0, seed: int = 0) -> tuple[Fleet, list[float]]:
    """A fleet that got these orders, one a second, and what it paid in each second."""
    fleet, paid = Fleet(pools, np.random.default_rng(seed), warm), []
    for now_s, wanted in enumerate(orders):
        fleet.advance(now_s)
        fleet.order(wanted, now_s)
        paid.append(fleet.pay())
    return fleet, paid


orders = st.lists(st.lists(st.integers(-2, 9), min_size=2, max_size=2), min_size=1, max_size=60)


@given(orders, st.integers(0, 9), st.floats(0, 20), st.sampled_from([0.0, 0.4]), st.integers(0, 9))
def test_never_above_the_most(found: Ordered, warm: int, lead_s: float, chance: float, seed: int) -> None:
    """Whatever is asked for, a pool holds at most its size of nodes that are meant to stay."""
    pools = (
        CloudPool("a", 1.0, lead_s, max_replicas=3, failed_launch_share=chance),
        CloudPool("b", 2.0, lead_s, max_replicas=5, lead_spread=chance),
    )
    fleet = Fleet(pools, np.random.default_rng(seed), warm)
    for now_s, wanted in enumerate(found):
        fleet.advance(now_s)
        fleet.order(wanted, now_s)
        assert [len(nodes) for nodes in fleet.nodes] == [
            min(max(0, w), p.max_replicas) for w, p in zip(wanted, pools, strict=True)
        ]
        assert fleet.ready + fleet.launching == sum(len(nodes) for nodes in fleet.nodes)


@given(orders, st.integers(0, 9), st.integers(0, 15), st.integers(0, 30))
def test_the_bill_is_paid_time_and_what_is_missing_to_the_minimum(
    found: Ordered, warm: int, lead_s: int, min_s: int
) -> None:
    """Each node costs its price from launch to its end, and at least the minimum billing; those still there, so far."""
    pools = (CloudPool("a", 1.0, lead_s, 4, min_billing_s=min_s), CloudPool("b", 3.0, lead_s, 4, min_billing_s=min_s))
    _, paid = driven(pools, found, warm=warm)
    open_since: list[list[int]] = [[0] * min(warm, 4), [0] * max(0, min(warm - 4, 4))]
    expected = 0.0
    for now_s, wanted in enumerate(found):
        for pool, since, asked in zip(pools, open_since, wanted, strict=True):
            count = min(max(0, asked), 4)
            while len(since) > count:  # the youngest goes first
                expected += max(now_s - since.pop(), min_s) * pool.price_usd_per_hour * USD_PER_S
            since.extend([now_s] * (count - len(since)))
    end_s = len(found)
    expected += sum(
        (end_s - launched) * pool.price_usd_per_hour * USD_PER_S
        for pool, since in zip(pools, open_since, strict=True)
        for launched in since
    )
    assert sum(paid) == pytest.approx(expected)


def test_a_node_serves_after_its_lead_time() -> None:
    """Launched at second 5 with a lead of 3 it is ready at second 8, and paid from second 5."""
    fleet = Fleet((CloudPool("a", 1.0, 3.0),), np.random.default_rng(0), 0)
    seen = []
    for now_s in range(10):
        fleet.advance(now_s)
        fleet.order([1 if now_s >= 5 else 0], now_s)
        seen.append((fleet.launching, fleet.ready, fleet.pay() > 0))
    assert seen[4:9] == [(0, 0, False), (1, 0, True), (1, 0, True), (1, 0, True), (0, 1, True)]


def test_what_starts_goes_before_what_serves() -> None:
    """The youngest is given back first."""
    fleet, _ = driven((CloudPool("a", 1.0, 50.0),), [[2]] * 3 + [[4]] * 2 + [[2]], warm=2)
    assert (fleet.ready, fleet.launching) == (2, 0)


def test_failed_launches_are_replaced() -> None:
    """A launch that never gets ready is known when it should have been, was paid until then, and is tried again."""
    pool = CloudPool("a", 1.0, 10.0, failed_launch_share=0.5)
    fleet, paid = driven((pool,), [[8]] * 200, seed=3)
    assert fleet.failed_launches > 0
    assert fleet.ready == 8
    assert paid == pytest.approx([8 * USD_PER_S] * 200)


def test_reclaimed_nodes_are_replaced_at_notice() -> None:
    """From the notice on there is one more, which starts while the noticed one still serves; both are paid."""
    pool = CloudPool("spot", 1.0, 20.0, reclaims_per_hour=6.0, notice_s=30.0)
    fleet = Fleet((pool,), np.random.default_rng(1), 4)
    noticed = 0
    for now_s in range(3_600):
        fleet.advance(now_s)
        fleet.order([4], now_s)
        going = sum(node.noticed for node in fleet.nodes[0])
        assert fleet.ready + fleet.launching - going == 4
        assert fleet.ready >= 4  # the lead time is shorter than the notice: none is missed
        assert fleet.pay() == pytest.approx((4 + going) * USD_PER_S)
        noticed = max(noticed, going)
    assert fleet.reclaimed > 5
    assert noticed >= 1


def test_lead_times_vary_around_their_median() -> None:
    """With a spread they are log-normal: the median is the declared one."""
    pool = CloudPool("a", 1.0, 100.0, lead_spread=0.5, max_replicas=2_001)
    fleet, _ = driven((pool,), [[2_001]], seed=2)
    leads = sorted(node.ready_s for node in fleet.nodes[0])
    assert leads[1_000] == pytest.approx(100.0, rel=0.05)
    assert np.std(np.log(leads)) == pytest.approx(0.5, rel=0.05)


def test_a_node_that_is_given_back_is_paid_until_it_is_gone() -> None:
    """It drains and closes for a while, or the minimum billing is longer; what the provider took is gone at once."""
    quick = CloudPool("a", 1.0, 1.0, 4, leave_s=8.0)
    for pool, paid_s in ((quick, 5 + 8), (replace(quick, min_billing_s=60.0), 60)):
        _, paid = driven([pool], [[1]] * 5 + [[0]] * 5)
        assert sum(paid) == pytest.approx(paid_s * USD_PER_S)
    fleet, paid = driven([replace(quick, lead_s=2.0, failed_launch_share=1.0)], [[1], [1], [0]])
    assert fleet.failed_launches == 1
    assert sum(paid) == pytest.approx(2 * USD_PER_S)
