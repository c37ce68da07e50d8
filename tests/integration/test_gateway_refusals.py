"""What the gateway refuses, and how it says so: real HAProxy in front of small HTTP servers."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from serving.errors import HcctlError, InvalidInput
from serving.gateway.keys import KeyFile
from tests.support.running_gateway import RunningGateway, World, load, new_certificate, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway for tests that change nothing."""
    with world(tmp_path_factory.mktemp("shared")) as started:
        started.route(private=4, cloud=4)
        yield started


def refused(answer: httpx.Response, status: int, error: str) -> httpx.Response:
    """Check that it is one of the gateway's own answers: JSON with the same id as the header."""
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error)
    assert body.keys() == {"error", "message", "request_id"}
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-Id"] == body["request_id"]
    assert len(body["message"]) > 10
    return answer


def raw(here: World, request: bytes, wait_s: float = 1.0) -> bytes:
    """All that comes back for these bytes until the gateway closes or is silent."""
    answer = b""
    with socket.create_connection(("127.0.0.1", here.at.listen.port)) as client:
        client.settimeout(wait_s)
        client.sendall(request)
        try:
            while chunk := client.recv(65_536):
                answer += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


@pytest.mark.parametrize("path", ["/", "/nope", "/shopping", "/-/healthz", "/-/routes", "/SHOP/x", "/shop%2Fx"])
def test_an_unknown_path_is_404(shared: World, path: str) -> None:
    """What belongs to no service is answered by the gateway; sites' own paths are not reachable."""
    refused(shared.get(path), 404, "unknown_path")


def test_a_body_above_the_limit_is_413(here: World) -> None:
    """A body may have exactly the limit; one byte more is refused before any site sees it."""
    here.route(private=4, cloud=4, max_body_bytes=100_000)
    assert here.send("POST", "/shop/x", content=b"x" * 100_000).json()["body_bytes"] == 100_000
    seen = here.private.seen()["requests"]
    answer = refused(here.send("POST", "/shop/x", content=b"x" * 100_001), 413, "body_too_large")
    assert "100000" in answer.json()["message"]
    assert here.private.seen()["requests"] == seen


def test_a_body_of_unknown_length_is_411(here: World) -> None:
    """Chunked bodies are refused: their length could not be held to the limit."""
    here.route(private=4, cloud=4)
    refused(here.send("POST", "/shop/x", content=iter([b"x" * 10])), 411, "length_required")
    assert here.private.seen()["requests"] == 0


def test_a_deep_queue_is_429_and_low_priority_goes_first(here: World) -> None:
    """Beyond max_queue all are refused with Retry-After, low priority from a quarter of it."""
    here.private.behave(delay_s=0.15)
    here.route(private=1, cloud=0, max_queue=8, retry_after_s=7, queue_timeout_s=5)
    with load(here.at.url + "/shop/x", clients=4):
        here.at.until(lambda: here.at.gateway.observe().queued["shop"] == 3, within_s=2)
        answer = refused(here.get("/shop/later/x"), 429, "queue_full")
        assert answer.headers["Retry-After"] == "7"
    with load(here.at.url + "/shop/x", clients=9):
        here.at.until(lambda: here.at.gateway.observe().queued["shop"] == 8, within_s=2)
        refused(here.get("/shop/x"), 429, "queue_full")


def test_a_long_wait_is_503(here: World) -> None:
    """Who waits longer than queue_timeout_s gets 503 with Retry-After, and counts as never sent."""
    here.private.behave(delay_s=0.6)
    here.route(private=1, cloud=0, queue_timeout_s=0.2, retry_after_s=3)
    answers = here.together(2)
    late = refused(next(a for a in answers if a.status_code != 200), 503, "no_capacity")
    assert late.headers["Retry-After"] == "3"
    (record,) = [r for r in here.at.finished(2) if r.status == 503]
    assert (record.termination, record.site) == ("sQ", "")
    assert 0.2 <= record.total_s < 0.5


def test_no_site_at_all_is_503_at_once(here: World) -> None:
    """Without any limit there is nothing to wait for."""
    here.route(private=0, cloud=0)
    began = time.monotonic()
    refused(here.get(), 503, "no_capacity")
    assert time.monotonic() - began < 0.5


def test_a_site_that_does_not_answer_is_504(here: World) -> None:
    """Longer than timeout_s a site may not take; the request is not sent again."""
    here.private.behave(delay_s=2)
    here.route(private=4, cloud=4, timeout_s=0.2)
    refused(here.get("/shop/again/x"), 504, "site_timeout")
    assert here.cloud.seen()["requests"] == 0


