"""What is read of a RayService, its clusters, pods and events: the right parts, and nothing of what is malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.sites.kubernetes.status import (
    RayClusterRef,
    bounds_patch,
    head_address,
    nodes_in_use,
    present_workers,
    read_ray_service,
    replicas_of,
    what_blocks,
    with_replicas,
    workers_of,
)
from serving.sites.site import Endpoint, NodesInUse, Worker
from tests.support.json_fields import json_patched

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
DOCUMENT: dict[str, Any] = {
    "proxy_location": "HeadOnly",
    "applications": [
        {"name": "a", "args": {"x": 1}, "deployments": [{"name": "model", "num_replicas": 2}]},
        {"name": "b", "args": {}, "deployments": [{"name": "model", "num_replicas": 3}]},
    ],
}


def service(active: object = None, pending: object = None, **more: Any) -> dict[str, Any]:
    status = {"activeServiceStatus": active, "pendingServiceStatus": pending, **more}
    return {"metadata": {}, "spec": {"serveConfigV2": json.dumps(DOCUMENT)}, "status": status}


def cluster(name: str) -> dict[str, Any]:
    return {"rayClusterName": name, "rayClusterStatus": {"head": {"serviceName": f"{name}-svc"}}}


def test_what_serves_is_current() -> None:
    """Orders go to the active cluster; before there is one, to the one that starts."""
    both = read_ray_service(service(cluster("one"), cluster("two")))
    assert both.current == RayClusterRef("one", Endpoint("one-svc", 8265))
    assert (both.phase, both.clusters) == ("open", ("one", "two"))
    first = read_ray_service(service(None, {"rayClusterName": "two"}))
    assert first.current == RayClusterRef("two", Endpoint("two-head-svc", 8265))
    assert first.phase == "opening"
    assert read_ray_service(service()).current is None


def test_a_deleted_one_is_closing() -> None:
    """Whatever its status still says."""
    found = service(cluster("one")) | {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert read_ray_service(found).phase == "closing"


@pytest.mark.parametrize("address", ["", "None", "10.0.0.256", "a\nb", "10.0.0.1 weight 256"])
def test_an_address_is_an_address(address: str) -> None:
    """Text that is none never reaches the gateway's configuration."""
    assert head_address({"status": {"head": {"podIP": address}}}) is None
    assert head_address({"status": {"head": {"podIP": "10.1.2.3"}}}) == Endpoint("10.1.2.3", 8000)


def test_running_is_not_believed() -> None:
    """`serviceStatus: Running` without a cluster opens nothing."""
    assert read_ray_service(service(serviceStatus="Running")).phase == "opening"


@given(JSON, st.sampled_from(["status", "spec", "metadata"]))
@example({"conditions": [None, {"status": "False", "reason": "ValidationFailed"}]}, "status")
@example({"activeServiceStatus": {"rayClusterName": 7}}, "status")
@example({"serveConfigV2": "[1]"}, "spec")
@example({"containerStatuses": [{"state": {"waiting": {"reason": []}}}], "conditions": [{"reason": []}]}, "status")
def test_any_form_is_read(part: Any, name: str) -> None:
    """A part of any form is understood or absent, never another error."""
    state = read_ray_service({name: part})
    assert state.phase in {"opening", "open", "closing"}
    assert replicas_of(state.document) >= 0
    head_address({name: part})
    present_workers({name: part})
    what_blocks([{name: part}], [{name: part, "type": "Warning"}])


def test_one_count_is_changed() -> None:
    """The others, and everything else of the document, stay; an unknown application changes nothing."""
    changed = with_replicas(DOCUMENT, "a", 7)
    assert changed is not None
    assert replicas_of(changed) == 10
    assert changed["applications"][1] == DOCUMENT["applications"][1]
    assert changed["applications"][0]["args"] == {"x": 1}
    assert replicas_of(DOCUMENT) == 5
    assert with_replicas(DOCUMENT, "c", 1) is None


