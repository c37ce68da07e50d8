"""What people see in the cluster follows the store, once each, whatever the API server does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.kubernetes_state import teller as module
from serving.kubernetes_state.resources import FINALIZER, service_spec
from serving.kubernetes_state.store import KubernetesStore
from serving.kubernetes_state.teller import Teller
from serving.sites.kubernetes.answers import HYBRID_SERVICES
from tests.support.clusters import Cluster, double_cluster
from tests.support.declared import service
from tests.support.kubernetes_api import KubernetesDouble

OBSERVED: dict[str, Any] = {
    "version": "a" * 64,
    "release": None,
    "sites": {
        "private": {"role": "private", "phase": "open", "target": 2, "ready": {"shop-1": 2}, "limit": 8, "message": ""}
    },
    "signals": {"p99_s": 0.1},
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.1)
    with double_cluster(tmp_path) as found:
        yield found


@pytest.fixture
def store(cluster: Cluster) -> Iterator[KubernetesStore]:
    """The leader's, with a service that kubectl declared."""
    assert cluster.double is not None
    spec = service_spec({"spec": service().model_dump(mode="json", by_alias=True)})
    made = {"metadata": {"name": "shop"}, "spec": spec}
    cluster.double.objects.create(cluster.double.kind("hybridservices"), "default", made, "kubectl")
    opened = KubernetesStore(cluster.client, cluster.namespace, "shop")
    opened.lead("a")
    opened.declared.follow(lambda: None)
    teller = Teller(cluster.client, cluster.namespace, "shop", opened)
    teller.start()
    yield opened
    teller.stop()
    opened.close()


def status(cluster: Cluster) -> dict[str, Any]:
    found = cluster.client.get(HYBRID_SERVICES, cluster.namespace, "shop", timeout_s=5.0)
    return (found or {}).get("status") or {}


def until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def conditions(cluster: Cluster) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status(cluster).get("conditions", ())}


def test_an_observation_becomes_a_status(cluster: Cluster, store: KubernetesStore) -> None:
    """Version, replicas, sites, conditions; and the finalizer that a service by kubectl lacks."""
    store.put_observation("service", "shop", OBSERVED, at_s=1.0)
    until(lambda: status(cluster))
    found = status(cluster)
    assert (found["version"], found["replicas"], found["observedGeneration"]) == ("a" * 12, "2/2", 1)
    assert found["sites"]["private"] == {"phase": "open", "target": 2, "ready": 2, "limit": 8, "message": ""}
    assert conditions(cluster) == {"Accepted": "True", "Ready": "True", "Progressing": "False"}
    item = cluster.client.get(HYBRID_SERVICES, cluster.namespace, "shop", timeout_s=5.0)
    assert item is not None
    assert item["metadata"]["finalizers"] == [FINALIZER]


def test_figures_alone_write_nothing(cluster: Cluster, store: KubernetesStore) -> None:
    """Rates and latencies change all the time; the object does not."""
    store.put_observation("service", "shop", OBSERVED, at_s=1.0)
    until(lambda: status(cluster))
    time.sleep(0.1)
    before = cluster.client.get(HYBRID_SERVICES, cluster.namespace, "shop", timeout_s=5.0)
    for n in range(3):
        store.put_observation("service", "shop", OBSERVED | {"signals": {"p99_s": float(n)}}, at_s=2.0)
    time.sleep(0.2)
    after = cluster.client.get(HYBRID_SERVICES, cluster.namespace, "shop", timeout_s=5.0)
    assert before == after


def test_a_condition_keeps_the_time_of_its_last_change(cluster: Cluster, store: KubernetesStore) -> None:
    """Only what changes gets a new time."""
    store.put_observation("service", "shop", OBSERVED, at_s=1.0)
    until(lambda: status(cluster))
    former = {each["type"]: each["lastTransitionTime"] for each in status(cluster)["conditions"]}
    time.sleep(1.1)
    store.put_observation("service", "shop", OBSERVED | {"sites": {}}, at_s=2.0)
    until(lambda: conditions(cluster).get("Ready") == "False")
    now = {each["type"]: each["lastTransitionTime"] for each in status(cluster)["conditions"]}
    assert now["Accepted"] == former["Accepted"]
    assert now["Ready"] > former["Ready"]


def test_a_declaration_that_is_set_aside_says_why(cluster: Cluster, store: KubernetesStore) -> None:
    """Accepted is False with the reason, until the service is observed again."""
    decision = ("shop", {"action": "set aside", "reason": "hcctl.yaml declares no site moon"})
    store.append_decisions((decision,), at_s=1.0, keep=100)
    until(lambda: conditions(cluster).get("Accepted") == "False")
    (accepted,) = [each for each in status(cluster)["conditions"] if each["type"] == "Accepted"]
    assert "moon" in accepted["message"]
    store.put_observation("service", "shop", OBSERVED, at_s=2.0)
    until(lambda: conditions(cluster).get("Accepted") == "True")


def test_decisions_are_events_once(cluster: Cluster, store: KubernetesStore) -> None:
    """Each decision is one Event, also through a storm of refusals; the status has the last 20."""
    double: KubernetesDouble | None = cluster.double
    assert double is not None
    for code in (409, 429, 500, 503):
        double.fail(code, times=3, verb="create", plural="events")
        double.fail(code, times=2, verb="update", plural="hybridservices")
    for n in range(30):
        store.append_decisions((("shop", {"action": "scale", "reason": str(n)}),), at_s=float(n), keep=100)

    def told() -> set[str]:
        return {event["message"] for event in double.objects.list(double.kind("events"), "default")}

    # 409 says that somebody told it already: those three are taken as told.
    until(lambda: len(told()) >= 27)
    until(lambda: [line["number"] for line in status(cluster).get("decisions", ())] == list(range(30, 10, -1)))
    events = double.objects.list(double.kind("events"), "default")
    assert len(events) == len({event["metadata"]["name"] for event in events})
    assert {event["reason"] for event in events} == {"Scale"}


def test_a_new_leader_tells_what_is_left(cluster: Cluster, store: KubernetesStore) -> None:
    """What a former leader wrote down and did not show is shown by the next one."""
    assert cluster.double is not None
    store.told = lambda _: None  # it dies before it shows anything
    store.put_observation("service", "shop", OBSERVED, at_s=1.0)
    body = {"service": "shop", "phase": "done", "verdict": "promoted", "started_at_s": 1.0, "events": []}
    store.put_observation("release", "d1", body, at_s=1.0)
    assert status(cluster) == {}
    after = KubernetesStore(cluster.client, cluster.namespace, "shop")
    after.lead("b")
    teller = Teller(cluster.client, cluster.namespace, "shop", after)
    teller.start()
    until(lambda: status(cluster).get("version") == "a" * 12)
    teller.stop()
    (release,) = cluster.double.objects.list(cluster.double.kind("hybridreleases"), "default")
    assert release["status"]["verdict"] == "promoted"
