"""`hcctl doctor`: every field is printed, whatever a probe does."""

import json
import platform
import resource
import shutil
import socket
import subprocess
import threading
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from cli import health, machine_health, project_health
from cli.commands import doctor
from cli.health import Finding, Probe
from cli.main import app
from serving.errors import HcctlError
from serving.gateway import haproxy
from serving.paths import ProjectPaths
from serving.sqlite_store import SqliteStore

MACHINE = [probe.field for probe in machine_health.probes(Path())]
PROJECT = [probe.field for probe in project_health.probes(None)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectPaths]:
    """A project made by `hcctl init`, in the working folder."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    paths = ProjectPaths(tmp_path.resolve())
    yield paths
    shutil.rmtree(paths.run_dir, ignore_errors=True)


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def look(field: str, paths: ProjectPaths) -> Finding:
    """What one project probe finds."""
    (found,) = [found for name, found in health.run(project_health.probes(paths)) if name == field]
    return found


def test_probe_that_raises_is_a_finding() -> None:
    """An exception fails its field with the reason; a known error brings its next step."""

    def broken() -> Finding:
        raise OSError("no such device")

    def refused() -> Finding:
        raise HcctlError("it failed", where="there", why="a cause", next_step="a cure")

    assert health.run([Probe("a", broken), Probe("b", refused), Probe("c", lambda: health.ok(1))]) == [
        ("a", Finding("failed", "OSError: no such device", "see the reason; report it if it is hcctl's")),
        ("b", Finding("failed", "it failed: there: a cause", "a cure")),
        ("c", Finding("ok", "1")),
    ]


def test_probe_that_hangs_is_a_finding() -> None:
    """A probe without an answer in its time has failed; the others go on."""
    release = threading.Event()

    def hanging() -> Finding:
        release.wait()
        return health.ok("late")

    found = health.run([Probe("a", hanging, timeout_s=0.02), Probe("b", lambda: health.ok(1))])
    release.set()
    assert [finding.state for _, finding in found] == ["failed", "ok"]
    assert "no answer within 0.02 s" in found[0][1].found


def test_every_field_is_printed_when_every_probe_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all probes broken the report still has all fields, and ends with 1."""

    def broken() -> Finding:
        raise RuntimeError("broken")

    monkeypatch.setattr(machine_health, "probes", lambda _: [Probe(field, broken) for field in MACHINE])
    monkeypatch.setattr(project_health, "probes", lambda _: [Probe(field, broken) for field in PROJECT])
    result = hcctl("doctor", "-o", "json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["field"] for row in rows] == MACHINE + PROJECT
    assert {row["state"] for row in rows} == {"failed"}


def test_report_without_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a project its fields say so, and that is no fault."""
    monkeypatch.chdir(tmp_path)
    rows = json.loads(hcctl("doctor", "-o", "json").stdout)
    assert {row["state"] for row in rows if row["field"] in PROJECT} == {"none"}
    assert {row["field"] for row in rows} == {*MACHINE, *PROJECT}


def test_new_project_has_no_fault(project: ProjectPaths) -> None:
    """Right after init no field of the project has failed."""
    found = dict(health.run(project_health.probes(project)))
    assert {field: finding for field, finding in found.items() if finding.state == "failed"} == {}
    assert found["service file"].found == "service.yaml, service shop"
    assert found["sites"].found == "private closed, cloud closed"


def test_failed_field_shows_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table the next step stands under the finding; the exit code says that something failed."""
    monkeypatch.setattr(machine_health, "probes", lambda _: [Probe("x", lambda: health.failed("broken", "mend it"))])
    monkeypatch.setattr(project_health, "probes", lambda _: [])
    result = CliRunner().invoke(doctor.command)
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["x", "failed", "broken"],
        ["\N{RIGHTWARDS ARROW}", "mend", "it"],
    ]
    assert "1 of 1 fields failed" in result.stderr
    assert hcctl("doctor").exit_code == 1


