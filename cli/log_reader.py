"""Reads logs that are rotated while they are read, and shows JSON lines as people read them."""

from __future__ import annotations

import json
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput
from serving.logs import piece, pieces

LONGEST_LINE = 64_000


class LogReader:
    """The lines of one log, across its rotation.

    Args:
        path: of the log.
        from_s: no line that was logged before, seconds since the epoch; None for any.
    """

    def __init__(self, path: Path, *, from_s: float | None = None) -> None:
        self._path = path
        self._from_s = from_s
        self._position = 0
        self._begun = b""
        """A line whose end is not written yet."""

    def last(self, lines: int) -> list[str]:
        """The last lines, from former pieces too; `poll` goes on after them.

        Raises:
            InvalidInput: no older lines are wanted, and none of them says its time.
        """
        found: deque[str] = deque()
        for path in reversed(pieces(self._path)):
            with path.open("rb") as file:
                part = deque(file, maxlen=lines - len(found))
                if path == self._path:
                    self._position = file.tell()
            found.extendleft(_text(line) for line in reversed(part))
            if len(found) >= lines:
                break
        return list(found) if self._from_s is None else self._recent(list(found), self._from_s)

    def _recent(self, lines: list[str], from_s: float) -> list[str]:
        """The lines from a time on; one that does not say its time belongs to the one before."""
        times = [_time_s(line) for line in lines]
        if lines and not any(times):
            raise InvalidInput(
                "it is not known when these lines were logged",
                where="--since",
                why=f"no line of {self._path.stem} says its time",
                next_step="leave it out, and say how many lines with -n",
            )
        first = next((index for index, at_s in enumerate(times) if at_s is not None and at_s >= from_s), len(lines))
        return lines[first:]

    def poll(self) -> list[str]:
        """Whole lines written since the last call; none is missed when the log was rotated in between."""
        data = b""
        if self._path.stat().st_size < self._position:
            former = piece(self._path, 1)
            data, self._position = (_since(former, self._position) if former.exists() else b""), 0
        new = _since(self._path, self._position)
        self._position += len(new)
        *whole, self._begun = (self._begun + data + new).split(b"\n")
        if len(self._begun) > LONGEST_LINE:
            whole, self._begun = [*whole, self._begun], b""
        return [_text(line) for line in whole]


def as_object(line: str) -> dict[str, Any]:
    """A line as an object: itself if it is one, else its text as `message`."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) and "message" in found else {"message": line}


def readable(line: str) -> str:
    """A JSON line as people read it, `12:03:04 info shop@cloud scale: why  #12`; any other line as it is."""
    found = as_object(line)
    if "time" not in found:
        return line
    try:
        clock = datetime.fromisoformat(str(found["time"])).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return line
    owner = "@".join(str(found[name]) for name in ("service", "site") if found.get(name))
    level = f"{found['level']!s:<7}" if found.get("level") else ""
    parts = [clock, str(found.get("pod") or ""), level, owner, str(found["message"])]
    parts += [f"request {found['request_id']}"] if found.get("request_id") else []
    parts += [f"#{found['decision']}"] if found.get("decision") else []
    shown = " ".join(part for part in parts if part)
    return f"{shown}\n{found['exception']}" if found.get("exception") else shown


def _time_s(line: str) -> float | None:
    """When a JSON line was logged; None for any other."""
    try:
        return datetime.fromisoformat(str(as_object(line).get("time"))).timestamp()
    except ValueError:
        return None


def _since(path: Path, position: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read()


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode(errors="replace")
