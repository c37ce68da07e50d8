"""What is ordered of a provider of machines, as values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.capacity.hands import Rented, give_back
from autoscaler.capacity.orders import (
    LONGEST_PAUSE_S,
    ORPHAN_AFTER_S,
    Pace,
    Remove,
    Resize,
    needs_occupancy,
    orders,
    shortfalls,
)
from autoscaler.capacity.port import CapacitySeen, Failure, Machine, PoolSeen
from autoscaler.state import DaemonState, RentedNode
from serving.errors import HcctlError
from serving.sites.site import NodesInUse
from tests.support.fake_capacity import FakeCapacity
from tests.support.fake_site import FakeClock

NOW_S = 1_800_000_000.0


def machine(number: int, *, grouped: bool = True, age_s: float = 60.0, node: str | None = "") -> Machine:
    name = f"n{number}" if node == "" else node
    return Machine(f"m{number}", "spot", NOW_S - age_s - number, name, grouped)


def seen(*machines: Machine, asked: int, most: int = 6, failures: tuple[Failure, ...] = ()) -> CapacitySeen:
    return CapacitySeen(NOW_S, {"spot": PoolSeen(asked, 0, most, failures)}, machines)


def paid(*launched_s: float, known: tuple[str, ...] = ()) -> DaemonState:
    nodes = tuple(RentedNode("spot", at_s) for at_s in launched_s)
    return DaemonState(nodes={"cloud/shop": nodes}, notices={f"cloud/{name}": NOW_S for name in known})


def test_a_group_is_asked_for_what_is_paid_for() -> None:
    """More machines than asked for are ordered at once, and never more than the group may have."""
    (order,) = orders("cloud", {"spot": 3}, seen(asked=1), None, NOW_S)
    assert isinstance(order, Resize)
    assert (order.pool, order.machines) == ("spot", 3)
    (order,) = orders("cloud", {"spot": 9}, seen(asked=1), None, NOW_S)
    assert isinstance(order, Resize)
    assert order.machines == 6


def test_nothing_is_ordered_twice() -> None:
    """A group that was asked for the right number is left alone, whether its machines are there or not."""
    assert orders("cloud", {"spot": 3}, seen(machine(1), asked=3), NodesInUse(), NOW_S) == ()


def test_a_pool_that_nobody_declares_is_left_alone() -> None:
    """What is not in the wish is somebody else's."""
    assert orders("cloud", {}, seen(machine(1), asked=1), NodesInUse(), NOW_S) == ()


def test_only_free_machines_leave_the_newest_first() -> None:
    """One with a pod of the site on it stays, and so does one whose node is not known."""
    there = (machine(1), machine(2), machine(3), machine(4, node=None))
    (order,) = orders("cloud", {"spot": 2}, seen(*there, asked=4), NodesInUse(frozenset({"n1"})), NOW_S)
    assert isinstance(order, Remove)
    assert [each.id for each in order.machines] == ["m2", "m3"]


def test_nothing_leaves_while_it_is_unknown_what_is_in_use() -> None:
    """Unknown is not free: without the cluster's answer every machine stays, and it is known that one is missing."""
    found = seen(machine(1), asked=1)
    assert orders("cloud", {"spot": 0}, found, None, NOW_S) == ()
    assert needs_occupancy(found, {"spot": 0}, NOW_S)
    assert not needs_occupancy(found, {"spot": 1}, NOW_S)


def test_a_worker_on_an_unknown_node_keeps_all_machines() -> None:
    """Names that do not fit together mean that it is unknown which machine is in use; Ray's head may be elsewhere."""
    found = seen(machine(1), asked=1)
    assert orders("cloud", {"spot": 0}, found, NodesInUse(workers=frozenset({"elsewhere"})), NOW_S) == ()
    assert len(orders("cloud", {"spot": 0}, found, NodesInUse(others=frozenset({"elsewhere"})), NOW_S)) == 1


def test_all_is_given_back_when_the_site_goes_down() -> None:
    """Each group comes to its least; a provider that refuses is an error that says what to do."""
    provider = FakeCapacity(FakeClock(NOW_S), {"spot": 6})
    provider.resize("spot", 3)
    provider.throttle(1)
    with pytest.raises(HcctlError, match=r"are paid for: cloud: .*rate exceeded.*`hcctl down` again"):
        give_back("cloud", Rented(provider, NodesInUse))
    give_back("cloud", Rented(provider, NodesInUse))
    assert provider.observe().machines == ()


def test_what_did_not_come_is_no_longer_asked_for() -> None:
    """Lowering the number ends no machine: it stays at what is there."""
    (order,) = orders("cloud", {"spot": 0}, seen(machine(1), machine(2), asked=5), NodesInUse(), NOW_S)
    assert isinstance(order, Resize)
    assert order.machines == 2


