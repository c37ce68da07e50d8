"""`/metrics` and `/healthz` of one process, on one address, read-only.

Off unless asked for. There is nothing secret in it but names and counts, and nobody is asked for a key; so it
belongs on loopback, or in a cluster behind a NetworkPolicy. A browser that was lured here under another name is
refused, as at the gateway.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, make_server

from serving.errors import HcctlError, InvalidInput

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 5.0
"""For a client to send its request and take the answer."""


class Source(Protocol):
    """What a process tells of itself. Called from the server's threads."""

    def families(self) -> Iterable[Family]: ...
    def trouble(self) -> str:
        """Why the process does not do its work; empty when it does."""
        ...


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`; an IPv6 address stands in brackets.

        Raises:
            InvalidInput: it is in another form; the host must be one address, not a name and not all of them.
        """
        host, _, port = text.rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            number = int(port)
            if not 0 <= number < 65_536 or not port.isascii() or address.is_unspecified:
                raise ValueError(text)
        except ValueError:
            raise InvalidInput(
                "this is no address to listen on",
                where="--metrics",
                why=f"{text[:80]!r} is not HOST:PORT with one IP address of this machine",
                next_step="write, for example, --metrics 127.0.0.1:9464",
            ) from None
        return cls(str(address), number)


class MetricsServer:
    """Serves a source from threads of its own until `close`.

    Raises:
        HcctlError: the address cannot be listened on.
    """

    def __init__(self, address: Address, source: Source) -> None:
        from prometheus_client import make_wsgi_app
        from prometheus_client.exposition import ThreadingWSGIServer
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(source.families))
        server: type[ThreadingWSGIServer] = ThreadingWSGIServer
        if ":" in address.host:
            import socket

            server = type("ThreadingWSGIServer6", (ThreadingWSGIServer,), {"address_family": socket.AF_INET6})
        try:
            self._server = make_server(
                address.host, address.port, _application(make_wsgi_app(registry), source, address), server, _Quiet
            )
        except OSError as error:
            raise HcctlError(
                "metrics cannot be served",
                where=f"{address.host}:{address.port}",
                why=error.strerror or str(error),
                next_step="choose another port in the section metrics of hcctl.yaml",
            ) from error
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=ANSWER_TIMEOUT_S)


@contextlib.contextmanager
def served(address: str, source: Source) -> Iterator[MetricsServer]:
    """Serve a source at `HOST:PORT` while the block runs.

    Raises:
        InvalidInput: this is no address.
        HcctlError: it cannot be listened on.
    """
    server = MetricsServer(Address.parse(address), source)
    try:
        yield server
    finally:
        server.close()


class _Collector:
    """A custom collector of prometheus-client: asked at each scrape."""

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families()


class _Quiet(WSGIRequestHandler):
    """No line per scrape, and no client that holds a thread for ever."""

    timeout = ANSWER_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base class
        log.debug(format, *args)


def _application(metrics: Any, source: Source, address: Address) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    names = {address.host, f"[{address.host}]", "localhost"}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def answer(status: str, text: str) -> list[bytes]:
            body = f"{text}\n".encode()
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
            return [body]

        host = environ.get("HTTP_HOST", "").lower()
        if (host if host.endswith("]") else host.rpartition(":")[0] or host) not in names:
            return answer("421 Misdirected Request", "this process does not go by that host name")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return answer("405 Method Not Allowed", "GET only")
        if environ["PATH_INFO"] == "/healthz":
            trouble = source.trouble()
            return answer("503 Service Unavailable" if trouble else "200 OK", trouble or "ok")
        if environ["PATH_INFO"] == "/metrics":
            found: Iterable[bytes] = metrics(environ, start_response)
            return found
        return answer("404 Not Found", "see /metrics and /healthz")

    return application
