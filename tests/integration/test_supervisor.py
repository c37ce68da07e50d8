"""The supervisor with real processes: restart, adoption, graceful stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from serving.logs import MAX_BYTES
from serving.sites.processes import ProcessRecord, is_alive, read_record
from serving.supervisor import Child, Plan, stop_child, write_plan

REPOSITORY = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Wait for a condition; fails the test when it does not come."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.02)


class Supervised:
    """One child under a supervisor of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.child = Child(
            name="child",
            command=command,
            environment=dict(os.environ),
            cwd=folder,
            log=folder / "child.log",
            record=folder / "child.json",
            stop_grace_s=2.0,
        )
        self.plan = folder / "plan.json"
        write_plan(self.plan, Plan(children=[self.child]))
        self.supervisors: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start a supervisor on the plan."""
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.supervisor", str(self.plan)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.supervisors.append(process)
        return process

    def record(self) -> ProcessRecord:
        """The child's record, once it runs."""
        until(lambda: (found := read_record(self.child.record)) is not None and is_alive(found))
        found = read_record(self.child.record)
        assert found is not None
        return found

    def clean_up(self) -> None:
        """End everything."""
        for process in self.supervisors:
            if process.poll() is None:
                process.kill()
            process.wait()
        stop_child(self.child, read_record(self.child.record))


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """A sleeping child under supervision."""
    rig = Supervised(tmp_path, SLEEPER)
    yield rig
    rig.clean_up()


def test_killed_child_is_started_again(supervised: Supervised) -> None:
    """kill -9 of a child: another one runs a moment later."""
    supervised.start()
    first = supervised.record()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: supervised.record() != first)


def test_child_survives_its_supervisor_and_is_adopted(supervised: Supervised) -> None:
    """A supervisor that is killed leaves the child; the next one keeps that same child."""
    first_supervisor = supervised.start()
    child = supervised.record()
    first_supervisor.kill()
    first_supervisor.wait()
    assert is_alive(child)
    supervised.start()
    time.sleep(1.0)
    assert supervised.record() == child
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: supervised.record() != child)


def test_stopped_supervisor_stops_its_child(supervised: Supervised) -> None:
    """SIGTERM ends the child and removes its record."""
    process = supervised.start()
    child = supervised.record()
    process.terminate()
    assert process.wait(20) == 0
    assert not is_alive(child)
    assert not supervised.child.record.exists()


def test_child_that_cannot_stay_up_is_started_with_growing_pauses(tmp_path: Path) -> None:
    """A child that ends at once is not started in a hot loop."""
    counter = tmp_path / "starts"
    code = f"open({str(counter)!r}, 'a').write('x')"
    rig = Supervised(tmp_path, [sys.executable, "-c", code])
    try:
        rig.start()
        time.sleep(4.0)
        assert 2 <= len(counter.read_text()) <= 6
    finally:
        rig.clean_up()


def test_logs_are_rotated_while_their_writers_go_on(tmp_path: Path) -> None:
    """A log that is too large becomes its first piece, and the child goes on at its new beginning."""
    code = "import time\nwhile True: print('still here', flush=True); time.sleep(0.1)"
    rig = Supervised(tmp_path, [sys.executable, "-c", code])
    rig.child.log.write_bytes(b"x" * (MAX_BYTES + 1))
    try:
        rig.start()
        child = rig.record()
        former = tmp_path / "child.log.1"
        until(former.exists)
        until(lambda: rig.child.log.read_bytes().startswith(b"still here\n"))
        assert former.stat().st_size > MAX_BYTES
        assert rig.record() == child
    finally:
        rig.clean_up()


def test_a_damaged_plan_changes_nothing(supervised: Supervised) -> None:
    """SIGHUP with a plan that cannot be read: the supervisor goes on with the former one."""
    process = supervised.start()
    kept = supervised.record()
    supervised.plan.write_text("{")
    os.kill(process.pid, signal.SIGHUP)
    time.sleep(0.5)
    os.kill(kept.pid, signal.SIGKILL)
    until(lambda: supervised.record() != kept)
    assert process.poll() is None


def test_a_changed_plan_is_taken_up(supervised: Supervised) -> None:
    """SIGHUP: a child that is to run otherwise starts anew, one that is not is left alone, a dropped one stops."""
    process = supervised.start()
    kept = supervised.record()
    further = supervised.child.model_copy(update={"name": "further", "record": supervised.plan.parent / "further.json"})
    write_plan(supervised.plan, Plan(children=[supervised.child, further]))
    os.kill(process.pid, signal.SIGHUP)
    until(lambda: read_record(further.record) is not None)
    first = read_record(further.record)
    assert supervised.record() == kept
    write_plan(supervised.plan, Plan(children=[supervised.child, further.model_copy(update={"reads": "other"})]))
    os.kill(process.pid, signal.SIGHUP)
    until(lambda: read_record(further.record) not in (None, first))
    assert first is not None
    assert not is_alive(first)
    second = read_record(further.record)
    other_shell = supervised.child.model_copy(update={"environment": {**os.environ, "SHLVL": "9"}})
    write_plan(supervised.plan, Plan(children=[other_shell]))
    os.kill(process.pid, signal.SIGHUP)
    until(lambda: read_record(further.record) is None)
    assert second is not None
    assert not is_alive(second)
    assert supervised.record() == kept


def test_child_lives_only_while_its_file_is_there(supervised: Supervised) -> None:
    """Without the file it is not started; with it, it is, and again after SIGKILL; the file gone, it is stopped."""
    wanted = supervised.plan.parent / "wanted"
    supervised.child = supervised.child.model_copy(update={"only_while": wanted})
    write_plan(supervised.plan, Plan(children=[supervised.child]))
    supervised.start()
    time.sleep(1.0)
    assert read_record(supervised.child.record) is None
    wanted.touch()
    first = supervised.record()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: supervised.record() != first)
    second = supervised.record()
    wanted.unlink()
    until(lambda: not is_alive(second) and not supervised.child.record.exists())
    wanted.touch()
    assert supervised.record() != second


def test_it_tells_of_itself_where_the_plan_says(supervised: Supervised) -> None:
    """Metrics of its children on the address of the plan; a changed plan moves them, one without ends them."""
    first, second = free_port(), free_port()
    write_plan(supervised.plan, Plan(children=[supervised.child], metrics=f"127.0.0.1:{first}"))
    process = supervised.start()
    supervised.record()
    until(lambda: 'hcctl_supervisor_child_up{child="child"} 1.0' in told(first))
    assert 'hcctl_supervisor_child_starts_total{child="child"} 1.0' in told(first)
    write_plan(supervised.plan, Plan(children=[supervised.child], metrics=f"127.0.0.1:{second}"))
    process.send_signal(signal.SIGHUP)
    until(lambda: "hcctl_supervisor_child_up" in told(second))
    assert told(first) == ""
    write_plan(supervised.plan, Plan(children=[supervised.child]))
    process.send_signal(signal.SIGHUP)
    until(lambda: told(second) == "")
    assert process.poll() is None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def told(port: int) -> str:
    """What it exports; empty while nobody listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:
        return ""
