"""A project that is up with everything real but Ray: supervisor, HAProxy, daemon, state, files, sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from unittest import mock

from cli import wiring
from cli.commands import up
from serving.paths import ProjectPaths
from serving.sites.processes import is_alive, read_record
from serving.supervisor import Plan
from tests.support.http_site import HttpSite
from tests.support.running_project import PROJECT, REPOSITORY, SERVICE, RunningProject


class RayFreeProject(RunningProject):
    """A running project whose sites are in memory and answer from one small HTTP server."""

    def __init__(
        self, folder: Path, ingress: HttpSite, gateway: Mapping[str, object], service: Mapping[str, object]
    ) -> None:
        super().__init__(folder)
        self.ingress = ingress
        self.write("hcctl.yaml", {**PROJECT, "name": "bare", "gateway": dict(gateway)})
        self.write("service.yaml", {**SERVICE, "release": {"judge_s": 0.5, "min_sample": 10}, **service})
        self.reread()

    @property
    def paths(self) -> ProjectPaths:
        return self.project.paths

    def start(self) -> None:
        """`hcctl up`, until a version of the service `shop` is served."""
        self.up()
        self.push("one")
        self.must("deploy", "--timeout", "60")

    def up(self) -> None:
        """`hcctl up`, with the daemon exchanged."""
        real = wiring.supervisor_plan

        def plan(*args: object, **options: bool) -> Plan:
            planned = real(*args, **options)  # type: ignore[arg-type]
            gateway, daemon, relief = planned.children
            port = str(self.ingress.endpoint.port)
            command = [sys.executable, "-m", "tests.support.ray_free_daemon", port, *daemon.command[3:]]
            children = [gateway, daemon.model_copy(update={"command": command}), relief]
            return planned.model_copy(update={"children": children})

        with mock.patch.object(wiring, "supervisor_plan", plan):
            up.start(self.project)

    def files(self) -> Iterator[Path]:
        """Everything below the project's own folders, and these."""
        for top in (self.paths.state_dir, self.paths.run_dir):
            yield top
            yield from top.rglob("*")


@contextlib.contextmanager
def ray_free_project(
    environment: Mapping[str, str],
    umask: int,
    gateway: Mapping[str, object],
    service: Mapping[str, object] = MappingProxyType({}),
) -> Iterator[RayFreeProject]:
    """Start one in a folder that everybody may enter, under this umask and with this added environment.

    `service` replaces sections of service.yaml.
    """
    folder = Path(tempfile.mkdtemp(prefix="bare-"))
    folder.chmod(0o755)
    ingress = HttpSite("bare")
    project = RayFreeProject(folder / "project", ingress, gateway, service)
    try:
        with mock.patch.dict(os.environ, {**environment, "PYTHONPATH": str(REPOSITORY)}), _umask(umask):
            project.start()
        yield project
    finally:
        files = [project.paths.supervisor_record, project.paths.daemon_record]
        records = [record for file in files if (record := read_record(file))]
        project.must("down")
        assert not any(is_alive(record) for record in records)
        ingress.stop()
        shutil.rmtree(folder)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    former = os.umask(mask)
    try:
        yield
    finally:
        os.umask(former)
