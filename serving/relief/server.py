"""The relief process: answers without a replica, for requests that HAProxy sends it.

It answers from what is kept, or with a lighter variant; it gives back (503) what it cannot answer, and HAProxy
sends that on to a site. Answers get here with the requests that HAProxy has pass through (`fill`), and with those
that found none kept: they are asked for at the gateway, passed on, and kept. See `serving.gateway.relief`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import (
    ClientConnectionError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    UnixConnector,
    web,
)
from aiohttp.http import SERVER_SOFTWARE
from yarl import URL

from serving.errors import HcctlError
from serving.gateway.answers import PRIORITY_REFUSED, QUEUE_FULL
from serving.gateway.config import BUFFER_BYTES
from serving.gateway.relief import AGAIN_SOCKET, LONGEST_BODY_BYTES, RELIEF_SERVICES
from serving.relief.kept import LONGEST_KEPT_BYTES, Cache, Kept, Sharing, headers_to_keep, key, may_keep
from serving.relief.settings import ReliefService, read_services
from serving.relief.variant import Variant

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often it looks whether its settings have changed."""
RELIEF_HEADER = "X-Hcctl-Relief"
NOT_PASSED_ON = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"})
"""Headers of one connection (RFC 9110, 7.6.1)."""


@dataclass
class _Serving:
    """One service as it is served now."""

    settings: ReliefService
    kept: Cache
    variant: Variant


@dataclass(frozen=True)
class _Ask:
    """What HAProxy says about a request."""

    way: str
    service: str
    sharing: Sharing
    caller: str
    prefix: str
    refuse: str
    """`low`, `normal` or `full`: without a light answer it is refused. Empty: it is given back."""
    headers: list[tuple[str, str]] = field(default_factory=list)
    """The client's own."""

    @classmethod
    def of(cls, request: web.Request) -> _Ask:
        told = request.headers
        prefix = told.get("X-Hcctl-Prefix", "/")
        return cls(
            way=told.get("X-Hcctl-Way", ""),
            service=told.get("X-Hcctl-Service", ""),
            sharing="shared" if told.get("X-Hcctl-Sharing") == "shared" else "per_caller",
            caller=told.get("X-Hcctl-Caller", ""),
            prefix=prefix if prefix.startswith("/") else "/",
            refuse=told.get("X-Hcctl-Refuse", ""),
            headers=[(name, value) for name, value in told.items() if not name.lower().startswith("x-hcctl-")],
        )


class ReliefServer:
    """Answers requests. One event loop owns it.

    Args:
        folder: the gateway's folder, with settings and sockets.
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._services: dict[str, _Serving] = {}
        self._passing = Counter[str]()
        """Per service, requests that are being asked for at the gateway."""
        self._read_ns: int | None = -1
        self._gateway: ClientSession | None = None

    def application(self) -> web.Application:
        """The HTTP application: everything goes to `answer`, but for the health check."""
        made = web.Application(client_max_size=2 * LONGEST_BODY_BYTES)
        made.router.add_get("/-/healthz", self._healthy)
        made.router.add_route("*", r"/{path:[\s\S]*}", self.answer)  # a path may hold a line break, as %0A
        made.cleanup_ctx.append(self._running)
        made.on_response_prepare.append(_unsigned)
        return made

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A light answer, or 503: HAProxy sends it on; or 429 where HAProxy would have refused it."""
        ask = _Ask.of(request)
        serving = self._services.get(ask.service)
        if serving is None:
            return _given_back()
        body = await request.read()
        kept_by = key(
            ask.sharing,
            caller=ask.caller,
            method=request.method,
            target=request.raw_path,
            headers=ask.headers,
            body=body,
        )
        if ask.way != "fill":
            found = serving.kept.get(kept_by, self._clock(), serving.settings.light.max_stale_s)
            if found is not None:
                return _kept_answer(found, self._clock())
            light = None
            if request.raw_path.startswith(serving.settings.application):  # else a release is just ending
                light = await serving.variant.answer(below(request.raw_path), request.query.items(), body)
            if light is not None:
                return web.Response(body=light, content_type="application/json", headers={RELIEF_HEADER: "light"})
            if ask.refuse:
                return _refused(ask.refuse, request.headers.get("X-Request-Id", ""))
        return await self._pass_on(request, ask, serving, kept_by, body)

    async def _pass_on(
        self, request: web.Request, ask: _Ask, serving: _Serving, kept_by: bytes, body: bytes
    ) -> web.StreamResponse:
        """Ask the gateway like a client, pass its answer on, and keep it if it may be kept."""
        light = serving.settings.light
        if self._gateway is None or light.max_stale_s == 0 or self._passing[ask.service] >= light.slots // 2:
            return _given_back()
        url = URL(f"http://gateway{ask.prefix}{below(request.raw_path)[1:]}", encoded=True)
        headers = [(name, value) for name, value in ask.headers if name.lower() not in NOT_PASSED_ON]
        self._passing[ask.service] += 1
        try:
            answer = await self._gateway.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            )
            async with answer:
                kept, told = await _passed_on(request, answer, ask.sharing, self._clock)
        except ClientConnectionError as error:
            log.warning("the gateway did not answer the relief process: %s", type(error).__name__)
            return _given_back()
        finally:
            self._passing[ask.service] -= 1
        if kept is not None:
            serving.kept.put(kept_by, kept)
        return told

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        """For as long as it serves: a session with the gateway, and a look at the settings now and then."""
        self._gateway = ClientSession(
            connector=UnixConnector(path=str(self._folder / AGAIN_SOCKET), force_close=True, limit=0),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=BUFFER_BYTES,
            max_field_size=BUFFER_BYTES,
            timeout=ClientTimeout(total=None),  # the gateway bounds every request, and cancels this one's
        )
        self._read()
        following = asyncio.create_task(self._follow())
        yield
        following.cancel()
        await self._gateway.close()
        for serving in self._services.values():
            serving.variant.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self._read()

    def _read(self) -> None:
        """Take up changed settings; those that cannot be read leave the former ones in force."""
        path = self._folder / RELIEF_SERVICES
        try:
            changed_ns: int | None = path.stat().st_mtime_ns
        except FileNotFoundError:
            changed_ns = None
        if changed_ns == self._read_ns:
            return
        self._read_ns = changed_ns
        try:
            wanted = read_services(path)
        except HcctlError as error:
            log.error("the former settings stay in force: %s", error)  # noqa: TRY400 - the text says it all
            return
        for name in [name for name in self._services if name not in wanted]:
            self._services.pop(name).variant.close()
        for name, settings in wanted.items():
            self._services[name] = _taken_up(self._services.get(name), settings)


