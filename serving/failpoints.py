"""Named places where a test may let the process die: on either side of every durable write and every call outside.

In production each is one lookup in an empty dictionary. Two ways to arm them, both for tests only:
`arm(name, action)` inside a process, and the environment of a child process,
`HCCTL_FAILPOINTS="store.after-commit=12"`: it kills itself (SIGKILL) when it passes there the 12th time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

NAMES = (
    "store.before-commit",
    "store.after-commit",
    "file.before-rename",
    "file.after-rename",
    "daemon.after-journal",
    "daemon.after-call",
    "gateway.after-files",
    "site.after-spawn",
    "registry.before-publish",
    "registry.after-publish",
)
"""All there are. `daemon.after-journal` lies between the journal entry of an action and its call, `daemon.after-call`
between the call and its outcome in the journal."""

VARIABLE = "HCCTL_FAILPOINTS"

_armed: dict[str, Callable[[], None]] = {}


def failpoint(name: str) -> None:
    """Pass a named place."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Run `action` at each pass of a place.

    Raises:
        ValueError: there is no such place.
    """
    if name not in NAMES:
        raise ValueError(f"no such failpoint: {name}; there are {', '.join(NAMES)}")
    _armed[name] = action


def disarm() -> None:
    """Nothing happens anywhere any more."""
    _armed.clear()


def _arm_from(text: str) -> None:
    """`name=passes` pairs, by commas: the process kills itself at that pass."""
    for pair in filter(None, text.split(",")):
        name, _, passes = pair.partition("=")
        arm(name, _killer(int(passes)))


def _killer(passes: int) -> Callable[[], None]:
    left = passes

    def pass_by() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return pass_by


_arm_from(os.environ.get(VARIABLE, ""))
