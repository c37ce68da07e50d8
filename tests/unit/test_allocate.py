from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.bill import bill
from autoscaler.money.market import Use, ranked
from autoscaler.policy.bids import Bid
from autoscaler.sizing.allocate import CLOSE_MARGIN_S, Demand, allocate, within_budget
from autoscaler.snapshot import Hold, Spend
from autoscaler.state import RentedNode
from tests.support.declared import pools, project, service
from tests.support.moments import NOW_S, asked, moment, site

COST = {"private_over_cloud_ratio": 1.2, "keep_private_share": 0.25}


def wants(replicas: int, kind: str = "grow", **fields: object) -> Bid:
    return Bid("shop", replicas, kind, "the load", **fields)


def targets(bid: Bid, *, spec=None, spent: Spend | None = None, fleet=None, **fields: object) -> dict[str, int]:
    return {
        name: target.replicas for name, target in chosen(bid, spec=spec, spent=spent, fleet=fleet, **fields).items()
    }


def chosen(bid: Bid, *, spec=None, spent=None, fleet=None, **fields):
    spec = spec or service()
    sites = {"private": site("private", fleet=fleet), "cloud": site("cloud", "closed", fleet=fleet)}
    snapshot = moment(asked(spec), spend={"shop": spent or Spend()}, sites=sites)
    offers = {"cloud": ranked((fleet or project()).sites["cloud"].pools, Use())}
    return allocate([Demand(spec, bid, offers=offers, **fields)], snapshot)["shop"]


@pytest.mark.parametrize(
    ("replicas", "private", "cloud"), [(1, 1, 0), (4, 4, 0), (5, 4, 1), (10, 4, 6), (40, 4, 6), (0, 1, 0)]
)
def test_private_first_and_the_rest_in_the_cloud(replicas: int, private: int, cloud: int):
    """4 owned and 6 rented nodes; the private minimum of 1 is always there."""
    assert targets(wants(replicas)) == {"private": private, "cloud": cloud}


def test_rented_replicas_stay_until_private_ones_are_ready():
    """Of 4 that fit at home 1 is ready: 3 of the 5 rented ones stay, and they go one by one."""
    running = {"private": 1, "cloud": 5}
    for ready, cloud in ((0, 4), (1, 3), (3, 1), (4, 0)):
        assert targets(wants(4, "keep"), current=running, ready={"private": ready, "cloud": 5})["cloud"] == cloud


def test_a_failover_puts_everything_in_the_cloud_at_once():
    """The private targets stay as they are, and no bound delays the cloud's."""
    found = chosen(wants(3, failover=True), current={"private": 2})
    assert (found["private"].replicas, found["cloud"].replicas, found["cloud"].forced) == (2, 3, True)


def test_after_a_failover_the_cloud_stands_by():
    """The private site could carry it again, and what is rented stays."""
    fields = {"current": {"private": 2, "cloud": 3}, "ready": {"private": 2, "cloud": 3}}
    assert targets(wants(2, "keep", standby=True), **fields) == {"private": 2, "cloud": 3}
    assert targets(wants(2, "keep"), **fields) == {"private": 2, "cloud": 0}


def test_cost_moves_traffic_only_when_the_cloud_is_ready():
    """Of 4 a quarter stays at home; until the other 3 are ready elsewhere nothing is given up."""
    spec = service(burst={"cost": COST})
    bid, current = wants(4, "keep", shift=True), {"private": 4, "cloud": 0}
    assert targets(bid, spec=spec, current=current, ready={"private": 4}) == {"private": 4, "cloud": 3}
    assert targets(bid, spec=spec, current=current, ready={"private": 4, "cloud": 2})["private"] == 4
    assert targets(bid, spec=spec, current=current, ready={"private": 4, "cloud": 3})["private"] == 1


def test_what_the_budget_does_not_move_stays_at_home():
    """Two of the three nodes are paid for: two replicas stay at home, and none is missing."""
    spec = service(burst={"cost": COST}, budget={"usd_per_hour": 0.0334})
    found = targets(wants(4, "keep", shift=True), spec=spec, current={"private": 4}, ready={"private": 4, "cloud": 2})
    assert found == {"private": 2, "cloud": 2}


def test_a_hold_replaces_the_bid_on_its_site_and_the_rest_follows():
    """Held at 1 private replica a bid of 3 rents 2; held at 5 rented ones it has 5, whatever is needed."""
    hold = Hold({"private": 1}, NOW_S + 60, "lent out")
    found = chosen(wants(3), hold=hold)
    assert {name: t.replicas for name, t in found.items()} == {"private": 1, "cloud": 2}
    assert (found["private"].reason, found["private"].commanded) == ("held by an operator: lent out", True)
    assert targets(wants(1), hold=Hold({"cloud": 5}, NOW_S + 60, "x")) == {"private": 1, "cloud": 5}


