from __future__ import annotations

import pytest

from autoscaler.sizing.home import GRACE_S, home_down, watch_home
from autoscaler.state import Ejection
from serving.gateway.gateway import GatewayObservation, ServerObservation
from tests.support.moments import NOW_S, app, asked, deployed, errors, moment, releasing, serving, signals, site

V1 = deployed("v1")
CLOUD = site("cloud", "closed")


def healthy(**fields):
    return moment(**{"sites": {"private": site("private", apps=[app(V1.application)]), "cloud": CLOUD}, **fields})


def lost(phase: str = "lost", apps=None, **fields):
    return moment(**{"sites": {"private": site("private", phase, apps), "cloud": CLOUD}, **fields})


def down_server():
    server = ServerObservation("shop", "stable", "private", False, 4, 0)
    return GatewayObservation((server,), {"shop": 0}, NOW_S)


def test_a_site_that_serves_is_noted():
    """From then on its loss is a failover."""
    seen = watch_home(asked(), serving(home_served=False), healthy())
    assert (seen.home_served, seen.home_down_since_s) == (True, None)
    assert home_down(asked(), seen, healthy()) is None


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (lost(), "is lost"),
        (lost("opening"), "is opening"),
        (lost("open", []), "has no ready replica"),
        (healthy(gateway=down_server()), "fails the gateway's checks"),
    ],
)
def test_a_loss_counts_after_a_moment(snapshot, text: str):
    """A replica that is back within two seconds is not a lost site."""
    state = watch_home(asked(), serving(), snapshot)
    assert state.home_down_since_s == NOW_S
    assert home_down(asked(), state, snapshot) is None
    later = serving(home_down_since_s=NOW_S - GRACE_S)
    assert home_down(asked(), later, snapshot) == f"private site private {text}"


def test_errors_and_ejection_are_a_loss_as_well():
    """A site that fails fast, and one that is out for having failed."""
    failing = asked(signals=signals(by_site=errors("stable", "private", 10, 9)))
    state = serving(home_down_since_s=NOW_S - 5)
    assert home_down(failing, state, healthy()) == "private site private answers with errors"
    out = serving(home_down_since_s=NOW_S - 5, ejections={"stable/private": Ejection(NOW_S + 5, 1)})
    assert home_down(asked(), out, healthy()) == "private site private was ejected for errors"


def test_a_site_that_is_starting_is_not_lost():
    """It has not served since it was opened: nothing to fail over from."""
    state = watch_home(asked(), serving(home_served=False), lost("opening"))
    assert state.home_down_since_s is None
    closed = watch_home(asked(), serving(home_down_since_s=1.0), lost("closed"))
    assert (closed.home_served, closed.home_down_since_s) == (False, None)


def test_a_site_that_nobody_wants_is_not_missed():
    """Its target is 0, by a hold for example."""
    state = serving(targets={"private": 0, "cloud": 2}, home_down_since_s=NOW_S - 60)
    assert home_down(asked(), state, lost()) is None


def test_a_release_may_take_the_stable_server_down():
    """While versions change on the site, its checks are the release's business."""
    state = serving(home_down_since_s=NOW_S - 60, release=releasing("shifting"))
    assert home_down(asked(), state, healthy(gateway=down_server())) is None


def test_a_return_ends_it():
    """Ready and probed again: no failover any more."""
    state = watch_home(asked(), serving(home_down_since_s=NOW_S - 60), healthy())
    assert state.home_down_since_s is None
