"""One parser under fuzz: how it is fed, what it may refuse with, and the bounds of every input."""

from __future__ import annotations

import json
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import HcctlError

TIME_LIMIT_S = 2.0
"""Processor time of one input. Under tracemalloc, so about a tenth of it without."""
MEMORY_LIMIT_BYTES = 32 << 20
MEMORY_PER_BYTE = 200
"""What one byte of input may cost on top."""
TEXT_LIMIT = 4_000
"""Longest error text: it goes to a terminal and into the decision log."""

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(__file__).parent / "found"


class Exceeded(BaseException):
    """An input took too long. Not an Exception: no parser can swallow it."""


class Unusable(Exception):
    """The input cannot stand where the parser reads it, e.g. no JSON in a store that holds only JSON."""


@dataclass(frozen=True)
class Target:
    """A parser. `feed` also asserts what must hold for an input that is accepted."""

    name: str
    feed: Callable[[bytes, Path], object]
    """Gets the input and an empty folder of its own."""
    refusals: tuple[type[Exception], ...] = ()
    """The errors that mean `no`; any other exception is a fault."""
    tokens: tuple[str, ...] = ()
    """Words of its language that random text would not hit upon."""
    prepare: Callable[[], object] = lambda: None
    """Makes what all its inputs share, outside of the bounds."""

    @property
    def corpus(self) -> list[bytes]:
        """Kept inputs, the shortest first."""
        return sorted(
            (path.read_bytes() for path in (CORPUS / self.name).iterdir()), key=lambda data: (len(data), data)
        )


def accepts(target: Target, data: bytes, folder: Path) -> bool:
    """Feed one input within the bounds; whether it was accepted.

    Raises:
        AssertionError, Exceeded, Exception: a fault.
    """
    accepted = False
    with _memory_limit(len(data)), _time_limit():
        try:
            target.feed(data, folder)
            accepted = True
        except Unusable:
            pass  # counted as not accepted
        except target.refusals as error:
            _check_text(error)
    return accepted


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object that the input is.

    Raises:
        Unusable: it is none.
    """
    try:
        found = json.loads(data)
        json.dumps(found, allow_nan=False)  # `Store` keeps no other numbers
    except (ValueError, RecursionError):
        raise Unusable from None
    if not isinstance(found, dict):
        raise Unusable
    return found


def keep(target: Target, data: bytes) -> Path:
    """Write a failing input where it can be looked at and moved into the corpus; returns its path."""
    FOUND.mkdir(exist_ok=True)
    path = FOUND / target.name
    path.write_bytes(data)
    return path


def _check_text(error: Exception) -> None:
    text = error.one_line() if isinstance(error, HcctlError) else str(error)
    assert text, "a refusal without a reason"
    assert len(text) <= TEXT_LIMIT, f"a refusal of {len(text):,} characters"


@contextmanager
def _memory_limit(size_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used <= MEMORY_LIMIT_BYTES + MEMORY_PER_BYTE * size_bytes, f"{used:,} bytes of memory for {size_bytes:,}"


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Exceeded(f"more than {TIME_LIMIT_S:g} s of processor time")

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)
