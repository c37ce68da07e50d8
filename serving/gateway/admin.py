"""HAProxy's control socket: ask, within bounds of time and size."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from serving.errors import GatewayUnreachable
from serving.gateway.live import Live, parse_live, parse_map
from serving.gateway.values import PATHS, SHARE

ANSWER_TIMEOUT_S = 2.0
LONGEST_ANSWER_BYTES = 8 << 20
SERVERS, COUNTERS = "show servers state", "show stat -1 6 -1"
LONGEST_COMMAND_BYTES = 16_000
"""Commands of one connection share a buffer of `BUFFER_BYTES`."""


@dataclass(frozen=True)
class Running:
    """What HAProxy runs now."""

    digest: str
    """`config.static_digest` of its configuration."""
    live: Live
    shares: dict[str, str]
    paths: dict[str, str]


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

    def ask_all(self, *commands: str) -> list[str]:
        """The answers to several questions that change nothing, over one connection.

        Raises:
            GatewayUnreachable: as `ask`, or not as many answers as questions.
        """
        answers = _answers(self.ask(";".join(commands)))
        if len(answers) != len(commands):
            raise self._unreachable(f"it gave {len(answers)} answers to {len(commands)} questions")
        return answers

    def live(self) -> Live:
        """Servers and queues now."""
        return parse_live(*self.ask_all(SERVERS, COUNTERS))

    def running(self) -> Running:
        """All that an assertion of routes starts from."""
        info, servers, counters, *maps = self.ask_all(
            "show info", SERVERS, COUNTERS, f"show map {SHARE}", f"show map {PATHS}"
        )
        shares, paths = (parse_map(text) for text in maps)
        return Running(self._digest(info), parse_live(servers, counters), shares, paths)

    def map(self, name: str) -> dict[str, str]:
        """Contents of a map file as HAProxy has them."""
        return parse_map(self.ask(f"show map {name}"))

    def digest(self) -> str:
        """`config.static_digest` of the configuration that is running."""
        return self._digest(self.ask("show info"))

    def _digest(self, info: str) -> str:
        found = re.search(r"^description: hcctl-([0-9a-f]{16})$", info, re.MULTILINE)
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


def _answers(text: str) -> list[str]:
    """Split what several questions were answered: each answer ends with an empty line."""
    answers, lines = [], list[str]()
    for line in text.split("\n")[:-1]:
        if line:
            lines.append(f"{line}\n")
        else:
            answers.append("".join(lines))
            lines = []
    return [*answers, "".join(lines)] if lines else answers


def _lines(commands: list[str]) -> list[str]:
    """Commands joined into as few lines as fit HAProxy's buffer."""
    lines: list[str] = []
    for command in commands:
        if lines and len(lines[-1]) + len(command) < LONGEST_COMMAND_BYTES:
            lines[-1] += f";{command}"
        else:
            lines.append(command)
    return lines