def groups(*entries: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [{"groupName": name, "minReplicas": least, "maxReplicas": most} for name, least, most in entries]


def test_bounds_are_patched_by_name() -> None:
    """Groups in another order get their own bounds, others none, and counts of Ray stay."""
    counted = {**groups(("b", 0, 1))[0], "replicas": 1}
    found = {"spec": {"workerGroupSpecs": [counted, *groups(("x", 0, 9), ("a", 0, 2))]}}
    operations = bounds_patch(found, groups(("a", 0, 5), ("b", 0, 1)))
    assert [operation["op"] for operation in operations] == ["test", "add"]
    patched = json_patched(found, operations)["spec"]["workerGroupSpecs"]
    assert patched == [counted, *groups(("x", 0, 9), ("a", 0, 5))]
    assert bounds_patch(found, groups(("a", 0, 5), ("b", 0, 1))) == []


def test_the_last_warning_speaks() -> None:
    """Of events only warnings count, the latest of them."""
    events = [
        {"type": "Normal", "message": "fine", "lastTimestamp": "2026-01-03T00:00:00Z"},
        {"type": "Warning", "reason": "R", "message": "new", "lastTimestamp": "2026-01-02T00:00:00Z"},
        {"type": "Warning", "reason": "R", "message": "old", "lastTimestamp": "2026-01-01T00:00:00Z"},
    ]
    assert what_blocks([], events).endswith("R: new")
    assert what_blocks([], events[:1]) == ""


def test_a_warning_from_before_the_newest_pod_is_of_the_past() -> None:
    """Events stay for an hour; what kept a former pod from running says nothing of the one that starts now."""
    pods = [{"metadata": {"name": "p", "creationTimestamp": f"2026-01-01T00:0{at}:00Z"}} for at in (3, 1)]
    event = {"type": "Warning", "reason": "R", "message": "m", "involvedObject": {"kind": "RayCluster", "name": "r"}}
    assert what_blocks(pods, [event | {"lastTimestamp": "2026-01-01T00:02:59Z"}]) == ""
    assert what_blocks(pods, [event | {"lastTimestamp": "2026-01-01T00:03:00Z"}]) == "RayCluster r: R: m"
    assert what_blocks([], [event | {"lastTimestamp": "2026-01-01T00:02:59Z"}]) == "RayCluster r: R: m"


def test_a_container_that_has_ended_beside_ray_is_told() -> None:
    """Ray's autoscaler is not started again in a pod that goes on: no worker comes, and nothing else would say why."""
    ended = {"name": "autoscaler", "state": {"terminated": {"reason": "Error", "exitCode": 1}}}
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Running", "containerStatuses": [{"name": "head"}, ended]}}
    assert what_blocks([pod], []) == "container autoscaler of pod p has ended (Error, exit code 1): delete the pod"
    assert what_blocks([pod | {"status": {"phase": "Succeeded", "containerStatuses": [ended]}}], []) == ""


def test_what_starts_is_no_trouble() -> None:
    """A container that is being created is waited for, not reported."""
    status = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}], "phase": "Pending"}
    assert what_blocks([{"metadata": {"name": "p"}, "status": status}], []) == ""


def test_what_is_said_is_one_short_line() -> None:
    """Messages of a cluster are text of others: bounded and printable."""
    condition = {"type": "PodScheduled", "status": "False", "message": "\x1b[31m" + "no " * 1_000}
    said = what_blocks([{"metadata": {"name": "p"}, "status": {"conditions": [condition]}}], [])
    assert said.startswith("pod p finds no node: ")
    assert len(said) < 400
    assert said.isprintable()


def test_pods_say_which_nodes_are_in_use() -> None:
    """Workers and the rest apart; a pod without a node, or one that has ended, is on none."""

    def pod(node: str | None, kind: str, phase: str = "Running") -> dict[str, object]:
        spec = {} if node is None else {"nodeName": node}
        return {"metadata": {"labels": {"ray.io/node-type": kind}}, "spec": spec, "status": {"phase": phase}}

    found = nodes_in_use(
        [
            pod("a", "worker"),
            pod("b", "worker", "Pending"),
            pod("c", "head"),
            pod(None, "worker", "Pending"),
            pod("d", "worker", "Succeeded"),
            pod("e", "worker", "Failed"),
        ]
    )
    assert found == NodesInUse(workers=frozenset("ab"), others=frozenset("c"))


def worker_pod(conditions: list[object], containers: list[object], kind: str = "worker") -> dict[str, Any]:
    meta = {"labels": {"ray.io/node-type": kind}, "creationTimestamp": "1970-01-01T00:01:40Z"}
    spec = {"containers": [{"name": "worker"}, {"name": "beside"}]}
    return {"metadata": meta, "spec": spec, "status": {"conditions": conditions, "containerStatuses": containers}}


def test_pods_say_how_far_workers_are() -> None:
    """Asked for, on a node, running: of Ray's own container, whatever stands beside it; the head is no worker."""
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:02:00Z"}
    nowhere = placed | {"status": "False"}
    beside = {"name": "beside", "state": {"running": {"startedAt": "1970-01-01T00:02:05Z"}}}
    running = {"name": "worker", "state": {"running": {"startedAt": "1970-01-01T00:02:25Z"}}}
    pulling = {"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}
    found = workers_of(
        [
            worker_pod([nowhere], []),
            worker_pod([placed], [beside, pulling]),
            worker_pod([placed], [beside, running]),
            worker_pod([placed], [running], "head"),
        ]
    )
    assert found == (Worker(100.0), Worker(100.0, 120.0), Worker(100.0, 120.0, 145.0))


@given(JSON, st.sampled_from(["metadata", "spec", "status"]))
def test_a_malformed_pod_is_no_worker_or_one_without_times(part: Any, field: str) -> None:
    """Whatever a pod holds is read without an error; a time that is none is unknown."""
    found = workers_of([worker_pod([], []) | {field: part}])
    assert len(found) <= 1
    assert all((worker.node_s, worker.running_s) == (None, None) for worker in found)
