from __future__ import annotations

import pytest

from autoscaler.routing.placement import SitePlacement
from autoscaler.sizing.rent import rent
from autoscaler.state import DaemonState, RentedNode
from tests.support.declared import service
from tests.support.moments import NOW_S, app, asked, moment, serving, site

OWNED = RentedNode("g5", NOW_S - 100)


def nodes(phase: str = "open", apps=(), *, wanted: int = 0, known: int = 0, others: int = 0) -> int:
    """Nodes on the bill of `shop` after a tick."""
    snapshot = moment(
        asked(),
        asked(service(name="ads", routing={"prefix": "/ads"})),
        sites={"private": site("private"), "cloud": site("cloud", phase, apps)},
    )
    state = DaemonState(services={"shop": serving(), "ads": serving()}, nodes={"cloud/shop": (OWNED,) * known})
    placed = {
        "shop": {"private": SitePlacement(9, 0), "cloud": SitePlacement(wanted, 0)},
        "ads": {"private": SitePlacement(0, 0), "cloud": SitePlacement(others, 0)},
    }
    after, entries = rent(snapshot, state, placed)
    assert {entry.site for entry in entries} <= {"cloud"}
    return len(after.nodes["cloud/shop"])


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ({"phase": "closed", "wanted": 3}, 3),  # from the decision on
        ({"phase": "opening", "wanted": 3, "known": 5}, 3),
        ({"apps": [app("shop-1", 2, 2)], "wanted": 3, "known": 2}, 3),
        ({"apps": [app("shop-1", 5, 2)], "wanted": 2, "known": 5}, 5),  # draining ones are paid for
        ({"apps": [app("shop-1", 2), app("shop-2", 2)], "wanted": 3, "known": 3}, 3),  # a node each, not two
        ({"apps": [app("shop-1", 2), app("ads-1", 4)], "others": 1}, 2),  # found without a record: an orphan
        ({"apps": [app("shop-ads-1", 4)], "others": 1}, 0),  # of a service whose name begins alike
        ({"apps": None, "wanted": 1, "known": 4}, 4),  # out of sight
        ({"phase": "closing", "apps": None, "known": 4}, 4),
        ({"apps": [], "known": 4}, 4),  # left by all, not closed yet
        ({"apps": [], "known": 4, "others": 1}, 0),  # kept open by another service
        ({"phase": "closed", "known": 4}, 0),
        ({"phase": "lost", "wanted": 2, "known": 4}, 2),
        ({"phase": "closed", "wanted": 99}, 6),  # no more than there are
    ],
)
def test_nodes_are_paid_for_from_what_is_wanted_and_seen(case: dict, count: int):
    """Whichever is more; what is not known stays on the bill."""
    assert nodes(**case) == count


def test_both_versions_of_a_release_are_paid_for():
    """2 stable and 1 candidate replica are three nodes."""
    snapshot = moment(sites={"private": site("private"), "cloud": site("cloud")})
    placed = {"shop": {"private": SitePlacement(1, 1), "cloud": SitePlacement(2, 1)}}
    after, entries = rent(snapshot, DaemonState(services={"shop": serving()}), placed)
    assert len(after.nodes["cloud/shop"]) == len(entries) == 3


def test_owned_nodes_are_not_billed():
    """Their cost is energy and opportunity, not money that leaves."""
    assert nodes(wanted=0) == 0


def test_a_service_that_left_a_site_leaves_its_nodes():
    """They do not come back with an old launch time when the service returns."""
    home_only = service()
    snapshot = moment(asked(home_only))
    state = DaemonState(services={"shop": serving()}, nodes={"gone/shop": (OWNED,), "cloud/shop": ()})
    after, _ = rent(snapshot, state, {"shop": {"private": SitePlacement(1, 0), "cloud": SitePlacement(0, 0)}})
    assert after.nodes == {"cloud/shop": ()}


def test_stays_are_learned_from_what_was_given_back():
    """A node that failed to start, or was taken, says nothing of how long one is kept; one given back does."""
    snapshot = moment(sites={"private": site("private"), "cloud": site("cloud", "closed")})
    kept = RentedNode("g5", NOW_S - 700)
    failed = RentedNode("g5", NOW_S - 60, ends_s=NOW_S - 1, notice="n1")
    placed = {"shop": {"private": SitePlacement(1, 0), "cloud": SitePlacement(0, 0)}}
    stays_s = [
        rent(snapshot, DaemonState(services={"shop": serving()}, nodes={"cloud/shop": held}), placed)[0].stays_s
        for held in ((failed,), (kept, failed))
    ]
    assert stays_s[0] == {}
    assert stays_s[1] == {"cloud/shop": 700 - snapshot.sites["cloud"].spec.pools[0].lead_time_s}
