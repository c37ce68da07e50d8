"""Two projects on one computer: each has its own ports, processes and files; the end of one leaves the other alone."""

from __future__ import annotations

import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.sites.ports import listening_ports
from serving.sites.processes import MARKER_VARIABLE
from tests.support.running_gateway import new_certificate
from tests.support.running_project import PROJECT, RunningProject, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def temporary() -> set[str]:
    """What the folder for temporary files held before."""
    return {path.name for path in Path(tempfile.gettempdir()).iterdir()}


@pytest.fixture
def neighbours(tmp_path: Path, temporary: set[str]) -> Iterator[tuple[RunningProject, RunningProject]]:
    """A project, and another with TLS and keys; both serve a version with its project's name as label."""
    plain, guarded = (RunningProject(tmp_path / name, name=name) for name in ("plain", "guarded"))
    gateway = {"tls_certificate": new_certificate(guarded.folder / "gateway.pem").name, "require_api_key": True}
    guarded.write("hcctl.yaml", {**PROJECT, "name": "guarded", "gateway": gateway})
    guarded.reread()
    try:
        with ThreadPoolExecutor() as both:  # as two users might, at the same moment
            list(both.map(serve, (plain, guarded)))
        yield plain, guarded
    finally:
        for project in (plain, guarded):
            if project.folder.exists():
                project.must("down")


def serve(project: RunningProject) -> None:
    """Bring a project up with one version."""
    project.must("up")
    project.push(project.folder.name)
    project.must("deploy")


def test_two_projects_live_side_by_side(neighbours: tuple[RunningProject, RunningProject], temporary: set[str]) -> None:
    """Ports and state are apart; keys and TLS hold for one only; uninstalling one leaves nothing of it."""
    plain, guarded = neighbours
    trusted: dict[str, Any] = {"verify": ssl.create_default_context(cafile=str(guarded.folder / "gateway.pem"))}
    assert guarded.url.startswith("https://")
    assert guarded.ask(**trusted).status_code == 401
    key = guarded.must("key", "add", "ci").out.strip()
    headers = {"Authorization": f"Bearer {key}"}
    until(lambda: guarded.ask(**trusted, headers=headers).status_code == 200)
    assert guarded.ask(**trusted, headers=headers).json()["label"] == "guarded"
    guarded.must("key", "revoke", "ci")
    until(lambda: guarded.ask(**trusted, headers=headers).status_code == 401)
    assert plain.ask().json()["label"] == "plain"
    ports = [json.loads(project.project.paths.ports_file.read_text()) for project in neighbours]
    assert ports[0] != ports[1]
    listened = int(guarded.url.rpartition(":")[2])
    guarded.must("down")
    assert plain.ask().json()["label"] == "plain"
    assert_nothing_left(guarded, temporary, listened)


def assert_nothing_left(project: RunningProject, temporary: set[str], listened: int) -> None:
    """No process, port, temporary file or folder of the project, once its folder is removed as well."""
    paths = project.project.paths
    marker = f"{MARKER_VARIABLE}={paths.run_dir}".encode()
    assert not [pid for pid in psutil.pids() if marker in of_process(pid, "environ")]
    assert not paths.run_dir.exists()
    assert not [site for site in PROJECT["sites"] if paths.ray_dir(site).exists()]
    new = {path.name for path in Path(tempfile.gettempdir()).iterdir()} - temporary
    assert not [name for name in new if name.startswith(("pymp", "ray", "haproxy"))]
    assert listened not in listening_ports()
    shutil.rmtree(project.folder)  # with this the project is uninstalled
    assert not [pid for pid in psutil.pids() if str(project.folder).encode() in of_process(pid, "cmdline")]


def of_process(pid: int, file: str) -> bytes:
    """A file of a process in /proc; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""
