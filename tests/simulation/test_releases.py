"""A version comes to all open sites, or to none."""

from __future__ import annotations

import pytest

from autoscaler.plan import ApplyApplications, ScaleApplication
from autoscaler.snapshot import Hold
from tests.support.declared import changed, service
from tests.support.world import World


def running(rate_rps: float = 30.0, spec=None, **how: object) -> World:
    """A world in which v1 serves."""
    world = World(spec, rate_rps=lambda at_s: rate_rps * min(1, max(0, at_s - 40) / 40), **how)
    world.deploy("v1")
    world.run(110)
    assert world.verdicts == ["promoted"]
    return world


def bursting() -> World:
    """A world in which v1 serves on both sites."""
    world = running(180.0)
    assert world.run(60, until=lambda: world.ready("cloud") > 0)
    world.run(40)
    assert world.shop.ticks[-1].wait_s == 0.0
    return world


def released(world: World, version: str, most_s: float = 120.0, **how: object) -> str:
    """Deploy and wait for the verdict."""
    ended = len(world.finished)
    world.deploy(version, **how)
    assert world.run(most_s, until=lambda: len(world.finished) > ended), f"no verdict; phase {world.phase}"
    return world.verdicts[-1]


def lost(world: World) -> float:
    """Requests refused, failed or cut so far."""
    return world.shop.refused + world.shop.failed + world.shop.cut


def phases(world: World) -> list[str]:
    """Phases of the last release, in order."""
    return [event.phase for event in world.finished[-1].events]


def test_a_version_takes_over_on_both_sites_without_a_lost_request():
    """v1 to v2 with a burst open: same verdict everywhere, all phases in order, nobody notices."""
    world = bursting()
    before = lost(world)
    assert released(world, "v2") == "promoted"
    assert phases(world) == ["making_room", "loading", "probing", "judging", "shifting", "draining", "done"]
    world.run(10)
    assert set(world.serving("private")) == set(world.serving("cloud")) == {"v2"}
    assert lost(world) == before
    assert world.shop.ticks[-1].wait_s == 0.0
    assert world.violations == []


def test_a_judged_version_never_gets_more_than_it_can_hold():
    """One candidate replica beside nine stable ones does not get a fifth of the requests."""
    world = bursting()
    assert sum(world.targets.values()) >= 7
    world.deploy("v2")
    seen = []
    assert world.run(60, until=lambda: world.phase == "judging")
    while world.phase in ("judging", "shifting"):
        limits = world.last.plan.routes[0]
        slots = [sum(server.limit for server in track.servers) for track in (limits.candidate, limits.stable)]
        seen.append((limits.candidate_share, slots[0] / sum(slots)))
        world.run(0.5)
    assert len(seen) >= 4
    assert all(share <= part + 1e-9 for share, part in seen)


@pytest.mark.parametrize("fault", ["load", "probe", "err"])
def test_a_bad_version_never_takes_over(fault: str):
    """It fails to load, fails its probes, or errs under traffic: v1 goes on serving everything."""
    world = bursting()
    world.bad_versions["bad"] = fault
    before = lost(world)
    assert released(world, "bad") == "rolled_back"
    world.run(10)
    assert set(world.serving("private")) == set(world.serving("cloud")) == {"v1"}
    errors = lost(world) - before
    if fault == "err":
        assert 0 < errors < 0.2 * 180 * 3
    else:
        assert errors == 0
    assert world.mine.stable.version == "v1"
    assert world.violations == []


def test_one_failing_site_brings_all_of_them_back():
    """The candidate is fine at home, but the cloud's probes fail: one verdict for all."""
    world = bursting()
    world.deploy("v2")
    assert world.run(30, until=lambda: world.phase == "loading")
    world.failing_sites["cloud"] = 0.01
    assert world.run(60, until=lambda: len(world.finished) == 2)
    assert world.verdicts[-1] == "rolled_back"
    assert "probes failed on cloud" in world.finished[-1].reason
    world.failing_sites.clear()
    world.run(10)
    assert set(world.serving("private")) == {"v1"}


def test_a_site_that_opens_in_mid_release_has_to_pass_as_well():
    """The burst opens while the version is judged: promotion waits for the cloud's sample."""
    world = running(30.0)
    world.deploy("v2")
    assert world.run(30, until=lambda: world.phase == "loading")
    world.shop.rate_rps = lambda _: 200.0
    assert world.run(120, until=lambda: len(world.finished) == 2)
    assert world.verdicts[-1] == "promoted"
    world.run(60)
    assert set(world.serving("cloud")) == {"v2"}
    assert world.violations == []


