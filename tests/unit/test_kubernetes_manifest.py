"""What hcctl declares in a cluster: by KubeRay's schema, under the restricted standard, and nothing of others."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.project import Pool, SiteSpec
from serving.sites.kubernetes.manifest import (
    LONGEST_NAME,
    NODE_RESOURCE,
    RAY_VERSION,
    Bounds,
    Identity,
    pool_bounds,
    ray_service,
    serve_document,
    token_secret,
)
from serving.sites.site import Application
from serving.spec_kubernetes import HeadSpec, KubernetesSpec
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.declared import merged
from tests.support.kuberay_rewrite import through_kuberay

SCHEMA = json.loads((Path(__file__).parent / "data" / "kuberay-rayservice-v1.json").read_text())
IDENTITY = Identity("shop", "cloud", "serving")
SITE = SiteSpec.model_validate(KUBERNETES_SITE)
ECHO = Application("echo-0123456789ab", "echo", "a" * 64, "/echo-0123456789ab", {"version_dir": "/here", "n": 1}, 2)

NAME = st.from_regex(r"\A[a-z]([a-z0-9-]{0,20}[a-z0-9])?\Z")
LABEL = st.from_regex(r"\A([A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?)?\Z")
KEY = st.from_regex(r"\A([a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?\Z")
DEVICE = st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?\Z")
AMOUNT = st.floats(0.001, 1_000)
NODES: dict[str, st.SearchStrategy[Any]] = {
    "labels": st.dictionaries(KEY, LABEL, max_size=3),
    "taints": st.lists(st.fixed_dictionaries({"key": KEY}, optional={"value": LABEL}), max_size=3),
    "zones": st.lists(LABEL, max_size=3),
    "cpus": AMOUNT,
    "memory_gib": AMOUNT,
}
POOLS = st.lists(
    st.fixed_dictionaries(
        {
            "name": NAME,
            "kind": st.just("on_demand"),
            "price_usd_per_hour": st.just(1.0),
            "max_nodes": st.integers(1, 10_000),
            "gpus_per_node": st.integers(0, 8).map(float),
            "worker": st.fixed_dictionaries(NODES, optional={"gpu_resource": DEVICE}),
        }
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda pool: str(pool["name"]),
)
BUCKET = st.fixed_dictionaries({"name": st.just("hcctl-versions")}, optional={"credentials_secret": NAME})
SITES = st.fixed_dictionaries(
    {
        "role": st.just("cloud"),
        "kind": st.just("kubernetes"),
        "pools": POOLS,
        "kubernetes": st.fixed_dictionaries(
            {
                "namespace": NAME,
                "image": st.just("registry.example.org:5000/shop@sha256:0123"),
                "artefacts": st.fixed_dictionaries({"claim": NAME}) | st.fixed_dictionaries({"bucket": BUCKET}),
            },
            optional={
                "pull_secrets": st.lists(NAME, max_size=3, unique=True),
                "head": st.fixed_dictionaries(NODES),
                "upgrade": st.sampled_from(["none", "new_cluster"]),
                "run_as_user": st.integers(1, 70_000),
                "service_account": NAME,
            },
        ),
    }
).map(SiteSpec.model_validate)


@cache
def validator() -> jsonschema.Draft202012Validator:
    """KubeRay's schema of a RayService's spec, with unknown fields forbidden."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def rendered(site: SiteSpec, *applications: Application, replicas: int = 2) -> dict[str, Any]:
    """The RayService of a site with these applications."""
    assert site.kubernetes is not None
    bounds = pool_bounds(site.pools, replicas, {})
    return ray_service(IDENTITY, site, serve_document(applications, site.kubernetes), bounds)


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates' specs: the head's, then those of the worker groups."""
    cluster = manifest["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@settings(max_examples=60)
@given(SITES)
def test_every_spec_renders_by_the_schema(site: SiteSpec) -> None:
    """Whatever a project may declare becomes a RayService that KubeRay's schema accepts, without an unknown field."""
    manifest = rendered(site, ECHO)
    errors = [error.message for error in validator().iter_errors(manifest["spec"])]
    assert errors == []
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}


def test_the_schema_finds_what_is_unknown() -> None:
    """The check would see a misspelt field, at any depth."""
    manifest = rendered(SITE)
    pods(manifest)[1]["containers"][0]["resource"] = {}
    (error,) = validator().iter_errors(manifest["spec"])
    assert "'resource' was unexpected" in error.message


@settings(max_examples=30)
@given(SITES)
def test_pods_are_restricted(site: SiteSpec) -> None:
    """Every pod passes the restricted Pod Security Standard; workers get no token of the cluster."""
    manifest = rendered(site)
    for pod in pods(manifest):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {*pod["volumes"][0]} - {"name"} <= {"persistentVolumeClaim", "emptyDir"}
        for container in pod["containers"]:
            check_restricted(container["securityContext"])
            assert all("hostPort" not in port for port in container.get("ports", ()))
    check_restricted(manifest["spec"]["rayClusterConfig"]["autoscalerOptions"]["securityContext"])
    assert all(pod["automountServiceAccountToken"] is False for pod in pods(manifest)[1:])


