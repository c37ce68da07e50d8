"""How much a cluster is asked while nothing changes, and how long a pass takes: state and sites in the API double."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from autoscaler.daemon import Daemon
from autoscaler.handles import InlineExecutor
from autoscaler.observing.receiver import RequestLog
from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult, Wanted
from serving.kubernetes_state.leading import leading
from serving.project import HybridProject
from serving.sites.kubernetes.api import connect
from serving.sites.kubernetes.manifest import Identity
from serving.sites.kubernetes.site import KubernetesSite
from serving.sites.site import Site
from serving.spec import HybridService
from tests.support.cluster_daemon import declaration
from tests.support.clusters import Cluster, access, double_cluster
from tests.support.declared import SERVICE, merged
from tests.support.fake_gateway import FakeGateway
from tests.support.kuberay import FakeKubeRay

PASS_S, MEMORY_BYTES, READS_A_SITE = 5.0, 400 << 20, 2


def fleet(kubeconfig: Path, sites: int, nodes: int) -> HybridProject:
    """One private site and as many cloud sites as are left."""
    data = declaration(kubeconfig)
    cloud = data["sites"].pop("cloud")
    data["sites"]["private"]["pools"][0]["max_nodes"] = nodes
    data["sites"] |= {f"cloud-{number}": cloud for number in range(1, sites)}
    return HybridProject.model_validate(data)


class Fleet:
    """A daemon that leads, one tick at a time, with everything it does done at once."""

    def __init__(self, cluster: Cluster, folder: Path, opened: ExitStack, *, sites: int, services: int) -> None:
        assert cluster.double is not None
        self.double, self.sites = cluster.double, sites
        kubeconfig = folder / "kubeconfig.yaml"
        project = fleet(kubeconfig, sites, nodes=2 * services)
        daemons = access(kubeconfig.name, folder, agent="daemon")
        led = opened.enter_context(
            leading(daemons, "default", "shop", identity="a", stopping=lambda: False, news=lambda: None)
        )
        assert led is not None
        self.store = led.store
        for number in range(services):
            self._deploy(f"s-{number:03d}", list(project.sites))
        self.daemon = Daemon(
            project,
            store=led.store,
            sites={name: self._site(project, name, folder) for name in project.sites},
            gateway=FakeGateway(time.time),
            requests=RequestLog(),
            prober=self._probe,
            executor=InlineExecutor(),
            clock=time.time,
        )
        self.daemon.resume()

    def _deploy(self, name: str, sites: list[str]) -> None:
        spec = HybridService.model_validate(
            merged(SERVICE, {"name": name, "routing": {"prefix": f"/{name}"}, "release": {"judge_s": 0.1}})
            | {
                "sites": {
                    "private": {"min_replicas": 1, "max_replicas": 2},
                    **{s: {"max_replicas": 2} for s in sites[1:]},
                }
            }
        )
        wanted = Wanted(f"d-{name}", "a" * 64, "/versions/a")
        body = {"spec": spec.model_dump(mode="json", by_alias=True), "wanted": asdict(wanted)}
        self.store.put_intent("service", name, body, expected_revision=0, at_s=time.time())

    @staticmethod
    def _site(project: HybridProject, name: str, folder: Path) -> Site:
        spec = project.sites[name]
        assert spec.kubernetes is not None
        identity = Identity("shop", name, "default")
        return KubernetesSite(identity, spec, partial(connect, spec.kubernetes, folder, agent="daemon"), poll_s=0.01)

    @staticmethod
    def _probe(action: ProbeApplication) -> ProbeResult:
        return ProbeResult(action.site, action.application, action.requests, 0, "")

    def serving(self) -> int:
        """Services whose version is promoted."""
        return sum(mine.stable is not None and mine.release is None for mine in self.daemon.state.services.values())

    def tick(self) -> float:
        begun_s = time.monotonic()
        self.daemon.tick()
        return time.monotonic() - begun_s

    def settle(self, services: int, within_s: float) -> list[float]:
        """Tick until all services serve; how long each pass took."""
        deadline_s, took_s = time.monotonic() + within_s, []
        while self.serving() < services:
            took_s.append(self.tick())
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{self.serving()} of {services} services serve after {within_s:g} s")
            time.sleep(0.05)
        return took_s

    def asked(self, ticks: int, pause_s: float) -> tuple[Counter[str], list[float]]:
        """What so many ticks ask, reads and writes; watches and the lease are beside the ticks."""
        self.double.requests.clear()
        took_s = []
        for _ in range(ticks):
            took_s.append(self.tick())
            time.sleep(pause_s)
        found = [(verb, kind) for verb, kind in self.double.requests if verb != "watch" and kind != "leases"]
        return Counter("reads" if verb in ("get", "list") else "writes" for verb, _ in found), took_s


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) as found:
        yield found


def test_a_tick_in_which_nothing_changes_writes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """At most two reads a site and no write, but for the figures that are written every ten seconds."""
    with ExitStack() as opened:
        assert cluster.double is not None
        opened.enter_context(FakeKubeRay(cluster.double, poll_s=0.05))
        found = Fleet(cluster, tmp_path, opened, sites=2, services=3)
        found.settle(3, 30.0)
        found.asked(12, 0.1)  # what the last release leaves
        wanted = found.store.pace_s
        found.store.pace_s = 1e9  # type: ignore[misc]
        asked, _ = found.asked(10, 0.02)
        assert wanted == 10.0
        assert asked["writes"] == 0
        assert asked["reads"] <= 10 * READS_A_SITE * found.sites


@pytest.mark.campaign
def test_two_hundred_services_on_four_sites(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pass stays under 5 s and the process under 400 MiB, double and all; the requests of a tick are printed."""
    with ExitStack() as opened:
        assert cluster.double is not None
        opened.enter_context(FakeKubeRay(cluster.double, poll_s=0.5))
        found = Fleet(cluster, tmp_path, opened, sites=4, services=200)
        busy_s = found.settle(200, 300.0)
        while found.asked(5, 0.2)[0]["writes"] > 5:
            pass  # people are still being shown what was decided
        asked, quiet_s = found.asked(40, 0.5)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with capsys.disabled():
        print(  # noqa: T201 - the campaign's output
            f"\n200 services, 4 sites: {len(busy_s)} passes until all serve, longest {max(busy_s):.2f} s; at rest "
            f"{max(quiet_s):.2f} s, {asked['reads'] / 40:.2f} reads and {asked['writes'] / 40:.2f} writes a tick; "
            f"{memory / 2**20:.0f} MiB with the double in the same process"
        )
    assert max(busy_s + quiet_s) < PASS_S
    assert memory < MEMORY_BYTES
    assert asked["reads"] / 40 <= READS_A_SITE * 4
    assert asked["writes"] / 40 <= 0.5, "figures every ten seconds, and nothing else"
