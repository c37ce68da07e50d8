"""What the store does when the disk fails it: one clear error, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import HcctlError, UnsupportedState
from serving.sqlite_store import SqliteStore
from serving.state import LedgerEntry
from tests.support.processes import files_below, in_child, limit_file_size, obey_modes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed database with something of everything in it."""
    path = tmp_path / ".hcctl" / "state.db"
    store = SqliteStore(path)
    for n in range(12):
        store.put_intent("service", f"shop-{n}", {"note": "x" * 40 * n}, expected_revision=0, at_s=1.0)
        store.put_observation("site", f"site-{n}", {"phase": "open", "n": n}, at_s=2.0)
        store.begin_action(f"key-{n}", {"action": "scale"}, at_s=3.0)
        store.append_decisions((("shop-1", {"action": "scale", "reason": "p99 0.4 s"}),), at_s=4.0, keep=100)
        store.append_ledger(LedgerEntry("cloud", "gpu", "shop", float(n), n + 1.0, 1.0, 0.25))
    for n in range(6):
        store.complete_action(f"key-{n}", {"ok": True}, at_s=5.0)
    store.close()
    return path


def content(store: SqliteStore) -> object:
    return (
        (store.intents("service"), store.observations("site"), store.open_actions()),
        (store.decisions(), store.decisions("shop-1"), store.ledger()),
    )


def reopened(path: Path) -> object:
    store = SqliteStore(path)
    try:
        store.check()
        return content(store)
    finally:
        store.close()


def reopened_or_error(path: Path) -> object:
    try:
        return reopened(path)
    except HcctlError as problem:
        return problem


def test_a_flipped_bit_is_never_read_as_data(path: Path) -> None:
    """With any bit of the file flipped, the content is as before or one error names the file."""
    sound, before, chance = path.read_bytes(), reopened(path), random.Random(20261121)
    found = 0
    for position in range(0, len(sound), 47):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        read = reopened_or_error(path)
        if isinstance(read, HcctlError):
            found += 1
            assert read.where == str(path)
            assert read.next_step
        else:
            assert read == before, f"byte {position}"
    assert found > 100


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE document SET body = CAST(body AS BLOB) WHERE name = 'shop-3'",
        "UPDATE document SET name = 'shop-77' WHERE name = 'shop-3'",
        "UPDATE document SET revision = 2 WHERE name = 'shop-3'",
        "UPDATE journal SET completed_at_s = NULL WHERE key = 'key-0'",
        "UPDATE decision SET body = replace(body, '0.4', '0.1')",
        "UPDATE ledger SET usd = 0",
    ],
)
def test_a_changed_row_does_not_fit_its_checksum(path: Path, change: str) -> None:
    """Whatever part of a row changed, also only its type or its key, reading it is an error."""
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(change).rowcount > 0
    connection.close()
    with pytest.raises(HcctlError, match="does not fit its checksum"):
        reopened(path)


@pytest.mark.parametrize("length", [0, 1, 99, 100, 4_096, 5_000, 12_288, 20_000])
def test_a_file_cut_short_is_damage_not_an_empty_state(path: Path, length: int) -> None:
    """A truncated database, down to no byte at all, is an error and is not written to."""
    with path.open("r+b") as file:
        file.truncate(length)
    with pytest.raises(HcctlError, match="damaged") as caught:
        reopened(path)
    assert caught.value.where == str(path)
    assert path.stat().st_size == length


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    """Neither a text file nor another program's database is taken for the state."""
    text, foreign = tmp_path / "a" / "state.db", tmp_path / "b" / "state.db"
    text.parent.mkdir()
    text.write_text("these are my notes, not a database\n" * 50)
    foreign.parent.mkdir()
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE theirs (n)")
    connection.close()
    for path in (text, foreign):
        before = path.read_bytes()
        with pytest.raises(HcctlError) as caught:
            SqliteStore(path)
        assert caught.value.where == str(path)
        assert path.read_bytes() == before