def check_restricted(security: dict[str, Any]) -> None:
    """Fail unless a container may do no more than the restricted standard allows."""
    assert security["allowPrivilegeEscalation"] is False
    assert security["runAsNonRoot"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "privileged" not in security


def test_what_belongs_to_others_is_not_written() -> None:
    """Ray's autoscaler owns the workers' count and whom to end, KubeRay finalizers and status."""
    manifest = rendered(SITE, ECHO)
    cluster = manifest["spec"]["rayClusterConfig"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert all("replicas" not in group and group["scaleStrategy"] == {} for group in cluster["workerGroupSpecs"])
    assert set(manifest["metadata"]) == {"name", "namespace", "labels"}


def test_nodes_are_chosen() -> None:
    """Labels, taints, zones, GPUs, amounts and secrets of the spec stand in the pods."""
    head, worker = pods(rendered(SITE))
    assert head["nodeSelector"] == {"tier": "system"}
    assert worker["nodeSelector"] == {"node.kubernetes.io/instance-type": "g5.xlarge"}
    assert worker["tolerations"] == [
        {"key": "nvidia.com/gpu", "effect": "NoSchedule", "operator": "Equal", "value": "present"}
    ]
    (term,) = worker["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]}
    ]
    amounts = {"cpu": "3500m", "memory": "12Gi", "nvidia.com/gpu": "1"}
    assert worker["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert worker["imagePullSecrets"] == [{"name": "registry"}]


@settings(max_examples=60)
@given(SITES)
def test_what_kuberay_writes_back_is_what_was_written(site: SiteSpec) -> None:
    """KubeRay's write of the whole object changes no field of ours: else it would own it, and refuse the next apply."""
    manifest = rendered(site, ECHO)
    assert through_kuberay(manifest) == manifest


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "amounts"),
    [
        pytest.param(2, 8, {"cpu": "2", "memory": "8Gi"}, id="whole"),
        pytest.param(0.5, 0.5, {"cpu": "500m", "memory": "512Mi"}, id="parts"),
        pytest.param(1_000, 1_024, {"cpu": "1k", "memory": "1Ti"}, id="large"),
        pytest.param(1_024, 1_025, {"cpu": "1024", "memory": "1025Gi"}, id="large-and-odd"),
        pytest.param(0.0001, 0.0001, {"cpu": "1m", "memory": "1Mi"}, id="least"),
    ],
)
def test_amounts_are_written_as_kubernetes_writes_them(cpus: float, memory_gib: float, amounts: dict[str, str]) -> None:
    """The largest suffix that leaves a whole number."""
    assert SITE.kubernetes is not None
    head = HeadSpec(cpus=cpus, memory_gib=memory_gib)
    site = SITE.model_copy(update={"kubernetes": SITE.kubernetes.model_copy(update={"head": head})})
    assert pods(rendered(site))[0]["containers"][0]["resources"]["requests"] == amounts


def test_numbers_are_written_as_kuberay_writes_them_again() -> None:
    """What Go reads and writes is the same text: a whole number has no fraction, however deep it stands."""
    args = {"model": {"drain_s": 30.0, "batch_wait_s": 0.005, "config": {"tops": [3.0, 2.5, True]}}}
    application = replace(ECHO, args=ECHO.args | args)
    (entry,) = json.loads(rendered(SITE, application)["spec"]["serveConfigV2"])["applications"]
    assert json.dumps(entry["args"]["model"]) == (
        '{"batch_wait_s": 0.005, "config": {"tops": [3, 2.5, true]}, "drain_s": 30}'
    )


def test_the_head_waits_for_nobody() -> None:
    """Every port of Ray's head that a part of it would ask for is named, and it holds no replica."""
    params = rendered(SITE)["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]
    assert params == {"num-cpus": "0", "dashboard-host": "0.0.0.0", "runtime-env-agent-port": "52366"}


def test_pods_write_to_their_own_logs() -> None:
    """Ray's and the replicas' lines are where `hcctl logs` finds them, and not in files of the pod."""
    logged = [{"name": "RAY_LOG_TO_STDERR", "value": "1"}]
    assert [pod["containers"][0]["env"] for pod in pods(rendered(SITE))] == [logged, logged]


def test_applications_find_their_version_on_the_volume() -> None:
    """The registry of this computer is not in the pods: the folder is that of the mount, the rest as it was."""
    document = json.loads(rendered(SITE, ECHO)["spec"]["serveConfigV2"])
    (entry,) = document["applications"]
    own = {"resources": {NODE_RESOURCE: 1}}
    assert entry["args"] == own | {"version_dir": f"/var/lib/hcctl/versions/{'a' * 64}", "n": 1}
    assert entry["deployments"] == [{"name": "model", "num_replicas": 2}]
    assert document["http_options"] == {"host": "0.0.0.0", "port": 8000}


def test_applications_fetch_their_version_from_a_bucket() -> None:
    """Pods know the bucket, have room for what they fetch, an account and a secret to open it; no key is in text."""
    bucket = {"name": "hcctl-versions", "region": "us-east-1", "credentials_secret": "storage"}
    change = {"artefacts": {"claim": None, "bucket": bucket, "cache_gib": 2.5}, "service_account": "hcctl-replica"}
    site = SiteSpec.model_validate(merged(KUBERNETES_SITE, {"kubernetes": change}))
    manifest = rendered(site, ECHO)
    (entry,) = json.loads(manifest["spec"]["serveConfigV2"])["applications"]
    assert entry["args"] == {
        "version_dir": f"/var/lib/hcctl/versions/fetched/{'a' * 64}",
        "n": 1,
        "resources": {NODE_RESOURCE: 1},
        "bucket": {"name": "hcctl-versions", "prefix": "versions", "region": "us-east-1", "encrypted": True},
    }
    for pod in pods(manifest):
        assert pod["volumes"] == [{"name": "versions", "emptyDir": {"sizeLimit": "2560Mi"}}]
        assert pod["serviceAccountName"] == "hcctl-replica"
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [{"name": "versions", "mountPath": "/var/lib/hcctl/versions"}]
        assert container["env"][1:] == [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": "storage", "key": key}}}
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ]


def test_no_application_is_an_empty_set_not_an_empty_text() -> None:
    """KubeRay takes an empty text for a configuration that was never deployed."""
    assert json.loads(rendered(SITE)["spec"]["serveConfigV2"])["applications"] == []


@pytest.mark.parametrize(
    ("kind", "replicas", "present", "most"),
    [
        pytest.param("on_demand", 2, {}, 2, id="as-decided"),
        pytest.param("on_demand", 9, {}, 4, id="never-above-the-pool"),
        pytest.param("on_demand", 0, {}, 0, id="none"),
        pytest.param("on_demand", 1, {"a": 3}, 3, id="not-below-what-runs"),
        pytest.param("on_demand", 1, {"other": 3}, 1, id="another-pool"),
        pytest.param("fixed", 1, {}, 4, id="owned"),
    ],
)
def test_bounds(kind: str, replicas: int, present: dict[str, int], most: int) -> None:
    """Rented workers are bounded by the decision and by the pool, never below what runs; owned ones by the pool."""
    price = 1.0 if kind == "on_demand" else 0.0
    pool = Pool(name="a", kind=kind, max_nodes=4, price_usd_per_hour=price)  # type: ignore[arg-type]
    assert pool_bounds([pool], replicas, present) == {"a": Bounds(0, most)}


@given(NAME, NAME, NAME, NAME)
def test_names_are_short_and_never_shared(project: str, site: str, other_project: str, other_site: str) -> None:
    """The RayService's name is a label within KubeRay's bound, and another for another site or project."""
    one, two = Identity(project, site, "n"), Identity(other_project, other_site, "n")
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", one.name)
    assert len(one.name) <= LONGEST_NAME
    assert (one.name == two.name) == ((project, site) == (other_project, other_site))


def test_long_and_joined_names_are_apart() -> None:
    """Forty letters each still fit, and `a-b` of `c` is not `a` of `b-c`."""
    assert len(Identity("a" * 40, "b" * 40, "n").name) == LONGEST_NAME
    assert Identity("a-b", "c", "n").name != Identity("a", "b-c", "n").name


def test_upgrade_is_as_declared() -> None:
    """By default changed pods start no second cluster."""
    assert rendered(SITE)["spec"]["upgradeStrategy"] == {"type": "NewCluster"}
    quiet = SITE.model_copy(update={"kubernetes": SITE.kubernetes.model_copy(update={"upgrade": "none"})})
    assert rendered(quiet)["spec"]["upgradeStrategy"] == {"type": "None"}
    assert KubernetesSpec.model_fields["upgrade"].default == "none"


def test_the_token_is_where_kuberay_looks() -> None:
    """The Secret's name and key are those that the RayService refers to."""
    secret = token_secret(IDENTITY, "f" * 64)
    options = rendered(SITE)["spec"]["rayClusterConfig"]["authOptions"]
    assert options == {"mode": "token", "secretName": secret["metadata"]["name"]}
    assert secret["stringData"] == {"auth_token": "f" * 64}


def test_ray_is_the_one_that_hcctl_needs() -> None:
    """The declared version is within hcctl's own bound on Ray."""
    (bound,) = re.findall(r'"ray\[serve\]>=([\d.]+),<[\d.]+"', Path("pyproject.toml").read_text())
    assert RAY_VERSION.startswith(f"{bound}.")
