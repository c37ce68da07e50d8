"""A gateway in a pod of its own: HAProxy, and an agent through which the daemon tells it what to do.

`python -m serving.gateway.agent` runs HAProxy as its child and serves, by mutual TLS only:

    PUT /routes         assert routes                      GET /observation    what HAProxy says
    GET /lines?after=   log lines after a mark, kept until their arrival is acknowledged by the next question

If HAProxy ends, the agent ends, and the pod's container is started again. On SIGTERM HAProxy finishes its requests
while the agent goes on answering. The file `ready` is there once routes have been asserted: nobody should come before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from serving.errors import GatewayUnreachable, HcctlError
from serving.gateway.gateway import Gateway, GatewayObservation
from serving.gateway.haproxy import HaproxyGateway, ListenSettings
from serving.gateway.logstream import LogStream
from serving.gateway.remote import OBSERVATION, ROUTES, Certificates
from serving.logs import log_as_json
from serving.metrics.server import Address
from serving.paths import private_dir

log = logging.getLogger(__name__)

MOST_KEPT_BYTES = 16 << 20
"""Log lines that nobody has fetched: some 150,000. Beyond that the oldest are lost, and their number is told."""
MOST_LINES = 20_000
"""Of one answer."""
LONGEST_WAIT_S = 5.0
LONGEST_ROUTES_BYTES = 32 << 20
READY = "ready"


class LineStore:
    """Log lines by number, until they have arrived. Thread-safe."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(4)
        """Marks of a former agent say nothing here."""
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._first = 0
        """Number of the oldest line that is kept."""
        self._bytes = 0

    def add(self, lines: list[bytes]) -> None:
        """Keep lines; the oldest go when there are too many."""
        with self._lock:
            self._lines.extend(lines)
            self._bytes += sum(map(len, lines))
            while self._bytes > MOST_KEPT_BYTES:
                self._drop()

    def after(self, mark: str) -> tuple[list[bytes], str, int]:
        """Lines after a mark, the mark of their end, and how many were lost before them; what is before has arrived."""
        epoch, _, number = mark.partition(":")
        with self._lock:
            wanted = int(number) if epoch == self._epoch and number.isdigit() and len(number) < 20 else None
            lost = 0 if wanted is None else max(0, self._first - wanted)
            while self._lines and wanted is not None and self._first < wanted:
                self._drop()
            found = [self._lines[index] for index in range(min(MOST_LINES, len(self._lines)))]
            return found, f"{self._epoch}:{self._first + len(found)}", lost

    def _drop(self) -> None:
        self._bytes -= len(self._lines.popleft())
        self._first += 1


class Agent:
    """The HTTP side. One event loop owns it.

    Args:
        gateway: HAProxy in this pod.
        lines: its log.
        ready: made when routes have been asserted.
    """

    def __init__(self, gateway: Gateway, lines: LineStore, ready: Path) -> None:
        self._gateway = gateway
        self._lines = lines
        self._ready = ready
        self.leaving = False
        self._seen: GatewayObservation | None = None

    def application(self) -> web.Application:
        """Three paths."""
        made = web.Application(client_max_size=LONGEST_ROUTES_BYTES)
        made.router.add_put("/routes", self._routes)
        made.router.add_get("/observation", self._observation)
        made.router.add_get("/lines", self._lines_after)
        return made

    async def _routes(self, request: web.Request) -> web.Response:
        if self.leaving:
            return web.Response(status=503, text="it is leaving")
        try:
            routes = ROUTES.validate_json(await request.read())
        except ValidationError as error:
            return web.Response(status=422, text=f"routes of another form: {error.errors()[0]['msg'][:200]}")
        try:
            await asyncio.to_thread(self._gateway.assert_routes, routes)
        except GatewayUnreachable as error:
            return web.Response(status=503, text=error.one_line())
        except HcctlError as error:
            return web.Response(status=422, text=error.one_line())
        self._ready.touch()
        return web.Response()

    async def _observation(self, _: web.Request) -> web.Response:
        try:
            self._seen = await asyncio.to_thread(self._gateway.observe)
        except GatewayUnreachable as error:
            # One that finishes its requests no longer answers: it holds at most what it held last.
            if not self.leaving or self._seen is None:
                return web.Response(status=503, text=error.one_line())
        told = OBSERVATION.dump_json(replace(self._seen, leaving=self.leaving))
        return web.Response(body=told, content_type="application/json")

    async def _lines_after(self, request: web.Request) -> web.Response:
        try:
            wait_s = min(LONGEST_WAIT_S, max(0.0, float(request.query.get("wait_s", "0"))))
        except ValueError:
            return web.Response(status=400, text="wait_s is no number")
        deadline_s = time.monotonic() + wait_s
        mark = request.query.get("after", "")
        found, end, lost = self._lines.after(mark)
        while not found and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
            found, end, lost = self._lines.after(mark)
        body = b"".join(line + b"\n" for line in found)
        return web.Response(body=body, headers={"X-Mark": end, "X-Lost": str(lost)})


