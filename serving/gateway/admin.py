"""HAProxy's control socket: ask, and read the answers as values.

What comes back is read strictly: an answer that is too long, too late, or not in the expected
form is `GatewayUnreachable`, never a guess.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from serving.errors import GatewayUnreachable
from serving.sites.site import Endpoint

ANSWER_TIMEOUT_S = 2.0
LONGEST_ANSWER_BYTES = 8 << 20
LONGEST_COMMAND_BYTES = 16_000
"""Commands of one connection share a buffer of `BUFFER_BYTES`."""

_MAINTENANCE, _DRAIN = 0x01 | 0x02 | 0x20 | 0x40, 0x08 | 0x10
"""Bits of srv_admin_state; 0x04 only remembers that the server started disabled."""
_STOPPED = 0
_COUNT = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class LiveServer:
    """One server as HAProxy has it now."""

    backend: str
    name: str
    endpoint: Endpoint | None
    """None in maintenance."""
    limit: int
    """0 in maintenance or drain."""
    up: bool
    """Not in maintenance, and neither the health checks nor the outlier rule hold it down."""
    in_use: int


@dataclass(frozen=True)
class Live:
    """All servers and queues as HAProxy has them now."""

    servers: tuple[LiveServer, ...]
    queued: dict[str, int]
    """Requests waiting, per backend."""


class AdminSocket:
    """A client of one HAProxy control socket; one connection per question."""

    def __init__(self, path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def ask(self, command: str) -> str:
        """The whole answer to one line (commands joined by `;`).

        Raises:
            GatewayUnreachable: no answer in time, or one that is too long or not text.
        """
        deadline = time.monotonic() + self._timeout_s
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(self._timeout_s)
                client.connect(str(self._path))
                client.sendall(command.encode("ascii") + b"\n")
                while chunk := client.recv(65_536):
                    answer += chunk
                    if len(answer) > LONGEST_ANSWER_BYTES:
                        raise self._unreachable("its answer does not end")
                    client.settimeout(max(0.001, deadline - time.monotonic()))
        except OSError as error:
            raise self._unreachable(error.strerror or str(error)) from error
        try:
            return answer.decode("ascii")
        except UnicodeDecodeError:
            raise self._unreachable("its answer is not text") from None

    def run(self, commands: list[str]) -> None:
        """Run commands that change something, in order.

        Raises:
            GatewayUnreachable: no answer, or HAProxy refused one; those before it are done.
        """
        for line in _lines(commands):
            refused = [text for text in self.ask(line).splitlines() if text and not _is_consent(text)]
            if refused:
                raise self._unreachable(f"it refused {line[:80]!r}: {refused[0][:120]}")

    def live(self) -> Live:
        """Servers and queues now."""
        return parse_live(self.ask("show servers state"), self.ask("show stat -1 6 -1"))

    def map(self, name: str) -> dict[str, str]:
        """Contents of a map file as HAProxy has them."""
        return parse_map(self.ask(f"show map {name}"))

    def digest(self) -> str:
        """`config.static_digest` of the configuration that is running."""
        found = re.search(r"^description: hcctl-([0-9a-f]{16})$", self.ask("show info"), re.MULTILINE)
        if found is None:
            raise self._unreachable("it does not run a configuration of hcctl")
        return found[1]

    def _unreachable(self, why: str) -> GatewayUnreachable:
        return GatewayUnreachable(
            "The gateway does not answer",
            where=str(self._path),
            why=why,
            next_step="hcctl status shows whether it runs; its log is below .hcctl/logs",
        )


def parse_live(state: str, stat: str) -> Live:
    """Read the answers to `show servers state` and `show stat`.

    Raises:
        GatewayUnreachable: they are not in HAProxy's format, or do not fit each other.
    """
    try:
        counters = _stat_rows(stat)
        servers = tuple(_server(row, counters) for row in _state_rows(state))
        queued: dict[str, int] = {}
        for (backend, _), row in counters.items():
            queued[backend] = queued.get(backend, 0) + _count(row["qcur"])
    except (KeyError, ValueError) as error:
        raise _unreadable(error) from None
    return Live(servers, queued)


def parse_map(text: str) -> dict[str, str]:
    """Read the answer to `show map`: lines `<id> <key> <value>`.

    Raises:
        GatewayUnreachable: it is not in HAProxy's format.
    """
    entries: dict[str, str] = {}
    for line in filter(None, text.splitlines()):
        words = line.split(" ")
        if len(words) != 3 or not words[0].startswith("0x"):
            raise _unreadable(ValueError(line))
        entries[words[1]] = words[2]
    return entries


def _stat_rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    head, *lines = text.removeprefix("# ").strip().splitlines()
    names = head.split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    return {(row["pxname"], row["svname"]): row for row in rows}


def _state_rows(text: str) -> list[dict[str, str]]:
    version, head, *lines = text.strip().splitlines()
    if version != "1":
        raise ValueError(version)
    names = head.removeprefix("# ").split(" ")
    return [dict(zip(names, line.split(" "), strict=True)) for line in lines]


def _server(row: dict[str, str], counters: dict[tuple[str, str], dict[str, str]]) -> LiveServer:
    backend, name, flags = row["be_name"], row["srv_name"], _count(row["srv_admin_state"])
    endpoint = Endpoint(str(ipaddress.ip_address(row["srv_addr"])), _count(row["srv_port"]))
    counter = counters[backend, name]
    maintenance = bool(flags & _MAINTENANCE)
    return LiveServer(
        backend=backend,
        name=name,
        endpoint=None if maintenance else endpoint,
        limit=0 if flags & (_MAINTENANCE | _DRAIN) else _count(counter["slim"]),
        up=not maintenance and _count(row["srv_op_state"]) != _STOPPED,
        in_use=_count(counter["scur"]),
    )


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _is_consent(text: str) -> bool:
    """What HAProxy says of a changed or unchanged address; every other command succeeds in silence."""
    return text.endswith("by 'stats socket command'")


def _lines(commands: list[str]) -> list[str]:
    """Commands joined into as few lines as fit HAProxy's buffer."""
    lines: list[str] = []
    for command in commands:
        if lines and len(lines[-1]) + len(command) < LONGEST_COMMAND_BYTES:
            lines[-1] += f";{command}"
        else:
            lines.append(command)
    return lines


def _unreadable(error: Exception) -> GatewayUnreachable:
    return GatewayUnreachable(
        "The gateway's answer cannot be read",
        why=f"{type(error).__name__}: {str(error)[:80]}",
        next_step="check that only the HAProxy of hcctl uses this control socket",
    )
