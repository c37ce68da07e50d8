"""Cost alone moves traffic, and brings it back; caps bound what it may spend."""

from __future__ import annotations

import pytest

from autoscaler.policy.threshold import breaches
from serving.project import HybridProject
from tests.support.declared import project, repriced, service
from tests.support.world import START_S, World

COST = {"private_over_cloud_ratio": 1.2, "return_ratio": 1.0, "keep_private_share": 0.25, "dwell_s": 60.0}


def cloud_share(world: World, seconds: float) -> float:
    """Share of the answers of the coming time that the cloud gives."""
    before = dict(world.shop.served)
    world.run(seconds)
    now = {site: world.shop.served[site] - before.get(site, 0.0) for site in world.shop.served}
    return now.get("cloud", 0.0) / sum(now.values())


def latency_breached(world: World) -> bool:
    """Whether clients feel anything: late answers, waits or refusals."""
    return any(not text.startswith("private slots") for text in breaches(world.shop.spec, world.shop.signals(0.5)))


def shifting_world(fleet: HybridProject, **burst: object) -> World:
    # Overflow is what a shift makes; as a trigger it would only say so.
    latency = {"overflow_share_over": 1.0}
    world = World(service(burst={"cost": COST, "latency": latency, **burst}), fleet=fleet, rate_rps=ramp, tick_s=1.0)
    world.deploy("v1")
    world.run(240)
    return world


def ramp(at_s: float) -> float:
    """100 requests/s, once the service is up."""
    return min(100.0, max(0.0, at_s - 60))


def test_a_rising_opportunity_price_moves_traffic_and_its_fall_brings_it_back():
    """No latency trigger is crossed, the private GPUs just earn more elsewhere for a while."""
    world = shifting_world(project())
    assert (world.targets, world.spent_usd) == ({"private": 4, "cloud": 0}, 0.0)
    world.project = repriced(world.project, "private", opportunity_usd_per_gpu_hour=2.0)
    hurt = []
    assert world.run(59, until=lambda: hurt.append(latency_breached(world)) or world.targets["cloud"] > 0) is False
    world.run(61, until=lambda: hurt.append(latency_breached(world)) or world.ready("cloud") == 3)
    world.run(10)
    assert world.targets == {"private": 1, "cloud": 3}
    during = cloud_share(world, 120)
    assert 0.55 < during < 0.75
    world.project = repriced(world.project, "private", opportunity_usd_per_gpu_hour=0.1)
    world.run(120, until=lambda: hurt.append(latency_breached(world)) or False)
    assert cloud_share(world, 60) == 0.0
    assert world.targets == {"private": 4, "cloud": 0}
    assert not any(hurt)
    assert world.violations == []
    told = [reason for reason in world.reasons("scale") if "cost: 1,000 requests" in reason]
    assert any("moves to the cloud" in reason for reason in told)
    assert any("comes home" in reason for reason in told)


def test_a_tariff_band_moves_traffic_for_its_hours():
    """Between 12:00 and 12:20 UTC electricity costs five dollars, and that is when the cloud serves."""
    noon_s = START_S + (12 * 3600 - START_S % 86_400) % 86_400
    bands = [{"from": "12:00", "until": "12:20", "usd_per_kwh": 5.0}]
    fleet = repriced(project(), "private", tariff_bands=bands)
    latency = {"overflow_share_over": 1.0}
    spec = service(burst={"cost": COST, "latency": latency})
    world = World(spec, fleet=fleet, rate_rps=ramp, start_s=noon_s - 300, tick_s=2.0)
    world.deploy("v1")
    world.run(240)
    shares = []
    while world.now_s < noon_s + 30 * 60:
        shares.append((world.now_s - noon_s, cloud_share(world, 60)))
    before = [share for at_s, share in shares if at_s < 0]
    during = [share for at_s, share in shares if 240 <= at_s < 1140]
    after = [share for at_s, share in shares if at_s >= 1320]
    assert max(before) == 0.0
    assert min(during) > 0.55
    assert max(after) == 0.0


def test_a_short_spike_of_the_price_moves_nothing():
    """The ratio has to hold for the dwell time."""
    world = shifting_world(project())
    for _ in range(5):
        world.project = repriced(world.project, "private", opportunity_usd_per_gpu_hour=2.0)
        world.run(40)
        world.project = repriced(world.project, "private", opportunity_usd_per_gpu_hour=0.1)
        world.run(20)
    assert world.spent_usd == 0.0


@pytest.mark.parametrize("cap_usd", [0.0, 0.03])
def test_traffic_stays_home_when_the_budget_does_not_pay_for_the_move(cap_usd: float):
    """A cap below what the move costs leaves it undone or undoes it; clients do not feel it."""
    world = shifting_world(project())
    world.shop.spec = service(
        burst={"cost": COST, "latency": {"overflow_share_over": 1.0}}, budget={"usd_per_hour": cap_usd}
    )
    world.project = repriced(world.project, "private", opportunity_usd_per_gpu_hour=2.0)
    hurt = []
    world.run(600, until=lambda: hurt.append(latency_breached(world)) or False)
    assert world.usd_between(START_S, START_S + 3600) <= cap_usd + 1e-9
    assert world.targets["private"] == 4
    assert not any(hurt)
