"""`serving.state.Store` on one SQLite file, for a project on one computer.

Commands and the daemon open the same file at once; writers take turns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from serving.bodies import decision_texts, decode_body, encode_body, finite, refuse_changed
from serving.errors import HcctlError
from serving.sqlite_file import Migration, Row, SqliteFile, schema_of, sealed
from serving.state import Body, Decision, Document, JournalEntry, LedgerEntry

Role = Literal["intent", "observation"]

COMPLETED_ACTIONS_KEPT = 10_000
"""Completed actions the journal remembers; a key older than that may be begun again."""

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE document (
            role TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
            body TEXT, at_s REAL NOT NULL, crc INTEGER NOT NULL,
            PRIMARY KEY (role, kind, name)) WITHOUT ROWID""",
        """CREATE TABLE journal (
            number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, action TEXT NOT NULL,
            begun_at_s REAL NOT NULL, completed_at_s REAL, outcome TEXT, crc INTEGER NOT NULL)""",
        "CREATE INDEX journal_open ON journal (number) WHERE completed_at_s IS NULL",
        """CREATE TABLE decision (
            number INTEGER PRIMARY KEY, at_s REAL NOT NULL, service TEXT NOT NULL, body TEXT NOT NULL,
            crc INTEGER NOT NULL)""",
        "CREATE INDEX decision_service ON decision (service, number)",
        """CREATE TABLE ledger (
            site TEXT NOT NULL, pool TEXT NOT NULL, service TEXT NOT NULL, start_s REAL NOT NULL,
            end_s REAL NOT NULL, node_seconds REAL NOT NULL, usd REAL NOT NULL, crc INTEGER NOT NULL,
            PRIMARY KEY (site, pool, service, start_s)) WITHOUT ROWID""",
        "CREATE INDEX ledger_end ON ledger (end_s)",
    ),
    (),  # each service's state has a document of its own: an hcctl that looks for it in another must not start
)
"""Schema version n is what the first n entries make. Entries are never edited, only added."""


