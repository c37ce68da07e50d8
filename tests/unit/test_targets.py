from __future__ import annotations

from dataclasses import replace

from autoscaler.money.market import taken
from autoscaler.sizing.allocate import Target
from autoscaler.sizing.targets import FIRST_BID, demand, set_targets
from autoscaler.snapshot import Hold
from autoscaler.state import DaemonState, RentedNode
from tests.support.moments import NOW_S, app, asked, deployed, hurting, moment, releasing, serving, site

V1 = deployed("v1")
ROOMS = {"private": 4, "cloud": 6}


def demanded(service=None, state=None, **fields):
    snapshot = moment(
        sites={"private": site("private", apps=[app(V1.application, 3)]), "cloud": site("cloud", "closed")}, **fields
    )
    daemon = DaemonState(services={"shop": state or serving()}, nodes={"cloud/shop": (RentedNode("g5", NOW_S),)})
    return demand(service or asked(), daemon, snapshot, ROOMS, taken(daemon.nodes))


def put(state, **targets: Target):
    proposed = {"private": Target(1, "as it is"), "cloud": Target(0, "as it is"), **targets}
    return set_targets(asked(), state, proposed, moment())


def test_a_service_that_never_served_bids_for_its_least():
    """The policy has nothing to go by yet, and remembers nothing."""
    found, mine = demanded(state=serving(stable=None))
    assert (found.bid.replicas, found.bid.reason) == (1, FIRST_BID)
    assert mine.policy.needs == ()


def test_a_demand_says_what_is_there():
    """Targets, ready replicas up to the target, rented nodes, and what the policy bids."""
    found, mine = demanded(asked(signals=hurting()), serving(targets={"private": 2, "cloud": 0}))
    assert dict(found.ready) == {"private": 2, "cloud": 0}
    assert found.rented["cloud"] == (RentedNode("g5", NOW_S),)
    assert mine.policy.breach_since_s == NOW_S


def test_a_hold_counts_until_its_end():
    """Then it is as if it were not there."""
    hold = Hold({"cloud": 2}, NOW_S + 1, "x")
    assert demanded(asked(hold=hold))[0].held == {"cloud": 2}
    assert demanded(asked(hold=replace(hold, until_s=NOW_S)))[0].held == {}


def test_a_release_on_a_site_of_one_demands_room():
    """A replica is rented for its time."""
    assert demanded(state=serving(release=releasing()))[0].rent == 0
    snapshot = moment()
    daemon = DaemonState(services={"shop": serving(release=releasing())})
    assert demand(asked(), daemon, snapshot, {"private": 1, "cloud": 6}, {})[0].rent == 1


def test_a_change_is_put_in_force_told_and_remembered():
    """Count, time and reason; the line names both numbers."""
    mine, told = put(serving(), private=Target(3, "the load"))
    assert (mine.targets["private"], mine.last_change_s["private"]) == (3, NOW_S)
    assert mine.reasons["private"] == "the load"
    assert [(d.action, d.reason, dict(d.details)) for d in told] == [
        ("scale", "the load", {"site": "private", "from": 1, "to": 3, "wanted": 3})
    ]


def test_what_holds_a_change_back_is_told_once_and_not_at_each_new_figure():
    """`for 5 s` and `for 6 s` are the same hindrance; another one is told."""
    state = serving()
    lines = []
    for reason in ("budget, 0.5 usd left; wanted 3", "budget, 0.4 usd left; wanted 4", "room is lacking; wanted 4"):
        state, told = put(state, cloud=Target(0, reason, told=True))
        lines += [d.reason for d in told]
    assert lines == ["budget, 0.5 usd left; wanted 3", "room is lacking; wanted 4"]
    state, _ = put(state)
    assert put(state, cloud=Target(0, "budget, 0.4 usd left; wanted 4", told=True))[1], "it had been over"


def test_shadow_tells_each_new_wish_and_changes_nothing():
    """The number is the point of it."""
    state, lines = serving(), []
    for count in (3, 3, 4, 3):
        proposed = {"private": Target(count, "the load"), "cloud": Target(0, "as it is")}
        state, told = set_targets(asked(), state, proposed, moment(scaling="shadow"))
        lines += [(d.action, d.details["to"]) for d in told]
    assert lines == [("would scale", 3), ("would scale", 4), ("would scale", 3)]
    assert state.targets == {"private": 1, "cloud": 0}


def test_since_when_a_site_is_being_emptied():
    """From the moment its target fell to 0 until it rises again."""
    state, _ = put(serving(targets={"private": 1, "cloud": 2}), cloud=Target(0, "calm"))
    assert state.emptying_since_s == {"cloud": NOW_S}
    kept, _ = put(replace(state, emptying_since_s={"cloud": NOW_S - 9}))
    assert kept.emptying_since_s == {"cloud": NOW_S - 9}
    back, _ = put(kept, cloud=Target(1, "the load", forced=True))
    assert back.emptying_since_s == {}


def test_a_site_that_the_service_no_longer_uses_is_forgotten():
    """Its old target neither counts nor is kept."""
    state, _ = put(serving(targets={"private": 1, "cloud": 0, "gone": 5}))
    assert state.targets == {"private": 1, "cloud": 0}


def test_without_a_deployment_nothing_is_decided():
    """A declared service that nobody deployed."""
    state = serving(stable=None, targets={})
    proposed = {"private": Target(1, "x"), "cloud": Target(0, "x")}
    assert set_targets(asked(wanted=None), state, proposed, moment()) == (state, [])
