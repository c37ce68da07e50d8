"""What `SqliteStore` adds to the contract: processes, crashes, the file on disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
from pathlib import Path

import pytest

from serving import failpoints, sqlite_store
from serving.errors import HcctlError, InvalidInput, RevisionConflict, UnsupportedState
from serving.sqlite_store import SqliteStore
from tests.support.processes import ended, in_child, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "project" / ".hcctl" / "state.db"


def test_file_and_folder_are_the_owners_alone(path: Path) -> None:
    """The folder has mode 0700; database and log have mode 0600, also when they were opened wider."""
    SqliteStore(path).close()
    path.chmod(0o644)
    path.parent.chmod(0o755)
    store = SqliteStore(path)
    store.put_observation("service", "shop", {}, at_s=1.0)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()} == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
        "state.db-shm": 0o600,
        ".state.db.lock": 0o600,
    }
    store.close()


def test_everything_is_there_after_reopening(path: Path) -> None:
    """Documents, revisions, open actions and decision numbers go on where they were."""
    store = SqliteStore(path)
    store.put_intent("service", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    store.begin_action("k", {}, at_s=1.0)
    store.append_decisions((("shop", {}),), at_s=1.0, keep=10)
    store.close()
    store = SqliteStore(path)
    assert store.put_intent("service", "shop", {"n": 2}, expected_revision=1, at_s=2.0) == 2
    assert [entry.key for entry in store.open_actions()] == ["k"]
    store.append_decisions((("shop", {}),), at_s=2.0, keep=10)
    assert [line.number for line in store.decisions()] == [2, 1]
    store.close()


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """Four processes that open a new file together and count up with revisions lose no increment."""

    def count() -> None:
        store = SqliteStore(path)
        for _ in range(25):
            while True:
                found = store.intent("control", "counter")
                n, revision = (found.body["n"], found.revision) if found else (0, 0)
                try:
                    store.put_intent("control", "counter", {"n": n + 1}, expected_revision=revision, at_s=1.0)
                    break
                except RevisionConflict:
                    continue
        store.close()

    path.parent.mkdir(parents=True)
    assert [ended(child) for child in [start(count) for _ in range(4)]] == [0, 0, 0, 0]
    store = SqliteStore(path)
    found = store.intent("control", "counter")
    assert found is not None
    assert (found.revision, found.body) == (100, {"n": 100})
    store.close()


def test_a_reader_sees_whole_writes_of_another_process(path: Path) -> None:
    """What one store has written, another open store reads at once."""
    ours, theirs = SqliteStore(path), SqliteStore(path)
    ours.put_intent("service", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    assert theirs.intent("service", "shop") == ours.intent("service", "shop")
    ours.close()
    theirs.close()


def test_a_second_store_in_one_process_leaves_the_locks_of_the_first(path: Path) -> None:
    """Opening the file again while a transaction runs must not let another process write into it."""
    store = SqliteStore(path)

    def write() -> None:
        other = sqlite3.connect(path, timeout=0.05, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

    with store._file.writing():
        SqliteStore(path).close()
        assert in_child(write) == 1
    assert in_child(write) == 0
    store.close()


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_kill_9_loses_nothing_that_was_acknowledged(path: Path, acknowledged: int) -> None:
    """A process killed between any two writes leaves each acknowledged one, and at most one more."""
    reader, writer = os.pipe()

    def work() -> None:
        store = SqliteStore(path)
        for n in range(1_000_000):
            store.put_intent("control", "counter", {"n": n}, expected_revision=n, at_s=1.0)
            store.append_decisions((("shop", {"n": n}),), at_s=1.0, keep=100)
            os.write(writer, b".")

    child = start(work)
    got = 0
    while got < acknowledged:
        got += len(os.read(reader, acknowledged - got))
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    os.close(writer)
    got += len(os.read(reader, 1_000_000))
    os.close(reader)
    store = SqliteStore(path)
    store.check()
    found = store.intent("control", "counter")
    assert found is not None
    assert found.revision in {got, got + 1}
    assert found.body == {"n": found.revision - 1}
    lines = [line.body["n"] for line in store.decisions(limit=1_000)]
    assert lines[:1] in ([got - 1], [got])
    assert lines == list(range(int(lines[0]), -1, -1))[:100]
    store.close()


def test_an_action_cut_short_by_kill_9_is_found_open(path: Path) -> None:
    """A process that dies between begin and complete leaves the action open, begun once."""

    def work() -> None:
        store = SqliteStore(path)
        store.begin_action("done", {}, at_s=1.0)
        store.complete_action("done", {"ok": True}, at_s=2.0)
        store.begin_action("open-cloud", {"site": "cloud"}, at_s=3.0)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    store = SqliteStore(path)
    assert [(entry.key, entry.action) for entry in store.open_actions()] == [("open-cloud", {"site": "cloud"})]
    former = store.begin_action("open-cloud", {"site": "cloud"}, at_s=9.0)
    assert former is not None
    assert former.begun_at_s == 3.0
    store.complete_action("open-cloud", {"ok": True}, at_s=10.0)
    assert store.open_actions() == ()
    store.close()


def test_a_writer_that_never_ends_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process holds the file too long, the error says so and names the file."""
    monkeypatch.setattr("serving.sqlite_file.BUSY_TIMEOUT_S", 0.02)
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HcctlError, match="busy") as caught:
        store.put_observation("service", "shop", {}, at_s=1.0)
    assert caught.value.where == str(path)
    other.close()
    store.put_observation("service", "shop", {}, at_s=1.0)
    store.close()