def test_a_log_without_its_file_is_not_replayed_into_a_new_one(path: Path) -> None:
    """When only the write-ahead log is left, opening refuses instead of starting anew."""
    path.with_name("state.db-wal").write_bytes(b"left by a crash")
    path.unlink()
    with pytest.raises(HcctlError, match="the file itself is missing"):
        SqliteStore(path)
    assert not path.exists()


def test_a_backup_brings_everything_back(path: Path) -> None:
    """After damage, the copy that `back_up` wrote is put in place and holds all that was acknowledged."""
    before = reopened(path)
    store = SqliteStore(path)
    backup = store.back_up()
    store.close()
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(HcctlError) as caught:
        reopened(path)
    assert f"cp {backup} {path}" in caught.value.next_step
    shutil.copy(backup, path)
    assert reopened(path) == before
    store = SqliteStore(path)
    assert store.put_intent("service", "shop-1", {}, expected_revision=1, at_s=9.0) == 2
    store.close()


def test_a_damaged_state_is_never_backed_up(path: Path) -> None:
    """`back_up` checks every row first, so that damage cannot replace the last good copy."""
    store = SqliteStore(path)
    good = store.back_up().read_bytes()
    store.close()
    damaged = path.read_bytes().replace(b'"phase":"open"', b'"phase":"shut"')
    path.write_bytes(damaged)
    store = SqliteStore(path)
    with pytest.raises(HcctlError, match="does not fit its checksum"):
        store.back_up()
    store.close()
    assert store_backup(path).read_bytes() == good


def store_backup(path: Path) -> Path:
    return path.with_name("state.db.backup")


def test_a_full_disk_refuses_the_write_and_keeps_the_rest(path: Path) -> None:
    """Writes that no longer fit fail with one error; what was acknowledged stays, and room heals it."""

    def work() -> None:
        store = SqliteStore(path)
        limit_file_size(200_000)
        written, problem = 0, None
        while problem is None:
            try:
                store.put_intent("hold", f"n{written}", {"x": "y" * 1_000}, expected_revision=0, at_s=1.0)
                written += 1
            except HcctlError as error:
                problem = error
        assert written > 10
        assert problem.where == str(path)
        assert problem.next_step
        assert len(store.intents("hold")) == written
        limit_file_size(20_000)
        with pytest.raises(HcctlError):
            store.back_up()
        limit_file_size(resource.RLIM_INFINITY)
        store.put_intent("hold", "zz", {}, expected_revision=0, at_s=1.0)
        assert len(store.intents("hold")) == written + 1
        store.check()

    assert in_child(work) == 0
    assert not any("backup" in name for name in files_below(path.parent))
    store = SqliteStore(path)
    store.check()
    assert "zz" in {document.name for document in store.intents("hold")}
    store.close()


def test_a_disk_that_is_full_from_the_start_leaves_no_half_made_file(tmp_path: Path) -> None:
    """A database that cannot be made is an error that names it, and the next attempt works."""
    path = tmp_path / ".hcctl" / "state.db"

    def work() -> None:
        limit_file_size(1_000)
        with pytest.raises(HcctlError) as caught:
            SqliteStore(path)
        assert caught.value.where == str(path)

    assert in_child(work) == 0
    assert not path.exists()
    SqliteStore(path).close()
    assert files_below(path.parent) == {"state.db", ".state.db.lock"}


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    """In a read-only folder the error names it and says what to do, without a traceback."""
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(0o500)
    script = (
        "import sys, pathlib\n"
        "from serving.errors import HcctlError\n"
        "from serving.sqlite_store import SqliteStore\n"
        "try: SqliteStore(pathlib.Path(sys.argv[1]))\n"
        "except HcctlError as problem: print(problem.where, problem.why, problem.next_step, sep='|')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder / ".hcctl" / "state.db")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=obey_modes,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = f"{folder / '.hcctl'}|Permission denied|make it accessible to this user\n"
    assert (run.stdout, run.stderr) == (expected, "")
    assert files_below(folder) == set()


def test_a_version_that_a_bit_flip_raised_is_not_written_to(path: Path) -> None:
    """A schema version of the future is refused before anything is changed."""
    raw = bytearray(path.read_bytes())
    raw[60:64] = (2**20).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(UnsupportedState):
        SqliteStore(path)
    assert path.read_bytes() == raw
