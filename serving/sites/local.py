"""A site on this computer: one Ray cluster of its own, started and stopped as processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import serving
from serving.errors import HcctlError, SiteUnreachable
from serving.failpoints import failpoint
from serving.files import disk_errors, exclusive, write_atomic
from serving.paths import ProjectPaths, private_dir
from serving.project import SiteSpec
from serving.sites import notices
from serving.sites.ports import SitePorts, claim_ports, recorded_ports, release_ports
from serving.sites.processes import ProcessRecord, is_alive, read_record, spawn, terminate, write_record
from serving.sites.ray_head import LOOPBACK, RayHead, ray_command, ray_environment
from serving.sites.serve_api import ServeApi, haproxy_servers, routed_applications
from serving.sites.site import Application, ApplicationStatus, Endpoint, Phase, SiteObservation
from serving.sites.site_token import read_token, write_token

OBSERVE_TIMEOUT_S = 0.9
"""What `observe` takes at most; the ingress may use half of it, Serve the rest."""

APPLY_TIMEOUT_S = 10.0
SCALE_TIMEOUT_S = 5.0

DRAIN_TIMEOUT_S = 6.0
"""Longest wait of `close` for requests in flight. The gateway has withdrawn the site before."""

STOP_GRACE_S = 15.0
"""After SIGTERM Ray takes 2 to 3 s to end."""

_POLL_S = 0.1
_MOST_REPLICA_PORTS = 1_000


class LocalSite:
    """A site of kind `local`; see `serving.sites.site.Site`.

    Its truth is on disk, so any number of these objects, in one process after another, see and
    control the same site.

    Args:
        name: the site's name in the project.
        spec: its section of the project file.
        paths: the project.
        python_path: folders that replicas import from, the project's first.
        clock: wall-clock seconds since the epoch.
        launcher: the command of `serving.sites.launch`, to which its arguments are added.
    """

    def __init__(
        self,
        name: str,
        spec: SiteSpec,
        paths: ProjectPaths,
        *,
        python_path: tuple[Path, ...] = (),
        clock: Callable[[], float] = time.time,
        launcher: tuple[str, ...] = (sys.executable, "-m", "serving.sites.launch"),
    ) -> None:
        self._name = name
        self._spec = spec
        self._paths = paths
        self._python_path = (*python_path, *_own_path())
        self._clock = clock
        self._launcher = launcher
        self._dir = paths.site_dir(name)
        self._ray_dir = paths.ray_dir(name)
        self._marker = str(self._dir)

    @property
    def name(self) -> str:
        return self._name

    @property
    def log_file(self) -> Path:
        """What the cluster's first process prints."""
        return self._paths.log_dir / f"site-{self._name}.log"

    @property
    def ray_dir(self) -> Path:
        """What Ray and its HAProxy write."""
        return self._ray_dir

    def observe(self) -> SiteObservation:
        try:
            record = read_record(self._process_file)
            phase = self._phase(record)
            ports = recorded_ports(self._paths.ports_file, self._name)
        except OSError as error:
            return self._observation("lost", message=f"its files cannot be read: {error}")
        if phase == "lost":
            return self._observation(phase, message=f"its processes are gone; see {self.log_file}")
        if phase != "open" or ports is None:
            return self._observation(phase)
        ingress = Endpoint(LOOPBACK, ports.ingress)
        try:
            statuses = self._statuses(ports)
        except SiteUnreachable as error:
            return self._observation(phase, ingress=ingress, message=error.one_line())
        seen = self._observation(phase, applications=statuses, ingress=ingress)
        try:
            return replace(seen, notices=notices.read_notices(self._dir))
        except HcctlError as error:
            return replace(seen, message=error.one_line())

    def open(self) -> None:
        with self._locked():
            record = read_record(self._process_file)
            if self._phase(record) in {"opening", "open"}:
                return
            self._sweep(record)
            self._closing_file.unlink(missing_ok=True)
            # The record of the former processes stays until the next one replaces it: lost, never closed between.
            shared = self._paths.claims_file
            ports = claim_ports(
                self._paths.ports_file, self._name, self._replica_ports(), shared=shared, at_s=self._clock()
            )
            head = RayHead(ports, private_dir(self._ray_dir), self._token_file, self._spec.ingress)
            write_token(self._token_file)
            arguments = [ports.dashboard, ports.ingress, self._token_file, self._opened_file]
            record = spawn(
                [*self._launcher, *map(str, arguments), *ray_command(head)],
                environment=ray_environment(head, os.environ, self._python_path),
                marker=self._marker,
                log=private_dir(self._paths.log_dir) / self.log_file.name,
                cwd=self._paths.root,
                cores=self._spec.cores,
                at_s=self._clock(),
            )
            failpoint("site.after-spawn")
            write_record(self._process_file, record)

    def close(self) -> None:
        with self._locked():
            record = read_record(self._process_file)
            opened = self._phase(record) == "open"
            write_atomic(self._closing_file, b"")
            if opened:
                self._drain()
            self._sweep(record)
            release_ports(self._paths.ports_file, self._name, shared=self._paths.claims_file)
            self._process_file.unlink(missing_ok=True)  # before what says that it is closing
            shutil.rmtree(self._dir)

    def apply(self, applications: tuple[Application, ...]) -> None:
        ports = self._open_ports()
        self._api(ports).apply(applications, Endpoint(LOOPBACK, ports.ingress), timeout_s=APPLY_TIMEOUT_S)

    def scale(self, application: str, replicas: int) -> None:
        self._api(self._open_ports()).scale(application, replicas, timeout_s=SCALE_TIMEOUT_S)

    @property
    def _process_file(self) -> Path:
        return self._dir / "process.json"

    @property
    def _opened_file(self) -> Path:
        """Written by the launcher when the ingress answers."""
        return self._dir / "opened.json"

    @property
    def _closing_file(self) -> Path:
        return self._dir / "closing"

    @property
    def _token_file(self) -> Path:
        return self._dir / "token"

    def _phase(self, record: ProcessRecord | None) -> Phase:
        if record is None:
            return "closed"
        if self._closing_file.exists():
            return "closing"
        if not is_alive(record):
            return "lost"
        return "open" if self._opened_file.exists() else "opening"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time open or close the site."""
        with disk_errors("the site's files cannot be used", self._dir):
            private_dir(self._paths.run_dir)
            private_dir(self._dir.parent)
            with exclusive(self._dir.parent / f"{self._name}.lock"):
                private_dir(self._dir)
                yield

    def _drain(self) -> None:
        """Let requests in flight finish. What does not answer is stopped without."""
        deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
        with contextlib.suppress(HcctlError):
            ports = self._open_ports()
            self.apply(())
            while self._statuses(ports) and time.monotonic() < deadline_s:
                time.sleep(_POLL_S)

    def _sweep(self, record: ProcessRecord | None) -> None:
        """End every process of the site and remove what they used, whatever state it is in."""
        terminate(record, self._marker, grace_s=STOP_GRACE_S)
        if self._ray_dir.exists():
            shutil.rmtree(private_dir(self._ray_dir))
        for file in (self._opened_file, self._token_file, self._dir / notices.FILE):
            file.unlink(missing_ok=True)

    def _replica_ports(self) -> int:
        """Two versions side by side, twice over: Serve keeps a freed port aside for a minute."""
        return min(_MOST_REPLICA_PORTS, 4 * self._spec.max_nodes + 32)

    def _open_ports(self) -> SitePorts:
        ports = recorded_ports(self._paths.ports_file, self._name)
        phase = self._phase(read_record(self._process_file))
        if ports is None or not self._opened_file.exists() or phase not in {"open", "closing"}:
            raise SiteUnreachable("the site is not open", where=self._name, why=f"it is {phase}")
        return ports

    def _statuses(self, ports: SitePorts) -> tuple[ApplicationStatus, ...]:
        deadline_s = time.monotonic() + OBSERVE_TIMEOUT_S
        if self._spec.ingress == "haproxy":
            reach = haproxy_servers(Endpoint(LOOPBACK, ports.statistics), timeout_s=OBSERVE_TIMEOUT_S / 2)
        else:
            reach = routed_applications(Endpoint(LOOPBACK, ports.ingress), timeout_s=OBSERVE_TIMEOUT_S / 2)
        return self._api(ports).applications(reach, timeout_s=deadline_s - time.monotonic())

    def _api(self, ports: SitePorts) -> ServeApi:
        return ServeApi(Endpoint(LOOPBACK, ports.dashboard), read_token(self._token_file))

    def _observation(
        self,
        phase: Phase,
        *,
        applications: tuple[ApplicationStatus, ...] | None = None,
        ingress: Endpoint | None = None,
        message: str = "",
    ) -> SiteObservation:
        return SiteObservation(self._name, phase, applications, ingress, self._clock(), message)


def _own_path() -> tuple[Path, ...]:
    """Where hcctl itself is imported from, unless every Python of this environment finds it."""
    folder = Path(serving.__file__).parent.parent
    return () if str(folder) in site.getsitepackages() else (folder,)