def test_a_hold_is_kept_within_minimum_and_room():
    """Below the declared minimum and beyond the site nothing is held."""
    assert targets(wants(3), hold=Hold({"private": 0, "cloud": 99}, NOW_S, "x")) == {"private": 1, "cloud": 6}


def test_a_release_rents_room_beside_the_bid():
    """One rented replica, though the bid fits at home; it is commanded, and says what for."""
    found = chosen(wants(1, "keep"), rent=1)["cloud"]
    assert (found.replicas, found.commanded) == (1, True)
    assert found.reason.startswith("a release rents 1 to make room at home")


def test_a_cap_cuts_the_bid_and_says_so():
    """0.05 usd pay for three minutes of a node: 3 of 6, forced, told, with the cap named."""
    found = chosen(wants(10), spec=service(budget={"usd_per_hour": 0.05}))["cloud"]
    assert (found.replicas, found.forced, found.told) == (3, True, True)
    assert found.reason == "budget.usd_per_hour 0.05 usd, 0.05 usd left: at most 3 nodes; wanted 6: the load"


def test_a_cap_takes_back_what_runs_although_nothing_is_wanted_less():
    """Used up: the running burst is given up, forced, also when a pause or a cooldown would keep it."""
    nodes = (RentedNode("g5", NOW_S - 500),) * 3
    spent = Spend(hour_usd=0.0499)
    spec = service(budget={"usd_per_hour": 0.05})
    found = chosen(wants(1, "keep"), spec=spec, spent=spent, current={"cloud": 3}, rented={"cloud": nodes})["cloud"]
    assert (found.replicas, found.forced) == (0, True)
    assert "budget.usd_per_hour" in found.reason


def test_a_node_within_its_minimum_billing_costs_nothing_more_to_keep():
    """It is booked until 60 s after its launch; only what a drain takes beyond that is owed."""
    spec, cloud = service(), project().sites["cloud"]
    young, old = RentedNode("g5", NOW_S - 5), RentedNode("g5", NOW_S - 500)
    fields = {"offers": ranked(cloud.pools, Use()), "room": 1, "wanted": 1, "now_s": NOW_S}
    _, none = within_budget(spec, cloud, [young], Spend(), **fields)
    _, owed = within_budget(spec, cloud, [old], Spend(), **fields)
    assert none == 0.0
    assert owed == pytest.approx((5.0 + CLOSE_MARGIN_S) / 3_600)


def test_a_new_node_commits_to_its_minimum_or_to_serving_at_all():
    """Minimum 60 s, lead 40 s and a drain of 5 s with its margin: 60 s; with a lead of 300 s: 315 s."""
    slow = pools(
        project(), "cloud",
        {"name": "g5", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 1.0, "lead_time_s": 300.0},
    )  # fmt: skip
    for fleet, seconds in ((project(), 60), (slow, 315)):
        cloud = fleet.sites["cloud"]
        offers = ranked(cloud.pools, Use())
        _, usd = within_budget(service(), cloud, (), Spend(), offers=offers, room=6, wanted=1, now_s=NOW_S)
        assert usd == pytest.approx(seconds / 3_600)


def test_every_pool_counts_with_its_own_price_and_minimum():
    """A cheap pool that bills by the hour is filled first and commits to the hour."""
    fleet = pools(
        project(), "cloud",
        {"name": "hourly", "kind": "spot", "max_nodes": 2, "price_usd_per_hour": 0.5, "min_billing_s": 3_600.0},
        {"name": "dear", "kind": "on_demand", "max_nodes": 4, "price_usd_per_hour": 1.0, "min_billing_s": 60.0},
    )  # fmt: skip
    spec = service(budget={"usd_per_hour": 1.03})
    assert targets(wants(10), spec=spec, fleet=fleet)["cloud"] == 3


def test_a_hold_at_home_wins_over_cost():
    """Held at 2, a shift moves the rest and leaves the 2."""
    spec = service(burst={"cost": COST})
    hold = Hold({"private": 2}, NOW_S + 60, "lent out")
    running = {"current": {"private": 2, "cloud": 2}, "ready": {"private": 2, "cloud": 2}}
    assert targets(wants(4, "keep", shift=True), spec=spec, hold=hold, **running) == {"private": 2, "cloud": 2}


