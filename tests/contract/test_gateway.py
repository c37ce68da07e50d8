"""What every implementation of `serving.gateway.gateway.Gateway` does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from serving.errors import GatewayUnreachable
from serving.gateway.fleet import GatewayFleet
from serving.gateway.gateway import Gateway, ServerObservation
from serving.gateway.remote import NAME, Certificates, RemoteGateway
from serving.sites.site import Endpoint
from tests.support.agents import agent_of
from tests.support.certificates import Authority
from tests.support.fake_gateway import FakeGateway
from tests.support.gateway_routes import routes, service, track
from tests.support.running_gateway import RunningGateway

HERE = Endpoint("127.0.0.1", 9)


class Subject(Protocol):
    """An implementation that can be stopped and started."""

    gateway: Gateway

    def start(self) -> object: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class Fake:
    def __init__(self) -> None:
        self.gateway = FakeGateway()

    def start(self) -> None:
        self.gateway.running = True

    def stop(self) -> None:
        self.gateway.running = False

    close = stop


class Remote:
    """HAProxys behind agents: one by itself, or two as one."""

    def __init__(self, folder: Path, authority: Authority, *, together: bool) -> None:
        self._stack = ExitStack()
        own = authority.folder / NAME
        certificates = Certificates(own if own.exists() else authority.certificate(NAME))
        folders = [folder / name for name in ("a", "b")[: 1 + together]]
        for each in folders:
            each.mkdir()
        self._running = [RunningGateway(each) for each in folders]
        ports = [self._stack.enter_context(agent_of(at, certificates)) for at in self._running]
        remotes = {str(port): RemoteGateway("127.0.0.1", port, certificates) for port in ports}
        clock = itertools.count(1_000_000, 30)  # pauses after an attempt that failed pass at once
        self.gateway: Gateway = next(iter(remotes.values()))
        if together:
            self.gateway = GatewayFleet(lambda: remotes, remotes.__getitem__, lambda: float(next(clock)))

    def start(self) -> None:
        for at in self._running:
            at.start()
        self.gateway.observe()

    def stop(self) -> None:
        for at in self._running:
            at.stop()

    def close(self) -> None:
        for at in self._running:
            at.close()
        self._stack.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(params=["haproxy", "fake", "remote", "fleet"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Subject]:
    makers: dict[str, Callable[[], Subject]] = {
        "haproxy": lambda: RunningGateway(tmp_path),
        "fake": Fake,
        "remote": lambda: Remote(tmp_path, authority, together=False),
        "fleet": lambda: Remote(tmp_path, authority, together=True),
    }
    started = makers[request.param]()
    try:
        started.start()
        yield started
    finally:
        started.close()


def seen(subject: Subject) -> list[tuple[str, str, str, int]]:
    return [(s.service, s.track, s.site, s.limit) for s in subject.gateway.observe().servers]


SHOP = routes(service(), track("/shop-1", private=(HERE, 4), cloud=(HERE, 8)))


def test_it_starts_with_nothing(subject: Subject) -> None:
    """Before the first assertion there is no server and no queue."""
    observed = subject.gateway.observe()
    assert (observed.servers, observed.queued) == ((), {})


def test_what_is_asserted_is_observed_in_order(subject: Subject) -> None:
    """Every site of every track is observed with its limit, in the order in which it is filled."""
    subject.gateway.assert_routes((SHOP,))
    assert seen(subject) == [
        ("shop", "stable", "private", 4),
        ("shop", "stable", "cloud", 8),
        ("shop", "candidate", "private", 0),
        ("shop", "candidate", "cloud", 0),
    ]
    assert subject.gateway.observe().queued == {"shop": 0}


def test_asserting_twice_changes_nothing(subject: Subject) -> None:
    """A repeated assertion leaves everything as it is."""
    subject.gateway.assert_routes((SHOP,))
    before = seen(subject)
    subject.gateway.assert_routes((SHOP,))
    assert seen(subject) == before


def test_limits_change(subject: Subject) -> None:
    """A later assertion's limits replace the former ones, up and down and to nothing."""
    subject.gateway.assert_routes((SHOP,))
    for private, cloud in ((9, 3), (0, 3), (5, 0), (0, 0), (2, 2)):
        changed = replace(SHOP, stable=track("/shop-1", private=(HERE, private), cloud=(HERE, cloud)))
        subject.gateway.assert_routes((changed,))
        assert [limit for *_, limit in seen(subject)][:2] == [private, cloud]


def test_a_site_without_ingress_takes_nothing(subject: Subject) -> None:
    """Without an endpoint a server is down and its limit is 0, whatever was asked; with one it is up at once."""
    away = replace(SHOP, stable=track("/shop-1", private=(None, 4), cloud=(HERE, 8)))
    subject.gateway.assert_routes((away,))
    assert subject.gateway.observe().servers[0] == ServerObservation("shop", "stable", "private", False, 0, 0)
    subject.gateway.assert_routes((SHOP,))
    assert subject.gateway.observe().servers[0] == ServerObservation("shop", "stable", "private", True, 4, 0)


def test_services_come_and_go(subject: Subject) -> None:
    """An assertion is the whole truth: services that it does not name are gone."""
    other = replace(SHOP, service=service("other"))
    subject.gateway.assert_routes((SHOP, other))
    assert {name for name, *_ in seen(subject)} == {"shop", "other"}
    subject.gateway.assert_routes((other,))
    assert {name for name, *_ in seen(subject)} == {"other"}
    subject.gateway.assert_routes(())
    assert seen(subject) == []


def test_what_is_asserted_while_it_is_away_is_kept(subject: Subject) -> None:
    """A gateway that does not answer says so, and comes back with what was asserted meanwhile."""
    subject.gateway.assert_routes((SHOP,))
    subject.stop()
    with pytest.raises(GatewayUnreachable):
        subject.gateway.observe()
    changed = replace(SHOP, stable=track("/shop-1", private=(HERE, 7), cloud=(HERE, 3)))
    with pytest.raises(GatewayUnreachable):
        subject.gateway.assert_routes((changed,))
    subject.start()
    assert [limit for *_, limit in seen(subject)] == [7, 3, 0, 0]
