"""A web page open on this computer is no client of a gateway without keys: Host, Origin, Sec-Fetch-Site."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway.keys import KeyFile
from tests.support.running_gateway import World, world

PROXY = "models.example.org"
"""Name of a reverse proxy that the project declares."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway without keys, reached by its own names only."""
    with world(tmp_path_factory.mktemp("open")) as started:
        started.route(private=4, cloud=4)
        yield started


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway without keys that also goes by the name of a reverse proxy."""
    with world(tmp_path_factory.mktemp("proxy"), allowed_hosts=(PROXY,)) as started:
        started.route(private=4, cloud=4)
        yield started


def outcome(at: World, host: str | None = None, *, method: str = "POST", **headers: str) -> tuple[int, str]:
    """Status and error of a request as a browser would send it; {port} is the gateway's."""
    port = at.at.listen.port
    named = {name.replace("_", "-"): value.format(port=port) for name, value in headers.items()}
    if host is not None:
        named["Host"] = host.format(port=port)
    answer = at.send(method, "/shop/x", content=b"{}" if method == "POST" else None, headers=named)
    return answer.status_code, answer.json().get("error", "")


SERVED, WRONG_HOST, WRONG_ORIGIN = (200, ""), (421, "foreign_host"), (403, "foreign_origin")


@pytest.mark.parametrize(
    "host", [None, "127.0.0.1", "127.0.0.1:{port}", "localhost", "LocalHost:{port}", "[::1]:{port}", "127.0.0.1:9"]
)
def test_its_own_names_are_served(here: World, host: str | None) -> None:
    """Any client that names this computer is served, through whatever port it came (a tunnel has another)."""
    assert outcome(here, host) == SERVED


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", PROXY, "10.0.0.1", "x"],
)
def test_a_rebound_name_is_refused(here: World, host: str) -> None:
    """A name that somebody lets point to loopback is not this gateway's, and no site sees the request."""
    before = here.private.seen()["requests"]
    assert outcome(here, host) == WRONG_HOST
    assert here.private.seen()["requests"] == before


def test_a_request_without_host_is_served(here: World) -> None:
    """HTTP/1.0 needs no Host; a browser always sends one."""

    with socket.create_connection(("127.0.0.1", here.at.listen.port)) as client:
        client.sendall(b"GET /shop/x HTTP/1.0\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://evil.example:{port}",
        "http://localhost:{port}",  # another origin than 127.0.0.1
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "null",
        "",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil.example/http://127.0.0.1:{port}",
        "chrome-extension://abc",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_origin_is_refused(here: World, origin: str, method: str) -> None:
    """A page of another origin gets nothing, preflight included: not even its blind POST reaches a site."""
    before = here.private.seen()["requests"]
    assert outcome(here, "127.0.0.1:{port}", method=method, Origin=origin, Content_Type="text/plain") == WRONG_ORIGIN
    assert here.private.seen()["requests"] == before


def test_a_page_of_the_gateway_itself_is_served(here: World) -> None:
    """Same origin: the host and port of Origin are those of Host, whatever their case."""
    assert outcome(here, "localhost:{port}", Origin="http://localhost:{port}") == SERVED
    assert outcome(here, "LOCALHOST:{port}", Origin="http://localhost:{port}", Sec_Fetch_Site="same-origin") == SERVED


def test_a_cross_site_request_without_origin_is_refused(here: World) -> None:
    """An image or script tag sends no Origin, but the browser says that it is cross-site."""
    assert outcome(here, method="GET", Sec_Fetch_Site="cross-site") == WRONG_ORIGIN
    for harmless in ("none", "same-site", "same-origin"):
        assert outcome(here, method="GET", Sec_Fetch_Site=harmless) == SERVED


def test_a_declared_name_is_served(behind_proxy: World) -> None:
    """Behind a reverse proxy its name may stand in Host, and its pages may call, in either way of proxying."""
    assert outcome(behind_proxy, PROXY) == SERVED
    assert outcome(behind_proxy, PROXY, Origin=f"https://{PROXY}") == SERVED
    assert outcome(behind_proxy, Origin=f"https://{PROXY}", Sec_Fetch_Site="cross-site") == SERVED
    assert outcome(behind_proxy, Origin=f"https://{PROXY}:8443") == SERVED
    assert outcome(behind_proxy, "evil.example") == WRONG_HOST
    assert outcome(behind_proxy, Origin=f"https://{PROXY}.evil.example") == WRONG_ORIGIN


def test_with_keys_the_key_decides(tmp_path: Path) -> None:
    """A page has no key, and a client with one may come under any name, e.g. through a proxy of its own."""
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("client", at_s=1.0).get_secret_value()
    with world(tmp_path, require_api_key=True, keys_file=tmp_path / "keys.json") as at:
        at.route(private=4, cloud=4)
        assert outcome(at, PROXY, Origin="https://evil.example") == (401, "unauthorized")
        assert outcome(at, PROXY, Authorization=f"Bearer {key}") == SERVED
