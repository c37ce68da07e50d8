"""`hcctl doctor` beside real processes: alive, dead, and left over."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import health, project_health
from cli.health import Finding
from cli.main import app
from serving.paths import ProjectPaths, private_dir
from serving.sites.processes import ProcessRecord, spawn, terminate, write_record

Start = Callable[[str], ProcessRecord]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectPaths]:
    """A project made by `hcctl init`, with its run-time folder."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    paths = ProjectPaths(tmp_path.resolve())
    private_dir(paths.run_dir)
    yield paths
    shutil.rmtree(paths.run_dir)


@pytest.fixture
def start(project: ProjectPaths) -> Iterator[Start]:
    """Starts a recorded process that does nothing, under the marker of a part of the project."""
    started = []

    def begin(part: str) -> ProcessRecord:
        file = project.run_dir / f"{part}.json"
        marker = f"supervisor-{project.run_dir}" if part == "supervisor" else f"child-{file}"
        record = spawn(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            environment=os.environ,
            marker=marker,
            log=project.run_dir / "log",
            cwd=project.root,
            at_s=time.time(),
        )
        started.append(record)
        write_record(file, record)
        return record

    yield begin
    for record in started:
        terminate(record, record.marker, grace_s=0)


def look(project: ProjectPaths) -> dict[str, Finding]:
    return dict(health.run(project_health.probes(project)))


def test_running_processes_are_told_by_pid(project: ProjectPaths, start: Start) -> None:
    """What runs is ok, with pid and start; nothing is left over."""
    records = {part: start(part) for part in ("supervisor", "gateway", "daemon")}
    found = look(project)
    for part, record in records.items():
        assert found[part].state == "ok"
        assert f"pid {record.pid}, since 20" in found[part].found
    assert found["leftovers"].state == "ok"


def test_dead_process_is_a_fault(project: ProjectPaths, start: Start) -> None:
    """A recorded process that is gone is told, with the command that starts it again."""
    start("supervisor")
    daemon = start("daemon")
    terminate(daemon, daemon.marker, grace_s=0)
    found = look(project)["daemon"]
    assert found.state == "failed"
    assert f"pid {daemon.pid} has ended" in found.found
    assert "hcctl up" in found.next_step


def test_child_that_was_never_started_is_a_fault(project: ProjectPaths, start: Start) -> None:
    """While the supervisor runs, gateway and daemon should; without it nothing should."""
    assert look(project)["gateway"].state == "none"
    start("supervisor")
    assert look(project)["gateway"].state == "failed"


def test_relief_process_is_missed_only_where_it_is_needed(project: ProjectPaths, start: Start) -> None:
    """Without a service that declares light answers nobody expects it."""
    start("supervisor")
    assert look(project)["relief"].state == "none"
    private_dir(project.gateway_dir)
    project.relief_services.touch()
    assert look(project)["relief"].state == "failed"


def test_orphan_is_left_over(project: ProjectPaths, start: Start) -> None:
    """A live process whose record is lost is found by its marker and named by pid."""
    record = start("gateway")
    (project.run_dir / "gateway.json").unlink()
    found = look(project)["leftovers"]
    assert found.state == "failed"
    assert str(record.pid) in found.found
    assert found.next_step == "hcctl down"


def test_record_of_another_boot_is_not_alive(project: ProjectPaths, start: Start) -> None:
    """After a reboot the pid may be somebody else's: the record is dead, whatever runs."""
    record = start("supervisor")
    old = record.model_copy(update={"boot_id": "another"})
    write_record(project.supervisor_record, old)
    assert look(project)["supervisor"].state == "failed"
