from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.sizing.allocate import Target
from autoscaler.sizing.guard import guard
from tests.support.declared import service
from tests.support.moments import NOW_S, asked, gateway, moment, site

SPEC = service(burst={"cooldown_s": 5.0, "max_step": 3})
OPEN = {"private": site("private"), "cloud": site("cloud")}


def guarded(
    private: Target | None = None, cloud: Target | None = None, *, current=(2, 2), changed_s=None, **fields
) -> dict[str, Target]:
    here, there = current
    proposed = {
        "private": private or Target(here, "as it is"),
        "cloud": cloud or Target(there, "as it is"),
    }
    return guard(
        SPEC,
        proposed,
        current={"private": here, "cloud": there},
        last_change_s=changed_s or {},
        snapshot=moment(asked(SPEC), sites=OPEN, **fields),
    )


def test_what_is_proposed_comes_into_force_when_nothing_speaks_against_it():
    """Reason and count pass unchanged."""
    assert guarded(cloud=Target(4, "the load"))["cloud"] == Target(4, "the load")


def test_a_step_is_bounded_and_says_where_it_goes():
    """From 1 to 6 by three at a time, and down again likewise."""
    up = guarded(cloud=Target(6, "the load"), current=(2, 1))["cloud"]
    assert (up.replicas, up.reason) == (4, "the load; 3 at a time towards 6")
    assert guarded(cloud=Target(0, "calm"), current=(2, 5))["cloud"].replicas == 2
    assert guarded(cloud=Target(5, "the load"), current=(2, 2))["cloud"].reason == "the load", "a whole step is no part"


@pytest.mark.parametrize(("waited_s", "replicas"), [(0.0, 2), (4.9, 2), (5.0, 4), (-1.0, 4)])
def test_two_changes_of_a_site_are_a_cooldown_apart(waited_s: float, replicas: int):
    """Each site has its own; a change that lies in the future (a clock set back) delays nothing."""
    found = guarded(cloud=Target(4, "the load"), changed_s={"cloud": NOW_S - waited_s, "private": NOW_S})["cloud"]
    assert found.replicas == replicas
    if replicas == 2:
        assert found.reason == f"cooldown, {waited_s:.0f} s of 5 s; wanted 4: the load"
        assert not found.told


def test_a_failover_knows_neither_cooldown_nor_step():
    """Forced growth comes at once and whole."""
    found = guarded(cloud=Target(6, "failover", forced=True), current=(2, 0), changed_s={"cloud": NOW_S})
    assert found["cloud"].replicas == 6


def test_the_cloud_leaves_first():
    """The private site keeps its replicas until the rented ones are given up, and then may shrink."""
    first = guarded(Target(1, "calm"), Target(0, "calm"))
    assert (first["private"].replicas, first["cloud"].replicas) == (2, 0)
    assert first["private"].reason == "cloud leaves first; wanted 1: calm"
    assert guarded(Target(1, "calm"), Target(0, "calm"), current=(2, 0))["private"].replicas == 1


def test_what_cost_moves_leaves_the_private_site_while_the_cloud_grows():
    """The cloud is not leaving, so the private site may."""
    assert guarded(Target(1, "cost"), Target(3, "cost"))["private"].replicas == 1


STALE = {"gateway": gateway(at_s=NOW_S - 60)}


@pytest.mark.parametrize(
    ("site_name", "count", "allowed"),
    [("private", 3, True), ("private", 1, False), ("cloud", 3, False), ("cloud", 1, False)],
)
def test_stale_signals_freeze_scale_in_and_new_spend(site_name: str, count: int, allowed: bool):
    """Only owned nodes may still be added."""
    found = guarded(**{site_name: Target(count, "x")}, **STALE)[site_name]
    assert found.replicas == (count if allowed else 2)
    assert found.told is not allowed


def test_a_cap_wins_also_when_signals_are_stale_the_site_is_hidden_or_scaling_is_paused():
    """Money is known without signals."""
    cut = Target(0, "budget", forced=True)
    hidden = {"private": site("private"), "cloud": site("cloud", apps=None)}
    assert guarded(cloud=cut, **STALE)["cloud"].replicas == 0
    assert guarded(cloud=cut, scaling="paused")["cloud"].replicas == 0
    found = guard(SPEC, {"cloud": cut}, current={"cloud": 2}, last_change_s={}, snapshot=moment(sites=hidden))
    assert found["cloud"].replicas == 0


@pytest.mark.parametrize("count", [1, 3])
def test_a_site_out_of_sight_is_neither_reduced_nor_paid_more_for(count: int):
    """Unknown is not none."""
    hidden = {"private": site("private"), "cloud": site("cloud", apps=None)}
    found = guard(
        SPEC, {"cloud": Target(count, "x", forced=count == 3)}, current={"cloud": 2}, last_change_s={},
        snapshot=moment(sites=hidden),
    )["cloud"]  # fmt: skip
    assert (found.replicas, found.told) == (2, True)
    assert found.reason.startswith("site cloud is out of sight")


def test_a_pause_stops_all_but_commands():
    """A hold or a release passes; a failover does not."""
    assert guarded(cloud=Target(4, "x"), scaling="paused")["cloud"].replicas == 2
    assert guarded(cloud=Target(4, "x", forced=True), scaling="paused")["cloud"].replicas == 2
    assert guarded(cloud=Target(4, "x", commanded=True), scaling="paused")["cloud"].replicas == 4


def test_the_first_start_is_never_held_up():
    """A service gets its least capacity paused, blind or not."""
    found = guarded(Target(1, "start"), current=(0, 0), scaling="paused", gateway=None)
    assert found["private"].replicas == 1


TARGETS = st.builds(
    Target, st.integers(0, 6), st.just("x"), forced=st.booleans(), told=st.booleans(), commanded=st.booleans()
)


@given(
    TARGETS, TARGETS, st.integers(0, 6), st.integers(0, 6),
    st.sampled_from([None, 0.0, 3.0, 60.0]), st.booleans(), st.sampled_from(["active", "paused", "shadow"]),
)  # fmt: skip
def test_a_guard_only_ever_delays(private, cloud, here, there, waited_s, stale, scaling):
    """What comes into force lies between what is and what is proposed, a step apart unless forced."""
    changed_s = {} if waited_s is None else {"private": NOW_S - waited_s, "cloud": NOW_S - waited_s}
    fields = {"scaling": scaling, **(STALE if stale else {})}
    found = guarded(private, cloud, current=(here, there), changed_s=changed_s, **fields)
    for name, before, wanted in (("private", here, private), ("cloud", there, cloud)):
        after = found[name].replicas
        assert min(before, wanted.replicas) <= after <= max(before, wanted.replicas)
        first = before == 0 and wanted.replicas <= SPEC.sites[name].min_replicas
        if not wanted.forced and not first:
            assert abs(after - before) <= SPEC.burst.max_step
        if stale and not first:
            assert after >= before or wanted.forced
            assert name == "private" or after <= before
    assert guarded(private, cloud, current=(here, there), changed_s=changed_s, **fields) == found
