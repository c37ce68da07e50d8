"""One SQLite file as a durable, checked set of rows: opening, transactions, errors, backup.

Write-ahead log with synchronous=FULL: a transaction that has returned is on disk. SQLite does
not notice a bit that flips inside a row, so each row ends with a CRC-32 of its other values.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from serving.errors import HcctlError, InvalidInput, UnsupportedState
from serving.failpoints import failpoint
from serving.files import disk_errors, exclusive, sync_dir
from serving.paths import private_dir

APPLICATION_ID = 0x6863746C
"""Marks the file as hcctl's (`hctl` in ASCII), so that no other program's database is touched."""

BUSY_TIMEOUT_S = 5.0
"""Longest wait for another writer. A write takes milliseconds, so this means a stuck process."""

Row = tuple[Any, ...]
Migration = tuple[str, ...]
"""Statements that lead from one schema version to the next."""


def sealed(*values: str | float | None) -> Row:
    """A row to write: the values and their CRC-32."""
    return (*values, _crc(values))


def schema_of(migrations: Sequence[Migration]) -> frozenset[tuple[str, str, str]]:
    """What `SqliteFile.schema` says of a database that these migrations made."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for statement in chain.from_iterable(migrations):
            connection.execute(statement)
        return _schema(connection)
    finally:
        connection.close()