@pytest.mark.parametrize("phase", ["loading", "judging", "shifting", "draining"])
@pytest.mark.parametrize("site", ["private", "cloud"])
def test_a_site_lost_in_mid_release_leaves_one_verdict(site: str, phase: str):
    """Whatever is lost and when: the release ends once, and every open site runs what the verdict says."""
    world = bursting()
    world.deploy("v2")
    assert world.run(60, until=lambda: world.phase == phase)
    world.sites[site].lose()
    assert world.run(300, until=lambda: len(world.finished) == 2)
    world.run(120)
    serves = "v2" if world.verdicts[-1] == "promoted" else "v1"
    assert len(world.finished) == 2
    assert set(world.serving("private")) == {serves}
    assert set(world.serving("cloud")) <= {serves}
    assert world.shop.ticks[-1].wait_s == 0.0
    assert world.violations == []


@pytest.mark.parametrize("phase", ["loading", "judging", "shifting", "draining"])
def test_an_aborted_release_goes_back_without_a_lost_request(phase: str):
    """However far it had come: the former version gets its replicas back before it gets the requests."""
    world = bursting()
    before = lost(world)
    world.deploy("v2")
    assert world.run(90, until=lambda: world.phase == phase)
    world.shop.abort = "deploy-v2"
    assert world.run(120, until=lambda: len(world.finished) == 2)
    assert world.verdicts[-1] == "aborted"
    world.run(20)
    assert set(world.serving("private")) == set(world.serving("cloud")) == {"v1"}
    assert lost(world) == before
    assert world.run(120, until=lambda: bool(world.mine.release)) is False, (
        "an aborted deployment is not taken up again"
    )
    assert world.violations == []


def test_a_newer_deployment_supersedes_the_one_in_progress():
    """v2 is given up for v3, v1 serves in between, and each release has its own verdict."""
    world = bursting()
    world.deploy("v2")
    assert world.run(60, until=lambda: world.phase == "judging")
    world.deploy("v3")
    assert world.run(120, until=lambda: len(world.finished) == 3)
    assert world.verdicts == ["promoted", "superseded", "promoted"]
    world.run(5)
    assert set(world.serving("private")) == {"v3"}


def test_a_rollback_is_quicker_than_a_rollout():
    """A version that served before is probed, but not judged again."""
    world = bursting()
    start_s = world.at_s
    assert released(world, "v2") == "promoted"
    rollout_s = world.at_s - start_s
    world.run(10)
    start_s = world.at_s
    assert released(world, "v1", deployment="back", rollback=True) == "promoted"
    assert "judging" not in phases(world)
    assert world.at_s - start_s <= min(rollout_s - 2.0, 30.0)
    assert world.mine.previous.version == "v2"


def test_a_full_private_site_is_taken_over_replica_by_replica():
    """Without a free node the site never holds more than its nodes, and never serves with less than all but one."""
    world = running(110.0, service(sites={"cloud": {"max_replicas": 0}}))
    assert world.targets["private"] == 4
    before = lost(world)
    world.deploy("v2")
    ready, placed = [], []
    while len(world.finished) < 2:
        world.run(0.5)
        assert world.at_s < 400
        ready.append(world.ready("private"))
        placed.append(sum(run.target for run in world.sites["private"].apps.values()))
    assert world.verdicts[-1] == "promoted"
    assert "private by take over" in world.finished[-1].events[1].text
    assert min(ready) == 3
    assert max(placed) == 4
    assert lost(world) == before


def test_the_only_private_replica_is_renewed_while_a_rented_one_carries_the_load():
    """No room at home: the cloud is rented first, and given back when the release is over."""
    world = running(10.0, service(sites={"private": {"max_replicas": 1}}))
    before = lost(world)
    world.deploy("v2")
    held = []
    assert world.run(
        200, until=lambda: held.append(world.ready("private") + world.ready("cloud")) or len(world.finished) == 2
    )
    assert world.verdicts[-1] == "promoted"
    assert "private by rent" in world.finished[-1].events[1].text
    assert min(held) >= 1
    assert lost(world) == before
    world.run(90)
    assert world.targets == {"private": 1, "cloud": 0}
    assert world.serving("private") == {"v2": 1}


def test_a_bad_version_on_a_rented_detour_brings_the_only_replica_home():
    """Renewal by rent fails: the former version is loaded at home again, and the cloud is given back."""
    world = running(10.0, service(sites={"private": {"max_replicas": 1}}))
    world.bad_versions["bad"] = "err"
    assert released(world, "bad", 200) == "rolled_back"
    world.run(120)
    assert world.serving("private") == {"v1": 1}
    assert world.targets == {"private": 1, "cloud": 0}


