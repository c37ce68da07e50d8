"""The daemon's loop on doubles: what it stores, what it resumes, and what cannot stop it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter

from autoscaler.state import DaemonState
from serving.errors import HcctlError, SiteUnreachable, UnsupportedState
from tests.support.daemon_rig import DaemonRig

RAMP = {"rate_rps": 60, "total_s": 1.0, "queue_s": 0.5}


def serving() -> DaemonRig:
    """A rig on which version v1 serves."""
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(20)
    assert rig.gateway.routes[0].stable.servers[0].limit == 4
    return rig


def test_first_version_is_loaded_probed_and_routed() -> None:
    """A deployed service is opened, loaded and probed on the private site before the gateway sends to it."""
    rig = serving()
    assert rig.sites["private"].calls[0] == "open"
    assert rig.sites["cloud"].calls == []
    body = rig.store.observation("service", "shop").body
    assert body["version"] == "v1"
    assert body["sites"]["private"]["phase"] == "open"


def test_each_release_is_stored_with_its_verdict() -> None:
    """`hcctl history` and the waiting `hcctl deploy` read releases from the store."""
    rig = serving()
    found = rig.store.observation("release", "deploy-v1").body
    assert (found["service"], found["verdict"]) == ("shop", "promoted")


def test_burst_is_decided_within_three_seconds_of_load() -> None:
    """Slow answers at the gateway open the cloud; each decision is in the log with its reason."""
    rig = serving()
    before_s = rig.clock()
    rig.load(6, **RAMP)
    log = rig.store.decisions(limit=100)
    opened = [d for d in log if d.body["action"] == "open site" and d.body["site"] == "cloud"]
    assert opened
    assert opened[0].at_s - before_s <= 3.0
    assert "p99" in str(opened[0].body["reason"])


def test_actions_are_journalled_and_completed() -> None:
    """Every action has a journal entry; none stays open when its call has returned."""
    rig = serving()
    assert rig.store.open_actions() == ()


def test_failed_action_is_logged_and_not_repeated_at_once() -> None:
    """A site that refuses is asked again with growing pauses, not each tick."""
    rig = DaemonRig()
    tried: list[float] = []

    def refuse() -> None:
        tried.append(rig.clock())
        raise HcctlError("no machine is to be had", where="private")

    rig.sites["private"].open = refuse  # type: ignore[method-assign]
    rig.run(30)
    assert "action failed" in rig.actions()
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert gaps == sorted(gaps)
    assert len(tried) < 10


def test_unforeseen_failure_of_a_site_does_not_stop_the_loop() -> None:
    """A bug in one site's code is an outcome like any other; the tick goes on."""
    rig = DaemonRig()

    def broken() -> None:
        raise ZeroDivisionError

    rig.sites["private"].open = broken  # type: ignore[method-assign]
    rig.run(5)
    assert any("ZeroDivisionError" in str(d.body["reason"]) for d in rig.store.decisions())


def test_new_daemon_resumes_where_the_killed_one_stood() -> None:
    """After kill -9 nothing is opened, loaded or deployed twice, and the routes are the same."""
    rig = serving()
    calls, routes = list(rig.sites["private"].calls), rig.gateway.routes
    rig.restart()
    rig.run(5)
    assert rig.sites["private"].calls == calls
    assert rig.gateway.routes == routes


def test_new_daemon_keeps_routes_from_its_first_tick() -> None:
    """Not even the first tick after a restart withdraws a route: sites are looked at before it."""
    rig = serving()
    routes, asserted = rig.gateway.routes, len(rig.gateway.asserted)
    rig.restart()
    rig.run(0.5)
    assert rig.gateway.asserted[asserted:] == [routes]


def test_release_survives_a_killed_daemon() -> None:
    """A rollout whose daemon died in the middle ends in its verdict under the next one."""
    rig = serving()
    rig.deploy("v2")
    rig.run(1.5)
    rig.restart()
    rig.run(30)
    assert rig.store.observation("release", "deploy-v2").body["verdict"] == "promoted"
    assert rig.store.observation("service", "shop").body["version"] == "v2"


def test_interrupted_action_is_closed_in_the_journal_and_decided_again() -> None:
    """An action that was begun when the daemon died does not stay open for ever."""
    rig = serving()
    rig.store.begin_action("cloud/OpenSite/x", {"kind": "OpenSite", "site": "cloud"}, at_s=rig.clock())
    rig.restart()
    assert rig.store.open_actions() == ()


def test_unreadable_service_is_set_aside_and_the_others_go_on() -> None:
    """One poison object does not stop the loop; it is told once."""
    rig = serving()
    rig.store.put_intent("service", "poison", {"spec": {"kind": "?"}}, expected_revision=None, at_s=rig.clock())
    rig.run(5)
    assert rig.actions().count("set aside") == 1
    assert rig.gateway.routes[0].stable.servers[0].limit == 4


@pytest.mark.parametrize(
    ("kind", "body"),
    [("hold", {"replicas": {"cloud": "many"}}), ("hold", {}), ("abort", {}), ("service", {"wanted": {"version": 5}})],
    ids=["hold", "empty hold", "abort", "wanted"],
)
def test_a_wish_that_cannot_be_read_is_set_aside(kind: str, body: dict[str, Any]) -> None:
    """A hold, an abort or a version that makes no sense stops neither its service nor the loop; it is told once."""
    rig = serving()
    document = rig.store.intent("service", "shop")
    former = dict(document.body) if document and kind == "service" else {}
    rig.store.put_intent(kind, "shop", {**former, **body}, expected_revision=None, at_s=rig.clock())
    rig.run(5)
    assert rig.actions().count("set aside") == 1
    assert rig.gateway.routes[0].stable.servers[0].limit == 4


