"""Two services share the sites: nobody takes what the other one has."""

from __future__ import annotations

from tests.support.clients import Clients
from tests.support.declared import pools, project, service
from tests.support.world import World


def fleet(shop_rps, ads_rps, **sites: object) -> World:
    """Services `shop` and `ads` on the same four private nodes."""
    ads = Clients(service(name="ads", routing={"prefix": "/ads"}, sites=sites), ads_rps)
    world = World(service(sites=sites), rate_rps=shop_rps, others=(ads,))
    for clients in world.clients:
        clients.deploy("v1")
    world.run(60)
    assert world.verdicts == ["promoted", "promoted"]
    return world


def after(start_s: float, rate_rps: float):
    return lambda at_s: rate_rps * min(1.0, max(0.0, at_s - start_s) / 40)


def test_what_one_service_has_is_not_taken_by_the_other():
    """ads holds two private replicas; shop bursts to the cloud instead of pushing them out."""
    world = fleet(after(150, 150), after(60, 45))
    world.run(80)
    assert world.state.services["ads"].targets["private"] == 2
    world.run(160)
    assert world.state.services["ads"].targets["private"] == 2
    assert world.state.services["shop"].targets["private"] == 2
    assert world.state.services["shop"].targets["cloud"] > 0
    assert world.violations == []


def test_freed_private_nodes_take_over_from_the_cloud():
    """When ads has less to do, shop's rented replicas are replaced at home."""
    world = fleet(after(100, 90), lambda at_s: after(60, 75)(at_s) if at_s < 300 else 10.0)
    world.run(200)
    assert world.state.services["shop"].targets["cloud"] > 0
    world.run(240)
    assert world.state.services["ads"].targets == {"private": 1, "cloud": 0}
    assert world.state.services["shop"].targets["private"] == 3
    assert world.violations == []


def test_a_reserved_minimum_is_there_when_its_service_arrives():
    """shop may not use the node that ads has a right to, even before ads is deployed."""
    ads = Clients(service(name="ads", routing={"prefix": "/ads"}))
    world = World(rate_rps=after(60, 200), others=(ads,))
    world.deploy("v1")
    world.run(150)
    assert world.targets["private"] == 3
    ads.deploy("v1")
    world.run(30)
    assert world.state.services["ads"].targets["private"] == 1
    assert world.verdicts == ["promoted", "promoted"]
    assert world.violations == []


def test_simultaneous_releases_never_put_more_on_a_site_than_it_holds():
    """Both services deploy at the same moment, and one node is free: one release waits for the other."""
    world = fleet(after(60, 45), after(60, 25), cloud={"max_replicas": 0})
    world.run(80)
    assert {name: mine.targets["private"] for name, mine in world.state.services.items()} == {"shop": 2, "ads": 1}
    refused = [clients.refused for clients in world.clients]
    for clients in world.clients:
        clients.deploy("v2")
    assert world.run(300, until=lambda: len(world.finished) == 4)
    assert world.verdicts == ["promoted"] * 4
    assert [clients.refused for clients in world.clients] == refused
    assert world.violations == []


def test_each_service_has_its_own_budget():
    """One service's cap is not used up by the other."""
    world = fleet(lambda _: 0.0, after(60, 200))
    world.shop.spec = service(budget={"usd_per_hour": 0.05})
    world.run(200)
    assert world.state.services["ads"].targets["cloud"] > 0
    world.shop.rate_rps = lambda _: 200.0
    assert world.run(30, until=lambda: world.targets["cloud"] > 0)
    assert {entry.service for entry in world.ledger.values()} == {"ads", "shop"}


def test_twenty_five_services_come_home_at_once():
    """A sale that all of them had ends in the same second: each comes home, is served, and within its own cap."""
    names = [f"shop-{number}" for number in range(25)]
    caps = {"usd_per_hour": 0.5}
    specs = [service(name=name, routing={"prefix": f"/{name}"}, budget=caps) for name in names]

    def sale(at_s: float) -> float:
        return 120.0 if 40 <= at_s < 160 else 10.0

    first, *others = (Clients(spec, sale) for spec in specs)
    fleet = pools(project(), "private", {"name": "owned", "kind": "fixed", "max_nodes": 50})
    fleet = pools(fleet, "cloud", {**fleet.sites["cloud"].pools[0].model_dump(mode="json"), "max_nodes": 100})
    world = World(first.spec, fleet=fleet, rate_rps=sale, others=tuple(others), tick_s=2.0)
    for clients in world.clients:
        clients.deploy("v1")
    world.run(160)
    rented = {name: mine.targets["cloud"] for name, mine in world.state.services.items()}
    assert min(rented.values()) > 0, rented
    refused = [clients.refused for clients in world.clients]
    assert world.run(160, until=lambda: world.ready("cloud") == 0)
    world.run(40)
    assert [mine.targets["cloud"] for mine in world.state.services.values()] == [0] * 25
    assert all(mine.targets["private"] >= 1 for mine in world.state.services.values())
    assert [clients.refused for clients in world.clients] == refused
    assert [clients.cut for clients in world.clients] == [0.0] * 25
    for name in names:
        spent = sum(entry.usd for entry in world.ledger.values() if entry.service == name)
        assert 0 < spent <= caps["usd_per_hour"]
    assert world.violations == []
