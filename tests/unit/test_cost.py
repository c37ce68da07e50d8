from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.cost import (
    HOUR_S,
    Commitment,
    affordable_nodes,
    compare,
    node_usd_per_hour,
    nodes_by_pool,
    site_usd_per_hour,
    spend,
    tariff_usd_per_kwh,
    usd_per_1000,
    windows,
)
from autoscaler.snapshot import Spend
from serving.project import Pool
from serving.spec import Budget
from serving.state import LedgerEntry
from tests.support.declared import pools, project

MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def at(hour: int, minute: int = 0) -> float:
    return (MIDNIGHT + timedelta(hours=hour, minutes=minute)).timestamp()


def owned(**fields: object) -> Pool:
    base = {"name": "owned", "kind": "fixed", "max_nodes": 4, "tariff_usd_per_kwh": 0.2}
    return Pool.model_validate({**base, **fields})


def entry(start_s: float, end_s: float, usd: float) -> LedgerEntry:
    return LedgerEntry("cloud", "g5", "shop", start_s, end_s, end_s - start_s, usd)


BANDS = [
    {"from": "17:00", "until": "21:00", "usd_per_kwh": 0.5},
    {"from": "22:00", "until": "06:00", "usd_per_kwh": 0.1},
    {"from": "05:00", "until": "07:00", "usd_per_kwh": 9.0},
]


@pytest.mark.parametrize(
    ("hour", "minute", "usd_per_kwh"),
    [
        (16, 59, 0.2),
        (17, 0, 0.5),
        (20, 59, 0.5),
        (21, 0, 0.2),
        (22, 0, 0.1),
        (23, 59, 0.1),
        (0, 0, 0.1),
        (5, 30, 0.1),
        (6, 0, 9.0),
        (7, 0, 0.2),
    ],
)
def test_a_tariff_band_holds_from_its_start_until_its_end(hour: int, minute: int, usd_per_kwh: float):
    """Starts count, ends do not; a band may cross midnight; the first that matches wins."""
    assert tariff_usd_per_kwh(owned(tariff_bands=BANDS), at(hour, minute)) == usd_per_kwh


def test_a_band_that_ends_where_it_begins_is_a_whole_day():
    """00:00 to 00:00 is how a day is written when 24:00 is no time."""
    pool = owned(tariff_bands=[{"from": "00:00", "until": "00:00", "usd_per_kwh": 0.7}])
    assert {tariff_usd_per_kwh(pool, at(hour)) for hour in range(24)} == {0.7}


def test_a_node_costs_rent_energy_and_what_it_would_earn_elsewhere():
    """2 GPUs of 0.3 kW at 0.2 usd per kWh and 0.5 usd per hour of opportunity are 1.12 usd per hour."""
    pool = owned(gpus_per_node=2, power_kw_per_gpu=0.3, opportunity_usd_per_gpu_hour=0.5)
    assert node_usd_per_hour(pool, at(12)) == pytest.approx(1.12)
    rented = project().sites["cloud"].pools[0]
    assert node_usd_per_hour(rented, at(12)) == 1.0


def test_nodes_fill_the_pools_in_declared_order():
    """5 nodes on pools of 3 and 4 are 3 of the first and 2 of the second, and cost accordingly."""
    entries = [
        {"name": "spot", "kind": "spot", "max_nodes": 3, "price_usd_per_hour": 0.4},
        {"name": "od", "kind": "on_demand", "max_nodes": 4, "price_usd_per_hour": 1.0},
    ]
    site = pools(project(), "cloud", *entries).sites["cloud"]
    assert [(pool.name, count) for pool, count in nodes_by_pool(site.pools, 5)] == [("spot", 3), ("od", 2)]
    assert site_usd_per_hour(site.pools, 5, at(0)) == pytest.approx(3 * 0.4 + 2 * 1.0)


def test_usd_per_1000_is_the_formula_of_the_design():
    """(0.3 kW x 0.2 + 0.1) usd x 1 GPU x 1000 / (10 x 3600) requests per hour."""
    private = project().sites["private"]
    usd_per_hour = site_usd_per_hour(private.pools, 1, at(12))
    assert usd_per_hour == pytest.approx(0.3 * 0.2 + 0.1)
    assert usd_per_1000(usd_per_hour, 10.0) == pytest.approx(0.16 * 1 * 1_000 / 36_000)
    assert usd_per_1000(usd_per_hour, 0.001) is None


