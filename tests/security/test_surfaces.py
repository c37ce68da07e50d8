"""Who is let in at each control surface of a running project: its owner, and nobody else.

The gateway's API keys are in tests/integration/test_gateway_refusals.py, web pages in
test_gateway_browsers.py there, Ray's interfaces in tests/e2e/test_site_listeners.py.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from serving.errors import HcctlError
from serving.paths import ProjectPaths, private_dir
from tests.security.conftest import Up
from tests.support.strangers import NOBODY, connect, refused_to_nobody

CONTROL = ("admin socket", "master socket", "request log socket")
FILES = ("database", "keys", "registry", "log", "plan", "gateway configuration", "key hashes of the gateway")


def place(paths: ProjectPaths, what: str) -> Path:
    """Where a surface is."""
    return {
        "admin socket": paths.gateway_dir / "admin.sock",
        "master socket": paths.gateway_dir / "master.sock",
        "request log socket": paths.gateway_log_socket,
        "database": paths.database,
        "keys": paths.keys_file,
        "registry": next(paths.registry_dir.glob("*/manifest.json"), paths.registry_dir),
        "log": paths.log_dir / "daemon.log",
        "plan": paths.supervisor_plan,
        "gateway configuration": paths.gateway_dir / "haproxy.cfg",
        "key hashes of the gateway": paths.gateway_dir / "keys.map",
    }[what]


@contextmanager
def folders_open(paths: ProjectPaths) -> Iterator[None]:
    """As if the folders around the sockets protected nothing."""
    folders = (paths.run_dir, paths.gateway_dir)
    for folder in folders:
        folder.chmod(0o755)
    try:
        yield
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_everything_is_its_owners_only(up: Up) -> None:
    """Below .hcctl and the run-time folder, folders are 0700 and nothing else is open to group or others."""
    found = {path: path.lstat() for path in up.project.files() if not path.is_symlink()}
    assert len(found) > 30
    loose = {str(path): oct(of.st_mode) for path, of in found.items() if of.st_mode & 0o077}
    assert loose == {}
    folders = [stat.S_IMODE(of.st_mode) for path, of in found.items() if stat.S_ISDIR(of.st_mode)]
    assert {mode & ~0o200 for mode in folders} == {0o500}, "owner only; a version's own folder is not even writable"


@pytest.mark.root
@pytest.mark.parametrize("what", [*CONTROL, *FILES])
def test_another_user_is_refused(up: Up, what: str) -> None:
    """The folder is the first wall: another user reaches neither socket nor file."""
    path = place(up.project.paths, what)
    assert path.exists()
    attempt = connect if path.is_socket() else Path.read_bytes
    assert refused_to_nobody(lambda: attempt(path))


@pytest.mark.root
@pytest.mark.parametrize("what", CONTROL)
def test_a_socket_refuses_another_user_by_itself(up: Up, what: str) -> None:
    """The socket's own mode is the second wall."""
    paths = up.project.paths
    with folders_open(paths):
        assert refused_to_nobody(lambda: connect(place(paths, what)))


@pytest.mark.root
@pytest.mark.parametrize("what", ["plan", "gateway configuration", "key hashes of the gateway"])
def test_a_file_refuses_another_user_by_itself(up: Up, what: str) -> None:
    """So is a file's."""
    paths = up.project.paths
    with folders_open(paths):
        assert refused_to_nobody(lambda: place(paths, what).read_bytes())


@pytest.mark.parametrize(
    ("what", "question", "answer"),
    [("admin socket", "show info", "Name: HAProxy"), ("master socket", "show proc", "PID")],
)
def test_the_owner_is_served(up: Up, what: str, question: str, answer: str) -> None:
    """The same sockets answer the user whose project it is."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(place(up.project.paths, what)))
        client.sendall(f"{question}\n".encode())
        assert client.recv(65_536).decode().lstrip("#<").startswith(answer)
    connect(up.project.paths.gateway_log_socket)


def test_nothing_listens_but_the_gateway_on_loopback(up: Up) -> None:
    """Supervisor, daemon and gateway, with all their children, have one listening socket."""
    tree = [psutil.Process(up.project.pid(part)) for part in ("supervisor", "daemon", "gateway")]
    tree += [child for process in tree for child in process.children(recursive=True)]
    listening = {
        (process.name(), connection.laddr)
        for process in tree
        for connection in process.net_connections(kind="inet")
        if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)  # NONE: UDP
    }
    port = int(up.project.url.rpartition(":")[2])
    assert {address for _, address in listening} == {("127.0.0.1", port)}
    assert all("haproxy" in name for name, _ in listening)


def test_without_a_key_nothing_is_served(up: Up) -> None:
    """The running project refuses a request without a key or with a wrong one, and takes the right one."""
    assert up.project.ask().status_code == 401
    assert up.project.ask(headers={"Authorization": f"Bearer {up.key[:-1]}"}).status_code == 401
    assert up.project.ask(headers={"Authorization": f"Bearer {up.key}"}).status_code == 200


@pytest.mark.root
def test_a_strangers_folder_is_not_used(tmp_path: Path) -> None:
    """A run-time folder that another user made first is refused, and what is above it is made private."""
    taken = tmp_path / "taken"
    taken.mkdir()
    os.chown(taken, NOBODY, NOBODY)
    with pytest.raises(HcctlError, match="not this user's own"):
        private_dir(taken)


def test_missing_folders_above_are_private_too(tmp_path: Path) -> None:
    """Whichever folder is made first, those above it that it needs are its owner's only."""
    former = os.umask(0)
    try:
        private_dir(tmp_path / "run" / "gateway")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