def test_all_fields_ok_end_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing failed: exit 0, also when some field has nothing to look at."""
    monkeypatch.setattr(machine_health, "probes", lambda _: [Probe("x", lambda: health.ok("fine"))])
    monkeypatch.setattr(project_health, "probes", lambda _: [Probe("y", lambda: health.nothing("no project"))])
    assert hcctl("doctor").exit_code == 0


def test_wrong_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another system or processor than Linux x86-64 is a fault."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert machine_health.machine().state == "failed"


@pytest.mark.parametrize(("version", "state"), [("2.60.0", "ok"), ("2.61.0", "failed"), ("2.6.0", "failed")])
def test_ray_version(monkeypatch: pytest.MonkeyPatch, version: str, state: str) -> None:
    """Only the minor version that pyproject asks for is right."""
    monkeypatch.setattr(metadata, "version", lambda _: version)
    assert machine_health.ray_version().state == state
    declared = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"ray[serve]>={machine_health.RAY},<' in declared


def test_missing_ray_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray the field says how to install it."""

    def missing(_: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", missing)
    assert "pip install" in machine_health.ray_version().next_step


def test_missing_haproxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HAProxy the field says how to install it."""

    def missing() -> Path:
        raise HcctlError("HAProxy was not found", why="it is not here")

    monkeypatch.setattr(haproxy, "haproxy_binary", missing)
    assert machine_health.haproxy() == Finding("failed", "not found: it is not here", machine_health.INSTALL_RAY)


@pytest.mark.parametrize(("total_gib", "state"), [(3.9, "failed"), (4, "ok")])
def test_memory(monkeypatch: pytest.MonkeyPatch, total_gib: float, state: str) -> None:
    """Less memory than two clusters need is a fault."""
    seen = types.SimpleNamespace(total=total_gib * machine_health.GIB, available=machine_health.GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: seen)
    assert machine_health.memory().state == state


@pytest.mark.parametrize(
    ("total_gib", "free_gib", "state"), [(20, 2, "ok"), (20, 1.9, "failed"), (1000, 40, "failed"), (1000, 50, "ok")]
)
def test_disk(monkeypatch: pytest.MonkeyPatch, total_gib: float, free_gib: float, state: str) -> None:
    """Little room, or a disk nearly full, is a fault: Ray stops placing work there."""
    usage = types.SimpleNamespace(total=total_gib * machine_health.GIB, free=free_gib * machine_health.GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert machine_health.disk(Path()).state == state


@pytest.mark.parametrize(("hard", "state"), [(1024, "failed"), (16_384, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, state: str) -> None:
    """The hard limit counts: the soft one is raised to it."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    assert machine_health.open_files().state == state


def test_socket_paths() -> None:
    """A long folder for temporary files leaves no room for sockets."""
    assert machine_health.socket_paths(Path("/tmp")).state == "ok"
    assert machine_health.socket_paths(Path("/tmp/" + "x" * 40)).state == "failed"


def test_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs are listed when the driver is there; without it there are none, which is no fault."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert machine_health.gpu().state == "none"
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    said = subprocess.CompletedProcess([], 0, stdout="NVIDIA A10G, 23028 MiB\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
    assert machine_health.gpu() == Finding("ok", "NVIDIA A10G, 23028 MiB")


@pytest.mark.parametrize(("file", "field"), [("hcctl.yaml", "project file"), ("service.yaml", "service file")])
def test_broken_file_is_named_by_line(project: ProjectPaths, file: str, field: str) -> None:
    """An invalid file fails its field with line and fix."""
    path = project.root / file
    path.write_text(path.read_text().replace("name: shop", "name: Shop"))
    found = look(field, project)
    assert found.state == "failed"
    assert f"{file}:5 name" in found.found if file == "service.yaml" else f"{file}:" in found.found
    assert found.next_step.startswith("set name to")


def test_service_file_may_be_absent(project: ProjectPaths) -> None:
    """A project without a service file of the usual name has no fault."""
    (project.root / "service.yaml").unlink()
    assert look("service file", project).state == "none"


def record_ports(paths: ProjectPaths, base: int) -> None:
    paths.state_dir.mkdir()
    paths.ports_file.write_text(json.dumps({"sites": {"private": {"base": base, "replicas": 4}}}))


def test_recorded_port_held_by_another_program_is_named(project: ProjectPaths) -> None:
    """A recorded port that somebody else listens on is a fault, named by number."""
    base = free_block()
    record_ports(project, base)
    assert look("ports", project) == Finding("ok", f"private {base}-{base + 23}")
    with socket.create_server(("127.0.0.1", base + 1)):
        found = look("ports", project)
    assert found.state == "failed"
    assert f"taken by another program: {base + 1} " in found.found


def test_declared_gateway_port_is_looked_at(project: ProjectPaths) -> None:
    """A declared port counts before the first start; while another program has it, that is a fault."""
    assert look("ports", project).state == "none"
    port = free_block()
    project.project_file.write_text(project.project_file.read_text().replace("  port: 0", f"  port: {port}"))
    assert look("ports", project) == Finding("ok", f"gateway {port}")
    with socket.create_server(("127.0.0.1", port)):
        assert look("ports", project).state == "failed"


def free_block() -> int:
    from serving.sites.ports import choose_block, listening_ports

    taken = listening_ports()
    return choose_block("doctor", 4, lambda block: taken.isdisjoint(range(block.base, block.end))).base


def test_database_is_opened_and_checked(project: ProjectPaths) -> None:
    """A sound database is counted; a damaged one fails its field."""
    assert look("state database", project).state == "none"
    project.state_dir.mkdir()
    store = SqliteStore(project.database)
    store.put_intent("service", "shop", {"a": 1}, expected_revision=None, at_s=1.0)
    store.close()
    assert "1 services" in look("state database", project).found
    project.database.write_bytes(b"no database" * 1000)
    assert look("state database", project).state == "failed"


def test_files_of_a_run_that_ended_are_left_over(project: ProjectPaths) -> None:
    """A run-time folder without any live process is a fault that `hcctl down` mends."""
    assert look("leftovers", project) == Finding("ok", "none")
    project.run_dir.mkdir(mode=0o700)
    found = look("leftovers", project)
    assert found.state == "failed"
    assert found.next_step == "hcctl down"