class SqliteStore:
    """Durable state in file `path`; see `Store` for the methods and `SqliteFile` for the errors."""

    pace_s = 1.0

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, MIGRATIONS)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        with self._file.writing():
            yield

    def put_intent(self, kind: str, name: str, body: Body, *, expected_revision: int | None, at_s: float) -> int:
        return self._put("intent", kind, name, body, expected_revision, at_s)

    def delete_intent(self, kind: str, name: str, *, expected_revision: int | None = None) -> None:
        with self._file.writing() as connection:
            found = self._read(connection, "intent", kind, name)
            if found is None or found[4] is None:
                return
            refuse_changed(kind, name, int(found[3]), expected_revision)
            # An empty body keeps the revision: an intent that is deleted and made again must not
            # look unchanged to a command that read the former one.
            _, _, _, revision, _, at_s = found
            _replace(connection, "intent", kind, name, revision + 1, None, at_s)

    def intent(self, kind: str, name: str) -> Document | None:
        return self._document("intent", kind, name)

    def intents(self, kind: str) -> tuple[Document, ...]:
        return self._documents("intent", kind)

    def put_observation(self, kind: str, name: str, body: Body, *, at_s: float) -> int:
        return self._put("observation", kind, name, body, None, at_s)

    def delete_observation(self, kind: str, name: str) -> None:
        with self._file.writing() as connection:
            connection.execute(
                "DELETE FROM document WHERE role = 'observation' AND kind = ? AND name = ?", (kind, name)
            )

    def observation(self, kind: str, name: str) -> Document | None:
        return self._document("observation", kind, name)

    def observations(self, kind: str) -> tuple[Document, ...]:
        return self._documents("observation", kind)

    def begin_action(self, key: str, action: Body, *, at_s: float) -> JournalEntry | None:
        text, begun_at_s = encode_body(action, f"action {key}"), finite(at_s, "at_s")
        with self._file.writing() as connection:
            found = connection.execute("SELECT * FROM journal WHERE key = ?", (key,)).fetchone()
            if found is not None:
                return _journal_entry(self._file.opened(found))
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM journal").fetchone()
            connection.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)",
                sealed(last + 1, key, text, begun_at_s, None, None),
            )
            return None

    def complete_action(self, key: str, outcome: Body, *, at_s: float) -> None:
        text, completed_at_s = encode_body(outcome, f"action {key}"), finite(at_s, "at_s")
        with self._file.writing() as connection:
            found = connection.execute("SELECT * FROM journal WHERE key = ?", (key,)).fetchone()
            if found is None:
                raise HcctlError("an action that was never begun cannot be completed", where=key)
            number, _, action, begun_at_s, former, _ = self._file.opened(found)
            if former is not None:
                return
            connection.execute(
                "REPLACE INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)",
                sealed(number, key, action, begun_at_s, completed_at_s, text),
            )
            connection.execute(
                "DELETE FROM journal WHERE completed_at_s IS NOT NULL "
                "AND number <= (SELECT max(number) FROM journal) - ?",
                (COMPLETED_ACTIONS_KEPT,),
            )

    def open_actions(self) -> tuple[JournalEntry, ...]:
        rows = self._file.rows("SELECT * FROM journal WHERE completed_at_s IS NULL ORDER BY number")
        return tuple(map(_journal_entry, rows))

    def actions(self, *, limit: int = 100) -> tuple[JournalEntry, ...]:
        rows = self._file.rows("SELECT * FROM journal ORDER BY number DESC LIMIT ?", (max(limit, 0),))
        return tuple(map(_journal_entry, rows))

    def append_decisions(self, decisions: tuple[tuple[str, Body], ...], *, at_s: float, keep: int) -> range:
        texts = decision_texts(decisions, keep=keep)
        if not texts:
            return range(0)
        when_s = finite(at_s, "at_s")
        with self._file.writing() as connection:
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM decision").fetchone()
            connection.executemany(
                "INSERT INTO decision VALUES (?, ?, ?, ?, ?)",
                [sealed(last + i, when_s, service, text) for i, (service, text) in enumerate(texts, start=1)],
            )
            connection.execute("DELETE FROM decision WHERE number <= ?", (last + len(texts) - keep,))
        return range(last + 1, last + 1 + len(texts))

    def decisions(self, service: str | None = None, *, limit: int = 100) -> tuple[Decision, ...]:
        if service is None:
            rows = self._file.rows("SELECT * FROM decision ORDER BY number DESC LIMIT ?", (max(limit, 0),))
        else:
            rows = self._file.rows(
                "SELECT * FROM decision WHERE service = ? ORDER BY number DESC LIMIT ?",
                (service, max(limit, 0)),
            )
        return tuple(Decision(number, at_s, name, decode_body(body)) for number, at_s, name, body in rows)

    def append_ledger(self, entry: LedgerEntry) -> None:
        where = f"ledger of {entry.site}/{entry.pool}"
        numbers = (entry.start_s, entry.end_s, entry.node_seconds, entry.usd)
        row = sealed(entry.site, entry.pool, entry.service, *(finite(number, where) for number in numbers))
        with self._file.writing() as connection:
            connection.execute("REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def trim_ledger(self, *, keep: int) -> None:
        with self._file.writing() as connection:
            latest = "SELECT end_s FROM ledger ORDER BY end_s DESC LIMIT 1 OFFSET ?"
            connection.execute(f"DELETE FROM ledger WHERE end_s < ({latest})", (max(keep, 1) - 1,))  # noqa: S608

    def ledger(self, *, since_s: float = 0.0) -> tuple[LedgerEntry, ...]:
        rows = self._file.rows("SELECT * FROM ledger WHERE end_s > ? ORDER BY start_s, site, pool, service", (since_s,))
        return tuple(LedgerEntry(*row) for row in rows)

    def check(self) -> None:
        """Read and check everything on disk; raises `HcctlError` when something is damaged."""
        self._file.check()

    def back_up(self) -> Path:
        """Check everything and write a copy beside the database; returns its path."""
        return self._file.back_up()

    def copy_to(self, target: Path) -> None:
        """Check everything and write a copy of this moment to `target`."""
        self._file.copy_to(target)

    def check_schema(self) -> None:
        """Refuse a database that holds anything that hcctl does not make, such as a trigger.

        Raises:
            HcctlError: it does.
        """
        strange = self._file.schema() ^ schema_of(MIGRATIONS)
        if strange:
            raise HcctlError(
                "the state database is not as hcctl makes it",
                where=str(self._file.path),
                why=", ".join(sorted(f"{kind} {name}" for kind, name, _ in strange))[:200],
            )

    @property
    def empty(self) -> bool:
        """Nothing was ever stored."""
        tables = ("document", "journal", "decision", "ledger")
        return not any(self._file.rows(f"SELECT * FROM {table} LIMIT 1") for table in tables)  # noqa: S608 - our own

    def close(self) -> None:
        self._file.close()

    def _put(self, role: Role, kind: str, name: str, body: Body, expected_revision: int | None, at_s: float) -> int:
        text, when_s = encode_body(body, f"{kind} {name}"), finite(at_s, "at_s")
        with self._file.writing() as connection:
            found = self._read(connection, role, kind, name)
            last = 0 if found is None else int(found[3])
            refuse_changed(kind, name, 0 if found is None or found[4] is None else last, expected_revision)
            _replace(connection, role, kind, name, last + 1, text, when_s)
        return last + 1

    def _read(self, connection: sqlite3.Connection, role: Role, kind: str, name: str) -> Row | None:
        found = connection.execute(
            "SELECT * FROM document WHERE role = ? AND kind = ? AND name = ?", (role, kind, name)
        ).fetchone()
        return None if found is None else self._file.opened(found)

    def _document(self, role: Role, kind: str, name: str) -> Document | None:
        rows = self._file.rows("SELECT * FROM document WHERE role = ? AND kind = ? AND name = ?", (role, kind, name))
        return next(map(_as_document, rows), None) if rows and rows[0][4] is not None else None

    def _documents(self, role: Role, kind: str) -> tuple[Document, ...]:
        rows = self._file.rows("SELECT * FROM document WHERE role = ? AND kind = ? ORDER BY name", (role, kind))
        return tuple(_as_document(row) for row in rows if row[4] is not None)


def _replace(
    connection: sqlite3.Connection,
    role: Role,
    kind: str,
    name: str,
    revision: int,
    text: str | None,
    at_s: float,
) -> None:
    connection.execute(
        "REPLACE INTO document VALUES (?, ?, ?, ?, ?, ?, ?)",
        sealed(role, kind, name, revision, text, at_s),
    )


def _as_document(row: Row) -> Document:
    _, kind, name, revision, text, at_s = row
    return Document(kind, name, revision, decode_body(text), at_s)


def _journal_entry(row: Row) -> JournalEntry:
    _, key, action, begun_at_s, completed_at_s, outcome = row
    return JournalEntry(
        key=key,
        action=decode_body(action),
        begun_at_s=begun_at_s,
        completed_at_s=completed_at_s,
        outcome=None if outcome is None else decode_body(outcome),
    )
