"""Holds, pause and shadow: an operator has the last word, below the spend caps."""

from __future__ import annotations

from autoscaler.snapshot import Hold
from tests.support.declared import service
from tests.support.world import World


def running(rate_rps: float = 20.0, spec=None) -> World:
    """A world in which v1 serves."""
    world = World(spec, rate_rps=lambda at_s: rate_rps * min(1, max(0, at_s - 40) / 40))
    world.deploy("v1")
    world.run(120)
    assert world.verdicts == ["promoted"]
    return world


def test_a_hold_is_kept_until_it_ends():
    """Both sites stand where the operator put them, then the autoscaler decides again."""
    world = running()
    world.shop.hold = Hold({"private": 3, "cloud": 2}, world.now_s + 90, "a rehearsal")
    world.run(85)
    assert world.targets == {"private": 3, "cloud": 2}
    assert "held by an operator: a rehearsal" in world.reasons("scale")
    world.run(60)
    assert world.targets == {"private": 1, "cloud": 0}


def test_what_a_hold_takes_from_the_private_site_the_cloud_gives():
    """Held at one private replica, a load of three is served by two rented ones."""
    world = running(60.0)
    assert world.targets == {"private": 3, "cloud": 0}
    world.shop.hold = Hold({"private": 1}, world.now_s + 600, "nodes are lent out")
    world.run(90)
    assert world.targets == {"private": 1, "cloud": 2}
    assert world.shop.ticks[-1].wait_s == 0.0


def test_a_spend_cap_wins_over_a_hold():
    """What the budget does not pay for is not held either, and the reason says so."""
    world = running(spec=service(budget={"usd_per_hour": 0.0}))
    world.shop.hold = Hold({"cloud": 4}, world.now_s + 600, "wishful")
    world.run(60)
    assert world.targets["cloud"] == 0
    assert world.reasons("wait")[-1].startswith("budget.usd_per_hour 0 usd")


def test_a_pause_keeps_all_counts_but_not_a_hold_nor_a_release():
    """Paused, load changes nothing; a hold and a release are commands and go on, and so do spend caps."""
    world = running(spec=service(budget={"usd_per_hour": 0.2}))
    world.scaling = "paused"
    world.shop.rate_rps = lambda _: 200.0
    world.run(60)
    assert world.targets == {"private": 1, "cloud": 0}
    assert world.reasons("wait")[0].startswith("autoscaling is paused; wanted")
    assert len(world.reasons("wait")) == 2, "once for each site"
    world.shop.hold = Hold({"cloud": 4}, world.now_s + 6_000, "by hand")
    world.run(40)
    assert world.targets["cloud"] == 4
    world.deploy("v2")
    assert world.run(120, until=lambda: len(world.finished) == 2)
    assert world.verdicts[-1] == "promoted"
    world.run(400)
    assert world.targets["cloud"] == 0
    assert world.spent_usd <= 0.2


def test_a_release_that_rents_room_is_not_stopped_by_a_pause():
    """The only private replica can be renewed while autoscaling is paused."""
    world = running(10.0, service(sites={"private": {"max_replicas": 1}}))
    world.scaling = "paused"
    world.deploy("v2")
    assert world.run(200, until=lambda: len(world.finished) == 2)
    assert world.verdicts[-1] == "promoted"


def test_shadow_decides_and_records_but_changes_nothing():
    """Each new wish is recorded once, with numbers; targets, sites and spend stay as they were."""
    world = running()
    world.scaling = "shadow"
    actions = len(world.actions)
    world.shop.rate_rps = lambda at_s: 60.0 if at_s < 180 else 200.0
    world.run(120)
    would = [d for _, d in world.decisions if d.action == "would scale"]
    private = [d.details["to"] for d in would if d.details["site"] == "private"]
    assert private == sorted(set(private))
    assert private[-1] == 4
    assert {d.details["site"] for d in would} == {"private", "cloud"}
    assert len(would) <= 8
    assert world.targets == {"private": 1, "cloud": 0}
    assert len(world.actions) == actions
    assert world.spent_usd == 0.0


def test_shadow_still_starts_a_first_version():
    """Before anything serves there is nothing to shadow: the least capacity is started."""
    world = World(rate_rps=lambda _: 0.0)
    world.scaling = "shadow"
    world.deploy("v1")
    world.run(40)
    assert world.verdicts == ["promoted"]
    assert world.ready("private") == 1


def test_a_service_without_a_deployment_does_nothing():
    """Declared but never deployed: no replica, no site, no line in the log."""
    world = World(rate_rps=lambda _: 0.0)
    world.run(30)
    assert world.targets == {}
    assert [d.action for _, d in world.decisions if d.service == "shop" and d.action != "open site"] == []
