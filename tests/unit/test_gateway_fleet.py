"""Several gateways as one, over fakes that stop, come and go: the limit holds at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.errors import GatewayUnreachable, HcctlError
from serving.gateway.fleet import LINGER_S, LONGEST_PAUSE_S, GatewayFleet
from serving.gateway.gateway import GatewayObservation
from serving.gateway.routes import Routes
from serving.sites.site import Endpoint
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_site import FakeClock
from tests.support.gateway_routes import routes, service, track

HERE = Endpoint("127.0.0.1", 9)


class Leaving(FakeGateway):
    """A fake that can be told to leave."""

    leaving = False

    def observe(self) -> GatewayObservation:
        return replace(super().observe(), leaving=self.leaving)


class Rig:
    """A fleet of fakes. After every order the sum over all that are there is checked."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock(1_000_000.0)
        self.fakes: dict[str, Leaving] = {}
        self.limit = 0
        self.over: list[str] = []
        self.nobody_knows = False
        self.come(*names)
        self.former = 0
        self.fleet = GatewayFleet(self._list, self._connect, self.clock)

    def come(self, *names: str) -> None:
        for name in names:
            self.fakes[name] = Leaving(self.clock)

    def _list(self) -> list[str]:
        if self.nobody_knows:
            raise GatewayUnreachable("The gateways cannot be listed")
        return list(self.fakes)

    def _connect(self, name: str) -> Leaving:
        fake = self.fakes[name]
        order = fake.assert_routes

        def checked(given: Routes) -> None:
            order(given)
            allowed = self.limit if self.limit >= len(self.fakes) else len(self.fakes) * (self.limit > 0)
            if self.sent() > max(allowed, self.former):
                self.over.append(f"{self.shares()} over {self.limit}")

        fake.assert_routes = checked  # type: ignore[method-assign]
        return fake

    def tick(self, limit: int, *, seconds: float = 0.5) -> None:
        """What the daemon does: look, then assert."""
        self.former, self.limit = self.sent(), limit
        self.clock.advance(seconds)
        try:
            self.fleet.observe()
            self.fleet.assert_routes((routes(service(), track("/shop-1", private=(HERE, limit), cloud=(HERE, 0))),))
        except GatewayUnreachable:
            pass

    def settle(self) -> None:
        """All answer again, and who leaves has finished: a slot that it still uses is nobody else's."""
        for fake in self.fakes.values():
            fake.running = True
            if fake.leaving:
                fake.in_use.clear()

    def shares(self) -> dict[str, int]:
        """What each may send to the private site now, stopped ones too."""
        return {
            name: fake.routes[0].stable.servers[0].limit if fake.routes and not fake.leaving else 0
            for name, fake in self.fakes.items()
        }

    def sent(self) -> int:
        return sum(self.shares().values())


def test_each_gets_its_part() -> None:
    """Two share eight slots and eight places of the queue; asked together they have all of it."""
    rig = Rig("a", "b")
    rig.tick(8)
    assert rig.shares() == {"a": 4, "b": 4}
    assert {fake.routes[0].service.routing.max_queue for fake in rig.fakes.values()} == {250}
    assert rig.fleet.observe().servers[0].limit == 8


def test_limits_are_withdrawn_before_a_third_gets_its_part() -> None:
    """One that comes has nothing until the others have less; at no moment is the sum above the limit."""
    rig = Rig("a", "b")
    rig.tick(9)
    rig.come("c")
    rig.tick(9)
    assert rig.shares() == {"a": 3, "b": 3, "c": 3}
    assert rig.over == []


def test_one_that_does_not_answer_keeps_its_part() -> None:
    """It may still send that much: nobody else gets it, and who asserts is told."""
    rig = Rig("a", "b")
    rig.tick(8)
    rig.tick(8)
    rig.fakes["b"].running = False
    rig.clock.advance(0.5)
    rig.fleet.observe()
    with pytest.raises(GatewayUnreachable, match="1 of 2 gateways"):
        rig.fleet.assert_routes((routes(service(), track("/shop-1", private=(HERE, 8), cloud=(HERE, 0))),))
    for _ in range(100):
        rig.tick(8)
    assert rig.shares()["a"] == 4
    assert rig.fleet.observe().servers[0].limit == 8


def test_one_that_has_gone_gives_its_part_after_a_while() -> None:
    """Names are remembered for some seconds; then the rest have all."""
    rig = Rig("a", "b")
    rig.tick(8)
    del rig.fakes["b"]
    rig.tick(8)
    assert rig.shares() == {"a": 4}
    rig.tick(8, seconds=LINGER_S + 1)
    rig.tick(8)
    assert rig.shares() == {"a": 8}


