"""What must stay out of every file and every output: secrets, and anything of a request."""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from cli import wiring
from serving.paths import ProjectPaths
from serving.project import SiteSpec
from serving.sites.local import LocalSite
from serving.sites.processes import members, read_record
from tests.security.conftest import ENVIRONMENT_SECRET, Up

MARKER = "canary-request-7f3d21"
"""Stands in each part of the requests that are sent here."""

OUTPUTS = (
    ("status", "-o", "json"),
    ("why", "--limit", "1000", "-o", "json"),
    ("history", "shop", "-o", "json"),
    ("cost", "-o", "json"),
    ("doctor", "-o", "json"),
    ("key", "list", "-o", "json"),
    ("version", "list", "-o", "json"),
    ("diff", "-o", "json"),
    ("logs", "daemon"),
    ("logs", "gateway"),
    ("logs", "supervisor"),
    ("status", "shop", "--debug"),
)
"""Commands that read; some of them end with an error here, which may leak as little."""


def everything(up: Up) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the running project, of each output and of each part of a support bundle."""
    for path in up.project.files():
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
    for command in OUTPUTS:
        done = up.project.hcctl(*command)
        yield " ".join(command), (done.out + done.errors).encode()
    bundle = up.project.folder / "bundle.tar.gz"
    done = up.project.must("support-bundle", str(bundle))
    yield "support-bundle", (done.out + done.errors).encode()
    with tarfile.open(bundle) as parts:
        for part in parts:
            content = parts.extractfile(part)
            assert content is not None
            yield f"support-bundle: {part.name}", content.read()
    bundle.unlink()


def raw(up: Up, request: str) -> None:
    """Send bytes as they are."""
    at = urlsplit(up.project.url)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=5) as client:
        client.sendall(request.encode())
        assert client.recv(65_536).startswith(b"HTTP/1.1 4")


def send_marked(up: Up) -> None:
    """Requests with the marker in path, query, headers and body: served, failed, refused and malformed."""
    key = {"Authorization": f"Bearer {up.key}"}
    marked = {"X-Marked": MARKER, "Cookie": f"session={MARKER}", "User-Agent": MARKER, "Referer": f"http://{MARKER}/"}

    def send(headers: dict[str, str]) -> int:
        url = f"{up.project.url}/{MARKER}?q={MARKER}"
        return httpx.post(url, json={"text": MARKER}, headers=marked | headers, timeout=10, trust_env=False).status_code

    assert send(key) == 200
    assert MARKER in up.project.ingress.seen()["paths"][-1], "it did reach the site"
    assert send({"Authorization": f"Bearer {MARKER}"}) == 401
    up.project.ingress.behave(status=500)
    assert {send(key) for _ in range(8)} <= {500, 503}
    up.project.ingress.behave(status=200)
    raw(up, f"GET /{MARKER}/../x HTTP/1.1\r\nHost: {MARKER}\r\nAuthorization: Bearer {up.key}\r\n\r\n")
    raw(up, f"POST /{MARKER} HTTP/1.1\r\nHost: {MARKER}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{MARKER}")
    raw(up, f"{MARKER}\r\n\r\n")


def daemon_has_told_of(up: Up, at_s: float) -> None:
    """Wait until the daemon has written down what it saw since then."""
    deadline_s = time.monotonic() + 10
    with wiring.store(up.project.paths) as store:
        while (seen := store.observation("service", "shop")) is None or seen.at_s < at_s + 1:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_nothing_of_a_request_and_no_secret_is_kept_or_shown(up: Up) -> None:
    """Path, query, headers, body, the key and the caller's environment: in no file, no log and no output."""
    send_marked(up)
    daemon_has_told_of(up, time.time())
    found = dict(everything(up))
    assert len(found) > 30
    assert len(found["logs daemon"]) > 100
    assert len(found["why --limit 1000 -o json"]) > 100
    assert sum(name.startswith("support-bundle: ") for name in found) > 10
    for secret in (MARKER, up.key, ENVIRONMENT_SECRET):
        assert [name for name, content in found.items() if secret.encode() in content] == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[LocalSite, ProjectPaths]]:
    """A site whose cluster is a sleeping process, open."""
    paths = ProjectPaths(tmp_path)
    paths.state_dir.mkdir()
    spec = SiteSpec.model_validate({"role": "private", "pools": [{"name": "own", "kind": "fixed", "max_nodes": 2}]})
    launcher = ("sh", "-c", 'echo "started with $*"; env; exec sleep 60', "launcher")
    here = LocalSite("private", spec, paths, launcher=launcher)
    here.open()
    yield here, paths
    here.close()
    shutil.rmtree(paths.run_dir)


def test_a_sites_token_is_on_no_command_line_and_in_no_environment(site: tuple[LocalSite, ProjectPaths]) -> None:
    """What other users can read of a process, and what it prints of itself, names the token's file only."""
    here, paths = site
    token = (paths.site_dir("private") / "token").read_text()
    record = read_record(paths.site_dir("private") / "process.json")
    assert record is not None
    for pid in members(record, record.marker):
        told = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert b"RAY_AUTH_TOKEN_PATH" in told
        assert token.encode() not in told
    others = [path for top in (paths.state_dir, paths.run_dir) for path in top.rglob("*") if path.is_file()]
    holders = [path.name for path in others if token.encode() in path.read_bytes()]
    assert holders == ["token"]
    assert token not in os.environ.values()
    assert token not in repr(here.observe())
