"""Two whole gateways as their pods run them, behind one daemon's hands: limits, lines, certificates, leaving."""

from __future__ import annotations

import asyncio
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from autoscaler.observing.fleet_receiver import FleetReceiver
from autoscaler.observing.receiver import RequestLog
from serving.errors import GatewayUnreachable, InvalidInput
from serving.gateway.agent import MOST_KEPT_BYTES, LineStore
from serving.gateway.fleet import GatewayFleet
from serving.gateway.remote import NAME, Certificates, RemoteGateway
from tests.support.agents import Pod, free_port
from tests.support.certificates import Authority
from tests.support.gateway_routes import routes, service, track
from tests.support.http_site import HttpSite

SPEC = service(queue_timeout_s=10.0)


class Cluster:
    """Pods, sites, and what a daemon would hold of them."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.authority = Authority(folder / "ca")
        self.sites = {name: HttpSite(name) for name in ("private", "cloud")}
        self.pods = [Pod(folder / f"pod{number}", self.authority) for number in range(count)]
        self.listed = list(self.pods)
        self.fleet = GatewayFleet(self.names, self.connect, time.time)
        self.requests = RequestLog()
        self.requests.follow(SPEC, frozenset({"cloud"}))

    def names(self) -> list[str]:
        return [str(pod.control) for pod in self.listed]

    def connect(self, name: str) -> RemoteGateway:
        return next(pod for pod in self.pods if str(pod.control) == name).connect()

    def route(self, private: int, cloud: int) -> None:
        """Make these limits true, over all gateways."""
        where = track("/shop-1", private=(self.sites["private"], private), cloud=(self.sites["cloud"], cloud))
        until(lambda: self._asserted(where), 20)

    def _asserted(self, where: object) -> bool:
        try:
            self.fleet.observe()
            self.fleet.assert_routes((routes(SPEC, where),))  # type: ignore[arg-type]
        except GatewayUnreachable:
            return False
        return all(pod.ready for pod in self.listed)

    def ask(self, count: int, *, pods: list[Pod] | None = None) -> list[int]:
        """So many requests at the same time, in turn to each pod; their statuses."""

        async def run() -> list[int]:
            async with httpx.AsyncClient(verify=False, trust_env=False, timeout=30, limits=httpx.Limits()) as http:
                asked = [
                    self._get(http, (pods or self.pods)[number % len(pods or self.pods)]) for number in range(count)
                ]
                return [answer.status_code for answer in await asyncio.gather(*asked)]

        return asyncio.run(run())

    async def _get(self, http: httpx.AsyncClient, pod: Pod) -> httpx.Response:
        return await http.get(f"{pod.url}/shop/x", headers={"Authorization": f"Bearer {pod.key}"})

    def close(self) -> None:
        for pod in self.pods:
            pod.stop(signal.SIGKILL)
        for site in self.sites.values():
            site.stop()


def until(true: Callable[[], bool], within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not become true in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests that leave it as it is: two pods take seconds to start."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(standing: Cluster) -> Cluster:
    """With sites that answer at once and have seen nothing, and nothing counted."""
    for site in standing.sites.values():
        site.stop()
    standing.sites = {name: HttpSite(name) for name in ("private", "cloud")}
    standing.requests = RequestLog()
    standing.requests.follow(SPEC, frozenset({"cloud"}))
    return standing


@pytest.fixture
def leaving(tmp_path: Path) -> Iterator[Cluster]:
    """One whose pods may end."""
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_together_they_send_no_more_than_the_limit(cluster: Cluster) -> None:
    """Forty requests at once over two gateways: the site never holds more than four, and all are answered."""
    cluster.route(private=4, cloud=0)
    cluster.sites["private"].behave(delay_s=0.05)
    assert cluster.ask(40) == [200] * 40
    seen = cluster.sites["private"].seen()
    assert seen["requests"] == 40
    assert 2 <= seen["most_at_once"] <= 4


def test_one_slot_for_two_gateways_starves_neither(cluster: Cluster) -> None:
    """Each has one: all are answered, and one request more than the limit waits at the site."""
    cluster.route(private=1, cloud=0)
    cluster.sites["private"].behave(delay_s=0.05)
    assert cluster.ask(12) == [200] * 12
    assert cluster.sites["private"].seen()["most_at_once"] <= 2


def test_the_lines_of_all_are_counted_once(cluster: Cluster) -> None:
    """Every request is counted, whichever gateway had it, and none twice."""
    cluster.route(private=8, cloud=0)
    receiver = FleetReceiver(cluster.names, cluster.connect, cluster.requests)
    receiver.start()
    try:
        time.sleep(0.5)
        before = cluster.requests.totals()["shop"].wanted  # of other tests: nobody has fetched them yet
        assert cluster.ask(30) == [200] * 30
        until(lambda: cluster.requests.totals()["shop"].wanted - before >= 30, 10)
        time.sleep(0.3)
        assert cluster.requests.totals()["shop"].wanted - before == 30
        assert cluster.requests.malformed == 0
    finally:
        receiver.stop()


def test_one_that_leaves_loses_no_request(leaving: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no part before it has routes; on SIGTERM it finishes what it holds, and its part goes to the other."""
    gone, staying = leaving.pods
    gone.connect()
    assert not gone.ready
    leaving.route(private=8, cloud=0)
    assert gone.ready
    leaving.sites["private"].behave(delay_s=1.0)
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.extend(leaving.ask(4, pods=[gone])))
    asking.start()
    time.sleep(0.4)
    assert gone.stop() == 0
    asking.join()
    assert statuses == [200] * 4
    monkeypatch.setattr("serving.gateway.fleet.LINGER_S", 1.0)
    leaving.listed.remove(gone)
    until(lambda: _limit(leaving) == 8, 25)
    assert leaving.ask(2, pods=[staying]) == [200] * 2
    (haproxy,) = psutil.Process(staying.process.pid).children()
    haproxy.kill()
    assert staying.process.wait(timeout=10) == 1, "a pod whose HAProxy died is no gateway: its container ends"


