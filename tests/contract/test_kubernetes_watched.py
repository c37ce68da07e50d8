"""Objects kept in memory by a watch: right after whatever the API server does to the watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.errors import SiteUnreachable
from serving.kubernetes_state import watched as module
from serving.kubernetes_state.watched import Watched
from serving.sites.kubernetes.answers import CONFIG_MAPS
from tests.support.clusters import Cluster, access, double_cluster
from tests.support.kubernetes_api import KubernetesDouble
from tests.support.kubernetes_objects import Objects


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_LASTS_S", 1)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) as found:
        yield found


def watched(cluster: Cluster) -> tuple[Watched, threading.Event]:
    changed = threading.Event()
    return Watched(cluster.client, CONFIG_MAPS, cluster.namespace, {"labelSelector": "run=x"}, changed.set), changed


def put(cluster: Cluster, name: str, value: str) -> None:
    found = cluster.client.get(CONFIG_MAPS, cluster.namespace, name, timeout_s=5.0)
    if found is None:
        meta = {"name": name, "labels": {"run": "x"}}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": value}}
        cluster.client.create(CONFIG_MAPS, cluster.namespace, made, timeout_s=5.0)
    else:
        cluster.client.replace(CONFIG_MAPS, cluster.namespace, found | {"data": {"a": value}}, timeout_s=5.0)


def known(found: Watched) -> dict[str, str]:
    return {item["metadata"]["name"]: item["data"]["a"] for item in found.items()}


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_before_the_first_list_nothing_is_known(cluster: Cluster) -> None:
    """Unknown is not none."""
    with pytest.raises(SiteUnreachable, match="not known yet"):
        watched(cluster)[0].items()


def test_changes_arrive(cluster: Cluster) -> None:
    """Made, changed and deleted, over the end of the watch and of the next one."""
    put(cluster, "a", "1")
    found, changed = watched(cluster)
    found.start()
    assert known(found) == {"a": "1"}
    put(cluster, "b", "1")
    until(lambda: known(found) == {"a": "1", "b": "1"})
    assert changed.is_set()
    time.sleep(1.2)  # a watch has ended meanwhile
    put(cluster, "a", "2")
    cluster.client.delete(CONFIG_MAPS, cluster.namespace, "b", timeout_s=5.0)
    until(lambda: known(found) == {"a": "2"})
    found.stop()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_refuses_is_asked_again(cluster: Cluster, status: int) -> None:
    """What was known stays known; afterwards everything that was missed arrives."""
    put(cluster, "a", "1")
    found, _ = watched(cluster)
    assert cluster.double is not None
    cluster.double.fail(status, times=4, verb="watch")
    found.start()
    put(cluster, "a", "2")
    put(cluster, "b", "2")
    assert "a" in known(found)
    until(lambda: known(found) == {"a": "2", "b": "2"})
    found.stop()


def test_a_revision_that_is_gone_is_listed_anew(tmp_path: Path) -> None:
    """410: what was deleted while nobody watched is gone, too."""
    with KubernetesDouble(objects=Objects(history=3)) as double:
        cluster = Cluster(access(double.kubeconfig(tmp_path).name, tmp_path), "default", double)
        put(cluster, "a", "1")
        found, _ = watched(cluster)
        double.fail(500, times=3, verb="watch")
        found.start()
        cluster.client.delete(CONFIG_MAPS, cluster.namespace, "a", timeout_s=5.0)
        for number in range(8):
            put(cluster, "b", str(number))
        until(lambda: known(found) == {"b": "7"})
        assert double.requests.count(("list", "configmaps")) >= 2
        found.stop()


def test_an_own_write_is_known_at_once_and_an_older_event_does_not_hide_it(cluster: Cluster) -> None:
    """The newer version wins, by whichever way it came."""
    put(cluster, "a", "1")
    found, _ = watched(cluster)
    found.start()
    old = found.get("a")
    assert old is not None
    new = cluster.client.replace(CONFIG_MAPS, cluster.namespace, old | {"data": {"a": "2"}}, timeout_s=5.0)
    found.put(new)
    found.put(old)
    assert known(found) == {"a": "2"}
    found.drop("a")
    assert known(found) == {}
    found.stop()
