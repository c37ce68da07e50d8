"""What hcctl declares in a cluster: one RayService of KubeRay and the Secret with Ray's token. Pure.

Everything here is applied by hcctl's own field manager; what is absent belongs to others:

- `replicas` of worker groups, and what is in their `scaleStrategy`: Ray's autoscaler;
- `metadata.finalizers`, `status`: KubeRay;
- further labels and annotations: whoever wants them.

Traps of KubeRay that are avoided (read in its sources of August 2026; docs/decisions/0015-kubernetes-sites.md):

- With an empty `serveConfigV2` KubeRay deploys an empty set of applications again and again, and so it does with the
  declared set whenever it or Ray's head starts anew: the applications must stand there, not in Ray alone.
- It has no worker ready before a proxy answers on it. There is one proxy, on the head, so workers get a probe of
  their own.
- A change of the pods starts a second cluster unless `upgradeStrategy` says `None`.
- Where Ray's autoscaler runs (version 2), pods must not be restarted in place.
- Ray puts as many replicas into a worker as its processors take, a tenth of one each by default. A worker is a node
  that is paid for, so each has one of `NODE_RESOURCE`, and a replica takes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from serving.project import Pool, SiteSpec
from serving.sites.kubernetes.answers import Object
from serving.sites.serve_api import serve_config
from serving.sites.site import Application, Endpoint
from serving.spec_artefacts import Artefacts
from serving.spec_kubernetes import HeadSpec, KubernetesSpec, NodeSelection, Taint

FIELD_MANAGER = "hcctl"
RAY_VERSION = "2.60.0"
TOKEN_KEY = "auth_token"  # noqa: S105 - the key of the Secret that KubeRay reads
SERVE_PORT, DASHBOARD_PORT = 8_000, 8_265
IDLE_TIMEOUT_S = 60
"""A worker without replicas is given back after so long."""
NODE_RESOURCE = "hcctl_node"
"""What Ray counts of a worker: one, for one replica."""
LONGEST_NAME = 47
"""Of a RayService; KubeRay adds a suffix for each of its clusters."""

_AGENT_PORT = 52_365
_RUNTIME_ENV_PORT = 52_366
"""Ray's client server asks for one that is not named, and takes the head down with it if no answer comes in 30 s."""
_ZONE = "topology.kubernetes.io/zone"
_INGRESS = Endpoint("0.0.0.0", SERVE_PORT)  # noqa: S104 - of the pod; the namespace's network policies say who may come


@dataclass(frozen=True)
class Identity:
    """Under which names a site stands in its cluster."""

    project: str
    site: str
    namespace: str

    @property
    def name(self) -> str:
        """Of the RayService. The hash keeps apart what `-` joins: a-b of c, and a of b-c."""
        digest = hashlib.sha256(f"{self.project}/{self.site}".encode()).hexdigest()[:6]
        return f"{f'{self.project}-{self.site}'[: LONGEST_NAME - 7]}-{digest}"

    @property
    def secret(self) -> str:
        """Of the Secret with Ray's token."""
        return f"{self.name}-token"

    @property
    def labels(self) -> Object:
        """Of everything hcctl declares, pods included."""
        return {
            "app.kubernetes.io/managed-by": "hcctl",
            "app.kubernetes.io/part-of": self.project,
            "app.kubernetes.io/instance": self.name,
        }

    @property
    def selector(self) -> str:
        """Chooses the site's pods by these labels."""
        return ",".join(f"{key}={value}" for key, value in self.labels.items())


@dataclass(frozen=True)
class Bounds:
    """How many workers of a pool Ray's autoscaler may run."""

    least: int
    most: int


def pool_bounds(pools: Sequence[Pool], replicas: int, present: Mapping[str, int]) -> dict[str, Bounds]:
    """Bounds of each pool for so many replicas over all applications; one worker holds one replica.

    Rented workers are bounded by what was decided, so that nothing that goes wrong in a cluster rents more; any pool
    may take them all, because only Ray's autoscaler learns which one has nodes left. The bound is never below what
    is `present`, since Ray ends workers above it at once, with the replicas on them: it falls with a later change.
    """
    found = {}
    for pool in pools:
        wanted = pool.max_nodes if pool.kind == "fixed" else min(pool.max_nodes, replicas)
        found[pool.name] = Bounds(0, max(wanted, present.get(pool.name, 0)))
    return found


