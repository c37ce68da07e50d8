"""The relief process as the supervisor runs it, started and ended by a test."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

REPOSITORY = Path(__file__).parents[2]


class RunningRelief:
    """`python -m serving.relief` on a gateway's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "serving.relief", str(self.folder)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 15
        while self.ask("/-/healthz") != 200:
            assert time.monotonic() < deadline_s, "it does not answer"
            time.sleep(0.05)

    def knows(self, service: str) -> bool:
        """Whether it has read that the service exists: it then refuses what it would else give back."""
        return self.ask("/a/b", {"X-Hcctl-Service": service, "X-Hcctl-Refuse": "low"}) == 429

    def ask(self, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> int | None:
        """Status of its answer; None if there is none."""
        connection = http.client.HTTPConnection("relief", timeout=2)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.folder / "relief.sock"))
            connection.request("GET", path, headers=dict(headers))
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=10)
            self.process = None


@contextlib.contextmanager
def running_relief(folder: Path) -> Iterator[RunningRelief]:
    """A relief process for the gateway in `folder`; ended with the block."""
    made = RunningRelief(folder)
    made.start()
    try:
        yield made
    finally:
        made.end()
