"""Options that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
Command = TypeVar("Command", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A finite number in a range. Click lets `nan` through every range: it compares as neither below nor above."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return found


class Duration(Number):
    """A time with its unit, as `90s`, `30m`, `24h` or `7d`; its range is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", str(value), re.ASCII)
        if found is None:
            self.fail(f"{str(value)[:40]!r} is no number with s, m, h or d, as in 24h", param, ctx)
        return super().convert(float(found[1]) * UNITS_S[found[2]], param, ctx)


def since_option(note: str = "") -> Callable[[Command], Command]:
    """Add `--since DURATION` (as `since_s`), at most the 35 days that are recorded."""
    return click.option(
        "--since",
        "since_s",
        type=Duration(0, 35 * 86_400, min_open=True),
        default="24h",
        show_default=True,
        help=f"How far back: a number with s, m, h or d{f'; {note}' if note else ''}.",
    )


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
