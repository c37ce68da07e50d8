"""The HTTP side of `/metrics`: what is answered, to whom, and where it may listen."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.metrics_core import Metric as Family

from serving.errors import HcctlError, InvalidInput
from serving.metrics.families import Exposition
from serving.metrics.server import Address, MetricsServer
from tests.support import prometheus


class Source:
    """One sample, and trouble on demand."""

    def __init__(self) -> None:
        self.told = ""

    def families(self) -> Iterable[Family]:
        out = Exposition("daemon")
        out.add("hcctl_gateway_up", 1)
        return out.families()

    def trouble(self) -> str:
        return self.told


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def server(source: Source) -> Iterator[MetricsServer]:
    made = MetricsServer(Address("127.0.0.1", 0), source)
    yield made
    made.close()


def ask(server: MetricsServer, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=5) as http:
        return http.request(method, f"http://127.0.0.1:{server.port}{path}", headers=headers)


def test_metrics_are_served(server: MetricsServer) -> None:
    """The text format, with the samples of this moment."""
    answer = ask(server, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "hcctl_gateway_up 1.0\n" in answer.text


def test_health_is_what_the_process_says(server: MetricsServer, source: Source) -> None:
    """200 while it does its work; 503 with the reason else."""
    assert ask(server, "/healthz").status_code == 200
    source.told = "no tick has ended well yet"
    answer = ask(server, "/healthz")
    assert (answer.status_code, answer.text) == (503, "no tick has ended well yet\n")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/", "GET", 404), ("/metrics", "POST", 405), ("/metrics", "DELETE", 405)],
)
def test_nothing_else_is_answered(server: MetricsServer, path: str, method: str, status: int) -> None:
    """Two paths, read-only."""
    assert ask(server, path, method).status_code == status


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:9464", "127.0.0.1.attacker.example", ""])
def test_a_page_under_another_name_reads_nothing(server: MetricsServer, host: str) -> None:
    """DNS rebinding: a browser that was led here says the name it came by, and is refused."""
    answer = ask(server, "/metrics", Host=host)
    assert answer.status_code in (400, 421)
    assert "hcctl_" not in answer.text


def test_a_client_that_says_nothing_holds_nobody_up(server: MetricsServer) -> None:
    """Open connections without a request do not keep others from their answer."""
    with socket.create_connection(("127.0.0.1", server.port)), socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server, "/metrics").status_code == 200


def test_a_port_in_use_is_told(server: MetricsServer, source: Source) -> None:
    """One error that names the address, not a traceback."""
    with pytest.raises(HcctlError, match="metrics cannot be served") as told:
        MetricsServer(Address("127.0.0.1", server.port), source)
    assert str(server.port) in told.value.where


@pytest.mark.parametrize(
    "text", ["9464", "localhost:9464", "0.0.0.0:9464", "[::]:9464", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ""]
)
def test_an_address_is_one_address(text: str) -> None:
    """A name, all interfaces at once, or no port is refused before anything listens."""
    with pytest.raises(InvalidInput, match="no address to listen on"):
        Address.parse(text)


def test_addresses_are_read() -> None:
    """IPv4, and IPv6 in brackets."""
    assert Address.parse("10.1.2.3:9464") == Address("10.1.2.3", 9464)
    assert Address.parse("[::1]:9464") == Address("::1", 9464)


@pytest.mark.prometheus
def test_a_real_prometheus_scrapes_it(server: MetricsServer, tmp_path: Path) -> None:
    """It is up, and its sample can be asked for."""
    with (
        prometheus.running(tmp_path, tmp_path / "data", scrape=[f"127.0.0.1:{server.port}"]) as url,
        httpx.Client(trust_env=False) as http,
    ):
        deadline_s, found = time.monotonic() + 15, []
        while not found:
            assert time.monotonic() < deadline_s, "it was not scraped"
            time.sleep(0.1)
            found = json.loads(http.get(f"{url}/api/v1/query?query=hcctl_gateway_up").text)["data"]["result"]
        assert found[0]["value"][1] == "1"
