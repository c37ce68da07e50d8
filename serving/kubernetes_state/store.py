"""`serving.state.Store` in a Kubernetes namespace, for a daemon that may run on any node, with others standing by.

Intents are objects of their own, written by commands (`declared.py`). All else is the daemon's: rows in a book
(`book.py`), of which each transaction is one replacement of the head (`head.py`). Only the leader's store writes it:
`lead` begins its term. Another one reads, and looks each time whether the head has changed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from serving.bodies import decision_texts, decode_body, encode_body, finite
from serving.errors import HcctlError, InvalidInput, NotLeading, RevisionConflict, SiteUnreachable
from serving.kubernetes_state.book import Book, Contents, Row, pack
from serving.kubernetes_state.declared import Declared
from serving.kubernetes_state.head import Head, PageGone, StateObjects
from serving.kubernetes_state.rows import (
    as_decision,
    as_document,
    as_journal_entry,
    decision_page,
    journal_page,
    ledger_place,
    newest,
    observation_page,
)
from serving.sites.kubernetes.answers import Conflict, Object
from serving.state import Body, Decision, Document, JournalEntry, LedgerEntry

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi

log = logging.getLogger(__name__)

PACE_S = 10.0
COMPLETED_ACTIONS_KEPT = 1_000
ENTRIES_BYTES = 300_000
ENTRIES_MOST = 1_000
"""Beyond either, the entries in the head are folded into pages."""
_COUNTERS = "counters"
_READS = 5
"""Tries of a reader that meets a fold."""
_Found = TypeVar("_Found")


class KubernetesStore:
    """Durable state in a namespace; see `Store` for the methods. Safe to share between threads.

    Args:
        api: access to the cluster.
        namespace: where the state lies; of one project alone.
        project: its name.
    """

    pace_s = PACE_S

    def __init__(self, api: KubernetesApi, namespace: str, project: str) -> None:
        self.declared = Declared(api, namespace, project)
        self.told: Callable[[Told], None] = lambda _: None
        """Called with each transaction that is on disk, for who shows it to people."""
        self._objects = StateObjects(api, namespace, project)
        self._lock = threading.RLock()
        self._book = Book(self._objects.read_page)
        self._head: Head | None = None
        """As last read or written; None before."""
        self._term = 0
        """Of this store as the leader's; 0: it only reads."""
        self._unsure = False
        """A write of ours may have landed without our knowing."""
        self._depth = 0
        self._after: list[Callable[[], None]] = []
        """Deletions of intents, once the transaction is on disk."""
        self._telling = Told()
        self._strays: list[str] = []
        """Pieces of pages that were replaced, or written for a fold that failed."""

    def lead(self, identity: str) -> int:
        """Begin a term: from now on only this store may write; returns the term's number.

        Raises:
            HcctlError: the API server does not answer; try again.
        """
        with self._lock:
            while True:
                head = self._objects.read()
                with suppress(Conflict):
                    written = self._objects.write(Head(head.term + 1, identity, head.contents, head.version))
                    break
            self._head, self._term, self._unsure = written, written.term, False
            self._book.reset(written.contents)
            self._objects.sweep(written.contents)
            return self._term

    @contextmanager
    def atomic(self) -> Iterator[None]:
        with self._lock:
            outer = self._depth == 0
            self._depth += 1
            try:
                yield
                if outer:
                    self._commit()
            except BaseException:
                if outer:
                    self._book.undo()
                    self._after, self._telling = [], Told()
                raise
            finally:
                self._depth -= 1

    def put_intent(self, kind: str, name: str, body: Body, *, expected_revision: int | None, at_s: float) -> int:
        with self._lock:
            if self._depth:
                raise InvalidInput("an intent is written by itself, not within a transaction", where=f"{kind} {name}")
        return self.declared.put(kind, name, body, expected_revision=expected_revision, at_s=at_s)

    def delete_intent(self, kind: str, name: str, *, expected_revision: int | None = None) -> None:
        def delete() -> None:
            try:
                self.declared.delete(kind, name, expected_revision=expected_revision)
            except RevisionConflict:
                log.info("%s %s was written anew meanwhile and stays", kind, name)

        with self._lock:
            if self._depth:
                self.declared.check_delete(kind, name, expected_revision=expected_revision)
                self._after.append(delete)
                return
        self.declared.delete(kind, name, expected_revision=expected_revision)

    def intent(self, kind: str, name: str) -> Document | None:
        return self.declared.one(kind, name)

    def intents(self, kind: str) -> tuple[Document, ...]:
        return self.declared.all(kind)

    def put_observation(self, kind: str, name: str, body: Body, *, at_s: float) -> int:
        text, when_s = encode_body(body, f"{kind} {name}"), finite(at_s, "at_s")
        with self.atomic():
            page = observation_page(kind, name)
            former = self._book.row(page, name)
            revision = 1 if former is None else int(str(former[0])) + 1
            self._change(page, name, [revision, text, when_s])
            self._telling.observations[kind, name] = decode_body(text)
        return revision

    def delete_observation(self, kind: str, name: str) -> None:
        with self.atomic():
            page = observation_page(kind, name)
            if self._book.row(page, name) is not None:
                self._change(page, name, None)
                self._telling.observations[kind, name] = None

    def observation(self, kind: str, name: str) -> Document | None:
        row = self._read(lambda book: book.row(observation_page(kind, name), name))
        return None if row is None else as_document(kind, name, row)

    def observations(self, kind: str) -> tuple[Document, ...]:
        def read(book: Book) -> list[tuple[str, Row]]:
            return [pair for page in book.pages(f"observation/{kind}/") for pair in book.rows(page).items()]

        return tuple(as_document(kind, name, row) for name, row in sorted(self._read(read)))

    def begin_action(self, key: str, action: Body, *, at_s: float) -> JournalEntry | None:
        text, begun_at_s = encode_body(action, f"action {key}"), finite(at_s, "at_s")
        with self.atomic():
            former = self._journalled(key)
            if former is not None:
                return as_journal_entry(former[1])
            number = self._count("journal")
            self._change(journal_page(number), str(number), [key, text, begun_at_s, None, None])
            self._change("open", str(number), [key])
            return None

    def complete_action(self, key: str, outcome: Body, *, at_s: float) -> None:
        text, completed_at_s = encode_body(outcome, f"action {key}"), finite(at_s, "at_s")
        with self.atomic():
            found = self._journalled(key)
            if found is None:
                raise HcctlError("an action that was never begun cannot be completed", where=key)
            number, (_, action, begun_at_s, former, _) = found
            if former is not None:
                return
            self._change(journal_page(number), str(number), [key, action, begun_at_s, completed_at_s, text])
            self._change("open", str(number), None)
            last, still_open = self._counter("journal"), {int(key) for key in self._book.rows("open")}
            for old, _ in list(self._journal()):
                if old <= last - COMPLETED_ACTIONS_KEPT and old not in still_open:
                    self._change(journal_page(old), str(old), None)

    def open_actions(self) -> tuple[JournalEntry, ...]:
        def read(book: Book) -> list[Row]:
            numbers = sorted(map(int, book.rows("open")))
            return [row for number in numbers if (row := book.row(journal_page(number), str(number)))]

        return tuple(map(as_journal_entry, self._read(read)))

    def actions(self, *, limit: int = 100) -> tuple[JournalEntry, ...]:
        def read(book: Book) -> list[Row]:
            return newest(book, "journal/", limit)

        return tuple(map(as_journal_entry, self._read(read)))

    def append_decisions(self, decisions: tuple[tuple[str, Body], ...], *, at_s: float, keep: int) -> range:
        texts = decision_texts(decisions, keep=keep)
        if not texts:
            return range(0)
        when_s = finite(at_s, "at_s")
        with self.atomic():
            last = self._counter("decision")
            for number, (service, text) in enumerate(texts, start=last + 1):
                row: Row = [number, when_s, service, text]
                self._change(decision_page(number), str(number), row)
                self._telling.decisions.append(as_decision(row))
            end = last + len(texts)
            self._change(_COUNTERS, "decision", [end])
            for number in range(self._counter("decision-first") or 1, end - keep + 1):
                self._change(decision_page(number), str(number), None)
            self._change(_COUNTERS, "decision-first", [max(1, end - keep + 1)])
        return range(last + 1, end + 1)

    def decisions(self, service: str | None = None, *, limit: int = 100) -> tuple[Decision, ...]:
        def read(book: Book) -> list[Row]:
            return newest(book, "decision/", limit, lambda row: service in (None, row[2]))

        return tuple(map(as_decision, self._read(read)))

    def append_ledger(self, entry: LedgerEntry) -> None:
        where = f"ledger of {entry.site}/{entry.pool}"
        numbers = (entry.start_s, entry.end_s, entry.node_seconds, entry.usd)
        row: Row = [entry.site, entry.pool, entry.service, *(finite(number, where) for number in numbers)]
        with self.atomic():
            self._change(*ledger_place(entry), row)

    def trim_ledger(self, *, keep: int) -> None:
        with self.atomic():
            spans = self._spans(self._book)
            ends = sorted((entry.end_s for entry in spans), reverse=True)
            first_s = ends[min(max(keep, 1), len(ends)) - 1] if ends else 0.0
            for entry in spans:
                if entry.end_s < first_s:
                    self._change(*ledger_place(entry), None)

    def ledger(self, *, since_s: float = 0.0) -> tuple[LedgerEntry, ...]:
        spans = [entry for entry in self._read(self._spans) if entry.end_s > since_s]
        return tuple(sorted(spans, key=lambda entry: (entry.start_s, entry.site, entry.pool, entry.service)))

    def close(self) -> None:
        self.declared.stop()

    @staticmethod
    def _spans(book: Book) -> list[LedgerEntry]:
        rows = (row for page in book.pages("ledger/") for row in book.rows(page).values())
        return [LedgerEntry(*row) for row in rows]  # type: ignore[arg-type]  # as `append_ledger` wrote them

    def _change(self, page: str, key: str, row: Row | None) -> None:
        if not self._term:
            raise NotLeading("only the daemon that leads may write this", where=page)
        self._book.change(page, key, row)

    def _counter(self, name: str) -> int:
        row = self._book.row(_COUNTERS, name)
        return 0 if row is None else int(str(row[0]))

    def _count(self, name: str) -> int:
        number = self._counter(name) + 1
        self._change(_COUNTERS, name, [number])
        return number

    def _journal(self) -> Iterator[tuple[int, Row]]:
        for page in self._book.pages("journal/"):
            for number, row in self._book.rows(page).items():
                yield int(number), row

    def _journalled(self, key: str) -> tuple[int, Row] | None:
        return next((found for found in self._journal() if found[1][0] == key), None)

    def _read(self, read: Callable[[Book], _Found]) -> _Found:
        """The leader's own memory is the truth; others look whether the head has changed."""
        with self._lock:
            for _ in range(_READS):
                if not self._term and (self._head is None or self._objects.version() != self._head.version):
                    self._head = self._objects.read()
                    self._book.reset(self._head.contents)
                with suppress(PageGone):
                    return read(self._book)
                self._head = None
            raise SiteUnreachable("the state changes faster than it can be read", next_step="run the command again")

    def _commit(self) -> None:
        """Put the transaction on disk: by one more entry, or folded."""
        changes, after, told = self._book.pending, self._after, self._telling
        self._after, self._telling = [], Told()
        if changes:
            head = self._settled_head()
            entries = (*head.contents.entries, pack([list(change) for change in changes]))
            if len(entries) <= ENTRIES_MOST and sum(map(len, entries)) <= ENTRIES_BYTES:
                self._put(Contents(head.contents.index, entries))
                self._book.settle()
            else:
                self._fold(head.contents)
        for delete in after:
            delete()
        if changes:
            self.told(told)

    def _fold(self, former: Contents) -> None:
        index = dict(former.index)
        for page, rows in self._book.folded():
            self._strays += index.pop(page, ())
            if rows:
                index[page] = self._objects.write_page(rows, self._term)
                self._strays += index[page]
        contents = Contents(index)
        self._put(contents)
        self._book.settle(contents)
        named = {name for pieces in index.values() for name in pieces}
        strays, self._strays = [name for name in self._strays if name not in named], []
        try:
            self._objects.remove_pages(strays)
        except HcctlError as error:  # the next leader sweeps them
            log.warning("former pages stay for now: %s", error.one_line())

    def _settled_head(self) -> Head:
        """The head that stands in the cluster, if it is ours."""
        if self._head is None or not self._term:
            raise NotLeading("only the daemon that leads may write")
        if self._unsure:
            self._adopt()
        return self._head

    def _adopt(self) -> None:
        """Learn the version of our head; what it says is what the next write replaces.

        Raises:
            NotLeading: it is not ours any more.
        """
        found = self._objects.read()
        if self._head is None or (found.term, found.holder) != (self._head.term, self._head.holder):
            raise NotLeading("another daemon leads", where="configmap hcctl-state", why=f"{found.holder} began a term")
        self._head = Head(found.term, found.holder, self._head.contents, found.version)
        self._unsure = False

    def _put(self, contents: Contents) -> None:
        """Replace our head. A conflict is our own write whose answer was lost, or the end of our term."""
        for again in (False, True):
            head = self._settled_head()
            try:
                self._head = self._objects.write(Head(head.term, head.holder, contents, head.version))
            except Conflict:
                if again:
                    raise
                self._unsure = True
            except HcctlError:
                self._unsure = True
                raise
            else:
                return


class Told:
    """A transaction, for who shows it to people: observations (None: gone) and decisions."""

    def __init__(self) -> None:
        self.observations: dict[tuple[str, str], Object | None] = {}
        self.decisions: list[Decision] = []