def test_the_reason_of_a_private_target_says_what_is_moving():
    """A bid that grows is its own reason; replicas that come home without a new bid are told as that; cost is cost."""
    spec = service(burst={"cost": COST})
    assert chosen(wants(3), current={"private": 1})["private"].reason == "the load"
    home = chosen(wants(3, "keep"), current={"private": 1})["private"]
    assert home.reason == "private first, all 3 replicas fit at home; the load"
    assert chosen(wants(3, "keep"), current={"private": 3})["private"].reason == "the load"
    moved = chosen(wants(4, "keep", shift=True), spec=spec, current={"private": 4}, ready={"cloud": 3})["private"]
    assert (moved.replicas, moved.reason) == (1, "the load")


def test_a_late_target_is_told_with_the_reason_of_its_bid():
    """The bid is kept since long, the cooldown is over only now: the reason is the bid's own."""
    found = chosen(Bid("shop", 6, "keep", "no trigger crossed", "p99 2 s over 0.5 s"), current={"private": 4})
    assert found["cloud"].reason == "p99 2 s over 0.5 s"


SHARES = st.tuples(st.integers(0, 3), st.integers(0, 6))
FLEETS = st.lists(
    st.tuples(
        st.integers(0, 12),  # replicas bid for
        SHARES,  # private: min, further
        SHARES,  # cloud: min, further
        st.tuples(st.integers(0, 4), st.integers(0, 6)),  # current
        st.sampled_from(["plain", "failover", "shift", "standby"]),
        st.sampled_from([None, 0.0, 0.02, 0.1]),  # cap
        st.floats(0, 0.12),  # spent
        st.dictionaries(st.sampled_from(["private", "cloud"]), st.integers(0, 9), max_size=2),  # hold
        st.integers(0, 1),  # rent
    ),
    min_size=1,
    max_size=4,
)


@given(FLEETS)
def test_allocation_respects_sites_limits_minimums_and_budgets(entries):
    """Per site no more than its nodes, now and while targets come into force; minimums unless money or room lack."""
    demands, spends, free = [], {}, {"private": 4, "cloud": 6}
    for index, (bid, private, cloud, current, how, cap, spent, hold, rent) in enumerate(entries):
        name = f"s{index}"
        running = {site: min(n, free[site]) for site, n in zip(free, current, strict=True)}
        free = {site: free[site] - running[site] for site in free}
        spec = service(
            name=name,
            sites={
                "private": {"min_replicas": private[0], "max_replicas": min(4, sum(private))},
                "cloud": {"min_replicas": cloud[0], "max_replicas": min(6, sum(cloud))},
            },
            budget={"usd_per_hour": cap},
            burst={"cost": COST},
        )
        flags = {} if how == "plain" else {how: True}
        cloud_site, count = project().sites["cloud"], running["cloud"]
        offers = ranked(cloud_site.pools, Use())
        nodes = bill("cloud", cloud_site, name, (), count=count, offers=offers, now_s=NOW_S - 300).nodes
        demands.append(
            Demand(
                spec,
                Bid(name, bid, "grow", "x", **flags),
                running,
                running,
                {"cloud": nodes},
                {"cloud": offers},
                hold=Hold(hold, NOW_S + 1, "x") if hold else None,
                rent=rent,
            )
        )
        spends[name] = Spend(hour_usd=spent)
    snapshot = moment(*[asked(d.spec) for d in demands], spend=spends)
    found = allocate(demands, snapshot)
    for site_name, size in (("private", 4), ("cloud", 6)):
        held = [max(found[d.spec.name][site_name].replicas, d.current[site_name]) for d in demands]
        assert sum(held) <= size
    for demand in demands:
        for site_name, target in found[demand.spec.name].items():
            share = demand.spec.sites[site_name]
            assert 0 <= target.replicas <= share.max_replicas
            others = sum(
                max(found[d.spec.name][site_name].replicas, d.current[site_name], d.spec.sites[site_name].min_replicas)
                for d in demands
                if d is not demand
            )
            size = {"private": 4, "cloud": 6}[site_name]
            if target.replicas < share.min_replicas:
                assert target.told or others + share.min_replicas > size
        cloud, cap = found[demand.spec.name]["cloud"], demand.spec.budget.usd_per_hour
        if cloud.replicas and cap is not None:
            spent = spends[demand.spec.name].hour_usd
            nodes = demand.rented["cloud"]
            commits = len(nodes) * 15 + max(0, cloud.replicas - len(nodes)) * 60
            assert spent + commits / 3_600 <= cap + 1e-6