def run(
    gateway: HaproxyGateway, listen: ListenSettings, control: Address, certificates: Certificates, *, drain_s: float
) -> int:
    """Run HAProxy and serve its agent until SIGTERM or until HAProxy ends; the exit code."""
    ready = listen.gateway_dir / READY
    ready.unlink(missing_ok=True)
    lines, stopping = LineStore(), threading.Event()
    gateway.prepare()
    reader = threading.Thread(target=_read, args=(listen.log_socket, lines, stopping), name="lines", daemon=True)
    reader.start()
    haproxy = subprocess.Popen(gateway.command())
    agent = Agent(gateway, lines, ready)
    try:
        return asyncio.run(_serve(agent, haproxy, control, certificates, drain_s))
    finally:
        if haproxy.poll() is None:
            haproxy.kill()
            haproxy.wait()
        stopping.set()
        reader.join(timeout=2)


async def _serve(
    agent: Agent, haproxy: subprocess.Popen[bytes], control: Address, certificates: Certificates, drain_s: float
) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(agent.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, control.host, control.port, ssl_context=certificates.context(server=True)).start()
    log.info("gateway started")
    try:
        if not await _until(lambda: stop.is_set() or haproxy.poll() is not None, None) or not stop.is_set():
            log.error("HAProxy ended with code %s", haproxy.returncode)
            return 1
        agent.leaving = True
        haproxy.send_signal(signal.SIGUSR1)
        if not await _until(lambda: haproxy.poll() is not None, drain_s):
            log.warning("HAProxy has not finished its requests within %g s", drain_s)
        await asyncio.sleep(1.0)  # for who fetches the last lines
        return 0
    finally:
        await runner.cleanup()


async def _until(true: Callable[[], bool], within_s: float | None) -> bool:
    deadline_s = None if within_s is None else time.monotonic() + within_s
    while not true():
        if deadline_s is not None and time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(0.05)
    return True


def _read(path: Path, lines: LineStore, stopping: threading.Event) -> None:
    stream = LogStream(path)
    while not stopping.is_set():
        lines.add(stream.lines(timeout_s=0.2))
    stream.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m serving.gateway.agent", description="A gateway in a pod.")
    parser.add_argument("--listen", required=True, help="HOST:PORT for requests")
    parser.add_argument("--control", required=True, help="HOST:PORT for the daemon")
    parser.add_argument("--certificate", required=True, type=Path, help="folder with tls.crt and tls.key")
    parser.add_argument(
        "--control-certificate", required=True, type=Path, help="the same with ca.crt, of daemon and gateways"
    )
    parser.add_argument("--sites-certificate", type=Path, help="the same with ca.crt, of gateways and sites")
    parser.add_argument("--keys", required=True, type=Path, help="API keys")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/hcctl"), help="for files and sockets")  # noqa: S108 - 0700
    parser.add_argument("--drain-s", type=float, default=60.0, help="longest time to finish requests")
    told = parser.parse_args()
    log_as_json()
    try:
        listen, control = Address.parse(told.listen), Address.parse(told.control)
        private_dir(told.folder)
        settings = ListenSettings(
            host=listen.host,
            port=listen.port,
            gateway_dir=told.folder / "gateway",
            log_socket=told.folder / "requests.sock",
            tls_certificate=_one_file(told.certificate, told.folder / "endpoint.pem"),
            require_api_key=True,
            keys_file=told.keys,
            sites_tls=told.sites_certificate,
        )
        private_dir(settings.gateway_dir)
        code = run(
            HaproxyGateway(settings), settings, control, Certificates(told.control_certificate), drain_s=told.drain_s
        )
    except HcctlError as error:
        log.error("%s", error)  # noqa: TRY400 - its text says it all
        code = error.exit_code
    sys.exit(code)


def _one_file(folder: Path, target: Path) -> Path:
    """Certificate and key in one file for its owner only, as HAProxy reads them."""
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    content = (folder / "tls.crt").read_bytes() + (folder / "tls.key").read_bytes()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return target


if __name__ == "__main__":
    main()
