"""The socket on which log lines arrive: whole lines from several workers, within bounds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway import logstream
from serving.gateway.logstream import LogStream


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[LogStream]:
    opened = LogStream(tmp_path / "requests.sock")
    yield opened
    opened.close()


@pytest.fixture
def worker(stream: LogStream, tmp_path: Path) -> Iterator[socket.socket]:
    with connected(stream, tmp_path) as client:
        yield client


def connected(stream: LogStream, folder: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(folder / "requests.sock"))
    assert stream.lines(1) == []
    return client


def test_lines_come_whole_however_they_were_cut(stream: LogStream, worker: socket.socket) -> None:
    """A line counts when its end has arrived."""
    worker.sendall(b"one\ntw")
    assert stream.lines(1) == [b"one"]
    worker.sendall(b"o\nthree\n")
    assert stream.lines(1) == [b"two", b"three"]
    assert stream.lines(0) == []


def test_two_workers_do_not_mix(stream: LogStream, worker: socket.socket, tmp_path: Path) -> None:
    """During a reload the old and the new worker each have their own lines."""
    with connected(stream, tmp_path) as other:
        worker.sendall(b"fi")
        assert stream.lines(1) == []
        other.sendall(b"second\n")
        assert stream.lines(1) == [b"second"]
        worker.sendall(b"rst\n")
        assert stream.lines(1) == [b"first"]


def test_a_worker_that_ends_takes_its_half_line_along(stream: LogStream, worker: socket.socket) -> None:
    """What has no end is no line; the stream goes on."""
    worker.sendall(b"whole\nhalf")
    worker.close()
    assert stream.lines(1) == [b"whole"]
    assert stream.lines(1) == []
    assert stream.lines(0) == []


def test_a_line_without_end_is_given_up(
    stream: LogStream, worker: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: who sends no line end is disconnected."""
    monkeypatch.setattr(logstream, "READ_BYTES", 100)
    worker.sendall(b"x" * 300)
    assert [stream.lines(1) for _ in range(3)] == [[], [], []]
    with pytest.raises(BrokenPipeError):
        worker.sendall(b"more")


def test_the_number_of_connections_is_bounded(
    stream: LogStream, worker: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound a connection is closed at once; those before it are served."""
    monkeypatch.setattr(logstream, "MOST_CONNECTIONS", 1)
    with connected(stream, tmp_path) as surplus:
        assert surplus.recv(1) == b""
    worker.sendall(b"still here\n")
    assert stream.lines(1) == [b"still here"]


def test_the_socket_file_is_private_replaced_and_removed(tmp_path: Path) -> None:
    """It is for its owner only; that of a dead reader is no obstacle; closing removes it."""
    path = tmp_path / "requests.sock"
    path.write_text("left behind")
    stream = LogStream(path)
    assert path.stat().st_mode & 0o777 == 0o600
    stream.close()
    assert not path.exists()
