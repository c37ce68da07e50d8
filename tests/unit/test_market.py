"""Which pool is rented from first, and which node is given back first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.market import (
    REPLICA_WORTH,
    Use,
    egress_gb_per_hour,
    further,
    in_order,
    keep,
    learned_stay_s,
    market,
    ranked,
    taken,
    told,
)
from autoscaler.state import DaemonState, RentedNode
from serving.project import Pool, SiteSpec
from tests.support.declared import project, service
from tests.support.moments import NOW_S, asked, signals

HOUR = Use(stay_s=3_600.0)


def pool(name: str, usd: float, **fields: object) -> Pool:
    base = {"name": name, "kind": "on_demand", "max_nodes": 3, "price_usd_per_hour": usd, "lead_time_s": 0.0}
    return Pool.model_validate({**base, "min_billing_s": 0.0, **fields})


def spot(usd: float, **fields: object) -> Pool:
    return pool("spot", usd, **{"kind": "spot", "reclaims_per_hour": 0.0, **fields})


def cloud(*entries: Pool) -> SiteSpec:
    return SiteSpec(role="cloud", pools=list(entries))


def names(*entries: Pool, use: Use = HOUR) -> list[str]:
    return [offer.pool.name for offer in ranked(entries, use)]


def test_the_cheaper_price_is_first_and_declared_order_breaks_ties():
    """Declared dear, cheap, cheap: the two cheap ones in their order, then the dear one."""
    assert names(pool("dear", 2.0), pool("b", 1.0), pool("a", 1.0)) == ["b", "a", "dear"]


def test_minimum_billing_counts_over_the_stay():
    """0.6 usd billed by the hour is 1.8 usd for a useful hour in stays of 20 minutes; in long ones it is cheapest."""
    hourly, minutely = pool("hourly", 0.6, min_billing_s=3_600.0), pool("minutely", 1.0)
    assert names(minutely, hourly, use=Use(stay_s=1_200.0)) == ["minutely", "hourly"]
    assert ranked([hourly], Use(stay_s=1_200.0))[0].usd_per_hour == pytest.approx(1.8)
    assert names(minutely, hourly, use=HOUR) == ["hourly", "minutely"]


def test_a_lead_time_is_paid_and_serves_nobody():
    """Ten minutes of it on a stay of an hour are a sixth more."""
    assert ranked([pool("slow", 1.2, lead_time_s=600.0)], HOUR)[0].usd_per_hour == pytest.approx(1.4)


def test_egress_counts_for_what_a_busy_node_answers():
    """4 slots at 0.7 use and 0.1 s answer 28 req/s; of 1 MB each that is 100.8 GB an hour, 9.07 usd at 0.09."""
    spec, seen = service(), signals(bytes_mean=1e6)
    gb = egress_gb_per_hour(spec, seen)
    assert gb == pytest.approx(100.8)
    near, far = pool("near", 1.0, egress_usd_per_gb=0.09), pool("far", 5.0)
    assert names(near, far, use=replace(HOUR, egress_gb_per_hour=gb)) == ["far", "near"]
    assert names(near, far) == ["near", "far"]


@pytest.mark.parametrize("fields", [{"bytes_mean": None}, {"service_mean_s": None}, {"service_mean_s": 0.0}])
def test_egress_of_answers_that_nobody_saw_is_not_known(fields: dict[str, float | None]):
    """None, not free."""
    assert egress_gb_per_hour(service(), signals(**fields)) is None
    assert ranked([pool("a", 1.0, egress_usd_per_gb=0.1)], HOUR)[0].egress_usd_per_hour is None


def test_a_reclaim_costs_the_relaunch_and_what_is_missing_beyond_the_notice():
    """Once an hour: 300 s of its own rent, and 180 s without a replica at five times the dearest price."""
    risky = spot(0.36, reclaims_per_hour=1.0, lead_time_s=300.0, notice_s=120.0)
    offer = next(o for o in ranked([risky, pool("od", 1.0)], HOUR) if o.pool is risky)
    assert offer.reclaim_usd_per_hour == pytest.approx(300 * 0.36 / 3_600 + 180 * REPLICA_WORTH * 1.0 / 3_600)
    assert names(pool("od", 0.5), risky) == ["od", "spot"]
    assert names(pool("od", 1.0), replace_rate(risky, 0.05)) == ["spot", "od"]


def replace_rate(entry: Pool, reclaims_per_hour: float) -> Pool:
    return entry.model_copy(update={"reclaims_per_hour": reclaims_per_hour})


def test_a_spot_pool_that_declares_no_reclaims_has_usual_ones():
    """It is not free of them; an on-demand pool is."""
    unsaid = spot(0.5, reclaims_per_hour=None, lead_time_s=60.0)
    assert ranked([unsaid], HOUR)[0].reclaim_usd_per_hour > 0
    assert ranked([pool("od", 0.5, lead_time_s=60.0)], HOUR)[0].reclaim_usd_per_hour == 0


def test_nodes_of_other_services_take_room():
    """Of three one is another's: two are left, and the fourth is of the next pool, the last of the dearest."""
    site = cloud(pool("a", 1.0), pool("b", 2.0, max_nodes=1))
    nodes = {"cloud/other": (RentedNode("a", 1.0),), "cloud/shop": (RentedNode("a", 2.0),)}
    offers = market(asked(), "cloud", site, DaemonState(nodes=nodes), taken(nodes))
    assert [offer.room for offer in offers] == [2, 1]
    assert [entry.name for entry in further(offers, nodes["cloud/shop"], 3)] == ["a", "b", "b"]


