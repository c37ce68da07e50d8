"""A real HAProxy started and stopped by a test, with sites behind it and clients in front."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.errors import GatewayUnreachable
from serving.gateway.admin import AdminSocket
from serving.gateway.config import ListenSettings
from serving.gateway.gateway import RequestRecord, ServerObservation
from serving.gateway.haproxy import HaproxyGateway
from serving.gateway.logline import parse
from serving.gateway.logstream import LogStream
from serving.gateway.routes import Track, TrackRoute
from tests.support.gateway_routes import routes, service, track
from tests.support.http_site import HttpSite


class RunningGateway:
    """HAProxy as the supervisor runs it, with a reader of its log lines."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "gateway"
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
        self._listen_to_log()

    @property
    def url(self) -> str:
        scheme = "https" if self.listen.tls_certificate else "http"
        return f"{scheme}://127.0.0.1:{self.listen.port}"

    @property
    def records(self) -> list[RequestRecord]:
        return [parse(line) for line in self.lines if not line.startswith(b"Proxy ")]

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
        self._leave_log()

    def worker(self) -> str:
        """Process id of the worker that answers now."""
        info = AdminSocket(self.folder / "admin.sock").ask("show info")
        return next(line for line in info.splitlines() if line.startswith("Pid:"))

    def finished(self, count: int) -> list[RequestRecord]:
        """The records of this many finished requests."""
        self.until(lambda: len(self.records) >= count, within_s=2)
        assert len(self.records) == count
        return self.records

    def server(self, site: str, track: Track = "stable") -> ServerObservation:
        """What it says about one server of the service `shop`."""
        return next(s for s in self.gateway.observe().servers if (s.service, s.track, s.site) == ("shop", track, site))

    def held(self) -> int:
        """Requests that it has sent or keeps waiting."""
        observed = self.gateway.observe()
        return sum(server.in_use for server in observed.servers) + sum(observed.queued.values())

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

    @contextlib.contextmanager
    def reader_away(self) -> Iterator[None]:
        """As if the daemon were dead: nobody reads the log, and its socket is gone."""
        self._leave_log()
        yield
        self._listen_to_log()

    def _listen_to_log(self) -> None:
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(LogStream(self.listen.log_socket),), daemon=True)
        self._reader.start()

    def _leave_log(self) -> None:
        self._stopping.set()
        self._reader.join()

    def _read(self, stream: LogStream) -> None:
        while not self._stopping.is_set():
            self.lines += stream.lines(timeout_s=0.02)
        stream.close()


@dataclass
class World:
    """A running gateway with two sites for the service `shop`."""

    at: RunningGateway
    private: HttpSite
    cloud: HttpSite
    http: httpx.Client

    def stable(self, private: int, cloud: int, path: str = "/shop-1") -> TrackRoute:
        """A track with these limits."""
        return track(path, private=(self.private, private), cloud=(self.cloud, cloud))

    def route(self, private: int, cloud: int, **routing: Any) -> None:
        """Send the service's requests to its stable track with these limits."""
        self.at.gateway.assert_routes((routes(service(**routing), self.stable(private, cloud)),))

    def get(self, path: str = "/shop/x", **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        return self.send("GET", path, **options)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        return self.http.request(method, self.at.url + path, **options)

    def twice_on_one_connection(self, path: str) -> None:
        """Two requests, the second one after the answer to the first."""
        with httpx.Client(trust_env=False, verify=False) as http:
            for _ in range(2):
                http.get(self.at.url + path)

    def together(self, count: int, path: str = "/shop/x") -> list[httpx.Response]:
        """Requests sent at the same time."""

        async def run() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=20, trust_env=False, verify=False, limits=httpx.Limits()) as http:
                return await asyncio.gather(*(http.get(self.at.url + path) for _ in range(count)))

        return asyncio.run(run())


@contextlib.contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    """Start a gateway and two sites; stop them at the end."""
    with contextlib.ExitStack() as stack:
        sites = [HttpSite(name) for name in ("private", "cloud")]
        for site in sites:
            stack.callback(site.stop)
        at = RunningGateway(folder, **settings)
        stack.callback(at.close)
        at.start()
        single = httpx.Limits(max_keepalive_connections=0)
        # The certificate of the TLS tests is made by the test: nothing to verify it against.
        http = stack.enter_context(httpx.Client(trust_env=False, timeout=20, limits=single, verify=False))
        yield World(at, *sites, http)


def sites_of(answers: Iterable[httpx.Response]) -> Counter[str]:
    """How many answers each site gave."""
    return Counter(answer.headers.get("X-Hcctl-Site", "") for answer in answers)


def failures(answers: Iterable[httpx.Response | str]) -> list[httpx.Response | str]:
    """What is not a 200."""
    return [answer for answer in answers if isinstance(answer, str) or answer.status_code != 200]


@contextlib.contextmanager
def load(
    url: str, *, clients: int, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Iterator[list[httpx.Response | str]]:
    """Clients that send one request after the other until the block ends; answers, or errors as text."""
    answers: list[httpx.Response | str] = []
    stopping = threading.Event()

    async def client() -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False, verify=False) as http:
            while not stopping.is_set():
                try:
                    answers.append(await http.request(method, url, content=body, headers=headers))
                except httpx.HTTPError as error:
                    answers.append(repr(error))

    async def run() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: asyncio.run(run()))
        try:
            yield answers
        finally:
            stopping.set()
            running.result()
    assert answers, "no request was sent: nothing is proved"


def new_certificate(path: Path) -> Path:
    """A self-signed certificate with its key, in one PEM file."""
    key = path.with_suffix(".key")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    rest = ["-keyout", key, "-out", path, "-days", "1", "-subj", "/CN=localhost"]
    rest += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *rest], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
