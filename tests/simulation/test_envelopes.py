"""No window is ever over its cap, whatever comes: the daemon's step in a seeded world, over hours, days and months."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from autoscaler.money.cost import HOUR_S, windows
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.own import OwnController
from autoscaler.simulation.world import WorldSpec, simulate
from serving.state import LedgerEntry

NEW_YEAR_S = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
MID_MONTH_S = datetime(2026, 11, 17, 9, tzinfo=UTC).timestamp()
CAPS = {"usd_per_hour": 0, "usd_per_day": 1, "usd_per_month": 2}


def within(ledger: Iterable[LedgerEntry], begin_s: float, end_s: float) -> float:
    """What lies in a window."""
    total = 0.0
    for entry in ledger:
        inside_s = min(entry.end_s, end_s) - max(entry.start_s, begin_s)
        total += entry.usd * max(0.0, inside_s) / (entry.end_s - entry.start_s)
    return total


def held(budget: dict[str, float], rates_rps: list[int], *, begin_s: float, policy: str, pools: tuple[CloudPool, ...]):
    """The ledger of a run in which the rate changes every ten minutes; every window of it is within its cap."""
    arrivals = np.repeat(np.array([1, *rates_rps], dtype=float), 600)  # what is warm at first nobody was asked for
    world = WorldSpec(1, 2, 0.4, 1.0, pools, start_s=begin_s)
    controller = OwnController(world, {"burst": {"policy": policy}, "budget": budget})
    simulate(arrivals, world, controller, seed=1)
    ledger = controller.ledger
    for name, cap in budget.items():
        moments = np.arange(begin_s, begin_s + len(arrivals), 600.0)
        for begin, end in {(windows(at)[0][CAPS[name]], windows(at)[1][CAPS[name]]) for at in moments}:
            assert within(ledger, begin, end) <= cap + 1e-9
    return ledger


SLOW = CloudPool("slow", 0.8, 120.0, 4, min_billing_s=600.0)
QUICK = CloudPool("quick", 1.0, 30.0, 4, min_billing_s=60.0)


@settings(
    max_examples=5, derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate)
)  # shrinking takes minutes
@given(
    hour=st.floats(0.05, 2.0),
    day=st.floats(0.1, 3.0),
    month=st.floats(0.1, 4.0),
    rates=st.lists(st.integers(0, 30), min_size=4, max_size=15),
    before_s=st.integers(0, 5_400),
    policy=st.sampled_from(["threshold", "predictive"]),
    pools=st.sampled_from([(SLOW,), (QUICK,), (SLOW, QUICK)]),
)
def test_no_window_is_over_its_cap(hour, day, month, rates, before_s, policy, pools):
    """Hour, day and month at once, across midnight of New Year, with any load, policy, lead time, minimum billing."""
    budget = {"usd_per_hour": hour, "usd_per_day": day, "usd_per_month": month}
    held(budget, rates, begin_s=NEW_YEAR_S - before_s, policy=policy, pools=pools)


def test_a_cap_that_is_used_up_pays_again_in_the_next_window():
    """Two hours of want at a cap of half a node: each hour spends most of it, none more."""
    ledger = held({"usd_per_hour": 0.5}, [20] * 12, begin_s=MID_MONTH_S, policy="threshold", pools=(QUICK,))
    spent = [within(ledger, MID_MONTH_S + n * HOUR_S, MID_MONTH_S + (n + 1) * HOUR_S) for n in range(2)]
    assert all(0.25 < usd <= 0.5 for usd in spent)


@pytest.mark.parametrize("policy", ["threshold", "predictive"])
def test_without_a_budget_the_same_load_costs_more(policy: str):
    """The caps bind in these worlds: the test above would not hold by itself."""
    arrivals = np.full(7_200, 20.0)
    world = WorldSpec(1, 2, 0.4, 1.0, (QUICK,), start_s=MID_MONTH_S)
    run = simulate(arrivals, world, OwnController(world, {"burst": {"policy": policy}}), seed=1)
    assert run.cloud_usd > 2 * 0.5
