"""Probes against a real server: what counts as an error, and how little a bad answer can cost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from autoscaler.observing import probe
from autoscaler.observing.probe import send_probes
from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult
from serving.spec import Probe

Reply = Callable[[BaseHTTPRequestHandler], None]


class Model:
    """A server that answers each request by `reply`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.reply: Reply = lambda handler: answer(handler, 200, b"{}")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.asked.append((self.command, self.path, body))
                outer.reply(self)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def probed(self, requests: int = 3, timeout_s: float = 5.0, **parts: object) -> ProbeResult:
        """The result of so many probes."""
        port = self.server.server_port
        wanted = Probe.model_validate({"path": "/x", "body": {"a": 1}, **parts})
        return send_probes(
            ProbeApplication("private", "a", "127.0.0.1", port, "/a", wanted, requests, 2, timeout_s, "")
        )


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """A whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def endless(chunk: bytes, pause_s: float) -> Reply:
    """An answer that goes on until nobody listens."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                handler.wfile.write(chunk)
                time.sleep(pause_s)

    return reply


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    thread = threading.Thread(target=model.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield model
    model.server.shutdown()
    thread.join()
    model.server.server_close()


def test_a_good_answer_is_no_error(model: Model) -> None:
    """Each probe is the declared request; 2xx is success."""
    assert model.probed() == ProbeResult("private", "a", 3, 0, "")
    assert model.asked == [("POST", "/a/x", b'{"a":1}')] * 3
    assert model.probed(1, method="GET").errors == 0
    assert model.asked[-1] == ("GET", "/a/x", b"")


def test_an_error_says_its_status_and_begin(model: Model) -> None:
    """Anything but 2xx is an error, with the beginning of what was said."""
    model.reply = lambda handler: answer(handler, 500, b"because" + b"x" * 10_000)
    result = model.probed()
    assert result.errors == 3
    assert result.message.startswith("status 500: becausex")
    assert len(result.message) == probe.MAX_MESSAGE


def test_an_endless_answer_is_an_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than the longest answer that is allowed."""
    monkeypatch.setattr(probe, "LONGEST_ANSWER_BYTES", 100_000)
    model.reply = endless(b"x" * 10_000, 0)
    assert "longer than 100000 bytes" in model.probed(1).message


def test_a_dripping_answer_is_an_error(model: Model) -> None:
    """The whole answer has the time that is allowed, not each piece of it."""
    model.reply = endless(b"x", 0.05)
    begun_s = time.monotonic()
    assert "did not end within 0.3 s" in model.probed(1, timeout_s=0.3).message
    assert time.monotonic() - begun_s < 2


def test_nobody_there_is_an_error(model: Model) -> None:
    """A broken connection is an error with its kind, never an exception."""
    model.reply = lambda handler: handler.connection.close()
    assert "Error" in model.probed(1).message
