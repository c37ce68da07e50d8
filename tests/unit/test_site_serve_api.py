"""Serve's REST interface: what is asked, and how little of what comes back is trusted."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from serving.errors import HcctlError, SiteUnreachable
from serving.sites import serve_api
from serving.sites.serve_api import (
    MESSAGE_LIMIT,
    ServeApi,
    call,
    haproxy_servers,
    parse_applications,
    parse_servers,
    routed_applications,
    serve_config,
    short_reason,
)
from serving.sites.site import Application, Endpoint

INGRESS = Endpoint("127.0.0.1", 20_001)

ECHO = Application(
    name="echo-0123456789ab",
    service="echo",
    version="a" * 64,
    route_prefix="/echo-0123456789ab",
    args={"version": "a" * 64},
    replicas=2,
)


def details(
    status: str = "RUNNING",
    *,
    deployment: str = "HEALTHY",
    replicas: tuple[str, ...] = ("RUNNING", "RUNNING"),
    target: int = 2,
    message: str = "",
    reason: str = "",
) -> dict[str, Any]:
    """Serve's answer with one application, as Ray 2.60 gives it (cut to a few of its fields)."""
    model = {
        "name": "model",
        "status": deployment,
        "status_trigger": "CONFIG_UPDATE_COMPLETED",
        "message": reason,
        "target_num_replicas": target,
        "replicas": [{"state": state, "pid": 7, "node_ip": "127.0.0.2"} for state in replicas],
    }
    application = {
        "name": ECHO.name,
        "route_prefix": ECHO.route_prefix,
        "status": status,
        "message": message,
        "deployments": {"model": model},
    }
    return {"controller_info": {}, "proxies": {}, "applications": {ECHO.name: application}}


def status_of(answer: dict[str, Any], reach: int = 9) -> Any:
    """The one status of an answer."""
    (status,) = parse_applications(json.dumps(answer).encode(), {ECHO.name: reach})
    return status


@pytest.mark.parametrize(
    ("answer", "reach", "expected"),
    [
        pytest.param(details(), 2, ("running", 2, 2), id="running"),
        pytest.param(details(), 1, ("running", 1, 2), id="ingress-knows-one"),
        pytest.param(details(), 0, ("starting", 0, 2), id="ingress-knows-none-yet"),
        pytest.param(details("DEPLOYING", deployment="UPDATING", replicas=()), 9, ("starting", 0, 2), id="new"),
        pytest.param(
            details("DEPLOYING", deployment="UPSCALING", replicas=("RUNNING", "STARTING")),
            9,
            ("running", 1, 2),
            id="scaling-up-serves",
        ),
        pytest.param(
            details(replicas=("RUNNING", "STOPPING"), target=1), 9, ("running", 1, 1), id="leaving-is-not-ready"
        ),
        pytest.param(details("UNHEALTHY", replicas=()), 9, ("unhealthy", 0, 2), id="unhealthy"),
        pytest.param(details("DEPLOY_FAILED", replicas=("STARTING",)), 9, ("failed", 0, 2), id="failed"),
        pytest.param(details("DELETING"), 9, ("deleting", 2, 2), id="deleting"),
        pytest.param(details("NOT_STARTED", replicas=()), 9, ("starting", 0, 2), id="not-started"),
    ],
)
def test_status(answer: dict[str, Any], reach: int, expected: tuple[str, int, int]) -> None:
    """Phase and counts follow from Serve's status and from what the ingress reaches."""
    status = status_of(answer, reach)
    assert (status.phase, status.replicas_ready, status.replicas_target) == expected


def test_not_built_yet() -> None:
    """An application without deployments is starting, with nothing ready."""
    answer = details("DEPLOYING")
    answer["applications"][ECHO.name]["deployments"] = {}
    status = status_of(answer)
    assert (status.phase, status.replicas_ready, status.replicas_target) == ("starting", 0, 0)


def test_reason_is_short() -> None:
    """The message of a failed application is the last line of the traceback in its deployment's message."""
    traceback = (
        "The deployment failed to start 2 times in a row. Error:\n"
        "Traceback (most recent call last):\n"
        '  File "replica.py", line 1, in load\n'
        "    raise CorruptArtefact()\n"
        "serving.errors.CorruptArtefact: the file was changed: words.txt\n"
        "\n"
    )
    status = status_of(details("DEPLOY_FAILED", reason=traceback, message="Failed to update the deployments."))
    assert status.message == "the file was changed: words.txt"
    assert status_of(details(reason=traceback)).message == ""
    assert status_of(details("DEPLOY_FAILED", message="no such module")).message == "no such module"


@given(st.text())
@example("\x1b[31mred\x1b[0m")
@example("   only indented")
def test_reason_is_one_bounded_line(text: str) -> None:
    """Whatever the message holds, its reason is one printable line of bounded length."""
    reason = short_reason(text)
    assert len(reason) <= MESSAGE_LIMIT
    assert reason.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@example({"applications": None})
