"""Another user of this computer, for tests of who is let in."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import in_child

NOBODY = 65_534


def refused_to_nobody(attempt: Callable[[], object]) -> bool:
    """Whether the attempt, made by the user `nobody`, ends in PermissionError. Needs root."""

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            attempt()
        except PermissionError:
            return
        raise AssertionError("a stranger was let in")

    return in_child(as_nobody) == 0


def connect(path: Path) -> None:
    """Connect to a UNIX socket and leave."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
