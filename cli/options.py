"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A finite number in a range. Click lets `nan` through every range: it compares as neither below nor above."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return found


def wait_options(default_timeout_s: float) -> Callable[[Command], Command]:
    """Add `--timeout SECONDS` (as `timeout_s`) and `--no-wait`."""

    def add(command: Command) -> Command:
        timeout = click.option(
            "--timeout",
            "timeout_s",
            type=Number(min=0.1, max=86_400),
            default=default_timeout_s,
            show_default=True,
            help="Longest wait, in seconds.",
        )
        no_wait = click.option("--no-wait", is_flag=True, help="Return at once; the daemon goes on.")
        return timeout(no_wait(command))

    return add
