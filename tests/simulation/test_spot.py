"""Spot pools that take nodes back and fail to launch them: none is lost beyond the notice, and spot is come back to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.own import CLOUD, SERVICE, OwnController
from autoscaler.simulation.view import View
from autoscaler.simulation.world import Run, WorldSpec, simulate
from autoscaler.sizing.spot import REST_S

SPOT = CloudPool("spot", 0.3, 60.0, 12, reclaims_per_hour=2.0, notice_s=120.0)
SURE = CloudPool("sure", 1.0, 60.0, 12)
STEADY = np.full(5_400, 40.0)
"""Sixteen slots in use: at 70 % of 2 slots a replica 12 of them, 2 at home."""


class Watched(OwnController):
    """The daemon's step, and how many nodes of each pool it pays for after each tick."""

    def __init__(self, world: WorldSpec, declared: dict[str, object]) -> None:
        super().__init__(world, declared)
        self.held: list[Counter[str]] = []
        self.targets: list[int] = []

    def decide(self, view: View) -> list[int]:
        wanted = list(super().decide(view))
        state = self.state
        self.held.append(Counter(node.pool for node in state.nodes[f"{CLOUD}/{SERVICE}"]))
        self.targets.append(state.services[SERVICE].targets.get(CLOUD, 0))
        return wanted


def run(
    *pools: CloudPool, seed: int = 1, policy: str = "threshold", arrivals: np.ndarray = STEADY
) -> tuple[Run, Watched]:
    world = WorldSpec(2, 2, 0.4, 1.0, pools)
    controller = Watched(world, {"burst": {"policy": policy}})
    return simulate(arrivals, world, controller, seed=seed), controller


@pytest.mark.parametrize("seed", range(2))
def test_no_capacity_is_lost_where_the_notice_is_longer_than_the_lead_time(seed: int):
    """Many reclaims at a steady load, and in each second as many replicas serve as were wanted a lead time before."""
    found, own = run(SPOT, SURE, seed=seed)
    assert found.reclaimed >= 3
    for now_s in range(200, len(STEADY)):
        assert found.ready[now_s] >= min(own.targets[(now_s - 70) // 5 : now_s // 5 + 1])


def test_after_a_reclaim_the_next_node_is_of_another_pool():
    """Spot is the cheapest: all are of it until one is taken back, then on-demand ones take their places."""
    _, own = run(SPOT, SURE)
    assert set(own.held[0]) == {"spot"}
    assert any(held["sure"] > 0 for held in own.held)


def test_where_there_is_no_other_pool_the_replacement_is_spot_again():
    """A pool that rests is better than none."""
    found, own = run(SPOT)
    assert found.reclaimed >= 3
    assert {name for held in own.held for name in held} == {"spot"}


def test_launches_that_fail_fall_back_to_on_demand():
    """Spot never launches: a lead time after the first attempt its room is rented elsewhere, and serves."""
    arrivals = np.concatenate((np.full(300, 5.0), np.full(3_300, 40.0)))
    broken = replace(SPOT, failed_launch_share=1.0, reclaims_per_hour=0.001)
    found, own = run(broken, SURE, arrivals=arrivals)
    assert found.failed_launches > 0
    need = own.targets[-1]
    served = np.flatnonzero(found.ready >= need)
    assert len(served)
    assert served[0] <= 300 + 2 * 60 + 60
    assert own.held[-1]["sure"] == need


@pytest.mark.parametrize("policy", ["threshold", "predictive"])
def test_spot_is_come_back_to_when_it_has_been_cheaper_for_long_enough(policy: str):
    """A spot pool that took one node back: not within its rest, then node by node until the dear ones are gone."""
    rare = replace(SPOT, reclaims_per_hour=0.2)
    found, own = run(rare, SURE, seed=3, policy=policy, arrivals=np.full(9_000, 40.0))
    assert found.reclaimed >= 1
    first = next(tick for tick, held in enumerate(own.held) if held["sure"])
    back = next(tick for tick in range(first, len(own.held)) if not own.held[tick]["sure"])
    assert (back - first) * 5 >= REST_S


def test_moving_pays_for_itself():
    """With spot beside it the same load costs less than on-demand alone, moves, reclaims and all."""
    mixed, _ = run(SPOT, SURE)
    alone, _ = run(SURE)
    assert mixed.cloud_usd < 0.8 * alone.cloud_usd


def test_without_trouble_nothing_moves():
    """Equal pools at a steady load: no node is exchanged for its like."""
    found, own = run(SURE, replace(SURE, name="same"))
    assert found.actions < 12
    assert own.held[-1]["same"] == 0
