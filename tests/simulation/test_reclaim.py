"""A spot node that its provider takes back, in the world of the daemon: replaced, drained, gone; no request is lost."""

from __future__ import annotations

import pytest

from serving.sites.site import Notice
from tests.support.declared import pools, project, service
from tests.support.world import World

POOLS = (
    {"name": "on-demand", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 1.0, "lead_time_s": 20.0},
    {"name": "spot", "kind": "spot", "max_nodes": 6, "price_usd_per_hour": 0.3, "lead_time_s": 20.0},
)
NOTICE_S = 60.0


def bursting(**changes: object) -> World:
    """A burst that goes on: more than the private site holds, on spot nodes, as spot is the cheaper pool."""
    world = World(service(**changes), fleet=pools(project(), "cloud", *POOLS), rate_rps=lambda _: 180.0)
    world.deploy("v1")
    world.run(120)
    assert world.targets["cloud"] > 0
    assert {node.pool for node in world.state.nodes["cloud/shop"]} == {"spot"}
    return world


def reclaim(world: World, number: int = 1) -> None:
    world.sites["cloud"].notices.append(Notice(f"n{number}", "spot", world.now_s + NOTICE_S))


def cloud_limit(world: World) -> int:
    assert world.last is not None
    servers = [server for route in world.last.plan.routes for server in route.stable.servers if server.site == "cloud"]
    return sum(server.limit for server in servers)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_notice_is_replaced_at_once_drained_and_ended(restarts: bool):
    """One replica more until the end, of the other pool; the limit never below what is wanted; daemon killed or not."""
    world = bursting()
    world.restarts_each_tick = restarts
    target, slots = world.targets["cloud"], 4
    reclaim(world)
    world.run(1)
    assert sorted(n.pool for n in world.state.nodes["cloud/shop"]) == ["on-demand"] + ["spot"] * target
    limits = []
    for _ in range(int((NOTICE_S - 2) / world.tick_s)):
        world.tick()
        limits.append(cloud_limit(world))
    assert world.targets["cloud"] == target
    assert min(limits) == target * slots
    assert limits[-1] == target * slots  # its replica drains, the new one serves
    assert max(limits) == (target + 1) * slots
    world.run(5)
    assert sorted(n.pool for n in world.state.nodes["cloud/shop"]) == ["on-demand"] + ["spot"] * (target - 1)
    assert [reason for reason in world.reasons("reclaim") if "pool spot takes a node back in 60 s" in reason]
    assert len(world.reasons("reclaim")) == 1
    assert world.shop.cut == 0
    assert not world.violations


def test_the_rent_of_a_reclaimed_node_ends_with_it():
    """Its span ends at the notice's end, and no later tick makes it longer."""
    world = bursting()
    nodes, begun_s = world.state.nodes["cloud/shop"], world.now_s
    reclaim(world)
    world.run(NOTICE_S + 30)
    mine = [world.ledger["cloud", "spot", "shop", node.launched_at_s].end_s - begun_s for node in nodes]
    assert mine == pytest.approx([NOTICE_S, *[NOTICE_S + 30] * (len(nodes) - 1)], abs=1.0)


def test_a_cap_pays_for_the_replacement_or_there_is_none():
    """Spot nodes and one on-demand for the rest of the hour do not fit: the cap holds, before capacity does."""
    world = bursting(budget={"usd_per_hour": 0.06})
    for number in range(3):
        reclaim(world, number)
    world.run(600)
    assert world.spent_usd <= 0.06


def test_a_pool_that_is_out_of_sight_gives_no_notice():
    """Unknown is not none: nothing is replaced twice when the same notice is seen again."""
    world = bursting()
    reclaim(world)
    world.run(2)
    world.sites["cloud"].in_sight = False
    world.run(3)
    world.sites["cloud"].in_sight = True
    world.run(3)
    assert len(world.reasons("reclaim")) == 1