def test_the_journal_forgets_old_completed_actions_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completed actions beyond the bound go; an open one stays however old it is."""
    monkeypatch.setattr(sqlite_store, "COMPLETED_ACTIONS_KEPT", 3)
    store = SqliteStore(path)
    store.begin_action("open", {}, at_s=0.0)
    for n in range(6):
        store.begin_action(f"k{n}", {}, at_s=1.0)
        store.complete_action(f"k{n}", {}, at_s=2.0)
    assert [entry.key for entry in store.open_actions()] == ["open"]
    known = [n for n in range(6) if store.begin_action(f"k{n}", {}, at_s=3.0) is not None]
    assert known == [3, 4, 5]
    store.close()


def test_state_of_a_newer_hcctl_is_refused_and_left_alone(path: Path) -> None:
    """A higher schema version is an error that names the file and the upgrade; the file stays as it was."""
    SqliteStore(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedState, match="upgrade hcctl") as caught:
        SqliteStore(path)
    assert caught.value.where == str(path)
    assert path.read_bytes() == before


def test_an_older_schema_is_migrated_with_its_content(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening runs the missing migrations once, in one transaction, and keeps all rows."""
    store = SqliteStore(path)
    store.put_intent("service", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    store.close()
    newer = (*sqlite_store.MIGRATIONS, ("CREATE TABLE extra (n INTEGER, crc INTEGER)",))
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", newer)
    for _ in range(2):
        store = SqliteStore(path)
        found = store.intent("service", "shop")
        assert found is not None
        assert found.body == {"n": 1}
        store.close()
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", newer[:1])
    with pytest.raises(UnsupportedState):
        SqliteStore(path)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken migration is rolled back whole; the former hcctl still reads the state."""
    SqliteStore(path).close()
    former = sqlite_store.MIGRATIONS
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", (*former, ("CREATE TABLE extra (n)", "NONSENSE")))
    with pytest.raises(HcctlError, match="syntax error"):
        SqliteStore(path)
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", former)
    store = SqliteStore(path)
    store.check()
    store.close()


def test_kill_9_in_a_migration_leaves_the_old_state_usable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed just before or after a migration is committed, the state is whole: of the old schema, or of the new."""
    store = SqliteStore(path)
    store.put_intent("service", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    store.close()
    older = sqlite_store.MIGRATIONS
    newer = (*older, ("CREATE TABLE extra (n INTEGER, crc INTEGER)", "DROP INDEX ledger_end"))

    def migrate(place: str) -> None:
        failpoints.arm(place, lambda: os.kill(os.getpid(), signal.SIGKILL))
        sqlite_store.MIGRATIONS = newer
        SqliteStore(path)

    for place, left in (("store.before-commit", older), ("store.after-commit", newer)):
        assert in_child(lambda place=place: migrate(place)) == -signal.SIGKILL
        monkeypatch.setattr(sqlite_store, "MIGRATIONS", left)
        store = SqliteStore(path)
        store.check()
        store.check_schema()
        assert [document.body for document in store.intents("service")] == [{"n": 1}]
        store.close()


def test_a_name_that_is_no_text_is_invalid_input(path: Path) -> None:
    """Bytes that are not UTF-8, as a shell may pass them, give one clear error."""
    store = SqliteStore(path)
    with pytest.raises(InvalidInput, match="not valid text"):
        store.decisions("shop\udcff")
    store.close()