def test_one_that_leaves_holds_only_what_it_has_not_finished() -> None:
    """It gets no routes any more, and what it finishes the others get."""
    rig = Rig("a", "b")
    rig.tick(8)
    rig.fakes["b"].leaving = True
    rig.fakes["b"].in_use["shop", "stable", "private"] = 3
    rig.tick(8)
    assert rig.shares()["a"] == 5
    rig.fakes["b"].in_use.clear()
    rig.tick(8)
    assert rig.shares()["a"] == 8


def test_one_that_is_back_gets_its_part_again() -> None:
    """It is asked again after a pause that grows and is bounded, and told everything."""
    rig = Rig("a", "b")
    rig.tick(8)
    rig.fakes["b"].running = False
    for _ in range(50):
        rig.tick(8)
    rig.fakes["b"].running = True
    rig.fakes["b"].asserted.clear()
    rig.tick(6, seconds=LONGEST_PAUSE_S)
    assert rig.shares() == {"a": 3, "b": 3}


def test_a_daemon_that_starts_anew_counts_what_it_sees() -> None:
    """It was told by another daemon: what a gateway has in force counts, until it is withdrawn."""
    rig = Rig("a", "b")
    rig.tick(8)
    rig.fleet = GatewayFleet(rig._list, lambda name: rig.fakes[name], rig.clock)
    rig.come("c")
    rig.tick(8)
    assert rig.over == []
    rig.tick(8)
    rig.tick(8)
    assert sorted(rig.shares().values()) == [2, 3, 3]


def test_one_that_has_never_answered_has_no_part() -> None:
    """It is starting; it sends nothing, and holds nobody up."""
    rig = Rig("a", "b")
    rig.fakes["b"].running = False
    rig.fleet.observe()
    rig.fleet.assert_routes((routes(service(), track("/shop-1", private=(HERE, 8), cloud=(HERE, 0))),))
    assert rig.shares() == {"a": 8, "b": 0}


def test_when_nobody_knows_who_is_there_those_who_were_are() -> None:
    """A name server that is away changes nothing."""
    rig = Rig("a", "b")
    rig.tick(8)
    rig.nobody_knows = True
    rig.tick(6)
    assert rig.shares() == {"a": 3, "b": 3}


def test_no_gateway_is_no_empty_gateway() -> None:
    """Nobody answers: nothing is known, and that is an error, not a queue of nought."""
    rig = Rig()
    with pytest.raises(GatewayUnreachable, match="No gateway answers"):
        rig.fleet.observe()
    with pytest.raises(GatewayUnreachable, match="No gateway answers"):
        rig.fleet.assert_routes(())


def test_a_refusal_is_told_and_the_others_go_on() -> None:
    """What a gateway that answers refuses is the caller's to hear."""
    rig = Rig("a", "b")
    rig.tick(8)

    def refuse(_: Routes) -> None:
        raise HcctlError("HAProxy refuses the gateway's configuration")

    rig.fakes["b"].assert_routes = refuse  # type: ignore[method-assign]
    rig.fleet.observe()
    with pytest.raises(HcctlError, match="HAProxy refuses"):
        rig.fleet.assert_routes((routes(service(), track("/shop-1", private=(HERE, 6), cloud=(HERE, 0))),))
    assert rig.shares()["a"] == 3


EVENTS = st.one_of(
    st.tuples(st.just("limit"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["stop", "start", "come", "go", "leave", "busy", "idle"]), st.integers(0, 4)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("pass"), st.integers(1, 20)),
)


@settings(max_examples=150)
@example([("busy", 0), ("leave", 0)])
@example([("limit", 3), ("stop", 1), ("come", 2), ("busy", 2)])
@given(st.lists(EVENTS, min_size=1, max_size=40))
def test_whatever_happens_the_limit_holds(events: Sequence[tuple[str, int]]) -> None:
    """Gateways that stop, come, go and leave, limits that move, time that passes: the sum never passes the limit, or
    what was out before it fell; and when all answer again and who leaves has finished, all of it is given out."""
    rig, limit = Rig("g0", "g1"), 6
    rig.tick(limit)
    for what, number in events:
        name = f"g{number}"
        fake = rig.fakes.get(name)
        if what == "limit":
            limit = number
        elif what == "come" and fake is None:
            rig.come(name)
        elif what == "pass":
            rig.tick(limit, seconds=number)
        elif fake is not None:
            if what in ("stop", "start"):
                fake.running = what == "start"
            elif what == "go" and not fake.running:
                del rig.fakes[name]
            elif what == "leave":
                fake.leaving = True
            elif what == "idle" or (what == "busy" and rig.shares()[name]):  # who has no slot begins nothing
                fake.in_use["shop", "stable", "private"] = int(what == "busy")
        rig.tick(limit)
        assert rig.over == []
    rig.settle()
    for _ in range(3):
        rig.tick(limit, seconds=LONGEST_PAUSE_S)
    present = [name for name, fake in rig.fakes.items() if not fake.leaving]
    each = 0 < limit < len(present)
    assert rig.sent() == (len(present) if each else limit if present else 0)
