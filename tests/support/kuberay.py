"""KubeRay and Ray behind the API double: what the real operator was seen to do with a RayService, in milliseconds.

It makes a cluster with head and workers, deploys `serveConfigV2` whenever that changes or Serve has no application,
calls a cluster active once all its applications run, and lets Ray's autoscaler set the workers' count within bounds.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.json_fields import Object, json_patched
from tests.support.kuberay_rewrite import through_kuberay
from tests.support.kubernetes_api import KubernetesDouble
from tests.support.kubernetes_objects import Refused

LOAD_S = 0.03
"""From the order of a replica until it runs."""
BROKEN = "b" * 64
"""A version that does not load."""
_SCALE = re.compile(r"/api/v1/applications/([^/]+)/deployments/model/scale")


@dataclass
class FakeServe:
    """Serve's REST interface on one cluster."""

    token: str
    applications: dict[str, Object] = field(default_factory=dict)
    """By name: version, target, and when its replicas run."""
    config: str = ""
    """What KubeRay has deployed."""
    refuses: str = ""
    """Why it refuses configurations; empty if it takes them."""
    clock: Callable[[], float] = time.monotonic
    load_s: float = LOAD_S
    room: int | None = None
    """Replicas that there are nodes for; None: for all."""

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if headers.get("x-ray-authorization") != f"Bearer {self.token}":
            return 401, b"Unauthorized"
        if method == "GET" and path == "/api/serve/applications/":
            return 200, json.dumps({"applications": {n: self._shown(n) for n in self.applications}}).encode()
        if method == "PUT" and path == "/api/serve/applications/":
            return (400, self.refuses.encode()) if self.refuses else self.deploy(json.loads(body))
        found = _SCALE.fullmatch(path)
        if method == "POST" and found:
            application = self.applications.get(found[1])
            if application is None:
                return 404, b"no such application"
            self._resize(application, json.loads(body)["target_num_replicas"])
            return 200, b"{}"
        return 404, b"not found"

    def deploy(self, config: Object) -> tuple[int, bytes]:
        """Run exactly what a configuration names."""
        entries = {entry["name"]: entry for entry in config["applications"]}
        for name in set(self.applications) - set(entries):
            del self.applications[name]
        for name, entry in entries.items():
            application = self.applications.setdefault(
                name, {"version": entry["args"]["version"], "target": 0, "ready": []}
            )
            application["alone"] = bool(entry["args"].get("resources"))
            self._resize(application, entry["deployments"][0]["num_replicas"])
        return 200, b"{}"

    @property
    def healthy(self) -> bool:
        """Whether there are applications and all of them run."""
        return bool(self.applications) and all(self._shown(name)["status"] == "RUNNING" for name in self.applications)

    @property
    def replicas(self) -> int:
        return sum(found["target"] for found in self.applications.values())

    def workers(self, group: Object) -> int:
        """Workers that Ray needs: one a replica that reserves what a worker has one of; the others share a worker."""
        wanted = [found["target"] for found in self.applications.values() if found["alone"]]
        shared = any(found["target"] for found in self.applications.values() if not found["alone"])
        return (sum(wanted) if "resources" in group["rayStartParams"] else 0) + shared

    def _resize(self, application: Object, target: int) -> None:
        ready = sorted(application["ready"])[:target]
        application["target"] = target
        application["ready"] = ready + [self.clock() + self.load_s] * (target - len(ready))

    def running(self) -> dict[str, int]:
        """Replicas that run, by application; the first ones get the room."""
        found, left = {}, self.replicas if self.room is None else self.room
        for name, application in self.applications.items():
            taken = min(left, application["target"])
            found[name] = sum(at_s <= self.clock() for at_s in sorted(application["ready"])[:taken])
            left -= taken
        return found

    def _shown(self, name: str) -> Object:
        application, running = self.applications[name], self.running()[name]
        states = ["RUNNING"] * running + ["STARTING"] * (application["target"] - running)
        broken, running = application["version"] == BROKEN, "RUNNING" in states
        status = "DEPLOY_FAILED" if broken and running else "RUNNING" if running else "DEPLOYING"
        deployment = {
            "status": "UNHEALTHY" if broken else "HEALTHY",
            "message": "RuntimeError: broken on purpose" if broken and running else "",
            "target_num_replicas": application["target"],
            "replicas": [] if broken else [{"state": state} for state in states],
        }
        return {"status": status, "message": "", "deployments": {"model": deployment}}


