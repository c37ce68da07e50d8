"""A site's ingress for gateway tests: a small HTTP server in its own process, told how to behave."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from serving.sites.site import Endpoint

_PROGRAM = Path(__file__).with_name("http_site_program.py")


class HttpSite:
    """The server's process, and how to tell it what to do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = self._start(0)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-IS", str(_PROGRAM), self.name, str(port)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def again(self) -> None:
        """Start it again where it was, after `kill`; returns when it listens."""
        self.process = self._start(self.endpoint.port)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where it listens; waits for its start."""
        assert self.process.stdout is not None
        return Endpoint("127.0.0.1", int(self.process.stdout.readline()))

    def behave(self, **how: float) -> None:
        """Set `status`, `delay_s` or `cut` (close without an answer) from now on."""
        self._ask(f"/-/behave?{urlencode(how)}")

    def seen(self) -> dict[str, Any]:
        """Requests so far: `requests`, `most_at_once`, `paths`."""
        seen: dict[str, Any] = self._ask("/-/seen")
        return seen

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process, if it still runs."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection(self.endpoint.host, self.endpoint.port, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
