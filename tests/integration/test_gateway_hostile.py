"""Hostile bytes on the wire: each request is answered with a clear refusal, or reaches a site as what it says it is.

Real HAProxy between raw connections and a site that keeps every byte it is sent.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import psutil
import pytest

from tests.support.gateway_routes import routes, service, track
from tests.support.hostile_http import GET, POST, REFUSED, SERVED, generated, length, numbered
from tests.support.running_gateway import RunningGateway
from tests.support.wire import WireSite, exchange, forwarded_request, requests_in, statuses

REQUEST_TIMEOUT_S = 0.4
QUIET_S = REQUEST_TIMEOUT_S + 0.4
AT_ONCE = 50
CLEAR = {400, 403, 404, 408, 411, 413, 421, 422}
"""What a refusal may say."""
NOT_HTTP = b"<html><body><h1>4"
"""In HAProxy's own answer, which cannot be set, to what its parser cannot take for a request."""
GROWN_MIB = 24
"""What the gateway may keep of its buffers, whatever it was sent."""


@dataclass
class Here:
    """A running gateway with one site on the wire."""

    at: RunningGateway
    site: WireSite

    def send(self, cases: Sequence[bytes]) -> list[bytes]:
        """All that comes back for each, some at a time."""

        async def one(room: asyncio.Semaphore, data: bytes) -> bytes:
            async with room:
                return await exchange(self.at.listen.port, [data], quiet_s=QUIET_S)

        async def everyone() -> list[bytes]:
            room = asyncio.Semaphore(AT_ONCE)
            return await asyncio.gather(*(one(room, data) for data in cases))

        return asyncio.run(everyone())

    def memory_mib(self) -> float:
        """Of all processes of the gateway."""
        assert self.at.process is not None
        master = psutil.Process(self.at.process.pid)
        return sum(one.memory_info().rss for one in (master, *master.children())) / (1 << 20)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    at, site = RunningGateway(tmp_path_factory.mktemp("hostile"), request_timeout_s=REQUEST_TIMEOUT_S), WireSite()
    try:
        at.start()
        at.gateway.assert_routes((routes(service(sites=("private",)), track("/shop-1", private=(site, 64))),))
        at.until(lambda: at.server("private").up, within_s=5)
        yield Here(at, site)
    finally:
        at.close()
        site.close()


@pytest.fixture
def here(started: Here) -> Here:
    started.site.connections.clear()
    return started


@dataclass
class Outcome:
    """What became of one named case."""

    data: bytes
    answer: bytes
    connections: list[bytes]
    """Those to the site that brought anything of it."""


@pytest.fixture(scope="module")
def outcomes(started: Here) -> dict[str, Outcome]:
    """Of all named cases, sent side by side."""
    named = {**REFUSED, **{name: data for name, (data, _) in SERVED.items()}}
    cases = {name: numbered(data, number) for number, (name, data) in enumerate(named.items())}
    started.site.connections.clear()  # another test's may have the same numbers
    answers = started.send(list(cases.values()))
    started.at.until(lambda: len(started.site.connections) >= sum(count for _, count in SERVED.values()), within_s=5)
    found = {}
    for number, (name, answer) in enumerate(zip(cases, answers, strict=True)):
        mine = [one for one in started.site.connections if numbered(b"{id}", number) in one]
        found[name] = Outcome(cases[name], answer, mine)
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_what_two_readers_could_see_differently_is_refused(outcomes: dict[str, Outcome], name: str) -> None:
    """It is refused clearly; no site sees anything of it, nor of what may be hidden behind it."""
    outcome = outcomes[name]
    assert statuses(outcome.answer), "no answer"
    clear(outcome.answer)
    assert outcome.connections == []


@pytest.mark.parametrize(("name", "count"), [(name, count) for name, (_, count) in SERVED.items()])
def test_what_has_one_meaning_is_served(outcomes: dict[str, Outcome], name: str, count: int) -> None:
    """Each request reaches the site once, with method, path below the version's prefix, and body as they were meant."""
    outcome = outcomes[name]
    assert statuses(outcome.answer) == [200] * count, outcome.answer
    assert forwarded(outcome.connections) == meant([outcome.data])


