"""A whole day: the promise is kept, the bill is bounded, and nothing that is remembered grows."""

from __future__ import annotations

import math

from pydantic import TypeAdapter

from autoscaler.state import DaemonState
from tests.support.declared import service
from tests.support.world import World

HOUR_S = 3_600.0
_STATE = TypeAdapter(DaemonState)


def day_rps(at_s: float) -> float:
    """Night 10/s, noon 110/s, and a flash sale of 240/s at eight in the evening."""
    sale = 130.0 * math.exp(-(((at_s - 20 * HOUR_S) / 900) ** 2))
    return 60.0 - 50.0 * math.cos(2 * math.pi * at_s / 86_400) + sale


def test_a_day_of_a_shop():
    """24 hours with a release every four: late requests, rent and scalings are few, and the state stays small."""
    budget = {"usd_per_hour": 7.0, "usd_per_day": 40.0}
    world = World(service(budget=budget, burst={"calm_s": 120.0}), rate_rps=day_rps, tick_s=10.0)
    world.deploy("v0")
    sizes, late_s, rented_s = [], 0.0, {}
    for tick in range(int(24 * HOUR_S / world.tick_s)):
        world.tick()
        if tick % 1_440 == 1_439:
            world.deploy(f"v{tick}")
        if tick % 360 == 0:
            sizes.append(len(_STATE.dump_json(world.state)))
        late_s += world.tick_s if world.at_s > 120 and world.shop.ticks[-1].wait_s > 0.4 else 0.0
        hour = int(world.at_s / HOUR_S)
        rented_s[hour] = rented_s.get(hour, 0.0) + world.targets["cloud"] * world.tick_s
    assert world.violations == []
    assert world.verdicts.count("promoted") == len(world.finished) == 6
    assert late_s < 0.005 * 24 * HOUR_S
    assert {hour for hour, seconds in rented_s.items() if seconds > 0} <= {9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 21}
    assert rented_s[20] > 0
    assert world.spent_usd <= 40.0
    assert len([d for _, d in world.decisions if d.action == "scale"]) < 100
    assert max(sizes) < 6_000
    mine = world.mine
    assert len(mine.policy.needs) <= 12
    assert set(mine.notes) | set(mine.targets) | set(mine.last_change_s) == {"private", "cloud"}
    assert len(mine.admissions) <= 2
    assert set(world.state.nodes) == {"cloud/shop"}