def _schema(connection: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    return frozenset(connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema").fetchall())


def _crc(values: Sequence[object]) -> int:
    return zlib.crc32(ascii(tuple(values)).encode())


class SqliteFile:
    """An open database. Safe to share between threads; several processes may open the same file.

    Args:
        path: the file; created for its owner only, in a folder for its owner only.
        migrations: `migrations[n]` leads from schema version n to n + 1.

    Raises:
        UnsupportedState: a newer hcctl wrote the file.
        HcctlError: the file is damaged, another program's, or cannot be used; its content stays.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        self.path = path
        self.backup_path = path.with_name(f"{path.name}.backup")
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._lock = threading.RLock()
        self._writing = False
        with disk_errors("the state folder cannot be used", path.parent):
            private_dir(path.parent)
        # One at a time: SQLite does not wait for others when it changes to a write-ahead log.
        with disk_errors("the state database cannot be used", path), exclusive(self._lock_path):
            if not path.exists():
                self._create()
            path.chmod(0o600)  # Before the first statement makes the log, which takes this mode.
            with self._explained():
                self._connection = self._connect(path)
            try:
                with self._explained():
                    self._prepare(migrations)
            except BaseException:
                self._connection.close()
                raise

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Rows of a query whose last column is their CRC, without it."""
        with self._lock, self._explained():
            return [self.opened(row) for row in self._connection.execute(sql, parameters)]

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block is on disk when it ends, or nothing of it. Inside another one, part of it."""
        with self._lock:
            if self._writing:
                yield self._connection
                return
            self._writing = True
            try:
                with self._explained(), self._transaction():
                    yield self._connection
            finally:
                self._writing = False

    def opened(self, row: Row) -> Row:
        """The values of a row that was read, once their CRC has been checked."""
        *values, crc = row
        if _crc(values) != crc:
            raise self._damaged("a row does not fit its checksum")
        return tuple(values)

    def check(self) -> None:
        """Read everything: the structure of the file, and the CRC of each row.

        Raises:
            HcctlError: something is damaged.
        """
        with self._lock, self._explained():
            (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise self._damaged(str(verdict)[:200])
            tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            for (table,) in self._connection.execute(tables).fetchall():
                for row in self._connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - our own schema
                    self.opened(row)

    def back_up(self) -> Path:
        """Check everything, then replace `backup_path` by a copy; returns its path."""
        self.copy_to(self.backup_path)
        return self.backup_path

    def copy_to(self, target: Path) -> None:
        """Check everything, then replace `target` by a copy of this moment, for its owner only.

        Other processes may write meanwhile. A crash leaves `target` as it was.
        """
        self.check()
        draft = target.with_name(f".{target.name}.new")
        with disk_errors("the backup was not written", target), self._lock, self._explained():
            try:
                draft.unlink(missing_ok=True)
                self._connection.execute("VACUUM INTO ?", (str(draft),))
                with draft.open("rb") as file:
                    os.fchmod(file.fileno(), 0o600)
                    os.fsync(file.fileno())
                draft.replace(target)
                sync_dir(target.parent)
            finally:
                draft.unlink(missing_ok=True)

    def schema(self) -> frozenset[tuple[str, str, str]]:
        """Type, name and statement of all tables, indices, triggers and views."""
        with self._lock, self._explained():
            return _schema(self._connection)

    def close(self) -> None:
        """Close the connection; whoever closes last folds the log into the file."""
        with self._lock:
            self._connection.close()

    def _create(self) -> None:
        """Put a database without tables in place, marked as ours: an empty file is then always damage."""
        if self.path.with_name(f"{self.path.name}-wal").exists():
            raise self._damaged("its log is there, but the file itself is missing")
        draft = self.path.with_name(f".{self.path.name}.new")
        draft.unlink(missing_ok=True)
        with self._explained():
            connection = self._connect(draft)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.close()
        draft.replace(self.path)
        sync_dir(self.path.parent)
        sync_dir(self.path.parent.parent)

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

    def _prepare(self, migrations: Sequence[Migration]) -> None:
        # A flipped bit may leave text that is no UTF-8: let the CRC find it.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        self._connection.execute("PRAGMA synchronous = FULL")
        version = self._schema_version(newest=len(migrations))
        self._connection.execute("PRAGMA journal_mode = WAL")
        if version < len(migrations):
            with self._transaction():
                for statement in chain.from_iterable(migrations[version:]):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {len(migrations)}")

    def _schema_version(self, newest: int) -> int:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise self._damaged("it is empty, or another program wrote it")
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > newest:
            raise UnsupportedState(
                "the state was written by a newer hcctl",
                where=str(self.path),
                why=f"it has schema version {version}; this hcctl knows versions up to {newest}",
                next_step="upgrade hcctl and run the command again",
            )
        return version

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            failpoint("store.before-commit")
            self._connection.execute("COMMIT")
            failpoint("store.after-commit")
        except BaseException:
            # SQLite has rolled back by itself after some errors; what is told is the first cause.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explanation(error) from error
        except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message.
            raise self._damaged("it holds text that is not UTF-8") from error
        except UnicodeEncodeError as error:
            raise InvalidInput(
                "a name is not valid text",
                where=repr(error.object)[:80],
                why=error.reason,
                next_step="write it in UTF-8",
            ) from error

    def _explanation(self, error: sqlite3.Error) -> HcctlError:
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self._damaged(str(error))
        what, next_step = "the state database failed", "see whether the disk is sound, then try again"
        for prefixes, told in _PROBLEMS.items():
            if name.startswith(prefixes):
                what, next_step = told
        return HcctlError(what, where=str(self.path), why=f"{error} ({name})", next_step=next_step)

    def _damaged(self, why: str) -> HcctlError:
        file = self.path
        aside = f"run `hcctl down` and move {file}, {file}-wal and {file}-shm elsewhere"
        if self.backup_path.exists():
            next_step = f"{aside}, then `cp {self.backup_path} {file}`"
        else:
            next_step = f"{aside}, then run `hcctl up` and deploy the services again"
        return HcctlError("the state database is damaged", where=str(file), why=why, next_step=next_step)


_PROBLEMS = {
    ("SQLITE_FULL",): ("the disk is full; nothing was changed", "free some disk space and try again"),
    ("SQLITE_BUSY", "SQLITE_LOCKED"): (
        f"the state database was busy for {BUSY_TIMEOUT_S:g} s; nothing was changed",
        "try again; if it stays busy, look for a stopped hcctl process",
    ),
    ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"): (
        "the state database cannot be written; nothing was changed",
        "make the file and its folder writable for this user",
    ),
    ("SQLITE_IOERR",): (
        "the disk refused to read or write the state database",
        "see that the disk is sound and has room, then try again",
    ),
}
