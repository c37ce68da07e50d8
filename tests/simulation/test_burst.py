"""A burst from the first breach until everything is home again."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from serving.project import HybridProject
from tests.support.declared import pools, project, service
from tests.support.world import World


def flash_sale(calm_rps: float, sale_rps: float, start_s: float, end_s: float):
    return lambda at_s: sale_rps if start_s <= at_s < end_s else calm_rps


def ramp(most_rps: float, start_s: float = 60, length_s: float = 100):
    """No request until the service is up, then slowly more."""
    return lambda at_s: most_rps * min(1.0, max(0.0, (at_s - start_s) / length_s))


def served(world: World, warm_s: float = 60.0) -> World:
    """The world with v1 promoted and its start forgotten."""
    world.deploy("v1")
    world.run(warm_s)
    assert world.verdicts == ["promoted"]
    return world


def test_a_burst_opens_the_cloud_within_three_seconds_of_the_first_breach_and_comes_home():
    """From the first tick with a breach to the decision to rent is under 3 s; after the sale nothing is rented."""
    world = served(World(rate_rps=flash_sale(20, 250, 80, 180)))
    assert world.run(60, until=lambda: world.shop.ticks[-1].wait_s > 0.25)
    breach_s = world.at_s
    assert world.run(3.0, until=lambda: world.targets["cloud"] > 0)
    assert world.at_s - breach_s < 3.0
    world.run(60)
    assert world.ready("cloud") > 0
    assert world.shop.ticks[-1].wait_s == 0.0
    world.run(180)
    assert world.targets == {"private": 1, "cloud": 0}
    assert world.sites["cloud"].phase == "closed"
    assert world.violations == []


def test_the_private_site_is_filled_before_anything_is_rented():
    """A load that the private site holds rents nothing, and what is rented is only the rest."""
    world = served(World(rate_rps=ramp(100)))
    world.run(240)
    assert world.targets == {"private": 4, "cloud": 0}
    assert world.spent_usd == 0.0
    world = served(World(rate_rps=ramp(200)))
    world.run(300)
    assert world.targets["private"] == 4
    needed = math.ceil(200 * 0.1 / (4 * 0.7))
    assert needed <= sum(world.targets.values()) <= needed + 1


def test_the_cloud_leaves_before_the_private_site_shrinks():
    """At no moment is a private replica given up while a rented one still has to leave."""
    world = served(World(rate_rps=flash_sale(20, 250, 80, 160)))
    history = []
    for _ in range(600):
        world.tick()
        history.append(dict(world.targets))
    shrinks = [(before, after) for before, after in pairwise(history) if after["private"] < before["private"]]
    assert shrinks
    assert all(before["cloud"] == 0 for before, _ in shrinks)
    assert history[-1] == {"private": 1, "cloud": 0}


def test_a_rented_site_drains_before_it_is_closed():
    """No request is in flight on a site when it is closed, and none is refused on the way home."""
    world = served(World(rate_rps=flash_sale(20, 150, 80, 160), service_s=0.4))
    world.run(120)
    assert world.ready("cloud") > 0
    refused = world.shop.refused
    assert world.run(400, until=lambda: world.sites["cloud"].phase == "closed")
    assert (world.shop.cut, world.shop.refused) == (0.0, refused)


def test_the_cloud_shrinks_with_the_load_while_the_private_site_stays_full():
    """A full private site is no reason to keep more rented replicas than the load needs."""
    world = served(World(rate_rps=lambda at_s: 250 if at_s < 200 else 150))
    world.run(120)
    assert world.targets == {"private": 4, "cloud": 5}
    world.run(200)
    assert world.targets == {"private": 4, "cloud": 2}
    assert world.shop.ticks[-1].private_in_use > 0.9


def test_load_around_the_threshold_does_not_flap():
    """Load that swings around what one more replica needs is answered with few scalings, a dwell apart."""
    world = served(World(rate_rps=lambda at_s: 112 + 10 * math.sin(at_s / 8)))
    world.run(120)
    start_s = world.at_s
    world.run(1200)
    changes = [at_s for at_s, decision in world.decided(start_s) if decision.action == "scale"]
    opened = [at_s for at_s, decision in world.decided(start_s) if decision.action == "open site"]
    assert len(changes) <= 2
    assert len(opened) <= 1


def test_a_slow_model_does_not_keep_rented_replicas():
    """When answers are late without any wait, replicas cannot mend it, and none is kept for it."""
    world = World(service(slo={"latency_p99_s": 0.05}), rate_rps=flash_sale(20, 250, 80, 140))
    served(world)
    world.run(60)
    assert world.targets["cloud"] > 0
    world.run(200)
    assert world.snapshot.services[0].signals.p99_s > world.shop.spec.p99_over_s
    assert world.targets == {"private": 1, "cloud": 0}


def test_cooldown_and_largest_step_hold():
    """Two changes of a site are a cooldown apart, and none is larger than max_step."""
    spec = service(burst={"cooldown_s": 7.0, "max_step": 2})
    world = served(World(spec, rate_rps=flash_sale(20, 250, 80, 200)))
    world.run(400)
    for site in ("private", "cloud"):
        changes = [(at_s, d) for at_s, d in world.decisions if d.action == "scale" and d.details["site"] == site]
        assert len(changes) > 4
        assert all(abs(d.details["to"] - d.details["from"]) <= 2 for _, d in changes)
        assert all(later - earlier >= 7.0 for (earlier, _), (later, _) in pairwise(changes))


def test_a_rented_minimum_is_kept_and_does_not_feed_the_bids():
    """A site with a minimum has it from the start, and it is no reason for more elsewhere."""
    world = served(World(service(sites={"cloud": {"min_replicas": 2}}), rate_rps=ramp(20)))
    seen = set()
    for _ in range(400):
        world.tick()
        seen.add((world.targets["private"], world.targets["cloud"]))
    assert seen == {(1, 2)}


def test_a_scaling_is_told_with_the_reason_that_caused_it():
    """What follows a bid late, after a cooldown, is told with the bid's reason and not with `no trigger`."""
    world = served(World(rate_rps=flash_sale(20, 250, 80, 160)))
    world.run(250)
    scaled = world.reasons("scale", since_s=60)
    assert len(scaled) >= 8
    assert not [reason for reason in scaled if reason.startswith("no trigger")]
    opened = world.reasons("open site", since_s=60)
    assert len(opened) == 1
    assert "queue p99" in opened[0]


