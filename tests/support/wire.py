"""Raw HTTP/1 on both sides of the gateway: bytes sent as they are, a site that keeps the bytes it gets, and a strict
reader that says which requests a stream of bytes holds."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from serving.sites.site import Endpoint

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_START = re.compile(rb"(" + _TOKEN + rb")[ \t]+([\x21-\x7e]+)[ \t]+HTTP/1\.([01])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\0\r\n]*?)[ \t]*")
_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


@dataclass(frozen=True)
class Request:
    """What one request asks for."""

    method: bytes
    target: bytes
    """As it stood there."""
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Names in lower case."""
    version: bytes = b"1"
    """Behind the dot."""

    @property
    def last(self) -> bool:
        """Whether nothing more is read on its connection."""
        options = {option.strip().lower() for value in self.values(b"connection") for option in value.split(b",")}
        return b"close" in options or (self.version == b"0" and b"keep-alive" not in options)

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header."""
        return [value for found, value in self.headers if found == name]

    @property
    def meaning(self) -> tuple[bytes, bytes, bytes]:
        """Method, path with query, and body: without the form of the target and its escapes."""
        return self.method, unquote_to_bytes(_ORIGIN.sub(b"", self.target, count=1)), self.body


def requests_in(data: bytes) -> tuple[list[Request], bytes]:
    """The requests of a stream up to the first doubt (RFC 9112) or close, and the bytes from there on.

    Taken as the standard allows a receiver: a bare line feed, other blanks between words, a folded line,
    other control characters in a value, a length given twice alike.
    A body without Content-Length is a doubt: the gateway takes no chunks.
    """
    found: list[Request] = []
    while not (found and found[-1].last) and (one := _first(data)) is not None:
        request, data = one
        found.append(request)
    return found, data


def _first(data: bytes) -> tuple[Request, bytes] | None:
    head, end, rest = _cut(re.sub(rb"\A(?:\r?\n)+", b"", data))
    first, *lines = re.split(rb"\r?\n", re.sub(rb"\r?\n[ \t]+", b" ", head))
    start, fields = _START.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
    if not end or start is None or None in fields:
        return None
    headers = tuple((field[1].lower(), field[2]) for field in fields if field)
    names = [name for name, _ in headers]
    lengths = [length.strip() for name, value in headers if name == b"content-length" for length in value.split(b",")]
    if b"transfer-encoding" in names or not all(re.fullmatch(rb"[0-9]{1,18}", length) for length in lengths):
        return None
    sizes = {int(length) for length in lengths} or {0}
    if len(sizes) > 1:
        return None
    size = sizes.pop()
    if len(rest) < size:
        return None
    return Request(start[1], start[2], rest[:size], headers, start[3]), rest[size:]


def _cut(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, the empty line at its end (empty if there is none), and what follows."""
    end = re.search(rb"\r?\n\r?\n", data)
    return (data[: end.start()], end[0], data[end.end() :]) if end else (data, b"", b"")


def forwarded_request(connection: bytes) -> Request:
    """The one plain request on a connection that the gateway made; AssertionError if it is anything else."""
    (request,), rest = requests_in(connection)
    assert rest == b"", f"bytes behind a request: {connection!r}"
    head, _, _ = connection.partition(b"\r\n\r\n")
    assert not re.search(rb"[^\r]\n|\r[^\n]|\n[ \t]", head), f"lines that end otherwise: {connection!r}"
    assert len(request.values(b"content-length")) <= 1, f"a second length: {connection!r}"
    assert len(request.values(b"host")) <= 1, f"a second host: {connection!r}"
    assert not request.values(b"upgrade"), f"another protocol: {connection!r}"
    assert request.target.startswith(b"/"), f"no path: {connection!r}"
    return request


def statuses(answer: bytes) -> list[int]:
    """Status codes of the final answers in what came back on a connection."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([2-5][0-9]{2}) ", answer)]


async def exchange(port: int, pieces: Iterable[bytes], *, quiet_s: float, pause_s: float = 0.0) -> bytes:
    """Send pieces as they are; all that comes back until the other side closes or was silent for `quiet_s`."""
    loop, answer = asyncio.get_running_loop(), b""
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        sending = asyncio.create_task(_send(client, pieces, pause_s))
        with contextlib.suppress(ConnectionError, TimeoutError):
            while received := await asyncio.wait_for(loop.sock_recv(client, 65_536), quiet_s):
                answer += received
        sending.cancel()
        await asyncio.wait([sending])
    return answer


async def _send(client: socket.socket, pieces: Iterable[bytes], pause_s: float) -> None:
    with contextlib.suppress(ConnectionError):  # refused early, and the refusal is what matters
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(client, piece)
            await asyncio.sleep(pause_s)


class WireSite:
    """A site's ingress that answers each request with 200 and keeps all bytes of each connection."""

    def __init__(self) -> None:
        self.connections: list[bytes] = []
        """What each of them brought, complete when the other side has closed it; without health checks."""
        site = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                site._talk(self.request)

        self._server = _Server(("127.0.0.1", 0), Connection)
        self.endpoint = Endpoint("127.0.0.1", self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        received, answered = b"", False
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65_536):
                received += chunk
                if not answered and requests_in(received)[0]:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    answered = True
        if received and not received.startswith(b"GET /-/healthz "):
            self.connections.append(received)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024
