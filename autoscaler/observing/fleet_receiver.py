"""Fetches the request lines of several gateways and counts them as if they were one's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from autoscaler.observing.receiver import RequestLog
from serving.errors import HcctlError
from serving.gateway.remote import Lines

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
WAIT_S = 2.0
"""A question waits so long for a line."""
PAUSE_S = 1.0
"""After one that was not answered."""


class Source(Protocol):
    """Where the lines of one gateway come from; see `serving.gateway.remote.RemoteGateway`."""

    def lines(self, mark: str, wait_s: float) -> Lines: ...
    def close(self) -> None: ...


class FleetReceiver:
    """A thread for each gateway that is there.

    Args:
        members: names of the gateways; raises HcctlError when nobody knows.
        connect: the source of a name; each thread has its own.
        requests: what the lines are counted into.
    """

    def __init__(
        self, members: Callable[[], Iterable[str]], connect: Callable[[str], Source], requests: RequestLog
    ) -> None:
        self._list = members
        self._connect = connect
        self._requests = requests
        self._stopping = threading.Event()
        self._readers: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._thread = threading.Thread(target=self._run, name="gateways", daemon=True)

    def start(self) -> None:
        """Begin to read; gateways come and go."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stopping.set()
        self._thread.join(timeout=2 * WAIT_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(LOOK_EVERY_S)
        for _, gone in self._readers.values():
            gone.set()

    def _look(self) -> None:
        """A reader for each that has come; one whose gateway has gone ends by itself."""
        try:
            listed = set(self._list())
        except HcctlError:
            return  # who asserts routes tells it
        for name in listed - self._readers.keys():
            gone = threading.Event()
            reader = threading.Thread(target=self._read, args=(name, gone), name=f"lines-{name}", daemon=True)
            self._readers[name] = (reader, gone)
            reader.start()
        for name in self._readers.keys() - listed:
            _, gone = self._readers.pop(name)
            gone.set()

    def _read(self, name: str, gone: threading.Event) -> None:
        source, mark, away = self._connect(name), "", False
        while not gone.is_set():
            try:
                found = source.lines(mark, WAIT_S)
            except HcctlError as error:
                if not away:
                    log.warning("lines of gateway %s: %s", name, error.one_line())
                away = True
                gone.wait(PAUSE_S)
                continue
            away, mark = False, found.mark
            if found.lost:
                self._requests.lost += found.lost
                log.warning("%d request lines of gateway %s were lost", found.lost, name)
            for line in found.lines:
                self._requests.take(line)
        source.close()
