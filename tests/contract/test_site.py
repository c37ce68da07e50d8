"""The fake site keeps the contract that tests/e2e/test_local_site.py proves of the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.application import application_for
from serving.sites.site import Application, SiteObservation
from tests.support.fake_site import FakeClock, FakeSite
from tests.support.site_contract import SiteContract, SiteRig
from tests.support.versions import echo_service


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def site(clock: FakeClock) -> FakeSite:
    return FakeSite("private", clock)


@pytest.fixture
def rig(site: FakeSite, clock: FakeClock) -> SiteRig:
    def application(service: str, replicas: int) -> Application:
        return application_for(echo_service(service), "a" * 64, Path("/versions/a"), replicas)

    def broken(service: str) -> Application:
        site.load_failures["b" * 64] = "broken on purpose"
        return application_for(echo_service(service), "b" * 64, Path("/versions/b"), 1)

    def wait(condition: Callable[[SiteObservation], bool]) -> SiteObservation:
        for _ in range(200):
            if condition(seen := site.observe()):
                return seen
            clock.advance(0.1)
        pytest.fail(f"never happened; last seen: {seen}")

    return SiteRig(site, application, broken, wait, site.crash)


class TestFakeSite(SiteContract):
    """The contract."""


def test_times_are_kept(site: FakeSite, rig: SiteRig, clock: FakeClock) -> None:
    """Opening and loading take the given times, not less."""
    site.open()
    clock.advance(site.open_s - 0.1)
    assert site.observe().phase == "opening"
    clock.advance(0.1)
    site.apply((rig.application("first", 2),))
    clock.advance(site.load_s - 0.1)
    assert site.observe().applications[0].replicas_ready == 0
    clock.advance(0.1)
    assert site.observe().applications[0].replicas_ready == 2


def test_out_of_sight_is_not_empty(site: FakeSite, rig: SiteRig) -> None:
    """A site that does not answer stays open, with what it runs unknown."""
    rig.open()
    site.unreachable = True
    seen = site.observe()
    assert (seen.phase, seen.applications) == ("open", None)


def test_killed_replica_comes_back(site: FakeSite, rig: SiteRig, clock: FakeClock) -> None:
    """The only replica's death makes its application unhealthy until another has loaded."""
    rig.open()
    application = rig.application("first", 1)
    site.apply((application,))
    rig.wait_ready(application.name, 1)
    site.kill_replica(application.name)
    assert rig.status(application.name).phase == "unhealthy"
    clock.advance(site.load_s)
    assert rig.status(application.name).phase == "running"
