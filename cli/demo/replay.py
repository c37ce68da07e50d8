"""An open-loop load generator: requests leave at their arrival times, whatever the answers do.

It never waits for an answer before the next request, and latency counts from the moment a request
should have been sent. A client that waits, or that starts its watch late, hides exactly the
requests that suffer (coordinated omission: G. Tene, "How NOT to Measure Latency", 2013).

aiohttp, because at 300 requests/s it takes a quarter of httpx's processor time; see
docs/decisions/0006-demo-workload.md. Only loopback addresses are accepted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.demo.outcome import Kind, Outcome, ReplayResult, Snapshot, classify, percentile
from serving.errors import InvalidInput

if TYPE_CHECKING:
    import aiohttp

WINDOW_S = 5.0
KEEP_ALIVE_S = 5.0
"""Shorter than the gateway's, so that no connection is closed under a request."""
SITE_HEADER = "X-Hcctl-Site"
TRACK_HEADER = "X-Hcctl-Track"
SPARE_DESCRIPTORS = 64
"""For everything of the process that is no request."""


@dataclass(frozen=True)
class Request:
    """What is sent: a POST of JSON text, or a GET without a body."""

    path: str
    body: str | None = None


@dataclass(frozen=True)
class ReplaySettings:
    """How the client behaves."""

    tick_s: float = 0.5
    """Time between two snapshots."""
    timeout_s: float = 30.0
    """A request without an answer after this time is lost."""
    max_in_flight: int = 4_000
    """More open requests are not sent but counted. Each takes a file descriptor."""


async def replay(
    url: str,
    arrivals_s: Sequence[float],
    make_request: Callable[[int], Request],
    *,
    on_tick: Callable[[Snapshot], None] | None = None,
    settings: ReplaySettings | None = None,
) -> ReplayResult:
    """Send one request at each of the sorted `arrivals_s` to `url` and wait for the last answer.

    Args:
        url: `http://127.0.0.1:PORT`, without a path.
        arrivals_s: seconds from the start, ascending.
        make_request: gives the request with this number, from 0.
        on_tick: called with a snapshot every `settings.tick_s` and at the end; must be quick. What it
            raises ends the replay and comes out in an ExceptionGroup.
        settings: how the client behaves.

    Raises:
        InvalidInput: `url` is not a plain-HTTP loopback address.
    """
    import aiohttp

    base = loopback_url(url)
    settings = settings or ReplaySettings()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        run = _Run(
            session=session,
            base=base,
            settings=settings,
            max_in_flight=allowed_in_flight(settings.max_in_flight),
            start_s=asyncio.get_running_loop().time(),
        )
        started_at_s, cpu_began_s = time.time(), time.process_time()
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(run.tick(on_tick)) if on_tick else None
            async with asyncio.TaskGroup() as requests:
                await run.send_all(arrivals_s, make_request, requests)
            if ticker:
                ticker.cancel()
        duration_s = run.now_s()
        if on_tick:
            on_tick(run.snapshot())
    ordered = sorted(run.outcomes, key=lambda outcome: outcome.intended_s)
    return ReplayResult(started_at_s, duration_s, time.process_time() - cpu_began_s, tuple(ordered))


def loopback_url(url: str) -> str:
    """`url` without a trailing slash, if it is `http://<loopback address>:<port>`.

    Names are refused as well: what they resolve to is not ours to know.

    Raises:
        InvalidInput: it is anything else.
    """
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme == "http"
            and ipaddress.ip_address(parts.hostname or "").is_loopback
            and parts.port is not None
            and not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
        )
    except ValueError:
        sound = False
    if not sound:
        raise InvalidInput(
            "load is only sent to this computer",
            where=url[:200],
            why="not http://<loopback address>:<port>",
            next_step="give the address of a local gateway, such as http://127.0.0.1:8000",
        )
    return url.rstrip("/")


