"""Steady load on one address: workers that each send the next request when the last is answered."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from dataclasses import dataclass

from serving.sites.site import Endpoint


@dataclass(frozen=True)
class Reply:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    body: bytes


def fetch(
    endpoint: Endpoint,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout_s: float = 20.0,
) -> Reply:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, response.read())
    finally:
        connection.close()


class Load:
    """A context in which `workers` keep asking for `path`; afterwards `outcomes` counts what came back."""

    def __init__(self, endpoint: Endpoint, path: str, *, workers: int = 8, timeout_s: float = 20.0) -> None:
        self.outcomes: Counter[str] = Counter()
        """Requests by status, or by the name of the error that took the answer's place."""
        self._endpoint, self._path, self._timeout_s = endpoint, path, timeout_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    @property
    def answered(self) -> int:
        """Requests answered 200."""
        return self.outcomes["200"]

    @property
    def lost(self) -> int:
        """Requests that got anything else."""
        return self.outcomes.total() - self.answered

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout_s + 1)
        assert not any(thread.is_alive() for thread in self._threads), "a client did not end"
        assert self.outcomes, "no request was sent: nothing is proved"

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port, timeout=self._timeout_s)
        while not self._stop.is_set():
            try:
                connection.request("GET", self._path)
                response = connection.getresponse()
                response.read()
                outcome = str(response.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                outcome = type(error).__name__
            with self._lock:
                self.outcomes[outcome] += 1
        connection.close()
