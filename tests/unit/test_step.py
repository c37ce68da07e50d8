from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from autoscaler.plan import ApplyApplications, OpenSite
from autoscaler.policy.bids import PolicyState
from autoscaler.policy.leads import Lead
from autoscaler.snapshot import Hold, Snapshot
from autoscaler.state import Admission, DaemonState, Ejection, ReleaseEvent, RentedNode
from autoscaler.step import step
from serving.sites.site import Worker
from tests.support.declared import service
from tests.support.moments import NOW_S, app, asked, deployed, gateway, moment, releasing, serving, signals, site

V1 = deployed("v1")
_STATE = TypeAdapter(DaemonState)


def test_the_first_tick_opens_the_private_site():
    """A deployment, nothing anywhere: target, site and log."""
    sites = {"private": site("private", "closed"), "cloud": site("cloud", "closed")}
    found = step(moment(sites=sites), DaemonState())
    assert [type(action) for action in found.plan.site_actions] == [OpenSite]
    assert found.state.services["shop"].targets == {"private": 1, "cloud": 0}
    assert [d.action for d in found.plan.decisions] == ["scale", "release making room", "release loading", "open site"]
    assert found.ledger == ()


def test_a_steady_service_needs_nothing():
    """As wished: no action, no probe, no line; the routes stand."""
    sites = {"private": site("private", apps=[app(V1.application)]), "cloud": site("cloud", "closed")}
    state = DaemonState(services={"shop": serving(policy=PolicyState(needs=((NOW_S - 1, 1),), needs_since_s=NOW_S))})
    quiet = asked(signals=signals(rate_rps=10.0, recent_rate_rps=10.0, requests=100))
    found = step(moment(quiet, sites=sites), state)
    assert (found.plan.site_actions, found.plan.probes, found.plan.decisions) == ((), (), ())
    assert [(s.site, s.limit) for s in found.plan.routes[0].stable.servers] == [("private", 4), ("cloud", 0)]


def test_a_poisoned_or_deleted_service_leaves_the_others_alone():
    """The state of a service that is not in the snapshot is kept; the one that is there goes on."""
    gone = serving("v7")
    found = step(moment(), DaemonState(services={"gone": gone, "shop": serving()}))
    assert found.state.services["gone"] == gone
    assert [routes.service.name for routes in found.plan.routes] == ["shop"]


def test_step_changes_neither_snapshot_nor_state():
    """Values in, values out, twice the same."""
    snapshot, state = moment(), DaemonState(services={"shop": serving()})
    before = (repr(snapshot), repr(state))
    first = step(snapshot, state)
    assert step(snapshot, state) == first
    assert (repr(snapshot), repr(state)) == before


def full_state() -> DaemonState:
    """A state with something in every field."""
    shop = serving(
        previous=deployed("v0"),
        release=releasing(
            "judging",
            share=0.2,
            origins={"private": "surge"},
            intended="aborted",
            events=(ReleaseEvent(NOW_S, "loading", "text"),),
        ),
        last_change_s={"private": NOW_S - 0.25},
        policy=PolicyState(
            level=3,
            because="p99",
            needs=((NOW_S - 2, 3), (NOW_S, 1)),
            needs_since_s=NOW_S - 9,
            enough_since_s=NOW_S,
            breach_since_s=NOW_S,
            cost_since_s=NOW_S,
            shifted=True,
            failover_s=NOW_S,
        ),
        ejections={"stable/cloud": Ejection(NOW_S, 2)},
        emptying_since_s={"cloud": NOW_S},
        known_ready={f"{V1.application}@private": 2},
        unlisted_since_s={f"{V1.application}@cloud": NOW_S},
        home_down_since_s=NOW_S,
        notes={"cloud": "budget"},
        reasons={"private": "why"},
        affordable={"cloud": 2},
    )
    return DaemonState(
        services={"shop": shop},
        nodes={"cloud/shop": (RentedNode("g5", NOW_S + 0.001),)},
        retry_at_s={"cloud": NOW_S},
        failures={"cloud": 3},
    )


def test_the_state_survives_storing():
    """As JSON and back it is equal, tuples, models and all, and the same is decided from it."""
    state = full_state()
    stored = _STATE.validate_python(_STATE.dump_python(state, mode="json"), strict=False)
    assert stored == state
    assert step(moment(), stored) == step(moment(), state)


@pytest.mark.parametrize("field", ["services", "nodes", "retry_at_s", "failures"])
def test_a_state_of_an_older_daemon_is_read(field: str):
    """Fields that it did not know have their defaults."""
    body = _STATE.dump_python(full_state(), mode="json")
    del body[field]
    assert _STATE.validate_python(body, strict=False)


