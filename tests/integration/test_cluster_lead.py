"""Two daemons with state in a cluster: one leads; when it dies or sleeps the other takes over, nothing twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from autoscaler.snapshot import Wanted
from serving.kubernetes_state.lease import NAME, leader
from serving.kubernetes_state.store import KubernetesStore
from serving.sites.kubernetes.answers import HYBRID_SERVICES, LEASES
from serving.spec import HybridService
from tests.support.cluster_daemon import VARIABLE, cluster_project
from tests.support.clusters import Cluster, double_cluster
from tests.support.declared import service
from tests.support.kuberay import FakeKubeRay
from tests.support.kubernetes_api import KubernetesDouble

ROOT = Path(__file__).parents[2]
TAKEOVER_S = 15.0


class Pair:
    """A cluster and the daemons that a test starts, each in a folder of its own as on its own computer."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        assert cluster.double is not None
        self.cluster, self.double, self.folder = cluster, cluster.double, folder
        self.store = KubernetesStore(cluster.client, cluster.namespace, "shop")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *, stop_after_journal: int = 0) -> subprocess.Popen[bytes]:
        folder = self.folder / name
        if not folder.exists():
            cluster_project(folder, self.folder / "kubeconfig.yaml")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(stop_after_journal)}
        command = [sys.executable, "-m", "tests.support.cluster_daemon", "--project", str(folder)]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, stdout=log)
        self.processes.append(process)
        return process

    def deploy(self, deployment: str, version: str, spec: HybridService | None = None) -> None:
        found = self.store.intent("service", "shop")
        body = {
            "spec": (spec or service()).model_dump(mode="json", by_alias=True),
            "wanted": asdict(Wanted(deployment, version * 64, f"/versions/{version}")),
        }
        revision = found.revision if found else 0
        self.store.put_intent("service", "shop", body, expected_revision=revision, at_s=time.time())

    def leads(self, process: subprocess.Popen[bytes]) -> bool:
        who = leader(self.cluster.client, self.cluster.namespace, time.time())
        return who is not None and f"-{process.pid}-" in who

    def serving(self, version: str) -> bool:
        found = self.store.observation("service", "shop")
        return found is not None and found.body["version"] == version * 64 and found.body["release"] is None

    def writes(self, process: subprocess.Popen[bytes], since: int) -> list[tuple[str, str, str]]:
        """What a process has changed since then, but for renewals of the lease; what was refused changes nothing."""
        return [
            (verb, plural, name)
            for agent, verb, plural, name in self.double.changes[since:]
            if agent == f"hcctl/{process.pid}" and plural != "leases"
        ]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3_000:]


def wait(condition: Callable[[], bool], within_s: float, what: str) -> float:
    """Wait for something; how long it took."""
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() - begun_s > within_s:
            raise AssertionError(f"{what}: not within {within_s:g} s")
        time.sleep(0.05)
    return time.monotonic() - begun_s


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with double_cluster(tmp_path) as cluster:
        assert cluster.double is not None
        found = Pair(cluster, tmp_path)
        with FakeKubeRay(cluster.double, poll_s=0.05):
            try:
                yield found
            finally:
                for process in found.processes:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(signal.SIGCONT)
                    process.kill()
                    process.wait()


def test_a_stopped_leader_is_replaced_and_does_nothing_when_it_wakes(pair: Pair) -> None:
    """Stopped between journal and call, it is replaced within 15 s; woken, it changes nothing and ends."""
    pair.deploy("first", "a")
    former = pair.start("one", stop_after_journal=2)
    wait(lambda: pair.leads(former), 20.0, "a lead")
    next_one = pair.start("two")
    stat = Path(f"/proc/{former.pid}/stat")
    wait(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 30.0, "the stop before a call")
    took_s = wait(lambda: pair.leads(next_one), TAKEOVER_S, "takeover")
    wait(lambda: pair.serving("a"), 30.0, "the release by the new leader")
    assert took_s < TAKEOVER_S
    since = len(pair.double.changes)
    former.send_signal(signal.SIGCONT)
    assert former.wait(timeout=30.0) != 0, "a leader that was replaced ends with an error"
    assert pair.writes(former, since) == [], pair.log("one")
    assert "taken over" in pair.log("one")
    assert [
        (verb, name) for _, verb, plural, name in pair.double.agents if plural == "rayservices" and verb == "delete"
    ] == []
    names = [entry.key for entry in pair.store.actions(limit=1_000)]
    assert len(names) == len(set(names))
    assert pair.store.open_actions() == ()


def test_a_killed_leader_is_replaced_and_its_work_goes_on(pair: Pair) -> None:
    """kill -9: the standby leads within 15 s, knows what was decided, and ends what the other had begun."""
    pair.deploy("first", "a")
    former = pair.start("one")
    wait(lambda: pair.serving("a"), 40.0, "the first release")
    next_one = pair.start("two")
    time.sleep(2.0)  # it stands by
    assert pair.leads(former)
    known = pair.store.decisions()[0].number
    pair.deploy("second", "c")
    former.kill()
    assert wait(lambda: pair.leads(next_one), TAKEOVER_S, "takeover") < TAKEOVER_S
    wait(lambda: pair.serving("c"), 40.0, "the second release")
    assert pair.store.decisions()[0].number > known
    opened = [entry for entry in pair.store.actions(limit=1_000) if entry.action["kind"] == "OpenSite"]
    assert len(opened) == 1, "the site was opened once, by the first daemon"


def test_people_see_it_and_a_leader_that_is_asked_to_end_lets_go_at_once(pair: Pair) -> None:
    """kubectl shows service, release, events and who leads; after SIGTERM the next one leads at once."""
    pair.deploy("first", "a")
    former = pair.start("one")
    wait(lambda: pair.serving("a"), 40.0, "the first release")
    double: KubernetesDouble = pair.double

    def shown() -> bool:
        found = pair.cluster.client.get(HYBRID_SERVICES, "default", "shop", timeout_s=5.0)
        status = (found or {}).get("status") or {}
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        (release,) = double.objects.list(double.kind("hybridreleases"), "default")
        return (
            conditions == {"Accepted": "True", "Ready": "True", "Progressing": "False"}
            and release["status"]["verdict"] == "promoted"
        )

    next_one = pair.start("two")
    wait(shown, 10.0, "the status")
    found = pair.cluster.client.get(HYBRID_SERVICES, "default", "shop", timeout_s=5.0)
    assert found is not None
    assert found["status"]["version"] == "a" * 12
    assert found["status"]["replicas"] == "1/1"
    assert found["status"]["decisions"][0]["number"] > found["status"]["decisions"][-1]["number"]
    events = double.objects.list(double.kind("events"), "default")
    assert {event["involvedObject"]["kind"] for event in events} == {"HybridService"}
    time.sleep(2.0)  # the other one stands by
    assert pair.leads(former)
    former.terminate()
    assert former.wait(timeout=10.0) == 0
    assert wait(lambda: pair.leads(next_one), 5.0, "takeover") < 5.0
    lease = pair.cluster.client.get(LEASES, "default", NAME, timeout_s=5.0)
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 2
