"""What a RayService and its pods say, as values. Pure, and unmoved by what it does not know.

`serviceStatus: Running` is not looked at: it only says that one endpoint is ready, stays while applications fail, and
is stale for half a minute when Ray is out of reach. What runs is asked of Ray itself.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.sites.kubernetes.answers import Object
from serving.sites.kubernetes.manifest import DASHBOARD_PORT, SERVE_PORT
from serving.sites.serve_api import short_reason
from serving.sites.site import Endpoint, NodesInUse, Phase, Worker


@dataclass(frozen=True)
class RayClusterRef:
    """One of the Ray clusters of a RayService, as its status names it."""

    name: str
    dashboard: Endpoint
    """Service of the head, by name and port."""


@dataclass(frozen=True)
class RayServiceState:
    """What hcctl reads of a RayService."""

    deleting: bool
    active: RayClusterRef | None
    """The one that serves. KubeRay calls it so when its first application runs."""
    pending: RayClusterRef | None
    """One that starts: the first of all, or one that is to replace the active."""
    document: Object
    """Serve's configuration as declared; empty if it is not hcctl's JSON."""
    problem: str
    """Why KubeRay does not act on it; empty if it says nothing of the kind."""

    @property
    def current(self) -> RayClusterRef | None:
        """The cluster that orders go to. Before any application runs there is no active one."""
        return self.active or self.pending

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of all its clusters."""
        return tuple(found.name for found in (self.active, self.pending) if found is not None)

    @property
    def phase(self) -> Phase:
        """As far as the status tells: what has served once is open, also while its head is being replaced."""
        if self.deleting:
            return "closing"
        return "open" if self.active is not None else "opening"


def read_ray_service(found: Object) -> RayServiceState:
    """The parts of a RayService that matter; what is missing or has another form is absent."""
    spec, status = _mapping(found, "spec"), _mapping(found, "status")
    try:
        document = json.loads(str(spec.get("serveConfigV2")))
    except ValueError:
        document = {}
    return RayServiceState(
        deleting=bool(_mapping(found, "metadata").get("deletionTimestamp")),
        active=_cluster(_mapping(status, "activeServiceStatus")),
        pending=_cluster(_mapping(status, "pendingServiceStatus")),
        document=document if isinstance(document, dict) else {},
        problem=next(
            (
                short_reason(str(condition.get("message")))
                for condition in _items(status, "conditions")
                if condition.get("status") == "False"
                and condition.get("reason") in ("ValidationFailed", "InitializingTimeout")
            ),
            "",
        ),
    )


def with_replicas(document: Object, application: str, replicas: int) -> Object | None:
    """Serve's configuration with another replica count of one application; None if it does not have it."""
    entries = _items(document, "applications")
    if application not in [entry.get("name") for entry in entries]:
        return None
    changed = [
        entry | {"deployments": [part | {"num_replicas": replicas} for part in _items(entry, "deployments")]}
        if entry.get("name") == application
        else entry
        for entry in entries
    ]
    return document | {"applications": changed}


def replicas_of(document: Object) -> int:
    """Replicas over all applications of Serve's configuration."""
    counts = [
        part.get("num_replicas") for entry in _items(document, "applications") for part in _items(entry, "deployments")
    ]
    return sum(count for count in counts if isinstance(count, int))


def head_address(cluster: Object) -> Endpoint | None:
    """Where the proxy on the head pod of a RayCluster listens; None until the pod has an address."""
    address = _mapping(_mapping(cluster, "status"), "head").get("podIP")
    try:
        return Endpoint(str(ipaddress.ip_address(str(address))), SERVE_PORT)
    except ValueError:
        return None


def present_workers(cluster: Object) -> dict[str, int]:
    """How many workers of each group Ray's autoscaler keeps now."""
    groups = _items(_mapping(cluster, "spec"), "workerGroupSpecs")
    found = {str(group.get("groupName")): group.get("replicas") for group in groups}
    return {name: count for name, count in found.items() if isinstance(count, int) and count > 0}


def bounds_patch(cluster: Object, wanted: Sequence[Object]) -> list[Object]:
    """JSON patch that gives a RayCluster the worker bounds of `wanted`, groups of a manifest; empty if it has them.

    Only the two numbers are written: the list is one field to server-side apply, and Ray's autoscaler writes beside us.
    """
    groups = _items(_mapping(cluster, "spec"), "workerGroupSpecs")
    bounds = {group["groupName"]: group for group in wanted}
    operations: list[Object] = []
    for index, group in enumerate(groups):
        mine = bounds.get(str(group.get("groupName")))
        here = f"/spec/workerGroupSpecs/{index}"
        changes: list[Object] = [
            {"op": "add", "path": f"{here}/{field}", "value": mine[field]}
            for field in ("minReplicas", "maxReplicas")
            if mine is not None and mine[field] != group.get(field)
        ]
        if changes:
            operations += [{"op": "test", "path": f"{here}/groupName", "value": group.get("groupName")}, *changes]
    return operations