def test_both_sides_are_compared_on_the_same_load():
    """0.16 against 1 usd per node and hour, plus 0.09 usd for a GB of answers per 1,000."""
    entries = [
        {"name": "g5", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 1.0, "egress_usd_per_gb": 0.09}
    ]
    fleet = pools(project(), "cloud", *entries)
    sites = fleet.sites["private"].pools, fleet.sites["cloud"].pools
    view = compare(*sites, nodes=2, rate_rps=20.0, egress_gb_per_1000=1.0, now_s=at(12))
    assert view.private_usd_per_1000 == pytest.approx(2 * 0.16 / 72)
    assert view.cloud_usd_per_1000 == pytest.approx(2 * 1.0 / 72 + 0.09)
    assert view.ratio == pytest.approx(view.private_usd_per_1000 / view.cloud_usd_per_1000)


def test_a_load_beyond_one_side_is_compared_by_what_both_can_hold():
    """Eight nodes' worth on four and six nodes: the ratio is that of a node, not of the pools' sizes."""
    fleet = project()
    sites = fleet.sites["private"].pools, fleet.sites["cloud"].pools
    small = compare(*sites, nodes=2, rate_rps=20.0, egress_gb_per_1000=0.0, now_s=at(12))
    large = compare(*sites, nodes=8, rate_rps=80.0, egress_gb_per_1000=0.0, now_s=at(12))
    assert small.ratio == pytest.approx(large.ratio) == pytest.approx(0.16)
    assert large.cloud_usd_per_1000 == pytest.approx(small.cloud_usd_per_1000)


def test_without_traffic_there_is_no_comparison():
    """Cost per 1,000 of nothing says nothing."""
    fleet = project()
    sites = fleet.sites["private"].pools, fleet.sites["cloud"].pools
    assert compare(*sites, nodes=1, rate_rps=0.0, egress_gb_per_1000=0.0, now_s=at(12)) is None


def test_spend_counts_in_calendar_windows_of_utc():
    """A span over the hour counts by its part on either side; yesterday's is in the month only."""
    now_s = at(12, 30)
    spans = [
        entry(at(11, 50), at(12, 10), 2.0),
        entry(at(12, 20), at(12, 30), 0.5),
        entry(at(1), at(2), 4.0),
        entry(at(-2), at(-1), 8.0),
    ]
    found = spend(spans, now_s)
    assert found.hour_usd == pytest.approx(1.0 + 0.5)
    assert found.day_usd == pytest.approx(6.5)
    assert found.month_usd == pytest.approx(14.5)


def test_a_minimum_billing_that_reaches_beyond_now_counts_at_once():
    """What is owed is spent."""
    assert spend([entry(at(12, 30), at(12, 31), 0.5)], at(12, 30)).hour_usd == pytest.approx(0.5)
    assert spend([entry(at(11), at(12), 1.0)], at(12)).hour_usd == 0.0


@given(
    st.lists(
        st.tuples(st.floats(-7_200, 3_600), st.floats(1, 9_000), st.floats(0, 10)),
        max_size=20,
    )
)
def test_windows_nest(spans):
    """An hour's spend is never more than its day's, nor that more than its month's or the whole ledger."""
    found = spend([entry(at(12) + a, at(12) + a + n, usd) for a, n, usd in spans], at(12, 59))
    total = sum(usd for _, _, usd in spans)
    assert 0 <= found.hour_usd <= found.day_usd + 1e-9
    assert found.day_usd <= found.month_usd + 1e-9
    assert found.month_usd <= total + 1e-9


def nodes(*usd: float) -> list[Commitment]:
    """Nodes that commit to so much in any case, and are expected to cost no more."""
    return [Commitment(HOUR_S * each, 1.0) for each in usd]


def affordable(budget: Budget, spent: Spend, *, running: Sequence[Commitment] = (), renting: Sequence[Commitment] = ()):
    """What the caps pay for when all of these are wanted."""
    wanted = len(running) + len(renting)
    return affordable_nodes(budget, spent, wanted=wanted, running=running, renting=renting, now_s=at(12, 30))


def test_a_cap_pays_for_some_of_the_nodes():
    """0.03 usd are left and each node commits to 0.01: three; the reason names cap, rest and number."""
    found = affordable(Budget(usd_per_hour=1.0), Spend(hour_usd=0.97), renting=nodes(*[0.01] * 6))
    assert found.nodes == 3
    assert found.reason == "budget.usd_per_hour 1 usd, 0.03 usd left: at most 3 nodes"


