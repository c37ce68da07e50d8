"""A closed-loop HTTP client on raw sockets: a connection sends its next request when the last is answered.

It runs in a process of its own, `python -m benchmarks.client`, and costs a few hundredths of a millisecond
of processor time per request, so that on a computer shared with what it measures it takes little away.
"""

from __future__ import annotations

import json
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.child import environment
from benchmarks.figures import quantile

WARM_UP_S = 0.5
"""What is answered in this time is not counted."""
ANSWER_TIMEOUT_S = 5.0
_RECEIVE_BYTES = 65_536


@dataclass(frozen=True)
class Load:
    """What a closed loop of clients saw."""

    requests: int
    """Answered with 200."""
    errors: int
    """Answered with anything else."""
    rate_rps: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Target:
    """What is asked for: a GET, or a POST of JSON text."""

    host: str
    port: int
    path: str
    body: str | None = None


def measure(target: Target, *, connections: int, seconds: float) -> Load:
    """Load one target for `seconds`.

    Raises:
        RuntimeError: the client failed, or a request was not answered with 200.
    """
    (load,) = _in_child([target], connections, seconds)
    return load


def measure_in_turn(targets: Sequence[Target], *, seconds: float) -> list[Load]:
    """One client that asks all targets in turn, in a new order each round, `seconds` in all.

    What disturbs the machine so disturbs all alike, and small differences can be told.

    Raises:
        RuntimeError: the client failed, or a request was not answered with 200.
    """
    return _in_child(targets, 1, seconds)


def _in_child(targets: Sequence[Target], connections: int, seconds: float) -> list[Load]:
    plan = json.dumps([[asdict(target) for target in targets], connections, seconds])
    command = [sys.executable, "-m", "benchmarks.client", plan]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the client failed: {done.stderr.strip()[-500:]}")
    loads = [Load(**load) for load in json.loads(done.stdout)]
    for target, load in zip(targets, loads, strict=True):
        if load.errors or not load.requests:
            raise RuntimeError(f"{target}: {load.errors} errors, {load.requests} answers")
    return loads


def request_bytes(target: Target) -> bytes:
    """The request as it is sent."""
    method = "GET" if target.body is None else "POST"
    head = f"{method} {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
    if target.body is None:
        return f"{head}\r\n".encode()
    data = target.body.encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def status_of(answer: bytes) -> int | None:
    """Status of a complete HTTP/1.1 answer; None while some of it is missing."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    fields = head.lower().split(b"\r\n")
    status = int(fields[0].split()[1])
    for field in fields[1:]:
        name, _, value = field.partition(b":")
        if name == b"content-length":
            return status if len(body) >= int(value) else None
        if name == b"transfer-encoding":
            return status if body.endswith(b"0\r\n\r\n") else None
    raise ValueError("an answer without a length")


class _Connection:
    """One keep-alive connection, and when each of its requests was answered."""

    def __init__(self, target: Target) -> None:
        self._request = request_bytes(target)
        self.socket = socket.create_connection((target.host, target.port), ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._partial = b""
        self._sent_s = 0.0
        self.latencies_s: list[float] = []
        self.errors = 0

    def send(self) -> None:
        self._sent_s = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Take what has come; whether the answer is complete."""
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed a connection")
        self._partial += data
        status = status_of(self._partial)
        if status is None:
            return False
        self._partial = b""
        if status == 200:
            self.latencies_s.append(time.perf_counter() - self._sent_s)
        else:
            self.errors += 1
        return True


class _Clients:
    """Connections to one target that are busy all the time."""

    def __init__(self, target: Target, connections: int) -> None:
        self._poll = select.epoll()
        self._connections = [_Connection(target) for _ in range(connections)]
        self._by_file = {one.socket.fileno(): one for one in self._connections}
        for file, one in self._by_file.items():
            self._poll.register(file, select.EPOLLIN)
            one.send()

    def run(self, seconds: float) -> list[Load]:
        for one in self._connections:
            one.latencies_s.clear()
        begun_s = now_s = time.perf_counter()
        while now_s - begun_s < seconds:
            ready = self._poll.poll(ANSWER_TIMEOUT_S)
            if not ready:
                raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:g} s")
            for file, _ in ready:
                one = self._by_file[file]
                if one.receive():
                    one.send()
            now_s = time.perf_counter()
        latencies_s = [latency_s for one in self._connections for latency_s in one.latencies_s]
        return [_load(latencies_s, sum(one.errors for one in self._connections), now_s - begun_s)]


class _InTurn:
    """One connection to each of several targets, of which one is busy at a time."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._connections = [_Connection(target) for target in targets]
        self._random = random.Random(0)

    def run(self, seconds: float) -> list[Load]:
        for one in self._connections:
            one.latencies_s.clear()
        until_s = time.perf_counter() + seconds
        while time.perf_counter() < until_s:
            for one in self._random.sample(self._connections, len(self._connections)):
                one.send()
                while not one.receive():
                    pass
        return [_load(one.latencies_s, one.errors, sum(one.latencies_s)) for one in self._connections]


def _load(latencies_s: Sequence[float], errors: int, took_s: float) -> Load:
    ordered = sorted(latencies_s)
    p50_ms, p99_ms = (1_000 * quantile(ordered, part) for part in (0.50, 0.99))
    return Load(len(ordered), errors, len(ordered) / took_s, p50_ms, p99_ms)


def main(arguments: Sequence[str]) -> None:
    """The child: load, and print what was seen as JSON."""
    targets, connections, seconds = json.loads(arguments[0])
    asked = [Target(**target) for target in targets]
    clients = _InTurn(asked) if len(asked) > 1 else _Clients(asked[0], connections)
    clients.run(WARM_UP_S)
    print(json.dumps([asdict(load) for load in clients.run(seconds)]))


if __name__ == "__main__":
    main(sys.argv[1:])
