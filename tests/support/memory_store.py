"""`serving.state.Store` in memory: the double for tests, and the model the real one is compared with."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving.bodies import decode_body, encode_body, finite
from serving.errors import HcctlError, InvalidInput, RevisionConflict
from serving.state import Body, Decision, Document, JournalEntry, LedgerEntry


class MemoryStore:
    """Everything is lost with the object; apart from that it behaves like `SqliteStore`."""

    pace_s = 1.0

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._documents: dict[tuple[str, str, str], tuple[int, str | None, float]] = {}
        self._journal: dict[str, JournalEntry] = {}
        self._decisions: list[Decision] = []
        self._ledger: dict[tuple[float, str, str, str], LedgerEntry] = {}

    @contextmanager
    def atomic(self) -> Iterator[None]:
        with self._lock:
            before = self._documents, self._journal, self._decisions, self._ledger
            self._documents, self._journal = dict(self._documents), dict(self._journal)
            self._decisions, self._ledger = list(self._decisions), dict(self._ledger)
            try:
                yield
            except BaseException:
                self._documents, self._journal, self._decisions, self._ledger = before
                raise

    def put_intent(self, kind: str, name: str, body: Body, *, expected_revision: int | None, at_s: float) -> int:
        return self._put("intent", kind, name, body, expected_revision, at_s)

    def delete_intent(self, kind: str, name: str, *, expected_revision: int | None = None) -> None:
        with self._lock:
            revision, text, at_s = self._documents.get(("intent", kind, name), (0, None, 0.0))
            if text is not None:
                if expected_revision not in (None, revision):
                    raise RevisionConflict("somebody else changed it meanwhile", where=f"{kind} {name}")
                self._documents["intent", kind, name] = (revision + 1, None, at_s)

    def intent(self, kind: str, name: str) -> Document | None:
        return next((doc for doc in self.intents(kind) if doc.name == name), None)

    def intents(self, kind: str) -> tuple[Document, ...]:
        return self._all("intent", kind)

    def put_observation(self, kind: str, name: str, body: Body, *, at_s: float) -> int:
        return self._put("observation", kind, name, body, None, at_s)

    def delete_observation(self, kind: str, name: str) -> None:
        with self._lock:
            self._documents.pop(("observation", kind, name), None)

    def observation(self, kind: str, name: str) -> Document | None:
        return next((doc for doc in self.observations(kind) if doc.name == name), None)

    def observations(self, kind: str) -> tuple[Document, ...]:
        return self._all("observation", kind)

    def begin_action(self, key: str, action: Body, *, at_s: float) -> JournalEntry | None:
        entry = JournalEntry(key, _clean(action, key), finite(at_s, "at_s"), None, None)
        with self._lock:
            former = self._journal.get(key)
            if former is None:
                self._journal[key] = entry
            return former

    def complete_action(self, key: str, outcome: Body, *, at_s: float) -> None:
        clean, when_s = _clean(outcome, key), finite(at_s, "at_s")
        with self._lock:
            entry = self._journal.get(key)
            if entry is None:
                raise HcctlError("an action that was never begun cannot be completed", where=key)
            if entry.completed_at_s is None:
                self._journal[key] = dataclasses.replace(entry, completed_at_s=when_s, outcome=clean)

    def open_actions(self) -> tuple[JournalEntry, ...]:
        with self._lock:
            return tuple(entry for entry in self._journal.values() if entry.completed_at_s is None)

    def actions(self, *, limit: int = 100) -> tuple[JournalEntry, ...]:
        with self._lock:
            return tuple(reversed(self._journal.values()))[: max(limit, 0)]

    def append_decisions(self, decisions: tuple[tuple[str, Body], ...], *, at_s: float, keep: int) -> range:
        if keep < 1:
            raise InvalidInput("at least one decision is kept", where="keep", why=str(keep))
        bodies = [(service, _clean(body, service)) for service, body in decisions]
        if not bodies:
            return range(0)
        when_s = finite(at_s, "at_s")
        with self._lock:
            last = self._decisions[-1].number if self._decisions else 0
            for number, (service, body) in enumerate(bodies, start=last + 1):
                self._decisions.append(Decision(number, when_s, service, body))
            self._decisions = self._decisions[-keep:]
            return range(last + 1, last + 1 + len(bodies))

    def decisions(self, service: str | None = None, *, limit: int = 100) -> tuple[Decision, ...]:
        with self._lock:
            wanted = [line for line in reversed(self._decisions) if service in {None, line.service}]
            return tuple(wanted[: max(limit, 0)])

    def append_ledger(self, entry: LedgerEntry) -> None:
        for number in (entry.start_s, entry.end_s, entry.node_seconds, entry.usd):
            finite(number, f"ledger of {entry.site}/{entry.pool}")
        with self._lock:
            self._ledger[entry.start_s, entry.site, entry.pool, entry.service] = entry

    def trim_ledger(self, *, keep: int) -> None:
        with self._lock:
            ends = sorted((entry.end_s for entry in self._ledger.values()), reverse=True)
            first_s = ends[min(max(keep, 1), len(ends)) - 1] if ends else 0.0
            self._ledger = {key: entry for key, entry in self._ledger.items() if entry.end_s >= first_s}

    def ledger(self, *, since_s: float = 0.0) -> tuple[LedgerEntry, ...]:
        with self._lock:
            return tuple(entry for _, entry in sorted(self._ledger.items()) if entry.end_s > since_s)

    def close(self) -> None:
        """Nothing to close."""

    def _put(self, role: str, kind: str, name: str, body: Body, expected_revision: int | None, at_s: float) -> int:
        text, when_s = encode_body(body, f"{kind} {name}"), finite(at_s, "at_s")
        with self._lock:
            last, former, _ = self._documents.get((role, kind, name), (0, None, 0.0))
            if expected_revision not in {None, 0 if former is None else last}:
                raise RevisionConflict("somebody else changed it meanwhile", where=f"{kind} {name}")
            self._documents[role, kind, name] = (last + 1, text, when_s)
            return last + 1

    def _all(self, role: str, kind: str) -> tuple[Document, ...]:
        with self._lock:
            found = sorted(self._documents.items())
        return tuple(
            Document(kind, name, revision, decode_body(text), at_s)
            for (its_role, its_kind, name), (revision, text, at_s) in found
            if (its_role, its_kind) == (role, kind) and text is not None
        )


def _clean(body: Body, where: str) -> Body:
    """A copy with JSON's types only, as a store on disk gives back."""
    return decode_body(encode_body(body, where))