def test_machines_that_the_group_ends_itself_are_not_ended_again() -> None:
    """More there than asked for is the group's own affair."""
    assert orders("cloud", {"spot": 1}, seen(machine(1), machine(2), asked=1), NodesInUse(), NOW_S) == ()


@pytest.mark.parametrize(("age_s", "busy", "ended"), [(60.0, False, 0), (1e4, True, 0), (1e4, False, 1)])
def test_orphans_are_swept_once_they_are_old_and_free(age_s: float, busy: bool, ended: int) -> None:
    """A machine that no group counts goes after ten minutes, unless a pod of the site is on it."""
    orphan = machine(1, grouped=False, age_s=age_s)
    found = orders(
        "cloud", {"spot": 0}, seen(orphan, asked=0), NodesInUse(others=frozenset({"n1"} if busy else ())), NOW_S
    )
    assert len(found) == ended
    assert needs_occupancy(seen(orphan, asked=0), {"spot": 0}, NOW_S) == (age_s > ORPHAN_AFTER_S)


def test_a_failed_launch_is_told_once_for_each_machine_that_is_missing() -> None:
    """Two are missing and three launches failed: two notices; those known already are not told again."""
    failures = tuple(Failure(f"f{n}", NOW_S + n, "none free") for n in range(3))
    found = seen(machine(1), asked=3, failures=failures)
    told = shortfalls("cloud", paid(NOW_S - 99, NOW_S, NOW_S), found)
    assert [(notice.id, notice.pool, notice.kind) for notice in told] == [
        ("f0", "spot", "launch_failed"),
        ("f1", "spot", "launch_failed"),
    ]
    again = shortfalls("cloud", paid(NOW_S - 99, NOW_S, NOW_S, known=("f0", "f1")), found)
    assert [notice.id for notice in again] == ["f2"]


def test_a_failure_of_the_past_says_nothing_of_a_new_node() -> None:
    """What failed before the newest node was ordered is over; so is what nobody waits for any more."""
    old = (Failure("f0", NOW_S - 5, "none free"),)
    assert shortfalls("cloud", paid(NOW_S), seen(asked=1, failures=old)) == ()
    assert shortfalls("cloud", paid(), seen(asked=1, failures=old)) == ()
    assert shortfalls("cloud", paid(NOW_S - 9), seen(machine(1), asked=1, failures=old)) == ()


def test_a_group_that_is_too_small_is_a_failed_launch() -> None:
    """hcctl.yaml may allow more nodes than the group: what does not fit is told, so that another pool takes it."""
    (notice,) = shortfalls("cloud", paid(NOW_S, NOW_S + 1), seen(machine(1), asked=1, most=1))
    assert (notice.pool, notice.kind) == ("spot", "launch_failed")


@given(st.integers(0, 40), st.floats(0, 1))
def test_pauses_grow_are_bounded_and_differ(failures: int, chance: float) -> None:
    """Each is between half and the whole of a pause that doubles up to five minutes; chance alone decides where."""
    pace = Pace(failures=failures).after_failure(NOW_S, chance)
    whole_s = min(LONGEST_PAUSE_S, 2.0 * 2.0**failures)
    assert whole_s / 2 - 1e-6 <= pace.not_before_s - NOW_S <= whole_s + 1e-6
    assert pace.waits(NOW_S)
    assert not pace.waits(pace.not_before_s)


def test_a_clock_set_back_ends_a_pause() -> None:
    """A pause that would last for hours is none."""
    assert not Pace().after_failure(NOW_S, 1.0).waits(NOW_S - 7_200)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12), st.data())
def test_any_wish_is_reached_without_ending_what_is_in_use(wishes: list[int], data: st.DataObject) -> None:
    """From order to order the group comes to the wish, or stays above it by machines in use, within its limits."""
    clock = FakeClock(NOW_S)
    provider = FakeCapacity(clock, {"spot": 6})
    for wish in wishes:
        clock.advance(10.0)
        there = [each.id for each in provider.observe().machines]
        used = frozenset(data.draw(st.sets(st.sampled_from(there)))) if there else frozenset()
        occupied = NodesInUse(frozenset(f"node-{name}" for name in used))
        for _ in range(3):
            for order in orders("cloud", {"spot": wish}, provider.observe(), occupied, clock()):
                if isinstance(order, Resize):
                    provider.resize(order.pool, order.machines)
                else:
                    for each in order.machines:
                        provider.remove(each)
        left = {each.id for each in provider.observe().machines}
        assert used <= left
        assert len(left) == max(min(wish, 6), len(used))


def test_the_end_of_a_machine_is_asked_for_in_bounded_orders() -> None:
    """Forty machines that are free leave ten at a time, so that each look sees what became of the last ones."""
    there = tuple(machine(n) for n in range(40))
    found = replace(seen(*there, asked=40), pools={"spot": PoolSeen(40, 0, 40)})
    (order,) = orders("cloud", {"spot": 0}, found, NodesInUse(), NOW_S)
    assert isinstance(order, Remove)
    assert len(order.machines) == 10