async def _passed_on(
    request: web.Request, answer: ClientResponse, sharing: Sharing, clock: Callable[[], float]
) -> tuple[Kept | None, web.StreamResponse]:
    """Give the gateway's answer to the client as it comes; what may be kept of it."""
    head = answer.headers.copy()
    for name in NOT_PASSED_ON & {name.lower() for name in head}:
        del head[name]
    # A release may have ended meanwhile: then this is the answer of another version.
    same_version = request.raw_path.startswith(head.pop("X-Hcctl-App", " "))
    keep = same_version and may_keep(sharing, answer.status, head)
    head[RELIEF_HEADER] = "pass"
    told = web.StreamResponse(status=answer.status, headers=head)
    whole = bytearray()
    await told.prepare(request)
    async for chunk in answer.content.iter_any():
        await told.write(chunk)
        keep = keep and len(whole) + len(chunk) <= LONGEST_KEPT_BYTES
        if keep:
            whole += chunk
    await told.write_eof()
    return (Kept(bytes(whole), headers_to_keep(head), clock()) if keep else None), told


def below(target: str) -> str:
    """Path and query without the application, which HAProxy has put in front: `/shop-1/a?b` is `/a?b`."""
    return f"/{target.split('/', 2)[2]}" if target.count("/") > 1 else "/"


def _taken_up(former: _Serving | None, settings: ReliefService) -> _Serving:
    """The service with changed settings; what is kept stays, and a variant that is the same as before."""
    if former is not None and former.settings == settings:
        return former
    most_bytes = settings.light.cache_mib << 20
    kept = former.kept if former and former.kept.most_bytes == most_bytes else Cache(most_bytes)
    if former and former.variant.same(settings):
        return _Serving(settings, kept, former.variant)
    if former:
        former.variant.close()
    return _Serving(settings, kept, Variant(settings))


async def _unsigned(_: web.Request, answer: web.StreamResponse) -> None:
    """Do not tell clients what this process is made of."""
    if answer.headers.get("Server") == SERVER_SOFTWARE:
        del answer.headers["Server"]


def _given_back() -> web.Response:
    """No light answer: HAProxy sends the request on."""
    return web.Response(status=503)


def _kept_answer(found: Kept, now_s: float) -> web.Response:
    age = str(max(0, round(now_s - found.at_s)))
    return web.Response(body=found.body, headers=[*found.headers, ("Age", age), (RELIEF_HEADER, f"stale;age={age}")])


def _refused(refuse: str, request_id: str) -> web.Response:
    """What HAProxy would have said; it adds Retry-After."""
    full = refuse == "full"
    error, message = QUEUE_FULL if full else PRIORITY_REFUSED
    headers = {} if full else {RELIEF_HEADER: f"shed;priority={refuse}"}
    text = json.dumps({"error": error, "message": message, "request_id": request_id}, separators=(",", ":"))
    return web.Response(status=429, text=text, content_type="application/json", headers=headers)