@pytest.mark.parametrize("size", [0, 3])
def test_lengths_that_are_one_to_haproxy_are_one_to_the_site(here: Here, size: int) -> None:
    """A second length, larger by 2^64, is dropped before any rule sees it; the site gets one, and the body it says."""
    case = numbered(POST + length(size) + length(size + (1 << 64)) + b"\r\n" + b"abc"[:size], size)
    (answer,) = here.send([case])
    assert statuses(answer) == [200], answer
    (connection,) = here.site.connections
    request = forwarded_request(connection)
    assert request.values(b"content-length") == [b"%d" % size]
    assert request.body == b"abc"[:size]


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.campaign)])
def test_no_request_comes_out_of_another(here: Here, count: int) -> None:
    """Whatever parts a request is made of: answered clearly; what is forwarded, a strict reader finds in it too.

    Afterwards the gateway serves, its log has a line that can be read for each answer, and its memory is bounded.
    """
    lines, memory_mib = len(here.at.records), here.memory_mib()
    cases = [numbered(generated(Random(seed)), seed) for seed in range(count)]
    answers = here.send(cases)
    for case, answer in zip(cases, answers, strict=True):
        assert answer, f"no answer to {case!r}"
        clear(answer)
    codes = Counter(code for answer in answers for code in statuses(answer))
    assert min(codes[200], codes[400]) > count // 10, codes
    here.at.until(lambda: len(here.site.connections) >= codes[200], within_s=5)
    found = forwarded(here.site.connections)
    assert found.total() == codes[200], "a request reached the site whose answer no client got"
    assert found - meant(cases) == Counter()
    here.at.until(lambda: len(here.at.records) >= lines + codes.total(), within_s=5)
    assert statuses(*here.send([numbered(GET, 0) + b"\r\n"])) == [200]
    assert here.memory_mib() < memory_mib + GROWN_MIB


def test_many_requests_in_one_piece_are_answered_one_by_one(here: Here) -> None:
    """Pipelined requests are all served, each on a connection of its own to the site."""
    cases = [numbered(GET, number) + b"\r\n" for number in range(200)]
    (answer,) = here.send([b"".join(cases)])
    assert statuses(answer) == [200] * 200
    assert forwarded(here.site.connections) == meant(cases)


@pytest.mark.parametrize(
    "data", [GET + b"X: " + b"x" * 200, b"\r\n" * 100, POST + b"Content-Length: 200\r\n\r\n" + b"x" * 200]
)
def test_a_slow_request_ends_in_time(here: Here, data: bytes) -> None:
    """Byte by byte: the time for a request counts from its beginning, however alive the client seems."""
    began_s = time.monotonic()
    answer = asyncio.run(
        exchange(here.at.listen.port, (bytes([b]) for b in data), quiet_s=QUIET_S, pause_s=REQUEST_TIMEOUT_S / 50)
    )
    assert statuses(answer) == [408], answer
    assert time.monotonic() - began_s < 200 / 50 * REQUEST_TIMEOUT_S
    assert here.site.connections == []


def clear(answer: bytes) -> None:
    """Each answer is the site's or a refusal of the gateway, with an id; or HAProxy's own to what is not HTTP."""
    codes = statuses(answer)
    assert set(codes) <= CLEAR | {200}, answer
    assert answer.count(b"\r\nx-request-id: ") + answer.count(NOT_HTTP) == len(codes), answer


def forwarded(connections: Iterable[bytes]) -> Counter[tuple[bytes, bytes, bytes]]:
    """What connections to the site brought: one plain request each, below the version's prefix."""
    found = Counter(forwarded_request(connection).meaning for connection in connections)
    for _, target, _ in found:
        path = target.partition(b"?")[0]
        assert path.startswith(b"/shop-1/"), target
        assert not {b".", b".."} & set(re.split(rb"[/\\]", path)), target
    return found


def meant(cases: Iterable[bytes]) -> Counter[tuple[bytes, bytes, bytes]]:
    """What a strict reader finds in what clients sent, as a site should get it."""
    found = (request.meaning for case in cases for request in requests_in(case)[0])
    return Counter((method, re.sub(rb"\A/shop(/|(?=[?]|\Z))", b"/shop-1/", path), body) for method, path, body in found)
