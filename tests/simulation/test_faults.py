"""What is lost, unseen or failing: nothing is guessed, and the service comes back."""

from __future__ import annotations

import pytest

from autoscaler.plan import ApplyApplications, CloseSite, OpenSite, ScaleApplication
from tests.support.declared import service
from tests.support.world import World


def steady(rate_rps: float = 30.0, **how: object) -> World:
    """A world whose service runs well, on the private site alone."""
    world = World(how.pop("spec", None), rate_rps=lambda at_s: rate_rps * min(1, max(0, at_s - 40) / 40), **how)
    world.deploy("v1")
    world.run(120)
    assert world.verdicts == ["promoted"]
    assert world.targets["cloud"] == 0
    return world


def bursting() -> World:
    """A world with both sites open and serving."""
    world = World(rate_rps=lambda at_s: 200.0 if at_s > 40 else 0.0)
    world.deploy("v1")
    world.run(150)
    assert world.ready("cloud") > 0
    assert world.shop.ticks[-1].wait_s == 0.0
    return world


def test_a_silent_gateway_freezes_scale_in_and_new_spend():
    """Signals older than stale_after_s change no target, whatever the clients do meanwhile."""
    world = bursting()
    before = world.targets
    world.gateway_blind = True
    world.shop.rate_rps = lambda _: 0.0
    world.run(120)
    assert world.targets == before
    world.shop.rate_rps = lambda _: 250.0
    world.run(60)
    assert world.targets == before
    world.gateway_blind = False
    world.shop.rate_rps = lambda _: 20.0
    world.run(25)
    assert world.targets == before, "calm is counted from when it can be seen"
    world.run(60)
    assert world.targets["cloud"] == 0


def test_a_site_out_of_sight_keeps_its_routes_and_its_bill():
    """Unknown is not none: limits, targets and billing go on, and nothing is done to the site."""
    world = bursting()
    limits = world.last.plan.routes[0].stable
    world.sites["cloud"].in_sight = False
    world.run(1)
    spent, actions = world.spent_usd, len(world.actions)
    world.run(60)
    assert world.last.plan.routes[0].stable == limits
    assert world.spent_usd - spent == pytest.approx(world.targets["cloud"] * 60 / 3600, rel=0.02)
    assert [action for _, action in world.actions[actions:] if action.site == "cloud"] == []
    world.shop.rate_rps = lambda _: 20.0
    world.run(60)
    assert world.targets["cloud"] > 0
    assert "site cloud is out of sight" in world.reasons("wait")[-1]
    world.sites["cloud"].in_sight = True
    world.run(60)
    assert world.targets["cloud"] == 0


@pytest.mark.parametrize("site", ["private", "cloud"])
def test_an_empty_list_is_not_an_empty_site(site: str):
    """A site that lists nothing for a moment keeps its routes; nothing is loaded, opened, closed or paid for."""
    world = bursting()
    routes, targets, actions = world.last.plan.routes, world.targets, len(world.actions)
    world.sites[site].lists_nothing = True
    world.run(2.5)
    assert (world.last.plan.routes, world.targets) == (routes, targets)
    world.sites[site].lists_nothing = False
    world.run(5)
    assert len(world.actions) == actions
    assert world.last.plan.routes == routes
    assert world.reasons("eject") == []


def test_what_is_really_gone_is_loaded_again():
    """Somebody removed the application on the site: believed after three seconds, and mended with probes first."""
    world = bursting()
    world.sites["cloud"].apps.clear()
    world.sites["cloud"].probed.clear()
    world.run(3.5)
    assert world.last.plan.routes[0].stable.servers[1].limit == 0
    world.violations.clear()
    world.run(20)
    assert world.ready("cloud") == world.targets["cloud"]
    assert world.violations == []


def test_a_lost_private_site_is_replaced_by_the_cloud_until_it_is_back():
    """Failover within seconds, capacity for the whole load, a dwell after the return, then nothing is rented."""
    world = steady()
    world.sites["private"].lose()
    lost_s = world.at_s
    assert world.run(5, until=lambda: world.targets["cloud"] > 0)
    assert "failover: private site private is" in world.reasons("scale")[-1]
    assert world.targets["cloud"] == 2
    assert world.run(60, until=lambda: world.ready("private") > 0 and world.ready("cloud") > 0)
    world.run(20)
    assert world.targets["cloud"] == 2, "the private site is only just back"
    world.run(120)
    assert world.targets["cloud"] == 0
    assert world.shop.ticks[-1].wait_s == 0.0
    assert world.shop.refused < 30 * (20 + 5 + 10)
    assert world.at_s - lost_s < 300
    assert world.violations == []


def test_a_failover_stays_within_the_budget():
    """A spend cap wins over the loss of the private site."""
    world = steady(spec=service(budget={"usd_per_hour": 0.02}))
    world.sites["private"].lose()
    world.lead_s = 900
    world.run(120)
    assert world.targets["cloud"] <= 1
    world.tick_s = 2.0
    world.run(600)
    assert world.spent_usd <= 0.02


