"""Agents of gateways: in a thread beside a HAProxy that the test runs, or whole as in a pod."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from serving.errors import GatewayUnreachable
from serving.gateway.agent import Agent, LineStore
from serving.gateway.keys import KeyFile
from serving.gateway.remote import NAME, Certificates, RemoteGateway
from tests.support.certificates import Authority
from tests.support.running_gateway import RunningGateway

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def served(application: web.Application, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """An aiohttp application on loopback, in a thread of its own; its port."""
    loop, started, ports = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> web.AppRunner:
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        ports.append(runner.addresses[0][1])
        started.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


@contextlib.contextmanager
def agent_of(at: RunningGateway, certificates: Certificates, lines: LineStore | None = None) -> Iterator[int]:
    """An agent for a gateway that the test starts and stops; its control port."""
    agent = Agent(at.gateway, lines or LineStore(), at.folder.parent / "ready")
    with served(agent.application(), certificates.context(server=True)) as port:
        yield port


class Pod:
    """A gateway with its agent, as the chart starts it."""

    def __init__(self, folder: Path, authority: Authority, *, sites: Path | None = None) -> None:
        folder.mkdir()
        self.folder, self.port, self.control = folder, free_port(), free_port()
        keys = KeyFile(folder / "keys.json")
        self.key = keys.create("test", at_s=time.time()).get_secret_value()
        own = authority.folder / NAME
        self.certificates = Certificates(own if own.exists() else authority.certificate(NAME))
        self._command = [
            *(sys.executable, "-m", "serving.gateway.agent"),
            f"--listen=127.0.0.1:{self.port}",
            f"--control=127.0.0.1:{self.control}",
            f"--certificate={own}",
            f"--control-certificate={own}",
            f"--keys={folder / 'keys.json'}",
            f"--folder={folder / 'run'}",
            "--drain-s=10",
            *([f"--sites-certificate={sites}"] if sites else []),
        ]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.Popen(self._command, stdout=log, stderr=log, env=environment, start_new_session=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ready(self) -> bool:
        return (self.folder / "run" / "gateway" / "ready").exists()

    def connect(self) -> RemoteGateway:
        """Its gateway, once it answers."""
        remote = RemoteGateway("127.0.0.1", self.control, self.certificates)
        deadline_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(GatewayUnreachable):
                remote.observe()
                return remote
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2_000:]
            assert time.monotonic() < deadline_s, (self.folder / "log").read_text()[-2_000:]
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 20) -> int:
        """End it; its exit code. What it leaves behind ends with it, as in a container."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
