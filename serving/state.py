"""The port to durable state: what is wanted, what was seen, what was decided.

Commands write only intents, with the revision they read; the daemon writes only
observations, the journal, decisions and the ledger. Implementations:
`serving.sqlite_store.SqliteStore`, `serving.kubernetes_state.store.KubernetesStore` and
`tests.support.memory_store.MemoryStore`; all pass tests/contract/test_store.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

Body = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Document:
    """A stored object with the revision it was read at."""

    kind: str
    name: str
    revision: int
    """Grows by one with each write, from 1."""
    body: Body
    at_s: float


@dataclass(frozen=True)
class JournalEntry:
    """An action that was begun; completed or not."""

    key: str
    """Idempotency key: the same action has the same key."""
    action: Body
    begun_at_s: float
    completed_at_s: float | None
    outcome: Body | None


@dataclass(frozen=True)
class Decision:
    """One line of the decision log."""

    number: int
    at_s: float
    service: str
    body: Body
    """At least `action` and `reason`."""


TROUBLE = frozenset({"action failed", "eject", "leave out", "set aside"})
"""Actions of decisions that tell of something that is not as it should be."""


@dataclass(frozen=True)
class LedgerEntry:
    """Spend of one pool over one span of time."""

    site: str
    pool: str
    service: str
    start_s: float
    end_s: float
    node_seconds: float
    usd: float


class Store(Protocol):
    """Durable state. Each write is atomic and on disk when the call returns, or when `atomic` around it ends.

    `intent` kinds: service, hold, abort, control. `observation` kinds: daemon, service, site, release,
    traffic. Names of services are those that `service.yaml` may have.
    """

    @property
    def pace_s(self) -> float:
        """How often figures that change all the time are worth a write, in seconds."""
        ...

    def atomic(self) -> AbstractContextManager[None]:
        """All writes of the block, of this thread, or none: what it raises undoes them. May be nested."""
        ...

    def put_intent(self, kind: str, name: str, body: Body, *, expected_revision: int | None, at_s: float) -> int:
        """Write what is wanted; returns the new revision.

        `expected_revision` 0 means it must not exist yet; None skips the check.
        Raises: RevisionConflict when somebody else wrote first.
        """
        ...

    def delete_intent(self, kind: str, name: str, *, expected_revision: int | None = None) -> None:
        """Remove what is wanted; absent is no error.

        Raises: RevisionConflict when it exists at another revision than the expected one.
        """
        ...

    def intent(self, kind: str, name: str) -> Document | None: ...
    def intents(self, kind: str) -> tuple[Document, ...]:
        """All intents of a kind, by name."""
        ...

    def put_observation(self, kind: str, name: str, body: Body, *, at_s: float) -> int: ...
    def delete_observation(self, kind: str, name: str) -> None: ...
    def observation(self, kind: str, name: str) -> Document | None: ...
    def observations(self, kind: str) -> tuple[Document, ...]: ...

    def begin_action(self, key: str, action: Body, *, at_s: float) -> JournalEntry | None:
        """Journal an action before its call; returns the former entry if the key is known."""
        ...

    def complete_action(self, key: str, outcome: Body, *, at_s: float) -> None: ...
    def open_actions(self) -> tuple[JournalEntry, ...]:
        """Actions begun and not completed, oldest first."""
        ...

    def actions(self, *, limit: int = 100) -> tuple[JournalEntry, ...]:
        """The latest actions, open or completed, newest first."""
        ...

    def append_decisions(self, decisions: tuple[tuple[str, Body], ...], *, at_s: float, keep: int) -> range:
        """Append (service, body) lines; returns their numbers. The oldest beyond `keep` are dropped."""
        ...

    def decisions(self, service: str | None = None, *, limit: int = 100) -> tuple[Decision, ...]:
        """The latest decisions, newest first."""
        ...

    def append_ledger(self, entry: LedgerEntry) -> None:
        """Add a span of spend; a span with the same site, pool, service and start replaces it."""
        ...

    def trim_ledger(self, *, keep: int) -> None:
        """Drop the spans that ended first, down to `keep`; spans that ended at one moment stay or go together."""
        ...

    def ledger(self, *, since_s: float = 0.0) -> tuple[LedgerEntry, ...]:
        """Spans that end after `since_s`, oldest first."""
        ...

    def close(self) -> None: ...