def allowed_in_flight(wanted: int) -> int:
    """As many open requests as wanted, or as this process may have file descriptors for.

    Raises the soft limit of the process as far as needed and allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed - SPARE_DESCRIPTORS


@dataclass
class _Run:
    """A replay under way. Times are seconds since its start."""

    session: aiohttp.ClientSession
    base: str
    settings: ReplaySettings
    max_in_flight: int
    start_s: float
    outcomes: list[Outcome] = field(default_factory=list)
    kinds: Counter[Kind] = field(default_factory=Counter)
    sent: int = 0
    in_flight: int = 0
    recent_arrivals_s: deque[float] = field(default_factory=deque)
    recent_served: deque[tuple[float, float, str | None]] = field(default_factory=deque)
    """When it was served, its latency and its site."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() - self.start_s

    async def send_all(
        self, arrivals_s: Sequence[float], make_request: Callable[[int], Request], group: asyncio.TaskGroup
    ) -> None:
        for number, intended_s in enumerate(map(float, arrivals_s)):
            # Also when it is late already: the loop must get to read answers.
            await asyncio.sleep(max(0.0, intended_s - self.now_s()))
            self.recent_arrivals_s.append(intended_s)
            if self.in_flight >= self.max_in_flight:
                self._note(Outcome(intended_s, "unsent", None, None, None, None, None, "client limit"))
                continue
            self.in_flight += 1
            self.sent += 1
            group.create_task(self._send(intended_s, make_request(number)))

    async def tick(self, on_tick: Callable[[Snapshot], None]) -> None:
        while True:
            await asyncio.sleep(self.settings.tick_s)
            on_tick(self.snapshot())

    def snapshot(self) -> Snapshot:
        now_s = self.now_s()
        while self.recent_arrivals_s and self.recent_arrivals_s[0] < now_s - WINDOW_S:
            self.recent_arrivals_s.popleft()
        while self.recent_served and self.recent_served[0][0] < now_s - WINDOW_S:
            self.recent_served.popleft()
        latencies = sorted(latency_s for _, latency_s, _ in self.recent_served)
        return Snapshot(
            t_s=now_s,
            sent=self.sent,
            served=self.kinds["served"],
            refused=self.kinds["refused"],
            rejected=self.kinds["rejected"],
            lost=self.kinds["lost"],
            unsent=self.kinds["unsent"],
            in_flight=self.in_flight,
            rate_rps=len(self.recent_arrivals_s) / max(min(WINDOW_S, now_s), 1e-9),
            p50_s=percentile(latencies, 0.50),
            p99_s=percentile(latencies, 0.99),
            by_site=dict(Counter(site or "unknown" for _, _, site in self.recent_served)),
        )

    async def _send(self, intended_s: float, request: Request) -> None:
        import aiohttp

        late_s = self.now_s() - intended_s
        status = site = track = error = None
        kind: Kind = "lost"
        try:
            async with self.session.request(
                "GET" if request.body is None else "POST",
                self.base + request.path,
                data=request.body,
                headers={"Content-Type": "application/json"} if request.body else None,
                allow_redirects=False,
            ) as answer:
                site, track = answer.headers.get(SITE_HEADER), answer.headers.get(TRACK_HEADER)
                while await answer.content.readany():
                    pass  # The length of an answer is not ours to bound, so it is not kept.
                status = answer.status
                kind = classify(status, retry_after="Retry-After" in answer.headers)
        except TimeoutError:
            error = "timeout"
        except aiohttp.ClientConnectorError:
            error = "connect"
        except (aiohttp.ClientError, OSError):
            error = "disconnected"
        finally:
            self.in_flight -= 1
        latency_s = None if status is None else self.now_s() - intended_s
        self._note(Outcome(intended_s, kind, late_s, latency_s, status, site, track, error))

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.kinds[outcome.kind] += 1
        if outcome.kind == "served" and outcome.latency_s is not None:
            self.recent_served.append((self.now_s(), outcome.latency_s, outcome.site))