def test_what_is_no_longer_wanted_somewhere_may_vanish_from_there():
    """Its ready replicas are forgotten with the wish, so that its absence is no surprise."""
    cloud_app = [app(V1.application, 2)]
    sites = {"private": site("private", apps=[app(V1.application)]), "cloud": site("cloud", apps=cloud_app)}
    keys = {f"{V1.application}@private", f"{V1.application}@cloud"}
    both = serving(targets={"private": 1, "cloud": 2}, policy=PolicyState(level=3))
    found = step(moment(sites=sites), DaemonState(services={"shop": both}))
    assert set(found.state.services["shop"].known_ready) == keys
    left = serving(emptying_since_s={"cloud": NOW_S - 60})
    found = step(moment(sites=sites), DaemonState(services={"shop": left}))
    assert set(found.state.services["shop"].known_ready) == {f"{V1.application}@private"}


def test_an_empty_snapshot_does_nothing_but_open_the_private_site():
    """No service at all."""
    sites = {"private": site("private", "closed"), "cloud": site("cloud", "closed")}
    empty = Snapshot(now_s=NOW_S, services=(), sites=sites, gateway=None, stale_after_s=5.0)
    found = step(empty, DaemonState())
    assert [type(action) for action in found.plan.site_actions] == [OpenSite]
    assert (found.plan.routes, found.plan.probes) == ((), ())


def test_months_of_failing_probes_do_not_stop_the_loop():
    """A version that answers no probe for long is probed on, once a minute."""
    sites = {"private": site("private", apps=[app(V1.application)]), "cloud": site("cloud", "closed")}
    pending = {f"private/{V1.application}": Admission(attempts=100_000, errors=5, at_s=NOW_S - 61)}
    found = step(moment(sites=sites), DaemonState(services={"shop": serving(admissions=pending)}))
    assert [probe.application for probe in found.plan.probes] == [V1.application]


def test_a_new_declaration_is_followed_without_touching_replicas():
    """Other limits of a service need no release: its application stays."""
    sites = {"private": site("private", apps=[app(V1.application, 2)]), "cloud": site("cloud", "closed")}
    state = DaemonState(services={"shop": serving(targets={"private": 2, "cloud": 0}, policy=PolicyState(level=2))})
    found = step(moment(asked(service(slo={"latency_p99_s": 0.9})), sites=sites), state)
    assert not [a for a in found.plan.site_actions if isinstance(a, ApplyApplications)]


def test_time_is_an_argument():
    """A tick in another year with a fresh gateway decides as well."""
    now_s = datetime(2040, 2, 29, tzinfo=UTC).timestamp()
    assert step(moment(now_s=now_s, gateway=gateway(at_s=now_s)), DaemonState()).plan.routes


def test_where_the_time_of_a_start_goes_is_learned_from_what_a_site_tells():
    """What a rented site tells of its workers becomes parts of its lead time; the wait for answers is the warm-up."""
    name = deployed("v1").application

    def look(state: DaemonState, now_s: float, ready: int, worker: Worker | None = None) -> DaemonState:
        cloud = site("cloud", apps=[app(name, ready, target=1)])
        seen = replace(cloud.observation, at_s=now_s, workers=None if worker is None else (worker,))
        private = site("private", apps=[app(name)])
        sites = {"private": private, "cloud": replace(cloud, observation=seen)}
        held = asked(hold=Hold({"private": 1, "cloud": 1}, NOW_S + 60, "x"))
        return step(moment(held, now_s=now_s, sites=sites, gateway=gateway(at_s=now_s)), state).state

    mine = serving(targets={"private": 1, "cloud": 1}, leads={"cloud": Lead(target=0, at_s=NOW_S - 1)})
    state = look(DaemonState(services={"shop": mine}), NOW_S, 0)
    state = look(state, NOW_S + 8, 0, Worker(NOW_S + 1, NOW_S + 4, NOW_S + 7))
    state = look(state, NOW_S + 10, 1)
    key = f"cloud/{name}"
    admitted = replace(state.services["shop"], admissions={key: Admission(ok=True, requests=5, attempts=1)})
    state = look(replace(state, services={"shop": admitted}), NOW_S + 12, 1)
    assert state.services["shop"].leads["cloud"].longest_s() == {
        "node": 3.0,
        "image": 3.0,
        "weights": 4.0,
        "warm_up": 2.0,
    }