@example({"applications": {"a": {}}})
@example({"applications": []})
def test_any_json_is_statuses_or_unreachable(answer: Any) -> None:
    """An answer of any form is either understood or "the site did not answer"; never another error."""
    with contextlib.suppress(SiteUnreachable):
        parse_applications(json.dumps(answer).encode(), {})


@given(st.lists(st.sampled_from(["applications", ECHO.name, "deployments", "model", "replicas", "status"])), JSON)
def test_broken_part_is_unreachable_or_understood(path: list[str], part: Any) -> None:
    """A good answer with any one part replaced by anything never gives a wrong type or another error."""
    answer: Any = details()
    node = answer
    for key in path[:-1]:
        node = node[key] if isinstance(node, dict) and key in node else answer
    if path and isinstance(node, dict):
        node[path[-1]] = part
    try:
        statuses = parse_applications(json.dumps(answer).encode(), {ECHO.name: 9})
    except SiteUnreachable:
        return
    assert all(type(status.replicas_ready) is int and status.replicas_ready >= 0 for status in statuses)


@given(st.binary())
def test_any_bytes_are_unreachable(answer: bytes) -> None:
    """Bytes that are not Serve's answer are never taken for an empty site."""
    with pytest.raises(SiteUnreachable):
        parse_applications(answer, {})


@pytest.mark.parametrize("count", [-1, "2", 2.5, None, True])
def test_counts_are_not_guessed(count: object) -> None:
    """A replica count that is no count is refused."""
    answer = details()
    answer["applications"][ECHO.name]["deployments"]["model"]["target_num_replicas"] = count
    with pytest.raises(SiteUnreachable, match="target_num_replicas"):
        status_of(answer)


def test_servers_are_counted_by_application() -> None:
    """Only healthy replicas of the ingress deployment count: no other deployment, no fallback, no total."""
    backend = f"http-{ECHO.name}"
    rows = [
        "# pxname,svname,qcur,status,",
        f"{backend},SERVE_REPLICA_{ECHO.name}-model-aaaa,0,UP,",
        f"{backend},SERVE_REPLICA_{ECHO.name}-model-bbbb,0,UP 1/2,",
        f"{backend},SERVE_REPLICA_{ECHO.name}-model-cccc,0,DOWN,",
        f"{backend},SERVE_REPLICA_{ECHO.name}-inner-dddd,0,UP,",
        f"{backend},SERVE_PROXY_ACTOR-fallback-1,0,UP,",
        f"{backend},BACKEND,0,UP,",
        "http_frontend,FRONTEND,,OPEN,",
    ]
    assert parse_servers("\n".join(rows)) == {ECHO.name: 2}
    assert parse_servers(rows[0]) == {}


@pytest.mark.parametrize("text", ["", "\n", "Service Unavailable", "# pxname,status\nhttp-echo,UP\n"])
def test_no_statistics_are_not_no_servers(text: str) -> None:
    """Something else than statistics means unknown, not none."""
    with pytest.raises(SiteUnreachable):
        parse_servers(text)


@given(st.text())
@example("\r0")
@example("# pxname,svname,status\nonly-one\n,,,,,,\n")
@example("# pxname,svname,status\n\0")
def test_any_statistics_are_counted_or_unreachable(text: str) -> None:
    """Statistics of any form are either understood or "the site did not answer"."""
    with contextlib.suppress(SiteUnreachable):
        assert parse_servers(text) == {}


def test_config_names_counts_outside_args() -> None:
    """The replica count stands in the override, so that scaling never makes a new version of the application."""
    (entry,) = serve_config([ECHO], INGRESS)["applications"]  # type: ignore[index, call-overload]
    assert entry["deployments"] == [{"name": "model", "num_replicas": 2}]
    assert entry["args"] == ECHO.args
    assert entry["external_scaler_enabled"] is True
    assert (entry["name"], entry["route_prefix"]) == (ECHO.name, ECHO.route_prefix)


class Server:
    """An HTTP server that answers with whatever `reply` does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        self.reply: Callable[[BaseHTTPRequestHandler], None] = lambda handler: answer(handler, 200, b"{}")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.asked.append((self.command, self.path, self.headers.get("Authorization"), body))
                outer.reply(self)

            do_GET = do_PUT = do_POST = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = Endpoint("127.0.0.1", self.server.server_port)


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Send a plain answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


def test_requests_carry_the_token(server: Server) -> None:
    """Apply and scale send what Serve expects, with the token."""
    api = ServeApi(server.endpoint, SecretStr("secret"))
    api.apply([ECHO], INGRESS, timeout_s=5)
    api.scale(ECHO.name, 3, timeout_s=5)
    put, post = server.asked
    assert put[:3] == ("PUT", "/api/serve/applications/", "Bearer secret")
    assert json.loads(put[3]) == serve_config([ECHO], INGRESS)
    assert post[:3] == ("POST", f"/api/v1/applications/{ECHO.name}/deployments/model/scale", "Bearer secret")
    assert json.loads(post[3]) == {"target_num_replicas": 3}


@pytest.mark.parametrize(
    ("status", "unreachable"),
    [(400, False), (404, False), (412, False), (401, True), (403, True), (429, True), (500, True), (503, True)],
)
def test_refusal_differs_from_silence(server: Server, status: int, unreachable: bool) -> None:
    """A refused order is an error of the order; anything else means that the site did not obey or answer."""
    server.reply = lambda handler: answer(handler, status, b"because of this")
    with pytest.raises(HcctlError, match="because of this") as error:
        ServeApi(server.endpoint, SecretStr("secret")).scale("echo", 1, timeout_s=5)
    assert isinstance(error.value, SiteUnreachable) is unreachable
    assert "secret" not in str(error.value)


def test_silence_is_bounded(server: Server) -> None:
    """A server that never answers, or drips, costs no more than the time-out."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                handler.wfile.write(b" ")
                time.sleep(0.02)

    server.reply = drip
    started_s = time.monotonic()
    with pytest.raises(SiteUnreachable):
        call(server.endpoint, "GET", "/", None, None, 0.2)
    assert time.monotonic() - started_s < 1


