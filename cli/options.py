"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def wait_options(default_timeout_s: float) -> Callable[[Command], Command]:
    """Add `--timeout SECONDS` (as `timeout_s`) and `--no-wait`."""

    def add(command: Command) -> Command:
        timeout = click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0.1, max=86_400),
            default=default_timeout_s,
            show_default=True,
            help="Longest wait, in seconds.",
        )
        no_wait = click.option("--no-wait", is_flag=True, help="Return at once; the daemon goes on.")
        return timeout(no_wait(command))

    return add