def _limit(cluster: Cluster) -> int:
    cluster.route(private=8, cloud=0)
    pod = cluster.listed[0].connect()
    return next(
        server.limit for server in pod.observe().servers if (server.site, server.track) == ("private", "stable")
    )


def test_strangers_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    """Without a certificate, or with one of another authority, nobody is told anything or tells anything."""
    pod = cluster.pods[0]
    pod.connect()
    url = f"https://127.0.0.1:{pod.control}/observation"
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(httpx.TransportError), httpx.Client(verify=nobody, trust_env=False) as http:
        http.get(url)
    foreign = Certificates(Authority(tmp_path / "foreign").certificate(NAME))
    with pytest.raises(GatewayUnreachable):
        RemoteGateway("127.0.0.1", pod.control, foreign).observe()
    foreign_context = foreign.context(server=False)
    foreign_context.check_hostname, foreign_context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(httpx.TransportError), httpx.Client(verify=foreign_context, trust_env=False) as http:
        http.put(f"https://127.0.0.1:{pod.control}/routes", content=b"[]")
    with pytest.raises(httpx.TransportError), httpx.Client(trust_env=False) as http:
        http.get(f"http://127.0.0.1:{pod.control}/observation")


def test_a_gateway_under_another_name_is_not_believed(tmp_path: Path) -> None:
    """A certificate of the authority for some other part does not make a gateway."""
    authority = Authority(tmp_path / "ca")
    authority.certificate(NAME)
    impostor, port = authority.certificate("shop"), free_port()
    context = Certificates(impostor).context(server=True)

    async def listen() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port, ssl=context)
        remote = RemoteGateway("127.0.0.1", port, Certificates(authority.folder / NAME))
        with pytest.raises(GatewayUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(remote.observe)
        server.close()

    asyncio.run(listen())


def test_nonsense_is_refused(cluster: Cluster) -> None:
    """Routes of another form change nothing and are told; a mark of nobody's is no harm."""
    pod = cluster.pods[0]
    cluster.route(private=2, cloud=0)
    context = pod.certificates.context(server=False)
    with httpx.Client(verify=context, trust_env=False, base_url=f"https://127.0.0.1:{pod.control}") as http:

        def ask(method: str, path: str, **more: object) -> int:
            return http.request(method, path, extensions={"sni_hostname": NAME}, **more).status_code  # type: ignore[arg-type]

        assert ask("PUT", "/routes", content=b'{"x": 1}') == 422
        assert ask("PUT", "/routes", content=b"\xff") == 422
        assert ask("POST", "/routes") == 405
        assert ask("GET", "/keys") == 404
        assert ask("GET", "/lines?wait_s=x") == 400
        assert ask("GET", "/lines?after=none:%F0%9F%98%80") == 200
    assert cluster.ask(2) == [200, 200]


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    """A folder without them is one error that says what to mount."""
    with pytest.raises(InvalidInput, match="a certificate cannot be used") as told:
        Certificates(tmp_path).context(server=False)
    assert "tls.crt" in told.value.next_step


def test_lines_are_kept_until_they_have_arrived() -> None:
    """Asked again with the former mark they come again; beyond the bound the oldest go, and their number is told."""
    store = LineStore()
    store.add([b"one", b"two"])
    found, mark, lost = store.after("")
    assert (found, lost) == ([b"one", b"two"], 0)
    store.add([b"three"])
    assert store.after(mark) == ([b"three"], mark.replace(":2", ":3"), 0)
    assert store.after(mark)[0] == [b"three"]
    assert store.after("other:7")[0] == [b"three"]
    size = MOST_KEPT_BYTES // 100
    store.add([b"x" * size] * 150)
    found, _, lost = store.after(mark)
    assert len(found) == 100
    assert lost == 51


def test_sites_are_reached_by_mutual_tls(tmp_path: Path) -> None:
    """A site that asks for a certificate and shows its own is served; one that shows another name's gets nothing."""
    with ExitStack() as stack:
        authority = Authority(tmp_path / "ca")
        site = HttpSite("private")
        stack.callback(site.stop)
        right, wrong = (
            stack.enter_context(_terminator(authority, name, site, tmp_path / name)) for name in ("private", "cloud")
        )
        pod = Pod(tmp_path / "pod", authority, sites=authority.certificate("gateways"))
        stack.callback(pod.stop, signal.SIGKILL)
        gateway = pod.connect()
        spec = service(sites=("private",), queue_timeout_s=1.0)

        def status(port: int) -> int:
            from serving.sites.site import Endpoint

            gateway.assert_routes((routes(spec, track("/shop-1", private=(Endpoint("127.0.0.1", port), 4))),))
            headers = {"Authorization": f"Bearer {pod.key}"}
            return httpx.get(
                f"{pod.url}/shop/x", headers=headers, verify=False, trust_env=False, timeout=20
            ).status_code

        until(lambda: status(right) == 200, 10)
        assert status(wrong) == 503
        with pytest.raises(httpx.TransportError):
            httpx.get(f"https://127.0.0.1:{right}/", verify=False, trust_env=False)


def _terminator(authority: Authority, name: str, site: HttpSite, folder: Path):  # type: ignore[no-untyped-def]
    """A proxy before a site that lets in only who has a certificate."""
    import contextlib
    import subprocess

    from serving.gateway.haproxy import haproxy_binary

    @contextlib.contextmanager
    def run() -> Iterator[int]:
        folder.mkdir()
        port, own = free_port(), authority.certificate(name)
        (folder / "own.pem").write_bytes((own / "tls.crt").read_bytes() + (own / "tls.key").read_bytes())
        (folder / "haproxy.cfg").write_text(
            f"defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 1s\n"
            f"listen site\n  bind 127.0.0.1:{port} ssl crt {folder / 'own.pem'} "
            f"ca-file {own / 'ca.crt'} verify required\n"
            f"  server s {site.endpoint.host}:{site.endpoint.port}\n"
        )
        process = subprocess.Popen([str(haproxy_binary()), "-f", str(folder / "haproxy.cfg"), "-q"])
        try:
            yield port
        finally:
            process.terminate()
            process.wait(timeout=10)

    return run()
