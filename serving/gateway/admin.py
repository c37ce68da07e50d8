"""HAProxy's control socket: ask, within bounds of time and size."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

from serving.errors import GatewayUnreachable
from serving.gateway.live import Live, parse_live, parse_map

ANSWER_TIMEOUT_S = 2.0
LONGEST_ANSWER_BYTES = 8 << 20
LONGEST_COMMAND_BYTES = 16_000
"""Commands of one connection share a buffer of `BUFFER_BYTES`."""


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
