"""The socket on which the gateway's log lines arrive.

A stream, not datagrams: Linux keeps 10 datagrams for a reader that is busy and drops the rest, most of
all under load. HAProxy keeps lines in a ring of its own, connects once per worker (two during a
reload), and connects again when the reader was away. Lost is only what was on its way to a reader that
died, or to go when a worker ended: some lines per restart or reload.
"""

from __future__ import annotations

import selectors
import socket
from pathlib import Path

READ_BYTES = 1 << 18
MOST_CONNECTIONS = 64


class LogStream:
    """Listens at `path`, for its owner only; replaces the socket file of a dead reader. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._partial: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(MOST_CONNECTIONS)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def lines(self, timeout_s: float) -> list[bytes]:
        """Lines that have arrived, without their ends; waits until there are some or the time is over."""
        found: list[bytes] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                found += self._read(key.fileobj)
        return found

    def close(self) -> None:
        """Stop listening and remove the socket file."""
        for connection in list(self._partial):
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._partial) == MOST_CONNECTIONS:
            connection.close()
            return
        self._partial[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> list[bytes]:
        try:
            received = connection.recv(READ_BYTES)
        except ConnectionError:
            received = b""
        *whole, rest = (self._partial[connection] + received).split(b"\n")
        self._partial[connection] = rest
        if not received or len(rest) > READ_BYTES:
            self._drop(connection)
        return whole

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        del self._partial[connection]
