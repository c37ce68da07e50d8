"""Images that are pulled beforehand: valid, restricted, on the nodes of the pools, never taken for the site's pods."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from serving.project import SiteSpec
from serving.sites.kubernetes.images import image_puller
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.declared import merged
from tests.support.kubernetes_schemas import violations
from tests.support.restricted import unrestricted
from tests.unit.test_kubernetes_manifest import IDENTITY, SITES

NEXT = "registry.example.org/shop:1.5.0"


def puller(site: SiteSpec) -> dict[str, Any]:
    return image_puller(IDENTITY, site, "uid-1")


def site(**worker: Any) -> SiteSpec:
    """The usual site, with a second pool whose worker has these fields."""
    made = merged(KUBERNETES_SITE, {"kubernetes": {"pre_pull": [NEXT, "registry.example.org/shop:1.4.0"]}})
    second = made["pools"][0] | {"name": "second", "worker": {"cpus": 1, "memory_gib": 1, **worker}}
    return SiteSpec.model_validate(made | {"pools": [*made["pools"], second], "capacity": None})


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


@settings(max_examples=20, deadline=None)
@given(SITES)
def test_every_spec_renders_valid_and_restricted(site: SiteSpec) -> None:
    """Whatever may be declared is a DaemonSet by Kubernetes's schemas, and its pods pass the restricted standard."""
    manifest = puller(site)
    assert violations(manifest) == []
    assert unrestricted(pod_of(manifest), least_user=1) == []
    assert pod_of(manifest)["automountServiceAccountToken"] is False


def test_each_image_is_there_once() -> None:
    """The running one and the next, each a container of its own that does nothing and is bounded."""
    pod = pod_of(puller(site()))
    assert [container["image"] for container in pod["containers"]] == ["registry.example.org/shop:1.4.0", NEXT]
    assert all(container["command"] == ["sleep", "infinity"] for container in pod["containers"])
    assert all({"requests", "limits"} == set(container["resources"]) for container in pod["containers"])
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_it_runs_on_the_nodes_of_every_pool() -> None:
    """Nodes of any pool, by its labels and zones; the taints of all are no obstacle."""
    pod = pod_of(puller(site(zones=["b"], taints=[{"key": "spot"}])))
    (rule,) = pod["affinity"]["nodeAffinity"].values()
    assert rule["nodeSelectorTerms"] == [
        {
            "matchExpressions": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g5.xlarge"]},
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]},
            ]
        },
        {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["b"]}]},
    ]
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu", "spot"]


def test_a_pool_of_any_node_is_every_node() -> None:
    """An expression without a wish would match no node at all."""
    assert "affinity" not in pod_of(puller(site()))


def test_its_pods_are_not_the_site_s() -> None:
    """Who looks for the site's pods finds none of these; the RayService owns the set."""
    manifest = puller(site())
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert manifest["spec"]["selector"]["matchLabels"] == labels
    assert not IDENTITY.labels.items() <= labels.items()
    (owner,) = manifest["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "ray.io/v1", "kind": "RayService", "name": IDENTITY.name, "uid": "uid-1"}
