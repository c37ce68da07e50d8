from __future__ import annotations

from dataclasses import replace

from autoscaler.plan import ApplyApplications, CloseSite
from autoscaler.routing.placement import SitePlacement
from autoscaler.sizing.wish import site_actions
from autoscaler.state import DaemonState
from tests.support.declared import service
from tests.support.moments import NOW_S, app, asked, deployed, gateway, moment, releasing, serving, site

V1, V2 = deployed("v1"), deployed("v2")
LEFT = {"shop": {"private": SitePlacement(1, 0), "cloud": SitePlacement(0, 0)}}


def leaving(*apps, since_s: float = NOW_S - 3, in_use=None, hidden: bool = False, at_s: float = NOW_S, **state):
    """What is done about a cloud site whose target fell to 0."""
    snapshot = moment(
        sites={
            "private": site("private", apps=[app(V1.application)]),
            "cloud": site("cloud", apps=None if hidden else apps),
        },
        gateway=gateway(in_use, at_s=at_s),
    )
    mine = serving(emptying_since_s={"cloud": since_s}, **state)
    actions, decisions = site_actions(snapshot, DaemonState(services={"shop": mine}), LEFT)
    assert len(actions) == len(decisions)
    return tuple(action for action in actions if action.site == "cloud")


def test_a_site_is_closed_when_its_requests_are_done():
    """And not in the second in which its routes are withdrawn: a request may be on its way."""
    assert isinstance(leaving(app(V1.application, 2))[0], CloseSite)
    assert leaving(app(V1.application, 2), since_s=NOW_S - 0.9) == ()
    assert leaving(app(V1.application, 2), since_s=NOW_S - 1.0)


def test_requests_in_flight_keep_it_open_for_the_drain_time():
    """Then it is closed all the same."""
    assert leaving(app(V1.application, 2), in_use={("stable", "cloud"): 1}) == ()
    assert leaving(app(V1.application, 2), in_use={("stable", "cloud"): 1}, since_s=NOW_S - 5) == ()
    assert leaving(app(V1.application, 3, 1), in_use={("stable", "cloud"): 1}) == (), "nothing is loaded for a drain"
    assert leaving(app(V1.application, 2), in_use={("stable", "cloud"): 1}, since_s=NOW_S - 5.5)


def test_requests_of_a_candidate_are_waited_for_as_well():
    """A site left in mid-release holds two versions."""
    apps = app(V1.application, 2), app(V2.application, 1)
    busy = {("candidate", "cloud"): 2}
    assert leaving(*apps, in_use=busy, release=releasing("judging")) == ()
    first = leaving(app(V2.application, 1), in_use=busy, stable=None, release=releasing("loading", former=None))
    assert first == ()


def test_an_unknown_number_of_requests_is_not_none():
    """The gateway is silent, or the site is out of sight: the drain time is waited for."""
    assert leaving(app(V1.application, 2), at_s=NOW_S - 60) == ()
    ready = {f"{V1.application}@cloud": 2}
    assert leaving(hidden=True, since_s=NOW_S - 3, in_use={("stable", "cloud"): 1}, known_ready=ready) == ()


def test_nothing_is_done_to_a_site_whose_list_is_doubted():
    """It lists nothing, though a replica was ready there a moment ago."""
    snapshot = moment(sites={"private": site("private"), "cloud": site("cloud", "closed")})
    key = f"{V1.application}@private"
    for since_s, count in ((NOW_S - 1, 0), (NOW_S - 60, 1)):
        mine = serving(known_ready={key: 1}, unlisted_since_s={key: since_s})
        assert len(site_actions(snapshot, DaemonState(services={"shop": mine}), LEFT)[0]) == count


def test_a_failed_action_is_not_tried_again_at_once():
    """The site is left alone until its time has come."""
    snapshot = moment(sites={"private": site("private", "closed"), "cloud": site("cloud", "closed")})
    placed = {"shop": {"private": SitePlacement(1, 0), "cloud": SitePlacement(0, 0)}}
    for retry_s, count in ((NOW_S + 1, 0), (NOW_S, 1)):
        state = DaemonState(services={"shop": serving()}, retry_at_s={"private": retry_s})
        assert len(site_actions(snapshot, state, placed)[0]) == count


def test_two_services_share_a_site_in_one_declaration():
    """What one no longer needs is removed without touching the other."""
    ads = asked(service(name="ads", routing={"prefix": "/ads"}))
    theirs = deployed("v9", ads.spec)
    snapshot = moment(
        asked(),
        ads,
        sites={
            "private": site("private", apps=[app(V1.application), app("ads-old")]),
            "cloud": site("cloud", "closed"),
        },
    )
    state = DaemonState(services={"shop": serving(), "ads": serving(stable=theirs)})
    placed = {name: {"private": SitePlacement(1, 0), "cloud": SitePlacement(0, 0)} for name in ("shop", "ads")}
    (action,), (decision,) = site_actions(snapshot, state, placed)
    assert isinstance(action, ApplyApplications)
    assert {a.name for a in action.applications} == {V1.application, theirs.application}
    assert (decision.action, decision.service) == ("load", "shop")
    assert "remove ads-old" in decision.reason


def test_an_action_says_who_wants_it_and_why():
    """The reason of the target is part of the reason of the action."""
    snapshot = moment(sites={"private": site("private", "closed"), "cloud": site("cloud", "closed")})
    state = DaemonState(services={"shop": serving(reasons={"private": "p99 2 s over 0.5 s"})})
    (action,), (decision,) = site_actions(snapshot, state, LEFT)
    assert action.reason == decision.reason == "shop wants 1 replicas (p99 2 s over 0.5 s)"


def test_an_action_stands_in_the_log_of_the_service_that_wants_it():
    """Not in that of the first one that could; of a site that nobody uses in nobody's."""
    ads = asked(service(name="ads", routing={"prefix": "/ads"}))
    closed = {"private": site("private", "closed"), "cloud": site("cloud", "closed")}
    state = DaemonState(services={"shop": serving(), "ads": serving(stable=deployed("v9", ads.spec))})
    placed = {"shop": {"private": SitePlacement(0, 0), "cloud": SitePlacement(0, 0)}, "ads": LEFT["shop"]}
    _, (decision,) = site_actions(moment(asked(), ads, sites=closed), state, placed)
    assert decision.service == "ads"
    nobody = replace(moment(), services=(), sites=closed)
    assert [(d.service, d.reason) for d in site_actions(nobody, DaemonState(), {})[1]] == [
        ("", "the private site is always open")
    ]
    left = {"private": site("private", apps=[app(V1.application)]), "cloud": site("cloud")}
    home_only = asked(service(sites={"cloud": {"max_replicas": 0}}))
    _, (decision,) = site_actions(moment(home_only, sites=left), DaemonState(services={"shop": serving()}), LEFT)
    assert (decision.action, decision.service) == ("close site", "shop")
