"""The load generator against a real server on loopback: open loop, honest counts, own process."""

import asyncio
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psutil
import pytest
from aiohttp import web

from cli.demo.outcome import Snapshot
from cli.demo.replay import ReplaySettings, Request, allowed_in_flight, loopback_url, replay
from cli.demo.replay_process import replay_in_process
from serving.errors import HcctlError, InvalidInput

POST = Request("/fast", '{"user_id":"1"}')

TOGETHER = 60
"""Requests that `/together` answers all at once."""


class Server:
    """Answers by path and counts what it sees."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self.most_at_once = 0
        self._now = 0
        self._together = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await self._answer(request)
        finally:
            self._now -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen[f"{request.method} {request.path}"] += 1
        self.bodies[await request.text()] += 1
        match request.path:
            case "/slow":
                await asyncio.sleep(0.5)
            case "/together":
                if self._now == TOGETHER:
                    self._together.set()
                await self._together.wait()
            case "/never":
                await asyncio.sleep(30)
            case "/drop":
                assert request.transport is not None
                request.transport.close()
            case "/refuse":
                return web.Response(status=503, headers={"Retry-After": "2"})
            case "/fail":
                return web.Response(status=500)
            case "/move":
                return web.Response(status=302, headers={"Location": "http://192.0.2.1/"})
        return web.json_response({"items": []}, headers={"X-Hcctl-Site": "cloud", "X-Hcctl-Track": "stable"})


def children() -> set[psutil.Process]:
    """Running children of this process; other tests may have left dead ones that wait to be collected."""
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def always(request: Request) -> Callable[[int], Request]:
    return lambda number: request


def even(count: int, rate_rps: float) -> list[float]:
    return [index / rate_rps for index in range(count)]


def test_every_request_is_sent_once_and_attributed() -> None:
    """Each arrival is one request with its own body; the answer tells site and track."""

    async def run() -> None:
        async with serving() as server:
            result = await replay(server.url, even(50, 200), lambda n: Request("/fast", f'{{"n":{n}}}'))
        assert server.seen == {"POST /fast": 50}
        assert server.bodies == {f'{{"n":{n}}}': 1 for n in range(50)}
        assert result.served_by_site() == {"cloud": 50}
        assert {outcome.track for outcome in result.outcomes} == {"stable"}
        assert [outcome.intended_s for outcome in result.outcomes] == even(50, 200)
        assert result.started_at_s == pytest.approx(time.time(), abs=30)

    asyncio.run(run())


def test_it_never_waits_for_answers() -> None:
    """Where the first answer comes only once the last request is there, all are sent and answered: the loop is open."""

    async def run() -> None:
        async with serving() as server:
            result = await replay(server.url, even(TOGETHER, 200), always(Request("/together", "{}")))
        assert server.most_at_once == TOGETHER
        assert result.count("served") == TOGETHER
        assert max(outcome.latency_s or 0.0 for outcome in result.outcomes) >= (TOGETHER - 1) / 200

    asyncio.run(run())


def test_a_late_client_counts_its_own_delay() -> None:
    """When the client itself is held up, latency still starts at the intended time."""

    async def run() -> None:
        async with serving() as server:
            held = iter([True])

            def blocking(number: int) -> Request:
                if number == 0 and next(held):
                    time.sleep(0.4)
                return POST

            result = await replay(server.url, even(20, 100), blocking)
        late = [outcome for outcome in result.outcomes if outcome.late_s is not None and outcome.late_s > 0.15]
        assert len(late) >= 10
        assert all(o.latency_s is not None and o.late_s is not None and o.latency_s >= o.late_s for o in late)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "kind", "status", "error"),
    [
        ("/refuse", "refused", 503, None),
        ("/fail", "lost", 500, None),
        ("/drop", "lost", None, "disconnected"),
        ("/never", "lost", None, "timeout"),
        ("/move", "rejected", 302, None),
        ("/a/b", "rejected", 404, None),
    ],
)
def test_what_became_of_a_request_is_told(path: str, kind: str, status: int | None, error: str | None) -> None:
    """Refusals, errors, silence and closed connections are told apart; a redirect is not followed."""

    async def run() -> None:
        async with serving() as server:
            settings = ReplaySettings(timeout_s=0.3)
            result = await replay(server.url, [0.0], always(Request(path, "{}")), settings=settings)
        (outcome,) = result.outcomes
        assert (outcome.kind, outcome.status, outcome.error) == (kind, status, error)
        assert (outcome.latency_s is None) == (status is None)

    asyncio.run(run())


def test_no_server_is_a_lost_request() -> None:
    """A refused connection is counted, not raised."""

    async def run() -> None:
        async with serving() as server:
            url = server.url
        result = await replay(url, even(3, 100), always(POST))
        assert result.errors() == {"connect": 3}

    asyncio.run(run())


def test_what_the_client_could_not_send_is_counted_apart() -> None:
    """Beyond the bound on open requests nothing is sent and nothing is hidden."""

    async def run() -> None:
        async with serving() as server:
            settings = ReplaySettings(max_in_flight=10)
            result = await replay(server.url, even(30, 300), always(Request("/slow", "{}")), settings=settings)
        assert server.most_at_once == 10
        assert (result.count("served"), result.count("unsent")) == (10, 20)
        assert result.errors() == {"client limit": 20}

    asyncio.run(run())


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may() -> None:
    """The usual soft limit does not bound the replay; the hard one does, and is kept."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, before[1]))
        assert allowed_in_flight(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, before[1])
        assert allowed_in_flight(900) == 900
        assert 900 < resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1_100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_hard_limit_bounds_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be opened is not promised."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1_024))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    assert allowed_in_flight(4_000) < 1_024
    assert asked == [(1_024, 1_024)]


