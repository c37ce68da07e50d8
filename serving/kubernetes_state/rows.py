"""How state lies in a book: which page a row is on, and what a row says. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from serving.bodies import decode_body
from serving.kubernetes_state.book import Book, Row
from serving.state import Decision, Document, JournalEntry, LedgerEntry

BUCKETS = 8
"""Pages for the observations of a kind."""
JOURNAL_PAGE, DECISION_PAGE = 250, 500
LEDGER_PAGE_S = 86_400


def observation_page(kind: str, name: str) -> str:
    """Recorded traffic is read and written hour by hour, over all services; the rest is spread."""
    if kind == "traffic":
        return f"observation/{kind}/{name.rpartition('/')[2]}"
    return f"observation/{kind}/{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % BUCKETS}"


def journal_page(number: int) -> str:
    """Page of a journal entry, by its number."""
    return f"journal/{number // JOURNAL_PAGE:09d}"


def decision_page(number: int) -> str:
    """Page of a decision, by its number."""
    return f"decision/{number // DECISION_PAGE:09d}"


def ledger_place(entry: LedgerEntry) -> tuple[str, str]:
    """Page and key of a span."""
    key = f"{entry.start_s!r}/{entry.site}/{entry.pool}/{entry.service}"
    return f"ledger/{int(entry.start_s) // LEDGER_PAGE_S:07d}", key


def newest(book: Book, pages: str, limit: int, chosen: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """The latest rows, by number, of pages that are in the order of their numbers."""
    found: list[Row] = []
    for page in reversed(book.pages(pages)):
        if len(found) >= limit:
            break
        rows = book.rows(page)
        found += [rows[number] for number in sorted(rows, key=int, reverse=True) if chosen(rows[number])]
    return found[: max(limit, 0)]


def as_document(kind: str, name: str, row: Row) -> Document:
    """The document that a row says."""
    revision, text, at_s = row
    return Document(kind, name, int(str(revision)), decode_body(str(text)), float(str(at_s)))


def as_decision(row: Row) -> Decision:
    """The decision that a row says."""
    number, at_s, service, text = row
    return Decision(int(str(number)), float(str(at_s)), str(service), decode_body(str(text)))


def as_journal_entry(row: Row) -> JournalEntry:
    """The action that a row says."""
    key, action, begun_at_s, completed_at_s, outcome = row
    return JournalEntry(
        key=str(key),
        action=decode_body(str(action)),
        begun_at_s=float(str(begun_at_s)),
        completed_at_s=None if completed_at_s is None else float(str(completed_at_s)),
        outcome=None if outcome is None else decode_body(str(outcome)),
    )
