from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autoscaler.policy.bids import PolicyState, Standing
from autoscaler.policy.leads import Lead
from autoscaler.snapshot import Hold, Spend
from autoscaler.state import DaemonState, ReleaseEvent
from autoscaler.status import service_status
from autoscaler.step import step
from tests.support.moments import NOW_S, app, asked, deployed, gateway, hurting, moment, releasing, serving, site

V1 = deployed("v1")


def status(service=None, state=None, **fields):
    sites = {"private": site("private", apps=[app(V1.application, 2)]), "cloud": site("cloud", apps=None)}
    snapshot = moment(service or asked(), sites=sites, **fields)
    mine = state or serving(targets={"private": 2, "cloud": 3})
    done = step(snapshot, DaemonState(services={"shop": mine}))
    body = service_status(snapshot.services[0], mine, snapshot, done.plan, done.state.nodes, gateway_error="")
    json.dumps(body, allow_nan=False)
    return body


def test_it_is_plain_json_about_every_site():
    """Phase, sight, target, ready replicas, limits and cost of each."""
    found = status(spend={"shop": Spend(1.0, 2.0, 3.0)})
    private, cloud = found["sites"]["private"], found["sites"]["cloud"]
    assert (private["target"], private["ready"], private["limit"]) == (2, {V1.application: 2}, 8)
    assert private["usd_per_hour"] == pytest.approx(2 * 0.16)
    assert (cloud["in_sight"], cloud["usd_per_hour"]) == (False, 3.0)
    assert found["cost"]["usd_per_hour"] == pytest.approx(3.32)
    assert found["cost"]["usd_per_1000"] == pytest.approx(3.32 * 1_000 / (50 * 3_600))
    assert found["cost"]["spent"] == {"hour_usd": 1.0, "day_usd": 2.0, "month_usd": 3.0}


def test_it_says_how_long_capacity_takes():
    """On rented sites: what is expected, and the parts that are known; owned nodes are there."""
    lead = Lead(seen_s={"load": (40.0, 60.0), "open": (30.0,)}, parts_s={"weights": (9.0,), "node": (18.0, 35.0)})
    found = status(state=serving(targets={"private": 2, "cloud": 3}, leads={"cloud": lead}))
    assert found["sites"]["private"]["lead"] is None
    assert found["sites"]["cloud"]["lead"] == {
        "expected_s": 60.0,
        "longest_s": {"open": 30.0, "node": 35.0, "weights": 9.0},
    }
    assert status()["sites"]["cloud"]["lead"] == {"expected_s": 40.0, "longest_s": {}}


def test_it_says_what_stands_by():
    """Until the event is over; what is remembered of it after that is nobody's concern."""
    sale = Standing("sale", NOW_S + 60, NOW_S + 120, NOW_S - 5, 250.0, 250.0, 9)
    past = replace(sale, name="past", starts_s=NOW_S - 60, ends_s=NOW_S - 1)
    found = status(state=serving(policy=PolicyState(standing=(past, sale))))
    assert [(each["name"], each["replicas"]) for each in found["standing"]] == [("sale", 9)]


def test_it_says_what_is_crossed_held_stale_and_released():
    """Everything an operator asks about first."""
    release = releasing("judging", share=0.2, events=(ReleaseEvent(NOW_S, "judging", "gets 20%"),))
    hold = Hold({"cloud": 3}, NOW_S + 9, "x")
    found = status(asked(signals=hurting(), hold=hold), serving(release=release), gateway=gateway(at_s=NOW_S - 9))
    assert any(text.startswith("p99 2 s over") for text in found["breaches"])
    assert found["hold"] == {"cloud": 3}
    assert found["stale"] == "the gateway has not answered for 9 s"
    assert (found["release"]["phase"], found["release"]["share"], found["release"]["reason"]) == (
        "judging",
        0.2,
        "gets 20%",
    )
    assert found["sites"]["private"]["in_use"] is None


def test_before_the_first_version_there_is_none():
    """None, not an empty name; an ended hold is none."""
    found = status(asked(hold=Hold({"cloud": 3}, NOW_S, "x")), serving(stable=None))
    assert (found["version"], found["previous"], found["release"], found["hold"]) == (None, None, None, None)