def test_a_long_failover_follows_the_load_down():
    """The cloud is not kept at the peak for as long as the private site is away."""
    world = steady(rate_rps=100.0, spec=service(burst={"calm_s": 20.0}))
    world.sites["private"].lose()
    world.lead_s = 20
    world.run(2)
    world.sites["private"].opens_at_s = world.now_s + 10_000
    world.run(60)
    assert world.targets["cloud"] >= 4
    world.shop.rate_rps = lambda _: 20.0
    world.run(90)
    assert world.targets["cloud"] == 1


def test_a_private_site_that_fails_fast_loses_its_traffic_to_the_cloud():
    """Answers with errors cost nothing and look idle; the cloud takes over, and errors end."""
    world = steady()
    world.failing_sites["private"] = 1.0
    assert world.run(6, until=lambda: world.targets["cloud"] > 0)
    assert world.run(60, until=lambda: bool(world.reasons("eject")))
    failed = world.shop.failed
    world.run(60)
    assert world.shop.failed == failed, "out until its probes are answered"
    world.failing_sites.clear()
    world.run(180)
    assert world.shop.failed == failed
    assert world.targets["cloud"] == 0
    assert world.shop.ticks[-1].wait_s == 0.0
    assert world.violations == []


def test_a_failing_cloud_site_is_left_out_while_the_private_site_serves():
    """The outlier rule knows no favourite: a rented site that fails is ejected, and probed before it returns."""
    world = bursting()
    world.failing_sites["cloud"] = 1.0
    assert world.run(3, until=lambda: bool(world.reasons("eject")))
    stable = world.last.plan.routes[0].stable
    assert [server.limit for server in stable.servers if server.site == "cloud"] == [0]
    world.failing_sites.clear()
    assert world.run(60, until=lambda: world.last.plan.routes[0].stable.servers[1].limit > 0)
    assert world.violations == []


def test_a_lost_cloud_site_is_opened_again_while_it_is_needed():
    """What was rented is asked for again; its replicas are probed before they are routed to."""
    world = bursting()
    needed = world.targets["cloud"]
    world.sites["cloud"].lose()
    world.run(1)
    assert isinstance(world.actions[-1][1], OpenSite)
    world.run(60)
    assert world.ready("cloud") >= needed
    assert world.shop.ticks[-1].wait_s == 0.0
    assert world.violations == []


def test_a_site_that_opens_again_is_probed_before_it_gets_traffic():
    """Having been probed in its last life counts for nothing."""
    world = bursting()
    world.shop.rate_rps = lambda _: 20.0
    assert world.run(300, until=lambda: world.sites["cloud"].phase == "closed")
    world.shop.rate_rps = lambda _: 200.0
    probes = []
    assert world.run(120, until=lambda: probes.extend(world.last.plan.probes) or world.shop.limits["stable", "cloud"])
    assert [probe.site for probe in probes] == ["cloud"]
    assert world.violations == []


def test_a_daemon_that_was_away_holds_the_scale_until_it_knows():
    """After a gap longer than the dwell, empty windows are no calm: capacity stays until calm was seen."""
    world = bursting()
    before = world.targets
    world.now_s += 300.0
    world.start_s += 300.0
    world.shop.ticks.clear()
    rate, world.shop.rate_rps = world.shop.rate_rps, lambda _: 0.0
    world.shop.in_use.clear()
    world.run(5)
    world.shop.rate_rps = rate
    world.run(25)
    assert world.targets == before


def test_requests_longer_than_the_window_are_not_an_idle_service():
    """Nothing finished in the window while slots are in use: that is no reason to scale in."""
    world = bursting()
    for clients in world.clients:
        clients.rate_rps = lambda _: 0.0
        clients.service_s = 10_000.0
    world.run(11)
    before = world.targets
    assert world.shop.ticks[-1].arrived == 0
    assert sum(world.shop.in_use.values()) > 1
    world.run(90)
    assert world.targets == before


def test_state_survives_a_restart_at_every_tick():
    """A daemon that is killed after each tick and reads its state back decides the same."""

    def story(*, restarts: bool) -> World:
        world = World(rate_rps=lambda at_s: 220.0 if 60 < at_s < 110 else 20.0)
        world.restarts_each_tick = restarts
        world.deploy("v1")
        world.run(90)
        world.deploy("v2")
        world.run(20)
        world.sites["private"].lose()
        world.run(120)
        return world

    once, always = story(restarts=False), story(restarts=True)
    assert always.decisions == once.decisions
    assert always.state == once.state


def test_nothing_is_done_while_everything_is_as_wished():
    """In a steady state no action, probe or line of the decision log is made."""
    world = steady()
    actions, decisions = len(world.actions), len(world.decisions)
    assert not world.run(120, until=lambda: bool(world.last.plan.probes))
    assert (len(world.actions), len(world.decisions)) == (actions, decisions)
    kinds = {type(action) for _, action in world.actions}
    assert kinds <= {OpenSite, ApplyApplications, ScaleApplication}
    assert CloseSite not in kinds
