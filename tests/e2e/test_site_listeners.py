"""Where a running local site listens, and whom its interfaces refuse.

The token's file and the plainest refusals are in test_local_site.py::test_strangers_are_refused.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import psutil
import pytest

from serving.paths import ProjectPaths
from serving.sites.local import LocalSite
from serving.sites.ports import SitePorts, recorded_ports
from serving.sites.processes import members, read_record
from serving.sites.site import Endpoint
from tests.e2e.conftest import emptied, wait_for
from tests.support.load import fetch
from tests.support.versions import Versions

pytestmark = pytest.mark.e2e

EPHEMERAL = 32_768
"""Ray gives its workers ports from here on."""

MARKER = "canary-request-7f3d21"


@dataclass(frozen=True)
class Listener:
    """One listening socket of the site."""

    host: str
    port: int
    process: str


def allowed_anywhere(ports: SitePorts) -> dict[int, str]:
    """Ports that Ray opens on all interfaces whatever it is told (docs/security.md), by what they are."""
    return {
        ports.internal(0): "gcs",
        ports.internal(1): "dashboard agent, HTTP",
        ports.internal(2): "dashboard agent, gRPC",
        ports.internal(3): "runtime environment agent",
        ports.internal(4): "raylet",
        ports.internal(5): "object manager",
        ports.internal(6): "Ray client server",
        ports.internal(7): "metrics of the dashboard",
        ports.internal(10): "metrics of Serve's HAProxy",
        ports.metrics: "metrics of Ray and Serve",
        ports.statistics: "statistics of Serve's HAProxy",
    }


@pytest.fixture(scope="module")
def private_site(private_session: LocalSite) -> LocalSite:
    """The private site; these tests only look, so they share one application."""
    return emptied(private_session)


@pytest.fixture(scope="module")
def ports(private_site: LocalSite, project: ProjectPaths, versions: Versions, echo_version: str) -> SitePorts:
    """The ports of the private site, with an application running."""
    application = versions.application(echo_version, service="listen")
    private_site.apply((application,))
    wait_for(private_site, lambda seen: [s.phase for s in seen.applications or ()] == ["running"])
    found = recorded_ports(project.ports_file, private_site.name)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def token(ports: SitePorts, private_site: LocalSite, project: ProjectPaths) -> str:
    """The site's token."""
    return (project.site_dir(private_site.name) / "token").read_text()