def test_without_a_cap_everything_is_paid_for():
    """Unset means unlimited; zero means nothing."""
    assert affordable(Budget(), Spend(99, 99, 99), renting=nodes(*[1.0] * 6)).nodes == 6
    assert affordable(Budget(usd_per_day=0.0), Spend(), renting=nodes(1.0)).nodes == 0


def test_the_tightest_of_several_caps_binds():
    """Hour for five, day for two, month for four: two, and the day is named."""
    budget = Budget(usd_per_hour=5.0, usd_per_day=2.0, usd_per_month=4.0)
    found = affordable(budget, Spend(), renting=nodes(*[1.0] * 6))
    assert found.nodes == 2
    assert "usd_per_day" in found.reason


def test_running_nodes_stay_while_their_leaving_is_paid_for_and_all_go_when_it_is_not():
    """What they cost until gone is owed anyway: giving up one of them would not pay for the others."""
    budget = Budget(usd_per_hour=1.0)
    stay = affordable(budget, Spend(hour_usd=0.97), running=nodes(*[0.01] * 3))
    go = affordable(budget, Spend(hour_usd=0.971), running=nodes(*[0.01] * 3))
    assert (stay.nodes, go.nodes) == (3, 0)


@given(
    used=st.floats(0, 2),
    cap=st.floats(0, 2),
    leaving=st.lists(st.floats(0, 0.2), max_size=6),
    renting=st.lists(st.floats(0.01, 0.3), max_size=6),
)
def test_what_is_affordable_never_commits_beyond_the_cap(used, cap, leaving, renting):
    """Booked, owed and newly committed together stay below the cap whenever anything is allowed."""
    wanted = len(leaving) + len(renting)
    found = affordable(Budget(usd_per_hour=cap), Spend(hour_usd=used), running=nodes(*leaving), renting=nodes(*renting))
    assert 0 <= found.nodes <= wanted
    new = max(0, found.nodes - len(leaving))
    if found.nodes:
        assert used + sum(leaving) + sum(renting[:new]) <= cap + 1e-8
    assert bool(found.reason) == (found.nodes < wanted)


def test_a_further_node_must_fit_for_as_long_as_nodes_stay_there():
    """Ten minutes at 1 usd an hour are 0.167 usd: 0.5 usd pay for three new nodes, whose least would be 30."""
    renting = [Commitment(1.0, 60.0, expected_s=600.0)] * 6
    found = affordable(Budget(usd_per_hour=0.5), Spend(), renting=renting)
    assert (found.nodes, found.reason) == (3, "budget.usd_per_hour 0.5 usd, 0.5 usd left: at most 3 nodes")


def test_what_those_there_are_expected_to_cost_is_not_spent_twice():
    """Two nodes that stay ten minutes, a minute of it booked, take 0.3 of 0.5 usd: one more, and they stay."""
    running = [Commitment(1.0, 0.0, expected_s=600.0, booked_s=60.0)] * 2
    renting = [Commitment(1.0, 60.0, expected_s=600.0)] * 4
    found = affordable(Budget(usd_per_hour=0.5), Spend(), running=running, renting=renting)
    assert found.nodes == 3
    assert found.reason == "budget.usd_per_hour 0.5 usd, 0.5 usd left, 0.3 usd of it for those there: at most 3 nodes"
    assert affordable(Budget(usd_per_hour=0.1), Spend(), running=running, renting=renting).nodes == 2


def test_a_window_pays_only_for_what_lies_in_it():
    """At half past the hour a node for two hours costs the hour half a dollar, and the day two."""
    renting = [Commitment(1.0, 60.0, expected_s=7_200.0)] * 4
    assert affordable(Budget(usd_per_hour=1.0), Spend(), renting=renting).nodes == 2
    assert affordable(Budget(usd_per_day=1.9), Spend(), renting=renting).nodes == 0


@pytest.mark.parametrize(("month", "next_month"), [((2026, 12), (2027, 1)), ((2028, 2), (2028, 3))])
def test_windows_end_where_the_next_ones_begin(month: tuple[int, int], next_month: tuple[int, int]):
    """The last second of a month is in its last hour and day, whatever its length."""
    end_s = datetime(*next_month, 1, tzinfo=UTC).timestamp()
    starts_s, ends_s = windows(end_s - 1)
    assert ends_s == (end_s, end_s, end_s)
    assert starts_s == (end_s - 3_600, end_s - 86_400, datetime(*month, 1, tzinfo=UTC).timestamp())
    assert windows(end_s)[0] == (end_s, end_s, end_s)
