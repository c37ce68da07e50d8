"""Spend caps win over every threshold, and are never passed."""

from __future__ import annotations

import pytest

from tests.support.declared import pools, project, service
from tests.support.world import START_S, World

HOUR_S = 3_600.0


def bursting(world: World, warm_s: float = 60.0) -> World:
    world.deploy("v1")
    world.run(warm_s)
    assert world.verdicts == ["promoted"]
    return world


def test_a_cap_shrinks_a_burst_before_it_forbids_it():
    """0.05 usd pay for three nodes' minimum billing: three are rented where six are wanted, and it is told."""
    world = bursting(World(service(budget={"usd_per_hour": 0.05}), rate_rps=lambda at_s: 250 if at_s > 60 else 20))
    world.run(30)
    assert world.targets["cloud"] == 3
    told = [reason for reason in world.reasons("scale", since_s=60) if "budget.usd_per_hour" in reason]
    assert len(told) == 1
    assert "at most 3 nodes; wanted 4: p99" in told[0]


def test_a_cap_ends_a_running_burst_in_time():
    """Clients still want it, but the burst is given up early enough that its drain is paid, too."""
    cap_usd = 0.2
    world = bursting(World(service(budget={"usd_per_hour": cap_usd}), rate_rps=lambda _: 250, tick_s=2.0))
    assert world.run(600, until=lambda: world.targets["cloud"] == 6)
    assert world.run(900, until=lambda: world.targets["cloud"] == 0)
    assert "budget.usd_per_hour 0.2 usd" in world.reasons("scale")[-1]
    world.run(1_000)
    assert 0.15 < world.usd_between(START_S, START_S + HOUR_S) <= cap_usd


@pytest.mark.parametrize("service_s", [0.1, 4.0])
def test_the_cap_holds_in_every_hour_also_when_drains_take_all_their_time(service_s: float):
    """Two hours of want, with requests that hold their slots for short or for as long as a drain may take."""
    cap_usd = 0.1
    spec = service(budget={"usd_per_hour": cap_usd}, slo={"latency_p99_s": 5.0})
    world = bursting(World(spec, rate_rps=lambda _: 25 / service_s, service_s=service_s, tick_s=2.5))
    world.run(2 * HOUR_S - 60)
    hours = [world.usd_between(START_S + n * HOUR_S, START_S + (n + 1) * HOUR_S) for n in range(2)]
    assert max(hours) <= cap_usd
    assert min(hours) > 0.5 * cap_usd


@pytest.mark.parametrize("tick_s", [0.5, 2.5, 5.0])
def test_what_nodes_cost_since_the_last_tick_counts(tick_s: float):
    """The ledger is a tick behind: however seldom the daemon looks, the hour's cap holds."""
    world = bursting(World(service(budget={"usd_per_hour": 0.2}), rate_rps=lambda _: 250, tick_s=tick_s))
    world.run(400)
    assert 0.15 < world.spent_usd <= 0.2


def test_the_daily_cap_holds_over_the_hours():
    """An hour's allowance is not given again when the day's is used up."""
    spec = service(budget={"usd_per_hour": 0.2, "usd_per_day": 0.3})
    world = bursting(World(spec, rate_rps=lambda _: 250, tick_s=5.0))
    world.run(3 * HOUR_S)
    assert 0.25 < world.spent_usd <= 0.3


def test_a_node_is_not_rented_for_less_than_it_needs_to_serve():
    """Near the cap nothing is opened that would have to be closed before its first answer."""
    world = bursting(World(service(budget={"usd_per_hour": 0.2}), rate_rps=lambda _: 250, lead_s=40, tick_s=2.0))
    world.run(HOUR_S - 100)
    opened = [at_s for at_s, d in world.decisions if d.action == "open site" and d.details["site"] == "cloud"]
    closed = [at_s for at_s, d in world.decisions if d.action == "close site"]
    assert len(opened) == len(closed)
    assert all(end - start > 45 for start, end in zip(opened, closed, strict=True))


def test_the_minimum_billing_of_each_pool_counts():
    """A cheap pool that bills a full hour is dearer to rent than a dear one that bills a minute."""
    entries = [
        {"name": "hourly", "kind": "spot", "max_nodes": 3, "price_usd_per_hour": 0.5, "min_billing_s": 3600.0},
        {"name": "minutely", "kind": "on_demand", "max_nodes": 3, "price_usd_per_hour": 1.0, "min_billing_s": 60.0},
    ]
    fleet = pools(project(), "cloud", *entries)
    world = bursting(World(service(budget={"usd_per_hour": 0.6}), fleet=fleet, rate_rps=lambda _: 250, tick_s=2.0))
    world.run(HOUR_S - 100)
    assert {entry.pool for entry in world.ledger.values()} == {"hourly"}
    assert world.usd_between(START_S, START_S + HOUR_S) <= 0.6


def test_a_release_does_not_pass_the_cap_with_its_second_version():
    """While two versions run side by side on the rented site, together they stay within the budget."""
    cap_usd = 0.12
    spec = service(budget={"usd_per_hour": cap_usd}, sites={"cloud": {"min_replicas": 2}})
    world = bursting(World(spec, rate_rps=lambda _: 20, tick_s=2.0), warm_s=120)
    for number in range(2, 9):
        world.deploy(f"v{number}")
        world.run(100)
    world.run(HOUR_S - 900)
    assert world.usd_between(START_S, START_S + HOUR_S) <= cap_usd


def test_no_budget_means_no_cap_and_a_cap_of_zero_rents_nothing():
    """Unset and zero are different."""
    rich = bursting(World(rate_rps=lambda _: 250))
    rich.run(60)
    assert rich.targets["cloud"] > 0
    poor = bursting(World(service(budget={"usd_per_month": 0.0}), rate_rps=lambda _: 250))
    poor.run(120)
    assert (poor.targets["cloud"], poor.spent_usd) == (0, 0.0)