def listeners(project: ProjectPaths, site: LocalSite) -> Iterator[Listener]:
    """Every TCP socket that a process of the site listens on."""
    record = read_record(project.site_dir(site.name) / "process.json")
    assert record is not None
    pids = members(record, record.marker)
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids:
            assert connection.pid is not None
            yield Listener(connection.laddr.ip, connection.laddr.port, psutil.Process(connection.pid).name())


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches the address."""
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_only_rays_named_exceptions_listen_beyond_loopback(
    ports: SitePorts, private_site: LocalSite, project: ProjectPaths
) -> None:
    """Each listener is on loopback, one of Ray's named ports, or a worker's ephemeral one; a new one is a finding."""
    found = list(listeners(project, private_site))
    assert len(found) > 8
    named = allowed_anywhere(ports)
    beyond = [one for one in found if not is_loopback(one.host)]
    assert [one for one in beyond if one.port not in named and one.port < EPHEMERAL] == []


def test_what_serves_or_controls_is_on_loopback(
    ports: SitePorts, private_site: LocalSite, project: ProjectPaths
) -> None:
    """Dashboard (with Serve's REST interface), ingress and replicas listen, and on loopback alone."""
    inner = {ports.dashboard, ports.ingress, *range(ports.first_replica, ports.end + 1)}
    found = [one for one in listeners(project, private_site) if one.port in inner]
    assert {ports.dashboard, ports.ingress} <= {one.port for one in found}
    assert len(found) >= 3
    assert [one for one in found if not is_loopback(one.host)] == []


ROUTES = [
    ("GET", "/api/serve/applications/"),
    ("PUT", "/api/serve/applications/"),
    ("DELETE", "/api/serve/applications/"),
    ("POST", "/api/v1/applications/listen/deployments/model/scale"),
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("GET", "/api/cluster_status"),
    ("GET", "/api/v0/actors"),
    ("GET", "/api/v0/logs"),
    ("GET", "/nodes?view=summary"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_dashboard_refuses_without_the_token(ports: SitePorts, token: str, method: str, path: str) -> None:
    """Reading and changing alike: 401 without a token, 403 with a wrong one, by header or cookie."""
    dashboard = Endpoint("127.0.0.1", ports.dashboard)
    body = b"{}" if method in ("PUT", "POST") else None

    def status(**headers: str) -> int:
        return fetch(dashboard, path, method=method, body=body, headers=headers).status

    assert status() == 401
    for wrong in (token[::-1], token[:-1], "", "null"):
        assert status(Authorization=f"Bearer {wrong}") in (401, 403)
    assert status(Cookie=f"ray-authentication-token={token[::-1]}") in (401, 403)


def test_the_dashboard_obeys_the_token(ports: SitePorts, token: str) -> None:
    """With the right token the same interface answers."""
    dashboard = Endpoint("127.0.0.1", ports.dashboard)
    reply = fetch(dashboard, "/api/serve/applications/", headers={"Authorization": f"Bearer {token}"})
    assert reply.status == 200


def test_a_browser_may_not_change_a_site(ports: SitePorts, token: str) -> None:
    """Even with the token a browser's request that changes something is refused by Ray."""
    dashboard = Endpoint("127.0.0.1", ports.dashboard)
    headers = {
        "Authorization": f"Bearer {token}",
        "User-Agent": "Mozilla/5.0",
        "Origin": "https://evil.example",
        "Sec-Fetch-Site": "cross-site",
    }
    reply = fetch(dashboard, "/api/serve/applications/", method="DELETE", headers=headers)
    assert 400 <= reply.status < 500


@pytest.mark.parametrize(
    ("internal", "method"),
    [
        (0, "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
        (0, "/ray.rpc.InternalKVGcsService/InternalKVKeys"),
        (4, "/ray.rpc.NodeManagerService/GetNodeStats"),
    ],
)
def test_rays_control_ports_refuse_without_the_token(ports: SitePorts, token: str, internal: int, method: str) -> None:
    """GCS and raylet listen on all interfaces: what closes them is the token."""
    for metadata in ((), (("authorization", f"Bearer {token[::-1]}"),)):
        with grpc.insecure_channel(f"127.0.0.1:{ports.internal(internal)}") as channel:
            call = channel.unary_unary(method)
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=5, metadata=metadata)
        assert refused.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def test_nothing_of_a_request_stays_in_the_sites_files(
    ports: SitePorts, private_site: LocalSite, project: ProjectPaths
) -> None:
    """Neither path, query, header nor body of a request stands in any file of the site, nor goes to a syslog."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        try:
            syslog.bind(("127.0.0.1", 514))
        except PermissionError:
            syslog.bind(("127.0.0.1", 0))  # not root: then only the files are looked at
        syslog.settimeout(1.0)
        ingress = Endpoint("127.0.0.1", ports.ingress)
        seen = private_site.observe().applications
        assert seen
        path = f"/{seen[0].name}/{MARKER}?q={MARKER}"
        reply = fetch(ingress, path, method="POST", body=f'"{MARKER}"'.encode(), headers={"X-Marked": MARKER})
        assert reply.status == 200
        with pytest.raises(TimeoutError):
            syslog.recv(1_024)
    tops = (project.ray_dir(private_site.name), project.run_dir, project.state_dir)
    files = [file for top in tops for file in top.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 20
    assert [str(file) for file in files if MARKER.encode() in file.read_bytes()] == []
