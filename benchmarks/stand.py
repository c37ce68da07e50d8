"""A test stand: a project in a temporary folder, put together by the product's own wiring.

Sites and gateway are real. What it starts it stops.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from autoscaler.observing.receiver import Receiver, RequestLog
from cli import wiring
from cli.context import Project
from serving.application import application_for
from serving.errors import GatewayUnreachable
from serving.gateway.gateway import Gateway
from serving.loading import load_project
from serving.paths import ProjectPaths, private_dir
from serving.sites.site import Application, Endpoint, Site
from serving.spec import HybridService

START_TIMEOUT_S = 120.0
POLL_S = 0.02

ONE_REPLICA = {"max_replicas": 1}

PRIVATE = {"role": "private", "pools": [{"name": "owned", "kind": "fixed", "max_nodes": 4}]}
CLOUD = {
    "role": "cloud",
    "pools": [{"name": "rented", "kind": "on_demand", "max_nodes": 4, "price_usd_per_hour": 1.0, "min_billing_s": 1.0}],
}


class Stand:
    """A project with sites; see `stand`."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.sites: dict[str, Site] = wiring.sites(project)

    def push(self, name: str, files: Path) -> str:
        """Put a folder of files into the registry; returns the version."""
        manifest = wiring.registry(self.project.paths).push(
            files, name=name, config={}, metrics={}, schema={}, provenance={}, at_s=time.time()
        )
        return manifest.version

    def push_nothing(self, name: str) -> str:
        """A version that is code only."""
        with tempfile.TemporaryDirectory() as empty:
            return self.push(name, Path(empty))

    def directory(self, version: str) -> Path:
        """The files of a version."""
        return wiring.registry(self.project.paths).directory(version)

    def application(self, spec: HybridService, version: str) -> Application:
        """One replica of a version."""
        return application_for(spec, version, self.directory(version), 1)

    def open(self, *names: str) -> dict[str, Endpoint]:
        """Open sites together; where they listen."""
        for name in names:
            self.sites[name].open()
        for name in names:
            wait(lambda name=name: self.sites[name].observe().ingress is not None, f"site {name}")
        return {name: self.ingress(name) for name in names}

    def ingress(self, name: str) -> Endpoint:
        """Where an open site listens."""
        found = self.sites[name].observe().ingress
        if found is None:
            raise RuntimeError(f"site {name} is not open")
        return found

    def run(self, name: str, *applications: Application) -> None:
        """Run exactly these on a site, and wait until its ingress reaches them."""
        self.sites[name].apply(applications)
        wait(lambda: self.ready(name) == len(applications), f"applications on {name}")

    def ready(self, name: str) -> int:
        """Applications that a site reports running with a ready replica."""
        found = self.sites[name].observe().applications or ()
        return sum(one.phase == "running" and one.replicas_ready > 0 for one in found)

    @contextlib.contextmanager
    def gateway(self, *services: HybridService) -> Iterator[tuple[Gateway, Endpoint]]:
        """The gateway, with a reader for its request log as the daemon has one."""
        paths = self.project.paths
        requests = RequestLog()
        for spec in services:
            requests.follow(spec, frozenset())
        private_dir(paths.run_dir)
        receiver = Receiver(paths.gateway_log_socket, requests)
        receiver.start()
        try:
            with gateway_process(self.project) as gateway:
                yield gateway, Endpoint(self.project.spec.gateway.host, wiring.gateway_port(self.project))
        finally:
            receiver.stop()


@contextlib.contextmanager
def gateway_process(project: Project) -> Iterator[Gateway]:
    """The project's HAProxy in the foreground of a child process."""
    private_dir(project.paths.log_dir)
    gateway = wiring.gateway(project)
    gateway.prepare()
    with (project.paths.log_dir / "gateway.log").open("ab") as log:
        child = subprocess.Popen(gateway.command(), cwd=project.paths.gateway_dir, stdout=log, stderr=log)
    try:
        wait(lambda: _answers(gateway), "the gateway")
        yield gateway
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def stand(**sites: dict[str, Any]) -> Iterator[Stand]:
    """A project with these sites, closed and removed at the end."""
    spec = {"kind": "HybridProject", "name": "benchmark", "sites": sites}
    with tempfile.TemporaryDirectory(prefix="hcctl-bench-") as folder:
        paths = ProjectPaths(Path(folder).resolve())
        paths.project_file.write_text(yaml.safe_dump(spec))
        one = Stand(Project(paths, load_project(paths.project_file)))
        private_dir(paths.state_dir)
        try:
            yield one
        finally:
            with ThreadPoolExecutor(len(one.sites)) as pool:
                for done in [pool.submit(site.close) for site in one.sites.values()]:
                    done.result()
            shutil.rmtree(paths.run_dir)


def service(
    name: str, import_path: str, sites: Mapping[str, Mapping[str, int]], **sections: Mapping[str, Any]
) -> HybridService:
    """A declared service; `sections` are further ones of its spec, of which `model` is added to."""
    model = {"import_path": import_path, **sections.pop("model", {})}
    return HybridService.model_validate(
        {
            "kind": "HybridService",
            "name": name,
            "model": model,
            "slo": {"latency_p99_s": 0.5},
            "sites": sites,
            **sections,
        }
    )


def wait(true: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> float:
    """Wait until something holds; returns the seconds that took.

    Raises:
        RuntimeError: it does not hold in time.
    """
    begun_s = time.monotonic()
    while not true():
        if time.monotonic() - begun_s > timeout_s:
            raise RuntimeError(f"waited {timeout_s:g} s for {what}")
        time.sleep(POLL_S)
    return time.monotonic() - begun_s


def _answers(gateway: Gateway) -> bool:
    with contextlib.suppress(GatewayUnreachable):
        gateway.observe()
        return True
    return False