@pytest.mark.parametrize(
    ("first", "then"),
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000), (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"a")],
    ids=["endless interim answers", "a header that drips"],
)
def test_a_head_without_end_is_bounded(server: Server, first: bytes, then: bytes) -> None:
    """What comes before the body is given no more time than the body."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(first)
            for _ in range(200):
                handler.wfile.write(then)
                time.sleep(0.02)

    server.reply = drip
    started_s = time.monotonic()
    with pytest.raises(SiteUnreachable):
        call(server.endpoint, "GET", "/", None, None, 0.2)
    assert time.monotonic() - started_s < 1


def test_an_answer_that_breaks_off_is_no_answer(server: Server) -> None:
    """Statistics that end too early would be too few replicas, not an unknown number."""

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"# pxname,svname,status,\n")

    server.reply = cut
    with pytest.raises(SiteUnreachable, match="more expected"):
        haproxy_servers(server.endpoint, timeout_s=5)


def test_a_long_reason_is_shortened(server: Server) -> None:
    """A site cannot fill the log with its status line, nor steer a terminal."""
    server.reply = lambda handler: handler.wfile.write(b"\x1b[2J" + b"a" * 60_000 + b"\r\n\r\n") and None
    with pytest.raises(SiteUnreachable) as refusal:
        call(server.endpoint, "GET", "/", None, None, 5)
    assert len(refusal.value.why) <= MESSAGE_LIMIT
    assert refusal.value.why.isprintable()


def test_size_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the limit is refused."""
    monkeypatch.setattr(serve_api, "ANSWER_LIMIT_BYTES", 100)
    server.reply = lambda handler: answer(handler, 200, b" " * 101)
    with pytest.raises(SiteUnreachable, match="too long"):
        call(server.endpoint, "GET", "/", None, None, 5)


def test_garbage_is_unreachable(server: Server) -> None:
    """Something that does not speak HTTP is a site that does not answer."""
    server.reply = lambda handler: handler.wfile.write(b"\x00\x01garbage\r\n\r\n") and None
    with pytest.raises(SiteUnreachable):
        ServeApi(server.endpoint, SecretStr("secret")).applications({}, timeout_s=5)


def test_nobody_there_is_unreachable() -> None:
    """A port nobody listens on is a site that does not answer."""
    with pytest.raises(SiteUnreachable, match="refused"):
        call(Endpoint("127.0.0.1", 1), "GET", "/", None, None, 1)


def test_proxies_of_the_environment_are_ignored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token goes to the site and to no proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert call(server.endpoint, "GET", "/", None, None, 5)[0] == 200


def test_default_ingress_reaches_what_it_routes(server: Server) -> None:
    """With Serve's own proxy, an application with a route has all its running replicas; without, none."""
    server.reply = lambda handler: answer(handler, 200, json.dumps({ECHO.route_prefix: ECHO.name}).encode())
    reach = routed_applications(server.endpoint, timeout_s=5)
    assert parse_applications(json.dumps(details()).encode(), reach)[0].replicas_ready == 2
    server.reply = lambda handler: answer(handler, 503, b"Route table is not populated yet.")
    assert routed_applications(server.endpoint, timeout_s=5) == {}
    server.reply = lambda handler: answer(handler, 200, b"[]")
    with pytest.raises(SiteUnreachable):
        routed_applications(server.endpoint, timeout_s=5)


def test_haproxy_without_statistics_is_unreachable(server: Server) -> None:
    """Statistics that are refused mean unknown, not none."""
    server.reply = lambda handler: answer(handler, 503, b"")
    with pytest.raises(SiteUnreachable):
        haproxy_servers(server.endpoint, timeout_s=5)
    assert server.asked[0][1] == "/stats;csv"


def test_recorded_answer_is_understood() -> None:
    """A real answer of Ray 2.60, recorded on a local site, is read in full."""
    answer = (Path(__file__).parent / "data" / "serve_applications.json").read_bytes()
    (status,) = parse_applications(answer, {"echo-44d30a0f65c0": 1})
    assert (status.phase, status.replicas_ready, status.replicas_target) == ("running", 1, 1)
