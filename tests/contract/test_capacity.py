"""The contract of `autoscaler.capacity.port.Capacity`, passed by every implementation; those of AWS on moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from autoscaler.capacity.port import Machine, NoRoom, NotNow
from serving.errors import HcctlError
from tests.support.fake_capacity import FakeCapacity
from tests.support.fake_site import FakeClock
from tests.support.moto_machines import MotoMachines

MOST = {"spot": 3, "on-demand": 5}
Rig = Any
"""A provider whose troubles can be called: FakeCapacity or MotoMachines."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000.0)


@pytest.fixture(params=["fake", "eks", "auto_scaling"])
def rig(request: pytest.FixtureRequest, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """One provider with two empty pools."""
    if request.param == "fake":
        yield FakeCapacity(clock, MOST)
        return
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield MotoMachines(request.param, MOST, clock)


def machines(rig: Rig, pool: str) -> list[Machine]:
    return rig.capacity.observe().of(pool)


def test_a_pool_gets_the_machines_it_is_asked_for(rig: Rig) -> None:
    """Asked twice is asked once; another pool is not touched; fewer are fewer."""
    rig.capacity.resize("spot", 2)
    rig.capacity.resize("spot", 2)
    seen = rig.capacity.observe()
    assert (seen.pools["spot"].asked, seen.pools["on-demand"].asked) == (2, 0)
    assert len(seen.of("spot")) == len(seen.machines) == 2
    assert all(machine.node and machine.grouped for machine in seen.machines)
    rig.capacity.resize("spot", 0)
    assert machines(rig, "spot") == []


def test_limits_are_seen(rig: Rig) -> None:
    """A look tells the least and the most that each pool may have; more than that is never launched."""
    pools = rig.capacity.observe().pools
    assert {name: (pool.least, pool.most) for name, pool in pools.items()} == {"spot": (0, 3), "on-demand": (0, 5)}
    with pytest.raises(NoRoom):
        rig.capacity.resize("spot", 4)
    assert machines(rig, "spot") == []


def test_one_machine_is_ended_and_no_other(rig: Rig) -> None:
    """Its group asks for one fewer and does not replace it; ending it again ends nothing else."""
    rig.capacity.resize("spot", 3)
    first, second, third = machines(rig, "spot")
    rig.capacity.remove(second)
    rig.capacity.remove(second)
    seen = rig.capacity.observe()
    assert {machine.id for machine in seen.of("spot")} == {first.id, third.id}
    assert seen.pools["spot"].asked == 2


def test_an_orphan_is_seen_and_can_be_ended(rig: Rig) -> None:
    """What runs outside its group is told with its pool; ending it leaves the group's number."""
    rig.capacity.resize("spot", 2)
    rig.stray("spot")
    (orphan,) = [machine for machine in rig.capacity.observe().machines if not machine.grouped]
    assert orphan.pool == "spot"
    rig.capacity.remove(orphan)
    seen = rig.capacity.observe()
    assert (len(seen.machines), seen.pools["spot"].asked) == (1, 1)


def test_a_launch_that_fails_is_told(rig: Rig, clock: FakeClock) -> None:
    """It has an id and a time; asking for no more ends it."""
    rig.lack("spot")
    rig.capacity.resize("spot", 1)
    seen = rig.capacity.observe()
    failure = seen.pools["spot"].failures[0]
    assert (seen.pools["spot"].asked, seen.of("spot")) == (1, [])
    assert failure.why
    assert clock() <= failure.at_s <= clock() + 1
    rig.capacity.resize("spot", 0)
    assert rig.capacity.observe().pools["spot"].failures == ()


def test_a_quota_is_checked_before_a_launch(rig: Rig) -> None:
    """What the account may not have is refused, and nothing is changed; what fits is launched."""
    rig.allow(1)
    with pytest.raises(NoRoom):
        rig.capacity.resize("spot", 2)
    assert rig.capacity.observe().pools["spot"].asked == 0
    rig.capacity.resize("spot", 1)
    with pytest.raises(NoRoom):
        rig.capacity.resize("spot", 2)
    assert len(machines(rig, "spot")) == 1


def test_a_reclaim_is_told_until_its_machine_is_gone(rig: Rig, clock: FakeClock) -> None:
    """The notice names pool and end, has the machine's id, and stays though it was forgotten by the provider."""
    rig.capacity.resize("spot", 2)
    machine = machines(rig, "spot")[0]
    rig.reclaim(machine, clock() + 120.0)
    (notice,) = rig.capacity.observe().notices
    assert (notice.id, notice.pool, notice.ends_s, notice.kind) == (machine.id, "spot", clock() + 120.0, "reclaim")
    rig.capacity.forget([notice.id])
    assert rig.capacity.observe().notices == (notice,)
    rig.capacity.remove(machine)
    assert len(rig.capacity.observe().machines) == 1


def test_a_throttle_is_told_as_one(rig: Rig) -> None:
    """Whoever asked too often learns just that, changes nothing, and may ask again later."""
    rig.capacity.resize("spot", 1)
    rig.throttle(2)
    with pytest.raises(NotNow):
        rig.capacity.observe()
    with pytest.raises(NotNow):
        rig.capacity.resize("spot", 3)
    assert len(machines(rig, "spot")) == 1


def test_a_message_that_is_not_forgotten_comes_again(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that dies before a notice is on disk leaves it in the queue; what nobody can use is dropped in time."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        rig = MotoMachines("auto_scaling", MOST, clock, start=1)
        (machine, *_) = machines(rig, "spot")
        rig.reclaim(machine, clock() + 120.0)
        rig.reclaim(Machine("i-strange", "spot", 0.0, None), clock() + 120.0)
        rig.say("not an event")
        rig.say('{"detail-type": "EC2 Instance Rebalance Recommendation"}')
        assert [notice.id for notice in rig.capacity.observe().notices] == [machine.id]
        assert rig.waiting() == 2
        rig.capacity.forget([machine.id, "unknown"])
        assert rig.waiting() == 1
        clock.advance(421.0)
        rig.capacity.observe()
        assert rig.waiting() == 0


def test_a_group_that_is_missing_makes_nothing_known(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pool without its group is an error that names it: half a look would read as machines that are gone."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        rig = MotoMachines("auto_scaling", MOST, clock)
        rig.capacity.observe()
        rig.autoscaling.client.delete_auto_scaling_group(AutoScalingGroupName="spot", ForceDelete=True)
        with pytest.raises(HcctlError, match="a pool has no group: spot"):
            rig.capacity.observe()