def test_snapshots_follow_the_replay() -> None:
    """Ticks come while it runs and once at its end, and the counts only grow to the final ones."""

    async def run() -> None:
        seen: list[Snapshot] = []
        async with serving() as server:
            settings = ReplaySettings(tick_s=0.1)
            result = await replay(server.url, even(80, 100), always(POST), on_tick=seen.append, settings=settings)
        assert len(seen) >= 5
        assert [snapshot.sent for snapshot in seen] == sorted(snapshot.sent for snapshot in seen)
        last = seen[-1]
        assert (last.sent, last.served, last.in_flight) == (80, result.count("served"), 0)
        assert last.by_site == {"cloud": 80}
        assert last.p99_s is not None
        assert last.rate_rps == pytest.approx(100, rel=0.3)

    asyncio.run(run())


def test_a_failing_view_ends_the_replay() -> None:
    """An error of the caller's view comes out; no request is left running."""

    def broken(snapshot: Snapshot) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        async with serving() as server:
            settings = ReplaySettings(tick_s=0.05)
            with pytest.raises(ExceptionGroup) as caught:
                await replay(server.url, even(500, 100), always(POST), on_tick=broken, settings=settings)
            assert caught.group_contains(ZeroDivisionError)
            assert server.seen.total() < 100

    asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1:80",
        "http://example.com:80",
        "http://localhost:80",
        "http://127.0.0.1",
        "https://127.0.0.1:80",
        "http://127.0.0.1:80/path",
        "http://127.0.0.1:80?x=1",
        "http://user@127.0.0.1:80",
        "http://127.0.0.1.example.com:80",
        "http://127.0.0.1:99999",
        "http://[::1",
        "file:///etc/passwd",
        "",
    ],
)
def test_load_goes_to_loopback_only(url: str) -> None:
    """Other addresses, names, schemes and paths are refused before anything is sent."""
    with pytest.raises(InvalidInput, match="only sent to this computer"):
        asyncio.run(replay(url, [0.0], always(POST)))


@pytest.mark.parametrize("url", ["http://127.0.0.1:80", "http://127.9.9.9:80/", "http://[::1]:80"])
def test_every_loopback_address_will_do(url: str) -> None:
    """All of 127/8 and ::1 are this computer; a trailing slash is no path."""
    assert loopback_url(url) == url.rstrip("/")


def test_a_child_process_does_the_same_at_300_requests_per_second() -> None:
    """Its outcomes and snapshots come back whole, and it takes less than half a core."""

    async def run() -> None:
        seen: list[Snapshot] = []
        requests = [Request("/fast", f'{{"n":{n}}}') for n in range(3)]
        async with serving() as server:
            result = await replay_in_process(server.url, even(900, 300), requests, on_tick=seen.append)
        assert result.count("served") == 900
        assert server.bodies == {f'{{"n":{n}}}': 300 for n in range(3)}
        assert result.cpu_s / result.duration_s < 0.5
        assert len(seen) >= 4
        assert seen[-1].sent == 900

    asyncio.run(run())


def test_the_child_ends_with_the_call() -> None:
    """When the caller is cancelled in the middle, no process is left."""

    before = children()

    async def run() -> None:
        async with serving() as server:
            started = asyncio.Event()
            call = asyncio.create_task(
                replay_in_process(server.url, even(10_000, 100), [POST], on_tick=lambda _: started.set())
            )
            await asyncio.wait_for(started.wait(), 20)
            assert children() - before
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert children() == before

    asyncio.run(run())


def test_a_child_that_dies_is_an_error() -> None:
    """A killed load generator is reported; no result is made up."""

    before = children()

    def kill(snapshot: Snapshot) -> None:
        for child in children() - before:
            child.kill()

    async def run() -> None:
        async with serving() as server:
            with pytest.raises(HcctlError, match="load generator died"):
                await replay_in_process(server.url, even(1_000, 100), [POST], on_tick=kill)

    asyncio.run(run())


def test_an_error_of_the_view_ends_the_child() -> None:
    """What the caller's view raises comes out as it is, and no process is left."""

    def broken(snapshot: Snapshot) -> None:
        raise ZeroDivisionError

    before = children()

    async def run() -> None:
        async with serving() as server:
            with pytest.raises(ZeroDivisionError):
                await replay_in_process(server.url, even(1_000, 100), [POST], on_tick=broken)
        assert children() == before

    asyncio.run(run())
