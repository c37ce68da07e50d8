"""Services on sites in one API double, with their state in it, under a daemon that is ticked by hand.

`python -m tests.support.cluster_fleet SERVICES SITES` measures passes, requests and memory in a process of its own, and
prints them as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

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

QUIET_TICKS = 40


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


def measure(services: int, sites: int) -> dict[str, float]:
    """Deploy all services at once, then look at ticks in which nothing changes."""
    with tempfile.TemporaryDirectory() as made, double_cluster(Path(made)) as cluster, ExitStack() as opened:
        assert cluster.double is not None
        opened.enter_context(FakeKubeRay(cluster.double, poll_s=0.5))
        found = Fleet(cluster, Path(made), opened, sites=sites, services=services)
        busy_s = found.settle(services, 300.0)
        while found.asked(5, 0.2)[0]["writes"] > 5:
            pass  # people are still being shown what was decided
        asked, quiet_s = found.asked(QUIET_TICKS, 0.5)
    # Not getrusage: what it says of a process counts the one that started it.
    (most_kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return {
        "passes": len(busy_s),
        "longest_s": max(busy_s),
        "longest_at_rest_s": max(quiet_s),
        "reads_a_tick": asked["reads"] / QUIET_TICKS,
        "writes_a_tick": asked["writes"] / QUIET_TICKS,
        "memory_mib": int(most_kib) / 1024,
    }


if __name__ == "__main__":
    json.dump(measure(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
