"""Images that are on the nodes before a pod asks for them: a DaemonSet whose containers do nothing. Pure.

Each image is a container of its own, so that one which cannot be pulled keeps no other away. Its pods do not have the
labels of the site's: they count neither as in use nor as pods to wait for. The RayService owns it, and takes
it along.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.project import SiteSpec
from serving.sites.kubernetes.answers import Object
from serving.sites.kubernetes.manifest import (
    CONTAINER_SECURITY,
    Identity,
    kubernetes_of,
    pod_security,
    tolerations,
    zone_expressions,
)
from serving.spec_kubernetes import NodeSelection

_IDLE = {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}}


def image_puller(identity: Identity, site: SiteSpec, owner_uid: str) -> Object:
    """The DaemonSet that keeps `image` and all of `pre_pull` on each node of the site's pools.

    Args:
        identity: the site's names.
        site: of kind kubernetes.
        owner_uid: of the RayService that stands in the cluster.
    """
    spec = kubernetes_of(site)
    name = f"{identity.name}-images"
    labels = identity.labels | {"app.kubernetes.io/instance": name, "app.kubernetes.io/component": "images"}
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": pod_security(spec),
        "containers": [
            {
                "name": f"image-{number}",
                "image": image,
                "command": ["sleep", "infinity"],
                "resources": _IDLE,
                "securityContext": CONTAINER_SECURITY | {"readOnlyRootFilesystem": True},
            }
            for number, image in enumerate(dict.fromkeys([spec.image, *spec.pre_pull]))
        ],
        **_nodes_of([pool.worker for pool in site.pools if pool.worker is not None]),
    }
    if spec.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in spec.pull_secrets]
    owner = {"apiVersion": "ray.io/v1", "kind": "RayService", "name": identity.name, "uid": owner_uid}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name,
            "namespace": identity.namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {
            "selector": {"matchLabels": labels},
            # Nobody waits for these pods: all nodes may begin with a new image at once.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _nodes_of(workers: Sequence[NodeSelection]) -> Object:
    """Fields of a pod that runs on every node that one of these may take."""
    wanted = [labels_and_zones(worker) for worker in workers]
    found: Object = {}
    if all(wanted):  # a pool without any wish takes every node
        terms = {"nodeSelectorTerms": [{"matchExpressions": expressions} for expressions in wanted]}
        found["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    tolerated = [toleration for worker in workers for toleration in tolerations(worker)]
    if tolerated:
        found["tolerations"] = [one for index, one in enumerate(tolerated) if one not in tolerated[:index]]
    return found


def labels_and_zones(nodes: NodeSelection) -> list[Object]:
    """What a node has to have, as expressions that must all hold."""
    found = [{"key": key, "operator": "In", "values": [value]} for key, value in nodes.labels.items()]
    return [*found, *zone_expressions(nodes)]