def in_pods(application: Application, spec: KubernetesSpec) -> Application:
    """The application as the pods see it: its version lies on the volume, or comes there from the bucket.

    Each replica takes a worker for itself.
    """
    artefacts, args = spec.artefacts, dict(application.args) | {"resources": {NODE_RESOURCE: 1}}
    if artefacts.bucket is None:
        args["version_dir"] = str(PurePosixPath(artefacts.mount, application.version))
    else:
        # A folder below the volume, which is the pod's own and not root's.
        args["version_dir"] = str(PurePosixPath(artefacts.mount, "fetched", application.version))
        args["bucket"] = artefacts.bucket.model_dump(mode="json", exclude={"credentials_secret"}, exclude_none=True)
    return replace(application, args=args)


def serve_document(applications: Sequence[Application], spec: KubernetesSpec) -> Object:
    """Serve's full configuration for these applications, with each number as Go writes it.

    KubeRay puts it to Serve once more, read and written by Go: 30.0 becomes 30. Another text is another version
    to Serve, so it would replace the replicas.
    """
    document: Object = _as_go(serve_config([in_pods(application, spec) for application in applications], _INGRESS))
    return document


def _as_go(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_go(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_go(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def token_secret(identity: Identity, token: str) -> Object:
    """The Secret that lets pods and hcctl talk to Ray, and nobody else."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(identity, identity.secret),
        "type": "Opaque",
        "stringData": {TOKEN_KEY: token},
    }


def ray_service(identity: Identity, site: SiteSpec, document: Object, bounds: Mapping[str, Bounds]) -> Object:
    """The RayService of a site: all that hcctl owns of it.

    Args:
        identity: its names.
        site: a site of kind kubernetes.
        document: `serve_document`, or what another holds already.
        bounds: by name of pool, for each pool of the site.
    """
    spec = kubernetes_of(site)
    kind = "NewCluster" if spec.upgrade == "new_cluster" else "None"
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": _metadata(identity, identity.name),
        "spec": {
            "upgradeStrategy": {"type": kind},
            "serveConfigV2": json.dumps(document, sort_keys=True),
            "rayClusterConfig": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token", "secretName": identity.secret},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {
                    "version": "v2",
                    "upscalingMode": "Default",
                    "idleTimeoutSeconds": IDLE_TIMEOUT_S,
                    "resources": _resources(0.5, 1.0, {}),
                    "securityContext": CONTAINER_SECURITY,
                },
                "headGroupSpec": {
                    "serviceType": "ClusterIP",
                    # The head holds no replica: its memory and processor are for control and the proxy.
                    "rayStartParams": {
                        "num-cpus": "0",
                        "dashboard-host": "0.0.0.0",  # noqa: S104 - behind the token
                        "runtime-env-agent-port": str(_RUNTIME_ENV_PORT),
                    },
                    "template": _head(identity, spec, spec.head),
                },
                "workerGroupSpecs": [_worker_group(identity, spec, pool, bounds[pool.name]) for pool in site.pools],
            },
        },
    }


CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The restricted Pod Security Standard."""


_LOGS_OF_PODS: list[Object] = [{"name": "RAY_LOG_TO_STDERR", "value": "1"}]
"""Ray and the replicas write to the pod's own log, and not into files that go with the pod: `hcctl logs`."""


def _metadata(identity: Identity, name: str) -> Object:
    return {"name": name, "namespace": identity.namespace, "labels": identity.labels}


def kubernetes_of(site: SiteSpec) -> KubernetesSpec:
    """The section of a site of kind kubernetes."""
    assert site.kubernetes is not None  # noqa: S101 - the model of the site says so
    return site.kubernetes


def _worker_group(identity: Identity, spec: KubernetesSpec, pool: Pool, bounds: Bounds) -> Object:
    worker = pool.worker
    assert worker is not None  # noqa: S101 - the model of the site says so
    gpus = int(pool.gpus_per_node)
    container: Object = {
        "name": "worker",
        "resources": _resources(worker.cpus, worker.memory_gib, {worker.gpu_resource: gpus} if gpus else {}),
        "readinessProbe": {
            "httpGet": {"path": "/api/healthz", "port": _AGENT_PORT},
            "periodSeconds": 5,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
    }
    # Workers need no access to the cluster; the head does, for Ray's autoscaler beside it.
    return {
        "groupName": pool.name,
        "minReplicas": bounds.least,
        "maxReplicas": bounds.most,
        # The inner quotes are for the shell that starts Ray; its autoscaler takes them off likewise.
        "rayStartParams": {"resources": f'"{{\\"{NODE_RESOURCE}\\": 1}}"'},
        "scaleStrategy": {},  # KubeRay would write it, and the list is one field: see _quantity
        "template": _template(identity, spec, worker, container, {"automountServiceAccountToken": False}),
    }


def _head(identity: Identity, spec: KubernetesSpec, head: HeadSpec) -> Object:
    container: Object = {
        "name": "head",
        "resources": _resources(head.cpus, head.memory_gib, {}),
        "ports": [
            {"name": "gcs-server", "containerPort": 6_379},
            {"name": "dashboard", "containerPort": DASHBOARD_PORT},
            {"name": "client", "containerPort": 10_001},
            {"name": "serve", "containerPort": SERVE_PORT},
            {"name": "metrics", "containerPort": 8_080},
        ],
    }
    return _template(identity, spec, head, container, {})


def _template(
    identity: Identity,
    spec: KubernetesSpec,
    nodes: NodeSelection,
    container: Object,
    more: Object,
) -> Object:
    """A pod with Ray in it."""
    volume, mount = _versions(spec.artefacts)
    pod: Object = {
        "restartPolicy": "Never",
        "securityContext": pod_security(spec),
        "containers": [
            container
            | {
                "image": spec.image,
                "securityContext": CONTAINER_SECURITY,
                "env": [*_LOGS_OF_PODS, *_credentials(spec.artefacts)],
                "volumeMounts": [mount],
            }
        ],
        "volumes": [volume],
    }
    if spec.service_account is not None:
        pod["serviceAccountName"] = spec.service_account
    if spec.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in spec.pull_secrets]
    return {"metadata": {"labels": identity.labels}, "spec": pod | _nodes(nodes) | more}


def _versions(artefacts: Artefacts) -> tuple[Object, Object]:
    """The volume with the versions and its mount: a claim that is read, or the pod's own room for what it fetches."""
    name = "versions"
    if artefacts.bucket is None:
        claim = {"claimName": artefacts.claim, "readOnly": True}
        return (
            {"name": name, "persistentVolumeClaim": claim},
            {"name": name, "mountPath": artefacts.mount, "readOnly": True},
        )
    size = _memory(artefacts.cache_gib)
    return {"name": name, "emptyDir": {"sizeLimit": size}}, {"name": name, "mountPath": artefacts.mount}


def _credentials(artefacts: Artefacts) -> list[Object]:
    """Environment by which pods open the bucket; nothing where their service account's role does."""
    secret = None if artefacts.bucket is None else artefacts.bucket.credentials_secret
    return [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        if secret is not None
    ]


def pod_security(spec: KubernetesSpec) -> Object:
    """The same standard, for a pod."""
    return {"runAsNonRoot": True, "runAsUser": spec.run_as_user, "seccompProfile": {"type": "RuntimeDefault"}}


def tolerations(nodes: NodeSelection) -> list[Object]:
    """The taints that are no obstacle, as a pod says it."""
    return [_toleration(taint) for taint in nodes.taints]


def zone_expressions(nodes: NodeSelection) -> list[Object]:
    """The zones a node may be in; none for any."""
    return [{"key": _ZONE, "operator": "In", "values": list(nodes.zones)}] if nodes.zones else []


def _nodes(nodes: NodeSelection) -> Object:
    """Fields of a pod that say on which nodes it runs."""
    found: Object = {}
    if nodes.labels:
        found["nodeSelector"] = dict(nodes.labels)
    if nodes.taints:
        found["tolerations"] = tolerations(nodes)
    if nodes.zones:
        term = {"matchExpressions": zone_expressions(nodes)}
        found["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        }
    return found


def _toleration(taint: Taint) -> Object:
    made: Object = {"key": taint.key, "effect": taint.effect, "operator": "Exists"}
    if taint.value is not None:
        made["operator"] = "Equal"
        if taint.value:  # an empty text is left out, as KubeRay leaves it out: see _quantity
            made["value"] = taint.value
    return made


def _resources(cpus: float, memory_gib: float, devices: Mapping[str, int]) -> Object:
    """Requests that are limits too: Ray takes the limits for what it has, and such pods are the last to be evicted."""
    amounts: Object = {
        "cpu": _quantity(max(1, round(cpus * 1_000)), 1_000, ("m", "", "k")),
        "memory": _memory(memory_gib),
        **{name: _quantity(count, 1_000, ("", "k")) for name, count in devices.items()},
    }
    return {"requests": amounts, "limits": amounts}


def _memory(gib: float) -> str:
    return _quantity(max(1, round(gib * 1_024)), 1_024, ("Mi", "Gi", "Ti", "Pi"))


def _quantity(amount: int, base: int, suffixes: Sequence[str]) -> str:
    """So many of the first suffix, as Kubernetes itself writes it: the largest suffix that leaves a whole number.

    KubeRay writes the whole object when it adds its finalizer. An amount written otherwise would be changed by that,
    and be KubeRay's from then on: the next apply a conflict.
    """
    for suffix in suffixes[:-1]:
        if amount % base:
            return f"{amount}{suffix}"
        amount //= base
    return f"{amount}{suffixes[-1]}"