@pytest.mark.parametrize(
    "path", ["/shop/../shop-2/x", "/shop/./x", "/shop/%2e%2e/x", "/shop/..%2fx", "/shop/..", "/shop/x/%2E."]
)
def test_dot_segments_are_400(shared: World, path: str) -> None:
    """No path leads out of a version's prefix."""
    head, body = raw(shared, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 0.2).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"] == "bad_path"
    assert shared.private.seen()["requests"] == 0


def test_slow_clients_hold_no_slot(tmp_path: Path) -> None:
    """Half a request keeps no place at a site; its client is sent away after request_timeout_s."""
    with world(tmp_path, request_timeout_s=1.0) as here:
        here.route(private=1, cloud=0)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", here.at.listen.port)) as slow:
            slow.sendall(b"POST /shop/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
            assert here.get().status_code == 200
            slow.settimeout(3)
            assert slow.recv(65_536).startswith(b"HTTP/1.1 408 ")
        assert 0.9 < time.monotonic() - began < 2


def test_bytes_that_are_no_request_are_logged_as_one(here: World) -> None:
    """They get 400 and a line without a service, so that even these are counted."""
    here.route(private=4, cloud=4)
    assert raw(here, b"\x16\x03\x01 GARBAGE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    (record,) = here.at.finished(1)
    assert (record.service, record.site, record.status, record.request_id) == ("", "", 400, "")


def test_it_listens_on_loopback_only(here: World) -> None:
    """HAProxy has one listening socket, on the address it was given."""
    assert here.at.process is not None
    tree = [here.at.process.pid, *(child.pid for child in psutil.Process(here.at.process.pid).children())]
    listening = {
        c.laddr for pid in tree for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", here.at.listen.port)}


def test_api_keys_are_needed_and_stay_secret(tmp_path: Path) -> None:
    """Only a key in force opens the gateway; it reaches neither site, log nor files; it can be revoked."""
    keys = KeyFile(tmp_path / "keys.json")
    with world(tmp_path, require_api_key=True, keys_file=tmp_path / "keys.json") as here:
        here.route(private=4, cloud=4)
        early = keys.create("early", at_s=1.0).get_secret_value()
        here.route(private=4, cloud=4)
        answer = here.get(headers={"Authorization": f"Bearer {early}"})
        assert answer.status_code == 200
        assert "authorization" not in answer.json()["headers"]
        for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Basic {early}"}):
            denied = refused(here.get("/anything", headers=header), 401, "unauthorized")
            assert denied.headers["WWW-Authenticate"] == "Bearer"
        here.at.stop()
        here.at.start()
        assert here.get(headers={"Authorization": f"bearer {early}"}).status_code == 200
        keys.revoke("early")
        here.route(private=4, cloud=4)
        refused(here.get(headers={"Authorization": f"Bearer {early}"}), 401, "unauthorized")
        assert len(here.at.finished(6)) == 6
        written = b"".join(here.at.lines) + b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
        assert early.encode() not in written


def test_tls_with_a_given_certificate(tmp_path: Path) -> None:
    """The certificate may have any path; TLS is 1.2 or newer; plain HTTP gets no answer."""
    with world(tmp_path, tls_certificate=new_certificate(tmp_path / "gate way$.pem")) as here:
        here.route(private=4, cloud=4)
        assert here.get().status_code == 200
        assert [shakes_hands(here, version) for version in ("-tls1_1", "-tls1_2", "-tls1_3")] == [False, True, True]
        assert b"200" not in raw(here, b"GET /shop/x HTTP/1.1\r\nHost: localhost\r\n\r\n", 0.3)


def shakes_hands(here: World, version: str) -> bool:
    """Whether the gateway takes this version of TLS from a client that would take any."""
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{here.at.listen.port}", version]
    done = subprocess.run([*client, "-cipher", "ALL:@SECLEVEL=0"], input=b"", capture_output=True, check=False)
    return done.returncode == 0


def test_a_bad_certificate_is_told_before_the_start(tmp_path: Path) -> None:
    """A missing certificate and one that HAProxy cannot read are clear errors of `prepare`."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    at = RunningGateway(tmp_path, tls_certificate=broken)
    try:
        with pytest.raises(HcctlError, match="refuses"):
            at.gateway.prepare()
        broken.unlink()
        with pytest.raises(InvalidInput, match="is not there"):
            at.gateway.prepare()
    finally:
        at.close()