def test_beyond_all_room_the_dearest_is_counted_also_where_the_cheapest_rests():
    """A resting pool is the last of the offers, and no measure of what a node may cost."""
    offers = ranked([spot(0.3, max_nodes=1), pool("sure", 1.0, max_nodes=1)], HOUR, resting={"spot"})
    assert [offer.pool.name for offer in offers] == ["sure", "spot"]
    assert [entry.name for entry in further(offers, (), 3)] == ["sure", "spot", "sure"]


def test_a_learned_stay_changes_the_order():
    """Where nodes stay for two minutes, an hour's minimum is dear."""
    site = cloud(pool("hourly", 0.6, min_billing_s=3_600.0), pool("minutely", 1.0))
    short = market(asked(), "cloud", site, DaemonState(stays_s={"cloud/shop": 120.0}), {})
    long = market(asked(), "cloud", site, DaemonState(stays_s={"cloud/shop": 36_000.0}), {})
    assert [short[0].pool.name, long[0].pool.name] == ["minutely", "hourly"]
    assert learned_stay_s(None, []) is None
    assert learned_stay_s(None, [100.0, 200.0]) == pytest.approx(125.0)


def test_owned_pools_are_used_as_declared():
    """Nothing of them is rented."""
    fleet = project()
    assert in_order(asked(), fleet.sites["private"]) == fleet.sites["private"].pools


def kept(site: SiteSpec, nodes: list[RentedNode], count: int) -> list[str]:
    return [node.pool for node in keep(site, nodes, count, NOW_S)]


def test_the_dearest_whose_minimum_is_over_goes_first():
    """Not the newest; what is paid for the rest of an hour stays."""
    site = cloud(pool("cheap", 1.0), pool("dear", 2.0), pool("paid", 3.0, min_billing_s=3_600.0))
    nodes = [RentedNode("dear", NOW_S - 900), RentedNode("cheap", NOW_S - 800), RentedNode("paid", NOW_S - 700)]
    assert kept(site, nodes, 2) == ["cheap", "paid"]
    assert kept(site, nodes, 1) == ["paid"]
    assert kept(site, nodes, 0) == []


def test_what_does_not_serve_yet_goes_before_what_does_unless_much_is_paid():
    """A start that was just begun is no loss; one that is paid for an hour is."""
    for min_s, stays in ((60.0, NOW_S - 900), (3_600.0, NOW_S - 5)):
        site = cloud(pool("a", 1.0, lead_time_s=40.0, min_billing_s=min_s))
        nodes = [RentedNode("a", NOW_S - 900 - min_s), RentedNode("a", NOW_S - 5)]
        left = keep(site, nodes, 1, NOW_S)
        assert left == ((nodes[0],) if stays < NOW_S - 100 else (nodes[1],))


def test_the_options_are_told_with_prices():
    """What an hour costs, and of what it is made where that is more than rent."""
    risky = spot(0.5, reclaims_per_hour=1.0, lead_time_s=36.0)
    assert told(ranked([pool("od", 1.0), risky], HOUR)) == "spot 0.51 usd (rent 0.505, reclaims 0.005), od 1 usd"


pools = st.builds(
    lambda index, usd, lead, least, kind: pool(f"p{index}", usd, lead_time_s=lead, min_billing_s=least, kind=kind),
    st.integers(0, 99),
    st.floats(0.01, 10),
    st.floats(0, 600),
    st.floats(0, 3_600),
    st.sampled_from(["spot", "on_demand"]),
)


@given(st.lists(pools, min_size=1, max_size=6), st.floats(0, 1e6), st.floats(0, 100))
def test_offers_are_all_pools_in_order_and_never_below_the_price(entries: list[Pool], stay_s: float, gb: float):
    """A useful hour costs at least the price, and a longer stay never costs more."""
    offers = ranked(entries, Use(stay_s, gb))
    assert sorted(o.pool.name for o in offers) == sorted(p.name for p in entries)
    assert [o.usd_per_hour for o in offers] == sorted(o.usd_per_hour for o in offers)
    assert all(o.usd_per_hour >= o.pool.price_usd_per_hour - 1e-9 for o in offers)
    longer = {id(o.pool): o.usd_per_hour for o in ranked(entries, Use(2 * stay_s + 60, gb))}
    assert all(longer[id(o.pool)] <= o.usd_per_hour + 1e-9 for o in offers)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 9_000)), max_size=9), st.integers(0, 10))
def test_as_many_stay_as_are_wanted(nodes: list[tuple[str, float]], count: int):
    """In their order, none twice, none invented."""
    site = cloud(pool("a", 1.0, min_billing_s=600.0), pool("b", 2.0, lead_time_s=100.0))
    there = [RentedNode(name, NOW_S - age_s) for name, age_s in nodes]
    left = list(keep(site, there, count, NOW_S))
    assert len(left) == min(count, len(there))
    positions = iter(there)
    assert all(any(node is other for other in positions) for node in left)