def test_a_declaration_under_another_name_is_set_aside() -> None:
    """Two documents never declare one service."""
    rig = serving()
    document = rig.store.intent("service", "shop")
    assert document is not None
    rig.store.put_intent("service", "other", document.body, expected_revision=None, at_s=rig.clock())
    rig.run(5)
    assert rig.actions().count("set aside") == 1
    assert len(rig.gateway.routes) == 1


def test_a_state_of_another_form_is_refused_clearly() -> None:
    """A daemon that cannot read what it rented does not start from nothing."""
    rig = serving()
    rig.store.put_observation("daemon", "state", {"services": 5}, at_s=rig.clock())
    with pytest.raises(UnsupportedState, match="another hcctl"):
        rig.restart()


def test_gateway_out_of_reach_is_no_reason_to_stop() -> None:
    """Routes are asserted again when the gateway is back."""
    rig = serving()
    rig.gateway.running = False
    rig.run(10)
    assert "does not answer" in rig.store.observation("service", "shop").body["gateway_error"]
    assert rig.store.observation("service", "shop").body["stale"]
    rig.gateway.running = True
    rig.run(2)
    assert rig.gateway.routes[0].stable.servers[0].limit == 4
    assert rig.store.observation("service", "shop").body["gateway_error"] == ""


def test_site_out_of_sight_keeps_its_routes() -> None:
    """Unknown is not none: a dashboard that does not answer withdraws nothing."""
    rig = serving()
    rig.sites["private"].unreachable = True
    rig.run(30)
    assert rig.gateway.routes[0].stable.servers[0].limit == 4


def test_pause_keeps_counts_and_resume_scales() -> None:
    """A paused autoscaler opens nothing; resumed, it does."""
    rig = serving()
    rig.store.put_intent("control", "autoscaler", {"paused": True}, expected_revision=None, at_s=rig.clock())
    rig.load(8, **RAMP)
    assert rig.sites["cloud"].calls == []
    rig.store.put_intent("control", "autoscaler", {"paused": False}, expected_revision=None, at_s=rig.clock())
    rig.load(8, **RAMP)
    assert rig.sites["cloud"].calls[0] == "open"


def test_shadow_records_what_it_would_do() -> None:
    """In shadow mode the decision is in the log and nothing is rented."""
    rig = serving()
    rig.restart(shadow=True)
    rig.load(8, **RAMP)
    assert "would scale" in rig.actions()
    assert rig.sites["cloud"].calls == []


def test_down_gives_back_what_was_rented() -> None:
    """After `hcctl down` the next daemon starts without rented capacity, and asks for it by need."""
    rig = serving()
    rig.load(6, **RAMP)
    assert rig.daemon.state.services["shop"].targets["cloud"] > 0
    rig.clock.advance(1)
    rig.store.put_intent("control", "down", {"by": "test"}, expected_revision=None, at_s=rig.clock())
    for site in rig.sites.values():
        site.close()
    rig.restart()
    assert rig.daemon.state.services["shop"].targets["cloud"] == 0
    assert not any(rig.daemon.state.nodes.values())


def test_unreachable_site_is_reported_as_an_outcome() -> None:
    """An order to a site that does not answer fails with its text and is tried again."""
    rig = serving()

    def unreachable(*_: object) -> None:
        raise SiteUnreachable("the dashboard does not answer", where="private")

    apply = rig.sites["private"].apply
    rig.sites["private"].apply = unreachable  # type: ignore[method-assign]
    rig.deploy("v2")
    rig.run(3)
    rig.sites["private"].apply = apply  # type: ignore[method-assign]
    rig.run(40)
    assert rig.store.observation("release", "deploy-v2").body["verdict"] == "promoted"


def test_nothing_is_taken_away_while_the_gateway_may_still_send_there() -> None:
    """The gateway refuses the routes of a new version: the old one is not removed until it has taken them."""
    rig = serving()
    rig.deploy("v2")
    rig.run(3)
    rig.gateway.deaf = True
    rig.run(60)
    former = rig.gateway.routes[0].stable.path_prefix.strip("/")
    assert former in {status.name for status in rig.sites["private"].observe().applications}
    rig.gateway.deaf = False
    rig.run(20)
    assert rig.gateway.routes[0].stable.path_prefix.strip("/") != former
    assert former not in {status.name for status in rig.sites["private"].observe().applications}
    assert rig.store.open_actions() == ()
    assert "action failed" not in rig.actions()


def test_a_fleet_is_stored_service_by_service() -> None:
    """A document is bounded, so each service has its own; what did not change is not written again."""
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(20)
    names = {document.name: document.revision for document in rig.store.observations("daemon")}
    assert set(names) == {"state", "state/shop"}
    root = rig.store.observation("daemon", "state")
    assert root is not None
    assert root.body["services"] == {}
    rig.run(20)
    later = {document.name: document.revision for document in rig.store.observations("daemon")}
    assert later["state"] > names["state"]
    before = rig.daemon.state
    rig.restart()
    assert rig.daemon.state == before


def test_a_state_in_one_document_is_taken_up() -> None:
    """As a former hcctl stored it: nothing of it is forgotten, and it is stored apart from then on."""
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(20)
    known = rig.daemon.state
    rig.store.put_observation("daemon", "state", TypeAdapter(DaemonState).dump_python(known, mode="json"), at_s=0.0)
    rig.store.delete_observation("daemon", "state/shop")
    rig.restart()
    assert rig.daemon.state.services["shop"].stable == known.services["shop"].stable
    rig.run(2)
    assert rig.store.observation("daemon", "state/shop") is not None
