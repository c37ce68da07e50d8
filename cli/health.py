"""Probes of `hcctl doctor`: each looks at one thing, and none can stop the others.

A probe that raises has failed with the reason; one that hangs has failed when its time is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from serving.errors import HcctlError

State = Literal["ok", "failed", "none"]


@dataclass(frozen=True)
class Finding:
    """What a probe found."""

    state: State
    """`none`: there is nothing to look at, which is no fault."""
    found: str
    next_step: str = ""
    """What mends a failure: a command or an edit."""


@dataclass(frozen=True)
class Probe:
    """One field of the report."""

    field: str
    look: Callable[[], Finding]
    timeout_s: float = 5.0


def ok(found: object) -> Finding:
    """It is as it should be."""
    return Finding("ok", str(found))


def nothing(why: str) -> Finding:
    """There is nothing to look at."""
    return Finding("none", why)


def failed(found: str, next_step: str) -> Finding:
    """It is not as it should be; `next_step` mends it."""
    return Finding("failed", found, next_step)


def judged(good: bool, found: str, next_step: str) -> Finding:
    """`ok` if it is good, else `failed` with what mends it."""
    return ok(found) if good else failed(found, next_step)


def run(probes: Sequence[Probe]) -> list[tuple[str, Finding]]:
    """Field and finding of every probe, in order, whatever the probes do."""
    return [(probe.field, _within_time(probe)) for probe in probes]


def _within_time(probe: Probe) -> Finding:
    findings: list[Finding] = []
    # A daemon thread: one that hangs for good does not keep the process.
    thread = threading.Thread(target=lambda: findings.append(_guarded(probe)), daemon=True)
    thread.start()
    thread.join(probe.timeout_s)
    if findings:
        return findings[0]
    return failed(f"no answer within {probe.timeout_s:g} s", "run it again; look for a hanging disk or process")


def _guarded(probe: Probe) -> Finding:
    try:
        return probe.look()
    except HcctlError as error:
        where_why = ": ".join(part for part in (error.what, error.where, error.why) if part)
        return failed(where_why, error.next_step)
    except Exception as error:
        return failed(f"{type(error).__name__}: {error}"[:300], "see the reason; report it if it is hcctl's")