def nodes_in_use(pods: Iterable[Object]) -> NodesInUse:
    """On which nodes these pods are; those that have ended are on none."""
    workers: set[str] = set()
    others: set[str] = set()
    for pod in pods:
        node = _mapping(pod, "spec").get("nodeName")
        if not isinstance(node, str) or _mapping(pod, "status").get("phase") in ("Succeeded", "Failed"):
            continue
        kind = _mapping(_mapping(pod, "metadata"), "labels").get("ray.io/node-type")
        (workers if kind == "worker" else others).add(node)
    return NodesInUse(frozenset(workers), frozenset(others))


def workers_of(pods: Iterable[Object]) -> tuple[Worker, ...]:
    """How far the pods of Ray's workers have come; what has no time when it was made is left out."""
    found = []
    for pod in pods:
        meta, status = _mapping(pod, "metadata"), _mapping(pod, "status")
        asked_s = _moment_s(meta.get("creationTimestamp"))
        if asked_s is None or _mapping(meta, "labels").get("ray.io/node-type") != "worker":
            continue
        placed = [
            _moment_s(condition.get("lastTransitionTime"))
            for condition in _items(status, "conditions")
            if condition.get("type") == "PodScheduled" and condition.get("status") == "True"
        ]
        # KubeRay takes the first container for Ray's; its status is found by name, since their order is not promised.
        ray = next((container.get("name") for container in _items(_mapping(pod, "spec"), "containers")), None)
        running = [
            _moment_s(_mapping(_mapping(container, "state"), "running").get("startedAt"))
            for container in _items(status, "containerStatuses")
            if container.get("name") == ray
        ]
        found.append(Worker(asked_s, next(iter(placed), None), next(iter(running), None)))
    return tuple(found)


def what_blocks(pods: Sequence[Object], events: Iterable[Object]) -> str:
    """Why pods do not run, in words: the scheduler's reason, the image, the quota; empty if nothing says so.

    A warning from before the newest pod was made is of the past: events stay for an hour.
    """
    for pod in sorted(pods, key=lambda pod: str(_mapping(pod, "metadata").get("name"))):
        name = _mapping(pod, "metadata").get("name")
        status = _mapping(pod, "status")
        for condition in _items(status, "conditions"):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return f"pod {name} finds no node: {short_reason(str(condition.get('message')))}"
        for container in [*_items(status, "initContainerStatuses"), *_items(status, "containerStatuses")]:
            waiting = _mapping(_mapping(container, "state"), "waiting")
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                said = ": ".join(
                    filter(None, (str(waiting["reason"]), short_reason(str(waiting.get("message") or ""))))
                )
                return f"pod {name} does not start: {said}"
        # KubeRay replaces a pod whose Ray has ended, and none whose autoscaler has: no worker would come any more.
        for container in _items(status, "containerStatuses"):
            ended = _mapping(_mapping(container, "state"), "terminated")
            if ended and status.get("phase") == "Running":
                said = f"{ended.get('reason')}, exit code {ended.get('exitCode')}"
                return f"container {container.get('name')} of pod {name} has ended ({said}): delete the pod"
        if status.get("phase") == "Failed":
            said = str(status.get("message") or status.get("reason") or "no reason given")
            return f"pod {name} failed: {short_reason(said)}"
    made_s = max((_moment_s(_mapping(pod, "metadata").get("creationTimestamp")) or 0.0 for pod in pods), default=0.0)
    warnings = [
        event
        for event in events
        if event.get("type") == "Warning" and (_moment_s(_last_time(event)) or made_s) >= made_s
    ]
    if not warnings:
        return ""
    last = max(warnings, key=_last_time)
    about = _mapping(last, "involvedObject")
    said = short_reason(str(last.get("message")))
    return f"{about.get('kind')} {about.get('name')}: {last.get('reason')}: {said}"


def _cluster(status: Object) -> RayClusterRef | None:
    name = status.get("rayClusterName")
    if not isinstance(name, str) or not name:
        return None
    head = _mapping(_mapping(status, "rayClusterStatus"), "head")
    service = head.get("serviceName")
    named = service if isinstance(service, str) and service else f"{name}-head-svc"
    return RayClusterRef(name, Endpoint(named, DASHBOARD_PORT))


def _last_time(event: Object) -> str:
    """Times are ISO 8601 in UTC, so their texts are in order."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _moment_s(stamp: object) -> float | None:
    """Kubernetes's time as seconds since the epoch; None if it is none."""
    try:
        at = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    return None if at.tzinfo is None else at.timestamp()


def _mapping(found: Mapping[str, Any], key: str) -> Object:
    inner = found.get(key)
    return inner if isinstance(inner, dict) else {}


def _items(found: Mapping[str, Any], key: str) -> list[Object]:
    inner = found.get(key)
    return [item for item in inner if isinstance(item, dict)] if isinstance(inner, list) else []
