"""Detached processes that are found again: by pid and start time, by session, by a marker.

A process that outlives its starter is recorded in a file. Later, the record is matched against
/proc: a pid alone could by then belong to somebody else, so its start time and the boot it was
started in must match too. What such a process started in turn is found by its session or, for
what left the session, by a marker in its environment; both survive the death of the first
process. (Neither alone is enough: processes that rename themselves overwrite their environment.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import HcctlError, InvalidInput
from serving.files import write_atomic

MARKER_VARIABLE = "HCCTL_PROCESS_GROUP"

_POLL_S = 0.05
_KILL_WAIT_S = 10.0


class ProcessRecord(BaseModel):
    """What identifies a detached process, on disk as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    pid: int = Field(gt=1)
    start_ticks: int = Field(ge=0, description="Start time in clock ticks since the boot.")
    boot_id: str
    marker: str = Field(min_length=8, description=f"{MARKER_VARIABLE} of it and all its descendants.")
    started_at_s: float = Field(description="Wall-clock time, seconds since the epoch.")


@dataclass(frozen=True)
class _Stat:
    """The fields of /proc/<pid>/stat that are used here."""

    state: str
    session: int
    start_ticks: int


def write_record(path: Path, record: ProcessRecord) -> None:
    """Write a record, readable by its owner only; a crash leaves the old one or this one."""
    write_atomic(path, record.model_dump_json().encode())


def read_record(path: Path) -> ProcessRecord | None:
    """The record in file `path`; None without a file, or if it is no record."""
    try:
        return ProcessRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def is_alive(record: ProcessRecord) -> bool:
    """Whether the recorded process itself still runs."""
    return record.boot_id == _boot_id() and _is_same(record, _stat(record.pid))


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    marker: str,
    log: Path,
    cwd: Path,
    cores: Sequence[int] = (),
    at_s: float,
) -> ProcessRecord:
    """Start `command` in a session of its own, output appended to `log`, and return at once.

    `marker` must be unique to what is started. Files it creates are its owner's only. With `cores`,
    it and its descendants run on those alone.

    Raises:
        InvalidInput: this machine has none of `cores`.
        HcctlError: the program cannot be started.
    """
    log_flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with _affinity(cores), os.fdopen(os.open(log, log_flags, 0o600), "ab") as output:
        try:
            child = subprocess.Popen(
                list(command),
                env={**environment, MARKER_VARIABLE: marker},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            raise HcctlError("starting a process failed", where=command[0], why=str(error)) from error
    child.returncode = 0  # It is detached: Popen must not complain that nobody waits for it.
    stat = _stat(child.pid)
    if stat is None:
        raise HcctlError("a process ended at once", where=command[0], next_step=f"see {log}")
    return ProcessRecord(
        pid=child.pid, start_ticks=stat.start_ticks, boot_id=_boot_id(), marker=marker, started_at_s=at_s
    )


def terminate(record: ProcessRecord | None, marker: str, *, grace_s: float) -> None:
    """End the recorded process and everything it started, and wait until it is gone.

    The recorded process gets SIGTERM and `grace_s` seconds; what is left then is killed.

    Raises:
        HcctlError: something survives even SIGKILL (it hangs in the kernel).
    """
    if record is not None and is_alive(record):
        _send(record.pid, record.start_ticks, signal.SIGTERM)
        _wait_gone(record, marker, grace_s)
    deadline_s = time.monotonic() + _KILL_WAIT_S
    while left := members(record, marker):
        if time.monotonic() > deadline_s:
            raise HcctlError(
                "processes cannot be killed", where=", ".join(map(str, sorted(left))), why="they hang in the kernel"
            )
        for pid, start_ticks in left.items():
            _send(pid, start_ticks, signal.SIGKILL)
        time.sleep(_POLL_S)


def members(record: ProcessRecord | None, marker: str) -> dict[int, int]:
    """Start ticks by pid of every live process of the record's session or with `marker`.

    Never the caller itself.
    """
    session = None
    if record is not None and record.boot_id == _boot_id():
        leader = _stat(record.pid)
        # While any process is left in the session the kernel gives its number to no new process,
        # so another process of that number means that the session has ended.
        if leader is None or leader.start_ticks == record.start_ticks:
            session = record.pid
    tag = f"{MARKER_VARIABLE}={marker}".encode()
    found = {}
    for pid in _pids():
        stat = _stat(pid)
        if stat is None or stat.state == "Z":
            continue
        if stat.session == session or tag in _environment(pid):
            found[pid] = stat.start_ticks
    return found


def _wait_gone(record: ProcessRecord, marker: str, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while members(record, marker) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)


def _send(pid: int, start_ticks: int, number: signal.Signals) -> None:
    """Signal the process of that pid and start time, and no later one of the same pid."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            stat = _stat(pid)
            if stat is not None and stat.start_ticks == start_ticks:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _is_same(record: ProcessRecord, stat: _Stat | None) -> bool:
    if stat is None or stat.start_ticks != record.start_ticks:
        return False
    if stat.state == "Z":
        # Ours to reap if we started it; otherwise its parent does.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(record.pid, os.WNOHANG)
        return False
    return True


@contextlib.contextmanager
def _affinity(cores: Sequence[int]) -> Iterator[None]:
    """Bind this thread to `cores` for the block, so that a child started in it inherits them."""
    if not cores:
        yield
        return
    former = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError):
        raise InvalidInput(
            "this machine has none of these cores",
            where=", ".join(map(str, cores)),
            why=f"it has {', '.join(map(str, sorted(former)))}",
            next_step="correct `cores` of the site in hcctl.yaml",
        ) from None
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)


def _pids() -> list[int]:
    """Pids of this user's processes, without the caller."""
    own, user = os.getpid(), os.getuid()
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and int(entry.name) != own:
                with contextlib.suppress(OSError):
                    if entry.stat().st_uid == user:
                        found.append(int(entry.name))
    return found


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields follow its last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(state=fields[0], session=int(fields[3]), start_ticks=int(fields[19]))


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
