"""What one client, or many, can make the gateway hold: bytes, headers, connections, time."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway.admin import AdminSocket
from serving.gateway.config import BUFFER_BYTES
from tests.support.running_gateway import World, world


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway for tests that change nothing."""
    with world(tmp_path_factory.mktemp("bounds")) as started:
        started.route(private=4, cloud=4)
        yield started


def status_of(here: World, request: bytes) -> int:
    """Status of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", here.at.listen.port), timeout=5) as client:
        client.sendall(request)
        return int(client.recv(65_536).split(b" ")[1])


def head(*lines: str, path: str = "/shop/x") -> bytes:
    """The head of a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def test_a_request_head_fits_the_buffer_or_is_400(here: World) -> None:
    """Path and headers together may have the buffer less what the gateway adds, whatever part is long."""
    room = BUFFER_BYTES - 4_096
    assert status_of(here, head(f"X: {'x' * room}")) == 200
    assert status_of(here, head(f"X: {'x' * BUFFER_BYTES}")) in (400, 431)
    assert status_of(here, head(path=f"/shop/{'x' * BUFFER_BYTES}")) in (400, 414)


def test_the_number_of_headers_is_bounded(here: World) -> None:
    """More than a hundred headers are refused."""
    assert status_of(here, head(*(f"X-{n}: 1" for n in range(90)))) == 200
    assert status_of(here, head(*(f"X-{n}: 1" for n in range(110)))) in (400, 431)


SILENT_S = 4.0
"""Long enough to open all connections on a busy machine before the first is ended."""


def test_silent_connections_are_bounded_and_end(tmp_path: Path) -> None:
    """Connections beyond the limit wait in the kernel, and silent ones are ended, so that others get in."""
    with world(tmp_path, max_connections=50, request_timeout_s=SILENT_S) as here, contextlib.ExitStack() as stack:
        here.route(private=4, cloud=4)
        admin = AdminSocket(here.at.folder / "admin.sock")

        def number(field: str) -> int:
            found = re.search(rf"^{field}: (\d+)$", admin.ask("show info"), re.MULTILINE)
            assert found is not None
            return int(found[1])

        most = number("Maxconn")
        assert 50 <= most <= 200
        for _ in range(most + 20):
            stack.enter_context(socket.create_connection(("127.0.0.1", here.at.listen.port), timeout=5))
        here.at.until(lambda: number("CurrConns") > most - 20, within_s=SILENT_S)
        begun_s = time.monotonic()
        assert here.get().status_code == 200
        assert time.monotonic() - begun_s < 2 * SILENT_S
        assert number("CurrConns") <= most
