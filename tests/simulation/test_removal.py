"""A service that is removed: drained, freed, billed to its end, and forgotten."""

from __future__ import annotations

from autoscaler.sizing.removal import REASON
from tests.support.daemon_rig import DaemonRig
from tests.support.declared import project


def burst_rig() -> DaemonRig:
    """v1 serves on both sites."""
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(20)
    rig.load(60, rate_rps=60, total_s=1.0, queue_s=0.5)
    assert rig.sites["cloud"].observe().phase == "open"
    return rig


def ask(rig: DaemonRig) -> None:
    """Write what `hcctl remove` does."""
    document = rig.store.intent("service", "shop")
    assert document is not None
    body = {**document.body, "remove": True}
    rig.store.put_intent("service", "shop", body, expected_revision=document.revision, at_s=rig.clock())


def test_a_removed_service_leaves_nothing() -> None:
    """No replica, route, rented site, hold or status; its history and what it cost stay."""
    rig = burst_rig()
    rig.store.put_intent("hold", "shop", {"replicas": {}, "until_s": 0, "reason": ""}, expected_revision=None, at_s=1.0)
    ask(rig)
    rig.run(1)
    assert all(s.limit == 0 for route in rig.gateway.routes for s in route.stable.servers), "nothing new is sent there"
    rig.run(60)
    assert rig.sites["cloud"].observe().phase == "closed"
    assert rig.sites["private"].observe().applications == ()
    assert rig.gateway.routes == ()
    assert rig.store.intents("service") == rig.store.intents("hold") == rig.store.observations("service") == ()
    assert rig.daemon.state.services == rig.daemon.state.nodes == {}
    assert rig.actions()[-1] == "removed"
    assert rig.store.ledger()
    assert rig.store.observation("release", "deploy-v1") is not None
    rig.deploy("v2")
    rig.run(20)
    assert rig.gateway.routes[0].stable.servers[0].limit == 4, "and it can come back"


def test_what_it_rented_is_paid_for_until_it_is_closed() -> None:
    """The last span on the ledger ends when the cloud site does, not when the command came."""
    rig = burst_rig()
    asked_s = rig.clock()
    ask(rig)
    rig.run(60)
    closed = [d.at_s for d in rig.store.decisions(limit=50) if d.body["action"] == "close site"]
    assert max(entry.end_s for entry in rig.store.ledger()) >= closed[0] >= asked_s


def test_a_release_ends_with_its_service() -> None:
    """The waiting `hcctl deploy` gets its verdict."""
    rig = burst_rig()
    rig.deploy("v2")
    rig.run(3)
    assert rig.daemon.state.services["shop"].release is not None
    ask(rig)
    rig.run(1)
    found = rig.store.observation("release", "deploy-v2")
    assert found is not None
    assert (found.body["verdict"], found.body["reason"]) == ("aborted", REASON)


def test_removal_survives_a_restart_at_any_time() -> None:
    """A daemon that is killed after each tick comes to the same end."""
    rig = burst_rig()
    ask(rig)
    for _ in range(120):
        rig.run(0.5)
        rig.restart()
    assert rig.store.intents("service") == ()
    assert rig.sites["cloud"].observe().phase == "closed"


def test_a_deploy_during_the_removal_brings_it_back() -> None:
    """The last word wins: what still serves goes on serving."""
    rig = burst_rig()
    ask(rig)
    rig.run(0.5)
    rig.deploy("v1")
    rig.run(20)
    assert rig.gateway.routes[0].stable.servers[0].limit > 0
    assert rig.store.intent("service", "shop") is not None


def test_a_private_site_out_of_sight_is_waited_for() -> None:
    """It may still run the service; nobody is told that it is gone."""
    rig = burst_rig()
    rig.sites["private"].unreachable = True
    ask(rig)
    rig.run(60)
    assert rig.store.intent("service", "shop") is not None
    rig.sites["private"].unreachable = False
    rig.run(20)
    assert rig.store.intents("service") == ()


def test_a_site_that_is_no_longer_declared_is_left_out() -> None:
    """hcctl.yaml lost the cloud site while the project was down: the service runs at home, and that is told."""
    rig = burst_rig()
    without = project().model_copy(update={"sites": {"private": project().sites["private"]}})
    rig.fleet, rig.sites = without, {"private": rig.sites["private"]}
    rig.restart()
    rig.run(10)
    assert rig.gateway.routes[0].stable.servers[0].limit > 0
    notes = [d.body["reason"] for d in rig.store.decisions("shop", limit=50) if d.body["action"] == "leave out"]
    assert notes == ["hcctl.yaml declares no site cloud"]


def test_a_service_without_the_private_site_is_set_aside() -> None:
    """Renamed in hcctl.yaml: the daemon goes on, serves nobody there, and says why."""
    rig = burst_rig()
    sites = {"home": project().sites["private"]}
    rig.fleet, rig.sites = project().model_copy(update={"sites": sites}), {"home": rig.sites["private"]}
    rig.restart()
    rig.run(5)
    assert "set aside" in rig.actions()
    assert rig.gateway.routes == ()