@pytest.mark.parametrize(
    ("cloud", "budget", "text"),
    [(0, None, "no cloud site to serve while that one is replaced"), (6, 0.0, "no other site served within")],
)
def test_without_room_or_rent_a_release_ends_with_the_reason(cloud: int, budget: float | None, text: str):
    """One node at home and nothing to rent: the release does not wait for ever, and v1 serves on."""
    sites = {"private": {"max_replicas": 1}, "cloud": {"max_replicas": cloud}}
    world = running(10.0, service(sites=sites, budget={"usd_per_hour": budget}))
    before = lost(world)
    assert released(world, "v2", 300) == "rolled_back"
    assert text in world.finished[-1].reason
    assert lost(world) == before


def test_replicas_that_never_get_ready_end_the_release():
    """Some replicas of the candidate cannot start: after their time the release is rolled back."""
    world = running(60.0, service(release={"load_timeout_s": 30.0}))
    assert sum(world.targets.values()) >= 3
    world.stuck.add("v2")
    assert released(world, "v2", 200) == "rolled_back"
    assert "shifting has not ended on private" in world.finished[-1].reason
    world.run(20)
    assert set(world.serving("private")) == {"v1"}


def test_a_closed_site_loads_the_new_version_when_it_next_opens():
    """It was closed during the release; it loads, is probed, and only then gets requests."""
    world = running(30.0)
    assert world.sites["cloud"].phase == "closed"
    assert released(world, "v2") == "promoted"
    world.shop.rate_rps = lambda _: 200.0
    probed_s, routed_s = [], []
    for _ in range(160):
        world.tick()
        probed_s += [world.at_s for probe in world.last.plan.probes if probe.site == "cloud"]
        routed_s += [
            world.at_s for server in world.last.plan.routes[0].stable.servers if server.site == "cloud" and server.limit
        ]
    assert world.serving("cloud").keys() == {"v2"}
    assert probed_s[0] < routed_s[0]
    assert world.violations == []


def test_a_burst_that_ends_in_mid_release_drains_both_versions():
    """The cloud is left while it holds two versions: both finish their requests before it is closed."""
    world = bursting()
    world.shop.service_s = 0.4
    world.shop.rate_rps = lambda _: 45.0
    world.deploy("v2")
    assert world.run(60, until=lambda: world.phase == "judging")
    world.shop.hold = Hold({"cloud": 0}, world.now_s + 600, "the cloud is wanted elsewhere")
    assert world.run(60, until=lambda: world.sites["cloud"].phase == "closed")
    assert world.shop.cut == 0.0


def test_a_changed_model_section_is_a_release_like_any_other():
    """More slots per replica come as a new application, and the former slots are held to until it takes over."""
    world = running(30.0)
    first = world.mine.stable.application
    world.shop.spec = changed(world.shop.spec, model={"slots_per_replica": 2})
    world.run(5)
    assert next(server.limit for server in world.last.plan.routes[0].stable.servers) % 4 == 0
    assert released(world, "v1", deployment="again") == "promoted"
    assert world.mine.stable.application != first
    assert world.violations == []


def test_the_same_version_again_is_promoted_at_once():
    """What serves already needs no replica, no probe and no judging."""
    world = running(30.0)
    actions = len(world.actions)
    assert released(world, "v1", 1.0, deployment="again") == "promoted"
    assert len(world.actions) == actions
    assert world.mine.previous is None


def test_errors_of_the_former_version_are_not_held_against_the_new_one():
    """A site that was ejected for what v1 did serves v2 as soon as its probes are answered."""
    world = bursting()
    world.failing_sites["cloud"] = 1.0
    assert world.run(5, until=lambda: bool(world.reasons("eject")))
    world.failing_sites.clear()
    assert released(world, "v2") == "promoted"
    world.run(1)
    assert world.last.plan.routes[0].stable.servers[1].limit > 0
    assert world.violations == []


def test_a_site_out_of_sight_keeps_its_part_of_a_release():
    """In mid-shift a site stops answering: its routes stay, and the exchange goes on when it is back."""
    world = bursting()
    world.deploy("v2")
    assert world.run(60, until=lambda: world.phase == "shifting")
    world.run(0.5)
    world.sites["cloud"].in_sight = False
    world.run(0.5)
    before = [server.limit for server in world.last.plan.routes[0].candidate.servers if server.site == "cloud"]
    actions = len(world.actions)
    world.run(20)
    assert [server.limit for server in world.last.plan.routes[0].candidate.servers if server.site == "cloud"] == before
    assert not [
        a
        for _, a in world.actions[actions:]
        if isinstance(a, ApplyApplications | ScaleApplication) and a.site == "cloud"
    ]
    world.sites["cloud"].in_sight = True
    assert world.run(120, until=lambda: len(world.finished) == 2)
    assert world.verdicts[-1] == "promoted"
