"""Detached processes: recognised again, found with all their descendants, ended without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import HcctlError, InvalidInput
from serving.sites import processes
from serving.sites.processes import ProcessRecord, is_alive, members, read_record, spawn, terminate, write_record

SLEEP = ["sleep", "60"]


class Spawner:
    """Starts processes under one marker, and ends them after the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = f"test-{uuid.uuid4().hex}"
        self.records: list[ProcessRecord] = []

    def __call__(self, command: list[str] = SLEEP, cores: tuple[int, ...] = ()) -> ProcessRecord:
        record = spawn(
            command,
            environment=os.environ,
            marker=self.marker,
            log=self.folder / "log",
            cwd=self.folder,
            cores=cores,
            at_s=12.5,
        )
        self.records.append(record)
        return record

    def members(self, at_least: int) -> dict[int, int]:
        """The members, once there are so many."""
        deadline_s = time.monotonic() + 10
        while len(found := members(self.records[0], self.marker)) < at_least:
            assert time.monotonic() < deadline_s, found
            time.sleep(0.01)
        return found


@pytest.fixture
def spawner(tmp_path: Path) -> Iterator[Spawner]:
    starter = Spawner(tmp_path)
    yield starter
    for record in starter.records:
        terminate(record, starter.marker, grace_s=0)


def test_record_survives_the_disk(spawner: Spawner, tmp_path: Path) -> None:
    """What is written is read back, readable by its owner only."""
    record = spawner()
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json") == record
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600
    assert record.started_at_s == 12.5


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"pid": 1}', b"[]", b"\xff\xfe"])
def test_damaged_record_is_none(tmp_path: Path, content: bytes) -> None:
    """A file that is no record is treated as absent, so that a site can always be cleaned."""
    (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path / "record.json") is None
    assert read_record(tmp_path / "missing.json") is None


def test_alive_until_terminated(spawner: Spawner) -> None:
    """A process is alive until it is ended, and no zombie counts."""
    record = spawner()
    assert is_alive(record)
    terminate(record, spawner.marker, grace_s=5)
    assert not is_alive(record)
    assert members(record, spawner.marker) == {}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"start_ticks": 1}, id="pid-was-reused"),
        pytest.param({"boot_id": "another"}, id="machine-was-rebooted"),
    ],
)
def test_strangers_are_not_taken_for_ours(spawner: Spawner, changes: dict[str, object]) -> None:
    """A process with the recorded pid, but another start time or boot, is neither alive nor ended."""
    record = spawner()
    stale = record.model_copy(update=changes)
    assert not is_alive(stale)
    assert members(stale, "no-such-marker") == {}
    terminate(stale, "no-such-marker", grace_s=0)
    assert is_alive(record)


def test_descendants_are_found_after_their_parent_died(spawner: Spawner) -> None:
    """Neither a new session nor a wiped environment hides a descendant, even when the first process is gone."""
    wiped = "env -i sleep 60"
    left_the_session = "setsid sleep 60"
    record = spawner(["sh", "-c", f"{wiped} & {left_the_session} & sleep 60"])
    assert record.pid in spawner.members(4)
    os.kill(record.pid, 9)
    deadline_s = time.monotonic() + 5
    while is_alive(record):
        assert time.monotonic() < deadline_s
    left = spawner.members(3)
    assert record.pid not in left
    terminate(record, spawner.marker, grace_s=0)
    assert members(record, spawner.marker) == {}


def test_marker_alone_finds_them(spawner: Spawner) -> None:
    """With the record lost, the marker still finds the processes; a longer marker is another one."""
    record = spawner()
    assert record.pid in members(None, spawner.marker)
    assert members(None, spawner.marker[:-1]) == {}
    terminate(None, spawner.marker, grace_s=0)
    assert not is_alive(record)


def test_stubborn_process_is_killed(spawner: Spawner) -> None:
    """A process that ignores SIGTERM is killed after its grace."""
    record = spawner(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    while "ready" not in (spawner.folder / "log").read_text():
        time.sleep(0.01)
    terminate(record, spawner.marker, grace_s=0.2)
    assert not is_alive(record)


def test_gentle_process_may_finish(spawner: Spawner) -> None:
    """SIGTERM comes first, and what the process does on it is done before `terminate` returns."""
    record = spawner(["sh", "-c", "trap 'echo bye; exit' TERM; echo ready; while :; do sleep 0.05; done"])
    while "ready" not in (spawner.folder / "log").read_text():
        time.sleep(0.01)
    terminate(record, spawner.marker, grace_s=5)
    assert "bye" in (spawner.folder / "log").read_text()


def test_cores_bind_the_child_only(spawner: Spawner) -> None:
    """The child runs on the given cores; the starter keeps its own."""
    before = os.sched_getaffinity(0)
    core = min(before)
    assert os.sched_getaffinity(spawner(cores=(core,)).pid) == {core}
    assert os.sched_getaffinity(0) == before


def test_missing_cores_are_the_users_mistake(spawner: Spawner) -> None:
    """Cores that the machine does not have are named, with those it has."""
    with pytest.raises(InvalidInput, match="cores") as error:
        spawner(cores=(4_000,))
    assert error.value.where == "4000"


def test_missing_program_is_an_error(spawner: Spawner) -> None:
    """A program that is not there is named."""
    with pytest.raises(HcctlError, match="no-such-program"):
        spawner(["no-such-program"])


def test_files_of_the_child_are_private(spawner: Spawner, tmp_path: Path) -> None:
    """What the child writes, and its log, only its owner can read."""
    spawner(["sh", "-c", "echo x > made; sleep 60"])
    made = tmp_path / "made"
    while not made.exists():
        time.sleep(0.01)
    assert made.stat().st_mode & 0o077 == 0
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_outlives_its_starter(tmp_path: Path) -> None:
    """A spawned process goes on when its starter has ended, and is recognised by another process."""
    marker = f"test-{uuid.uuid4().hex}"
    program = f"""
import os
from pathlib import Path
from serving.sites.processes import spawn, write_record
folder = Path({str(tmp_path)!r})
record = spawn(["sleep", "60"], environment=os.environ, marker={marker!r}, log=folder / "log", cwd=folder, at_s=0.0)
write_record(folder / "record.json", record)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=Path(processes.__file__).parents[2])
    record = read_record(tmp_path / "record.json")
    assert record is not None
    try:
        assert is_alive(record)
    finally:
        terminate(record, marker, grace_s=0)
    assert not is_alive(record)