def predictive(fleet: HybridProject | None = None) -> World:
    """A world whose service forecasts: 40 requests/s, and from the tenth minute on up to 220 in ten minutes."""
    rate = ramp(180, start_s=600, length_s=600)
    return World(
        service(burst={"policy": "predictive"}),
        fleet=fleet,
        rate_rps=lambda at_s: 40 + rate(at_s),
        lead_s=40.0,
        tick_s=1.0,
    )


def test_a_forecast_rents_before_anybody_waits():
    """On a ramp the predictive policy has the cloud ready before the private site is full; and it comes home."""
    world = served(predictive(), warm_s=120.0)
    waits = []
    while world.at_s < 1_400:
        world.tick()
        waits.append(world.shop.ticks[-1].wait_s)
    assert world.ready("cloud") > 0
    assert max(waits) < world.shop.spec.slo.latency_p99_s
    world.shop.rate_rps = lambda _: 20.0
    world.run(900)
    assert world.targets["cloud"] == 0
    assert world.violations == []
    assert any("forecast in" in reason for reason in world.reasons("scale"))


def test_a_launch_tells_forecast_need_and_options_with_their_prices():
    """What `hcctl why` shows of a decision to rent, in one reason: the cheapest pool comes first, and is chosen."""
    dear = {"name": "dear", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 2.0, "lead_time_s": 40.0}
    cheap = dear | {"name": "cheap", "price_usd_per_hour": 0.5}
    world = served(predictive(pools(project(), "cloud", dear, cheap)), warm_s=120.0)
    assert world.run(1_200, until=lambda: world.targets["cloud"] > 0)
    reason = next(reason for reason in world.reasons("scale") if "cheapest first" in reason)
    told = re.search(
        r"req/s .*forecast in (\d+) s.*: (\d+) replicas pay to launch, .*: (cheap [\d.]+) usd, dear", reason
    )
    assert told is not None, reason
    assert int(told[1]) == 40
    assert int(told[2]) == sum(world.targets.values())
    assert {node.pool for node in world.state.nodes["cloud/shop"]} == {"cheap"}


def test_lead_times_are_learned_where_capacity_starts():
    """After the first burst the daemon knows how long opening and loading took, and foresees so far."""
    world = served(predictive(), warm_s=120.0)
    world.run(1_200)
    lead = world.mine.leads["cloud"]
    assert abs(lead.seen_s["open"][0] - 40.0) <= 2 * world.tick_s
    assert world.load_s <= lead.seen_s["load"][0] <= world.load_s + 3 * world.tick_s


def test_a_lost_private_site_is_a_failover_under_any_policy():
    """The predictive policy gives way to failover, and takes over again when the private site is back."""
    world = served(World(service(burst={"policy": "predictive"}), rate_rps=lambda _: 60.0))
    world.sites["private"].lose()
    assert world.run(10, until=lambda: world.targets["cloud"] > 0)
    assert any("failover" in reason for reason in world.reasons("scale"))
    world.run(300)
    assert world.targets["cloud"] == 0
    assert world.ready("private") >= 2
    world.shop.rate_rps = lambda _: 8.0
    world.run(600)
    world.sites["private"].lose()
    assert world.run(10, until=lambda: world.targets["cloud"] > 0)
    world.run(20)
    assert world.targets["cloud"] <= 2, "a later failover is sized by the load of its own day"