class FakeKubeRay:
    """The operator; use it as a context manager, beside the double.

    Args:
        double: the API server.
        namespace: whose RayServices it looks after.
        poll_s: pause between two passes of its thread.
        clock: what replicas load by.
        load_s: from the order of a replica until it runs.
        nodes: names of those that workers may take, one each; None: there is always one, and no pods of workers.
    """

    def __init__(
        self,
        double: KubernetesDouble,
        namespace: str = "default",
        *,
        poll_s: float = 0.004,
        clock: Callable[[], float] = time.monotonic,
        load_s: float = LOAD_S,
        nodes: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.double, self.namespace, self.poll_s = double, namespace, poll_s
        self._clock, self._load_s, self._nodes = clock, load_s, nodes
        self._passing = threading.Lock()
        self.serves: dict[str, FakeServe] = {}
        """By name of RayCluster."""
        self.pod_status: Object = {"phase": "Running"}
        """Of pods that are made; where it is not Running, Ray does not answer."""
        self.pod_ip = "10.0.0.7"
        """Of the heads, as the status tells it, which may be some time after they answer."""
        self.no_pods = ""
        """Why no pod can be made; empty if they can."""
        self._numbers = itertools.count(1)
        self._ended = threading.Event()

    def __enter__(self) -> FakeKubeRay:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def lose_head(self, cluster: str) -> None:
        """The head's pod dies; another one knows nothing of what ran."""
        self.serves[cluster].applications, self.serves[cluster].config = {}, ""

    def switch(self, service: str) -> None:
        """Start a second cluster, beside the active one, from what the RayService says now."""
        kind = self.double.kind("rayservices")
        found = self.double.objects.get(kind, self.namespace, service)
        found["status"]["pendingServiceStatus"] = {"rayClusterName": f"{service}-new{next(self._numbers)}"}
        self.double.objects.replace(kind, self.namespace, service, found, "kuberay", "status")

    def all(self, plural: str) -> list[Object]:
        """All objects of a kind."""
        return self.double.objects.list(self.double.kind(plural), self.namespace)

    def _run(self) -> None:
        while not self._ended.wait(self.poll_s):
            self.look()

    def look(self) -> None:
        """One pass over all RayServices, now."""
        with self._passing:
            for service in self.all("rayservices"):
                try:
                    self._reconcile(service)
                except Refused as refusal:
                    if refusal.code not in {404, 409}:  # somebody else was quicker: it is looked at anew
                        raise

    def _reconcile(self, service: Object) -> None:
        objects, kind = self.double.objects, self.double.kind("rayservices")
        name, meta = service["metadata"]["name"], service["metadata"]
        if meta.get("deletionTimestamp"):
            for cluster in self.all("rayclusters"):
                self._end_cluster(cluster["metadata"]["name"])
            meta["finalizers"] = []
            objects.replace(kind, self.namespace, name, service, "kuberay")
            return
        if not meta.get("finalizers"):
            meta["finalizers"] = ["ray.io/rayservice-finalizer"]
            objects.replace(kind, self.namespace, name, through_kuberay(service), "kuberay")
            return
        status = service.setdefault("status", {})
        active, pending = status.get("activeServiceStatus") or {}, status.get("pendingServiceStatus") or {}
        if not active and not pending:
            pending = {"rayClusterName": f"{name}-{next(self._numbers)}"}
        for part in (active, pending):
            if part:
                part["rayClusterStatus"] = {"head": self._cluster(service, part["rayClusterName"])}
        current = pending or active
        serve = self.serves.get(current["rayClusterName"])
        if serve is not None and self.pod_status["phase"] == "Running":
            self._deploy(serve, service["spec"]["serveConfigV2"])
            self._autoscale(current["rayClusterName"], serve)
            self._place(current["rayClusterName"], serve)
            if pending and serve.healthy:
                if active:
                    self._end_cluster(active["rayClusterName"])
                active, pending = pending, {}
        new = {"activeServiceStatus": active, "pendingServiceStatus": pending}
        objects.replace(kind, self.namespace, name, service | {"status": status | new}, "kuberay", "status")

    @staticmethod
    def _deploy(serve: FakeServe, config: str) -> None:
        if serve.config != config or not serve.applications:
            serve.deploy(json.loads(config))
            serve.config = config

    def _cluster(self, service: Object, name: str) -> Object:
        """The cluster, its pods and its head's service; returns what its status says of the head."""
        objects = self.double.objects
        if name not in {cluster["metadata"]["name"] for cluster in self.all("rayclusters")}:
            made = {"metadata": {"name": name}, "spec": service["spec"]["rayClusterConfig"]}
            objects.create(self.double.kind("rayclusters"), self.namespace, made, "kuberay")
            token = objects.get(self.double.kind("secrets"), self.namespace, f"{service['metadata']['name']}-token")
            secret = base64.b64decode(token["data"]["auth_token"]).decode()
            self.serves[name] = FakeServe(secret, clock=self._clock, load_s=self._load_s)
        if self.no_pods:
            self._event(name)
            return {}
        self._pod(f"{name}-head", service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"])
        dashboard = (self.namespace, f"{name}-head-svc:8265")
        if self.pod_status["phase"] == "Running":
            self.double.services[dashboard] = self.serves[name]
            self._tell_head(name)
            return {"serviceName": f"{name}-head-svc"}
        self.double.services.pop(dashboard, None)
        return {"serviceName": f"{name}-head-svc"}

    def _tell_head(self, name: str) -> None:
        """Say in the RayCluster where its head is; the real KubeRay does not copy that to the RayService at once."""
        objects, kind = self.double.objects, self.double.kind("rayclusters")
        head = {"podIP": self.pod_ip, "serviceName": f"{name}-head-svc"}
        objects.patch(kind, self.namespace, name, lambda old: old | {"status": {"head": head}}, "kuberay", "status")

    def _pod(self, name: str, template: Object) -> None:
        objects, kind = self.double.objects, self.double.kind("pods")
        if name not in {pod["metadata"]["name"] for pod in self.all("pods")}:
            made = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
            objects.create(kind, self.namespace, made, "kuberay")
        pod = objects.get(kind, self.namespace, name)
        objects.replace(kind, self.namespace, name, pod | {"status": self.pod_status}, "kubelet", "status")

    def _autoscale(self, name: str, serve: FakeServe) -> None:
        """Ray's autoscaler: as many workers as replicas, within the bounds of the first group."""
        objects, kind = self.double.objects, self.double.kind("rayclusters")
        group = objects.get(kind, self.namespace, name)["spec"]["workerGroupSpecs"][0]
        wanted = max(group["minReplicas"], min(group["maxReplicas"], serve.workers(group)))
        if group.get("replicas") != wanted:
            change: list[Object] = [{"op": "add", "path": "/spec/workerGroupSpecs/0/replicas", "value": wanted}]
            objects.patch(kind, self.namespace, name, lambda old: json_patched(old, change), "ray-autoscaler")

    def _place(self, name: str, serve: FakeServe) -> None:
        """A pod for each replica that finds a node; of those that are not wanted any more the newest go."""
        if self._nodes is None:
            return
        objects, kind, there = self.double.objects, self.double.kind("pods"), self._nodes()
        pods = [pod for pod in self.all("pods") if pod["metadata"]["name"].startswith(f"{name}-worker-")]
        stay = [pod for pod in pods if pod["spec"]["nodeName"] in there][: serve.replicas]
        for pod in pods:
            if pod not in stay:
                objects.delete(kind, self.namespace, pod["metadata"]["name"])
        taken = {pod["spec"]["nodeName"] for pod in stay}
        free = [node for node in there if node not in taken][: serve.replicas - len(stay)]
        group = objects.get(self.double.kind("rayclusters"), self.namespace, name)["spec"]["workerGroupSpecs"][0]
        for node in free:
            labels = group["template"]["metadata"]["labels"] | {"ray.io/node-type": "worker"}
            meta = {"name": f"{name}-worker-{next(self._numbers):05d}", "labels": labels}
            made = {"metadata": meta, "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"}}
            objects.create(kind, self.namespace, made, "kuberay")
        serve.room = len(stay) + len(free)

    def _end_cluster(self, name: str) -> None:
        objects = self.double.objects
        objects.delete(self.double.kind("rayclusters"), self.namespace, name)
        for pod in self.all("pods"):
            if pod["metadata"]["name"].startswith(f"{name}-"):
                objects.delete(self.double.kind("pods"), self.namespace, pod["metadata"]["name"])
        self.double.services.pop((self.namespace, f"{name}-head-svc:8265"), None)

    def _event(self, cluster: str) -> None:
        made: dict[str, Any] = {
            "metadata": {"name": f"{cluster}.1"},
            "type": "Warning",
            "reason": "FailedToCreateHeadPod",
            "message": self.no_pods,
            "involvedObject": {"kind": "RayCluster", "name": cluster},
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        if not self.all("events"):
            self.double.objects.create(self.double.kind("events"), self.namespace, made, "kuberay")
