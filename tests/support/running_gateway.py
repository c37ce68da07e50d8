"""A real HAProxy started and stopped by a test, and short ways to say what it should do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from serving.errors import GatewayUnreachable
from serving.gateway.config import ListenSettings
from serving.gateway.gateway import RequestRecord, ServerObservation
from serving.gateway.haproxy import HaproxyGateway
from serving.gateway.logline import parse
from serving.gateway.routes import ServerRoute, ServiceRoutes, Track, TrackRoute
from serving.sites.site import Endpoint
from serving.spec import HybridService
from tests.support.http_site import HttpSite


def service(name: str = "shop", sites: tuple[str, ...] = ("private", "cloud"), **routing: Any) -> HybridService:
    """A declared service; `routing` overrides fields of its routing."""
    rules = [{"path": "/"}, {"path": "/again", "idempotent": True}, {"path": "/later", "priority": "low"}]
    return HybridService.model_validate(
        {
            "kind": "HybridService",
            "name": name,
            "model": {"import_path": "model:Model"},
            "slo": {"latency_p99_s": 0.5},
            "sites": {site: {"max_replicas": 4} for site in sites},
            "routing": {"prefix": f"/{name}", "rules": rules, **routing},
        }
    )


def track(path: str, **servers: tuple[Endpoint | HttpSite | None, int]) -> TrackRoute:
    """A track from site=(where, limit), in the order in which the sites are filled."""
    return TrackRoute(
        path,
        tuple(
            ServerRoute(site, where.endpoint if isinstance(where, HttpSite) else where, limit)
            for site, (where, limit) in servers.items()
        ),
    )


def empty(route: TrackRoute) -> TrackRoute:
    """The same sites with no version on them."""
    return TrackRoute("/", tuple(replace(server, limit=0) for server in route.servers))


def routes(spec: HybridService, stable: TrackRoute, candidate: TrackRoute | None = None, share: float = 0.0):
    """Routes of one service; the candidate is empty unless given."""
    return ServiceRoutes(spec, stable, candidate or empty(stable), share)


class RunningGateway:
    """HAProxy as the supervisor runs it, with a reader of its log lines."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "gateway"
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(folder / "requests.sock"))
        self._log.settimeout(0.1)
        self.lines: list[bytes] = []
        self.listen = ListenSettings(
            host="127.0.0.1",
            port=_free_port(),
            gateway_dir=self.folder,
            log_socket=folder / "requests.sock",
            **{"eject_s": 1.0, **settings},
        )
        self.gateway = HaproxyGateway(self.listen)
        self.process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        scheme = "https" if self.listen.tls_certificate else "http"
        return f"{scheme}://127.0.0.1:{self.listen.port}"

    @property
    def records(self) -> list[RequestRecord]:
        return [parse(line) for line in self.lines]

    def start(self) -> float:
        """Start and wait until it answers; returns the seconds that took."""
        began = time.monotonic()
        self.gateway.prepare()
        self.process = subprocess.Popen(self.gateway.command(), stderr=subprocess.DEVNULL)
        self.until(self._answers, within_s=5)
        return time.monotonic() - began

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to HAProxy's master, if it runs, and wait for its end."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=20)
            self.process = None

    def close(self) -> None:
        """Stop it and its log reader."""
        self.stop()
        self._stopping.set()
        self._reader.join()
        self._log.close()

    def server(self, site: str, track: Track = "stable") -> ServerObservation:
        """What it says about one server of the service `shop`."""
        return next(s for s in self.gateway.observe().servers if (s.service, s.track, s.site) == ("shop", track, site))

    def until(self, true: Callable[[], bool], within_s: float) -> float:
        """Wait until something holds; returns the seconds that took."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < within_s, "it did not become true in time"
            time.sleep(0.01)
        return time.monotonic() - began

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None
        with contextlib.suppress(GatewayUnreachable):
            self.gateway.observe()
            return True
        return False

    def _read(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                self.lines.append(self._log.recv(4096))


@contextlib.contextmanager
def load(url: str, *, clients: int, method: str = "GET", body: bytes = b"") -> Iterator[list[httpx.Response | str]]:
    """Clients that send one request after the other until the block ends; answers, or errors as text."""
    answers: list[httpx.Response | str] = []
    stopping = threading.Event()

    async def client() -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            while not stopping.is_set():
                try:
                    answers.append(await http.request(method, url, content=body))
                except httpx.HTTPError as error:
                    answers.append(repr(error))

    async def run() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
