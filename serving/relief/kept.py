"""Answers that are kept for a while: which, for whom, and how many. Pure but for the cache's own contents.

Nobody gets an answer that was made for somebody else. Of a `shared` route the declaration says that an answer
depends on path, query and body alone. Of a `per_caller` route it may depend on all that the request says, so
all of it is part of the key: the API key's name and every header that is not about the connection.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from multidict import MultiMapping

Sharing = Literal["shared", "per_caller"]

LONGEST_KEPT_BYTES = 262_144
OVERHEAD_BYTES = 1_024
"""Counted for each answer beside its body, so that empty ones are bounded too."""
KEPT_HEADERS = ("Content-Type", "Content-Language", "Cache-Control")
ABOUT_THE_CONNECTION = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "date",
        "host",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
"""Request headers on which no answer depends, or that differ in every request. Kept answers are not compressed."""


@dataclass(frozen=True)
class Kept:
    """One good answer."""

    body: bytes
    headers: tuple[tuple[str, str], ...]
    at_s: float
    """When it was given, monotonic."""


class Cache:
    """Kept answers, the longest unused ones first to go. Not thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now_s: float, max_stale_s: float) -> Kept | None:
        """The answer, unless it is too old; such a one is forgotten."""
        found = self._kept.get(key)
        if found is None:
            return None
        if now_s - found.at_s > max_stale_s:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, answer: Kept) -> None:
        """Keep an answer in the place of a former one."""
        self._forget(key)
        self._kept[key] = answer
        self.held_bytes += _size(answer)
        while self.held_bytes > self.most_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        former = self._kept.pop(key, None)
        if former is not None:
            self.held_bytes -= _size(former)


def key(
    sharing: Sharing,
    *,
    caller: str,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> bytes:
    """What two requests must have in common to get the same answer.

    Args:
        sharing: what the route declares.
        caller: name of the API key; empty without one.
        method: of the request.
        target: path and query; the path begins with the application, so with service and version.
        headers: all of the request; those between gateway and relief process left out.
        body: all of it.
    """
    parts = [sharing, method, target]
    if sharing == "per_caller":
        parts += [caller, *sorted(f"{k.lower()}:{v}" for k, v in headers if k.lower() not in ABOUT_THE_CONNECTION)]
    digest = hashlib.sha256()
    for part in (*(text.encode("utf-8", "surrogateescape") for text in parts), body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def may_keep(sharing: Sharing, status: int, headers: MultiMapping[str]) -> bool:
    """Whether an answer may be given again; `headers` finds names in any case, and all lines of a name.

    Not if it sets a cookie, forbids it (RFC 9111, 5.2.2), or depends on what is not in the key.
    """
    said = ",".join(headers.getall("Cache-Control", ()))
    control = {word.strip().partition("=")[0].lower() for word in said.split(",")}
    if status != 200 or "Set-Cookie" in headers or "Content-Encoding" in headers:
        return False
    if control & {"no-store", "no-cache"}:
        return False
    return sharing == "per_caller" or ("private" not in control and "Vary" not in headers)


def headers_to_keep(headers: MultiMapping[str]) -> tuple[tuple[str, str], ...]:
    """What a client is told again with a kept answer: all lines of each name."""
    return tuple((name, value) for name in KEPT_HEADERS for value in headers.getall(name, ()))


def _size(answer: Kept) -> int:
    return len(answer.body) + OVERHEAD_BYTES
