"""A Kubernetes site over the API double, with a double of KubeRay: the contract of sites, and what is its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.application import application_for
from serving.errors import HcctlError, SiteUnreachable
from serving.project import SiteSpec
from serving.sites.kubernetes.answers import Conflict, Forbidden
from serving.sites.kubernetes.api import connect
from serving.sites.kubernetes.manifest import Identity
from serving.sites.kubernetes.site import KubernetesSite
from serving.sites.site import Application, Endpoint, SiteObservation
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.declared import merged
from tests.support.json_fields import Object
from tests.support.kuberay import BROKEN, FakeKubeRay
from tests.support.kubernetes_api import KubernetesDouble
from tests.support.kubernetes_objects import Kind, Refused
from tests.support.site_contract import SiteContract, SiteRig
from tests.support.versions import echo_service

IDENTITY = Identity("shop", "cloud", "default")
DEADLINE_S = 10.0


@pytest.fixture
def double() -> Iterator[KubernetesDouble]:
    with KubernetesDouble() as api:
        yield api


@pytest.fixture
def kuberay(double: KubernetesDouble) -> Iterator[FakeKubeRay]:
    with FakeKubeRay(double) as operator:
        yield operator


@pytest.fixture
def another(double: KubernetesDouble, tmp_path: Path) -> Callable[..., KubernetesSite]:
    """Makes sites of the same identity, as another process would."""
    kubeconfig = double.kubeconfig(tmp_path)

    def make(**changes: object) -> KubernetesSite:
        mine = {"kubeconfig": kubeconfig.name, "namespace": "default", "context": None, "address": None, **changes}
        spec = SiteSpec.model_validate(merged(KUBERNETES_SITE, {"kubernetes": mine}))
        assert spec.kubernetes is not None
        kubernetes = spec.kubernetes
        return KubernetesSite(IDENTITY, spec, lambda: connect(kubernetes, tmp_path), poll_s=0.01)

    return make


@pytest.fixture
def site(another: Callable[..., KubernetesSite]) -> KubernetesSite:
    return another()


@pytest.fixture
def rig(site: KubernetesSite, double: KubernetesDouble, kuberay: FakeKubeRay) -> SiteRig:
    def application(service: str, replicas: int) -> Application:
        return application_for(echo_service(service), "a" * 64, Path("/versions/a"), replicas)

    def broken(service: str) -> Application:
        return application_for(echo_service(service), BROKEN, Path("/versions/b"), 1)

    def wait(condition: Callable[[SiteObservation], bool]) -> SiteObservation:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition(seen := site.observe()):
            if time.monotonic() > deadline_s:
                pytest.fail(f"never happened; last seen: {seen}")
            time.sleep(0.01)
        return seen

    def crash() -> None:
        double.objects.delete(double.kind("rayservices"), "default", IDENTITY.name)

    return SiteRig(site, application, broken, wait, crash)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in the cluster."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def running(rig: SiteRig, replicas: int = 1) -> Application:
    """Open the site and run one application there."""
    rig.open()
    application = rig.application("first", replicas)
    rig.site.apply((application,))
    rig.wait_ready(application.name, replicas)
    return application


def service_of(kuberay: FakeKubeRay) -> Object:
    (found,) = kuberay.all("rayservices")
    return found


def bounds(spec: Object) -> list[tuple[int, int]]:
    """Of the worker groups."""
    return [(group["minReplicas"], group["maxReplicas"]) for group in spec["workerGroupSpecs"]]


class TestKubernetesSite(SiteContract):
    """The contract."""


def test_the_version_is_on_the_volume(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """What KubeRay deploys after a restart is what was applied: same document, the folder that of the pods."""
    application = running(rig)
    document = json.loads(service_of(kuberay)["spec"]["serveConfigV2"])
    (entry,) = document["applications"]
    assert entry["name"] == application.name
    assert entry["args"]["version_dir"] == f"/var/lib/hcctl/versions/{'a' * 64}"


def test_a_head_that_starts_anew_runs_the_same(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """Ray forgets everything with its head; KubeRay deploys what stands in the RayService, with the scaled count."""
    application = running(rig)
    rig.site.scale(application.name, 3)
    rig.wait_ready(application.name, 3)
    (cluster,) = kuberay.serves
    kuberay.lose_head(cluster)
    rig.wait_ready(application.name, 3)


def test_bounds_are_written_to_both(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """Worker bounds follow the replicas on the RayService and on its cluster; a smaller one waits for the workers."""
    application = running(rig)
    until(lambda: kuberay.all("rayclusters")[0]["spec"]["workerGroupSpecs"][0].get("replicas") == 1)
    rig.site.scale(application.name, 3)
    (cluster,) = kuberay.all("rayclusters")
    assert bounds(cluster["spec"]) == bounds(service_of(kuberay)["spec"]["rayClusterConfig"]) == [(0, 3)]
    until(lambda: kuberay.all("rayclusters")[0]["spec"]["workerGroupSpecs"][0]["replicas"] == 3)
    rig.site.scale(application.name, 1)
    (cluster,) = kuberay.all("rayclusters")
    assert bounds(cluster["spec"]) == [(0, 3)]  # three workers run; ending two of them is for Ray
    rig.wait_ready(application.name, 1)
    until(lambda: kuberay.all("rayclusters")[0]["spec"]["workerGroupSpecs"][0]["replicas"] == 1)
    rig.site.scale(application.name, 1)
    (cluster,) = kuberay.all("rayclusters")
    assert bounds(cluster["spec"]) == [(0, 1)]


def test_nothing_of_the_autoscaler_is_touched(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """The workers' count is Ray's, and stays what Ray has set through any order."""
    application = running(rig, 2)
    until(lambda: kuberay.all("rayclusters")[0]["spec"]["workerGroupSpecs"][0].get("replicas") == 2)
    before = kuberay.double.requests.copy()
    rig.site.apply((application,))
    assert kuberay.all("rayclusters")[0]["spec"]["workerGroupSpecs"][0]["replicas"] == 2
    written = [asked for asked in kuberay.double.requests[len(before) :] if asked[0] not in {"get", "list"}]
    assert ("patch", "rayclusters") not in written  # the bounds were right


def test_after_a_switch_the_bounds_are_asserted_again(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """A new cluster has the RayService's bounds; where somebody changed them, the next order puts them right."""
    application = running(rig, 2)
    (old,) = kuberay.serves
    until(lambda: bool(service_of(kuberay)["status"]["activeServiceStatus"]))
    kuberay.switch(IDENTITY.name)
    until(lambda: [cluster["metadata"]["name"] for cluster in kuberay.all("rayclusters")] != [old])
    until(lambda: len(kuberay.all("rayclusters")) == 1)
    rig.wait_ready(application.name, 2)
    (cluster,) = kuberay.all("rayclusters")
    assert cluster["metadata"]["name"] != old
    assert bounds(cluster["spec"]) == [(0, 2)]
    kind = kuberay.double.kind("rayclusters")
    cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] = 9
    kuberay.double.objects.patch(kind, "default", cluster["metadata"]["name"], lambda _: cluster, "kubectl")
    rig.site.scale(application.name, 2)
    assert bounds(kuberay.all("rayclusters")[0]["spec"]) == [(0, 2)]


def test_hcctl_owns_its_fields_and_takes_none(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """What another manager has set is a conflict that is named, and is left as it is."""
    application = running(rig)
    kind = kuberay.double.kind("rayservices")
    theirs: Object = {
        "metadata": {"name": IDENTITY.name},
        "spec": {"upgradeStrategy": {"type": "NewClusterWithIncrementalUpgrade"}},
    }
    kuberay.double.objects.apply(kind, "default", IDENTITY.name, theirs, "argocd", force=True)
    with pytest.raises(Conflict, match="argocd"):
        rig.site.apply((application,))
    assert service_of(kuberay)["spec"]["upgradeStrategy"]["type"] == "NewClusterWithIncrementalUpgrade"


def test_looking_writes_nothing(rig: SiteRig, double: KubernetesDouble) -> None:
    """At rest a look costs two reads, open or closed, and no write."""
    running(rig)
    double.requests.clear()
    rig.site.observe()
    assert double.requests == [("get", "rayservices"), ("get", "services")]
    rig.site.close()
    double.requests.clear()
    rig.site.observe()
    assert double.requests == [("get", "rayservices"), ("get", "secrets")]


def test_another_process_sees_and_controls_the_same(
    rig: SiteRig, another: Callable[..., KubernetesSite], kuberay: FakeKubeRay
) -> None:
    """The truth is in the cluster: one object opens, another closes and opens again, the first goes on."""
    application = running(rig)
    other = another()
    assert other.observe().applications == rig.known().applications
    other.close()
    other.open()
    rig.wait(lambda seen: seen.phase == "open" and seen.applications == ())
    rig.site.apply((application,))
    rig.wait_ready(application.name, 1)


def test_nothing_is_left_behind(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """After a close the cluster has no object of the site."""
    running(rig)
    rig.site.close()
    assert [kuberay.all(plural) for plural in ("rayservices", "rayclusters", "pods", "secrets")] == [[], [], [], []]


def test_the_gateway_is_sent_where_declared(another: Callable[..., KubernetesSite], rig: SiteRig) -> None:
    """The head pod's address, or the declared one."""
    rig.open()
    assert rig.known().ingress == Endpoint("10.0.0.7", 8000)
    declared = another(address={"host": "10.9.9.9", "port": 80})
    assert declared.observe().ingress == Endpoint("10.9.9.9", 80)


def test_a_site_is_open_once_its_address_is_known(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """Ray answers before KubeRay has told where its head is: until then nothing could be sent there."""
    kuberay.pod_ip = ""
    rig.site.open()
    until(lambda: bool(kuberay.double.services))
    seen = rig.site.observe()
    assert (seen.phase, seen.applications, seen.ingress) == ("opening", None, None)
    kuberay.pod_ip = "10.0.0.7"
    seen = rig.wait(lambda seen: seen.phase == "open")
    assert seen.ingress == Endpoint("10.0.0.7", 8000)


def test_out_of_sight_is_not_closed(
    rig: SiteRig, double: KubernetesDouble, another: Callable[..., KubernetesSite]
) -> None:
    """An API server that fails or is silent leaves phase and address as they were, and what runs unknown."""
    running(rig)
    known = rig.known()
    for status in (500, 429, 0):
        double.fail(status)
        began_s = time.monotonic()
        seen = rig.site.observe()
        assert (seen.phase, seen.applications, seen.ingress) == ("open", None, known.ingress)
        assert seen.message
        assert time.monotonic() - began_s < 2
    double.fail(503)
    assert another().observe().phase == "open"  # never seen yet: unknown is not none
    assert rig.site.observe().applications == known.applications


def test_a_head_that_does_not_answer_is_unknown(rig: SiteRig, double: KubernetesDouble) -> None:
    """While the head is replaced the site stays open, and what it runs is unknown."""
    rig.open()  # without an application KubeRay does not call its cluster active
    double.fail(503, plural="services")
    assert (rig.site.observe().phase, rig.known().phase) == ("open", "open")
    running(rig)
    double.fail(503, plural="services")
    seen = rig.site.observe()
    assert (seen.phase, seen.applications) == ("open", None)
    assert "503" in seen.message
    assert rig.known().applications


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param(
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                    }
                ],
            },
            "finds no node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            id="no-node",
        ),
        pytest.param(
            {
                "phase": "Pending",
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "ErrImagePull", "message": 'image "shop:1": not found'}}}
                ],
            },
            'does not start: ErrImagePull: image "shop:1": not found',
            id="image",
        ),
        pytest.param({"phase": "Failed", "reason": "Evicted"}, "failed: Evicted", id="evicted"),
    ],
)
def test_what_blocks_pods_is_said(rig: SiteRig, kuberay: FakeKubeRay, status: dict[str, Any], said: str) -> None:
    """A site that does not open says why, in the scheduler's or the kubelet's words, and which pod."""
    kuberay.pod_status = status
    rig.site.open()
    seen = rig.wait(lambda seen: said in seen.message)
    assert (seen.phase, seen.applications) == ("opening", None)
    assert IDENTITY.name in seen.message


def test_a_quota_is_said(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """Where no pod can be made, KubeRay's warning tells."""
    kuberay.no_pods = 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1'
    rig.site.open()
    rig.wait(lambda seen: "exceeded quota: gpus" in seen.message)


@pytest.mark.parametrize(
    ("verb", "resource", "order"),
    [
        ("create", "secrets", "open"),
        ("patch", "rayservices", "open"),
        ("get", "rayservices", "open"),
    ],
)
def test_a_missing_right_is_named(rig: SiteRig, double: KubernetesDouble, verb: str, resource: str, order: str) -> None:
    """An order that may not be carried out says which verb on which resource is missing."""
    double.denied.add((verb, resource))
    with pytest.raises(Forbidden, match=f"may not {verb} {resource}"):
        getattr(rig.site, order)()


def test_a_missing_right_to_look_leaves_it_unknown(rig: SiteRig, double: KubernetesDouble) -> None:
    """No right is no sight: nothing is taken for gone, and the message names the right."""
    running(rig)
    for right in (("get", "rayservices"), ("get", "services/proxy")):
        double.denied.add(right)
        seen = rig.site.observe()
        double.denied.clear()
        assert (seen.phase, seen.applications) == ("open", None)
        assert f"may not get {right[1]}" in seen.message


def test_a_cluster_without_kuberay(double: KubernetesDouble, site: KubernetesSite) -> None:
    """Without KubeRay's CRDs nothing is known, and the message says what to install."""
    double.kinds = tuple(kind for kind in double.kinds if kind.group != "ray.io")
    seen = site.observe()
    assert (seen.phase, seen.applications) == ("open", None)
    assert "install the KubeRay operator" in seen.message
    with pytest.raises(HcctlError, match=r"rayservices\.ray\.io v1"):
        site.open()


def test_a_kuberay_that_is_too_old(double: KubernetesDouble, site: KubernetesSite) -> None:
    """A CRD that does not know a field of ours is too old, which is said with the field."""
    refusal = "failed to create typed patch object: .spec.rayClusterConfig.authOptions: field not declared in schema"

    def apply(kind: Kind, *_: object, **__: object) -> Object:
        raise Refused(500, "", refusal)

    double.objects.apply = apply  # type: ignore[method-assign]
    with pytest.raises(HcctlError, match="too old") as caught:
        site.open()
    assert "authOptions" in caught.value.why


def test_an_apply_that_does_not_fit_is_refused(double: KubernetesDouble, site: KubernetesSite) -> None:
    """The API server answers 500 to it, as often as it is asked: an error of the order, not a server to wait for."""
    refusal = "failed to create typed patch object (...): .spec.imagePullSecrets: duplicate entries for key"

    def apply(kind: Kind, *_: object, **__: object) -> Object:
        raise Refused(500, "", refusal)

    double.objects.apply = apply  # type: ignore[method-assign]
    with pytest.raises(HcctlError, match="duplicate entries") as caught:
        site.open()
    assert not isinstance(caught.value, SiteUnreachable)


def test_what_kuberay_refuses_is_said(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """A RayService that KubeRay finds invalid is never taken for one that is only slow."""
    rig.open()
    kind, found = kuberay.double.kind("rayservices"), service_of(kuberay)
    found["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "reason": "ValidationFailed", "message": "the spec is invalid"}
    ]
    until(lambda: _status_written(kuberay, kind, found))
    rig.wait(lambda seen: seen.message == "the spec is invalid")


def _status_written(kuberay: FakeKubeRay, kind: Kind, found: Object) -> bool:
    """Whether the status could be written; the operator writes it too."""
    found["metadata"].pop("resourceVersion", None)
    conditions = found["status"]["conditions"]
    kuberay.double.objects.patch(
        kind,
        "default",
        IDENTITY.name,
        lambda old: old | {"status": old["status"] | {"conditions": conditions}},
        "k",
        "status",
    )
    return True


def test_what_serve_refuses_is_said(rig: SiteRig, kuberay: FakeKubeRay) -> None:
    """A configuration that Serve refuses is an error of the order, with Serve's reason."""
    rig.open()
    (serve,) = kuberay.serves.values()
    serve.refuses = "two applications have the same route"
    with pytest.raises(HcctlError, match="same route") as caught:
        rig.site.apply((rig.application("first", 1),))
    assert not isinstance(caught.value, SiteUnreachable)


def test_a_site_of_another_kind_is_refused(site: KubernetesSite) -> None:
    """The object is only for sites of kind kubernetes."""
    local = SiteSpec.model_validate({"role": "cloud", "pools": [{**KUBERNETES_SITE["pools"][0], "worker": None}]})
    with pytest.raises(ValueError, match="not of kind kubernetes"):
        KubernetesSite(replace(IDENTITY, site="x"), local, lambda: pytest.fail("asked"))


def test_a_refused_token_opens_nothing(site: KubernetesSite, double: KubernetesDouble, kuberay: FakeKubeRay) -> None:
    """A conflict while the Secret is made is taken for "there is one" only if there is: pods without it never start."""
    double.fail(409, verb="create", plural="secrets")
    with pytest.raises(Conflict):
        site.open()
    assert kuberay.all("rayservices") == []
    site.open()
    assert len(kuberay.all("secrets")) == 1


def test_images_are_on_the_nodes_while_the_site_is_open(
    rig: SiteRig, another: Callable[..., KubernetesSite], kuberay: FakeKubeRay
) -> None:
    """A site that asks for it has a DaemonSet of its images from opening to closing; one that does not has none."""
    rig.open()
    assert kuberay.all("daemonsets") == []
    rig.site.close()
    pulling = another(pre_pull=["registry.example.org/shop:1.5.0"])
    pulling.open()
    (found,) = kuberay.all("daemonsets")
    assert len(found["spec"]["template"]["spec"]["containers"]) == 2
    pulling.close()
    assert kuberay.all("daemonsets") == []


def test_images_that_cannot_be_pulled_hold_nothing_up(
    rig: SiteRig, another: Callable[..., KubernetesSite], double: KubernetesDouble
) -> None:
    """Without the right to it the site opens and runs, and says which right is missing; given, it is as declared."""
    pulling = replace(rig, site=another(pre_pull=["registry.example.org/shop:1.5.0"]))
    double.denied.add(("patch", "daemonsets"))
    application = running(rig)
    pulling.site.apply((application,))
    until(lambda: "may not patch daemonsets.apps" in pulling.site.observe().message)
    assert pulling.site.observe().phase == "open"
    double.denied.clear()
    pulling.site.apply((application,))
    assert pulling.site.observe().message == ""


def test_workers_are_told_while_a_replica_is_missing(
    rig: SiteRig, double: KubernetesDouble, kuberay: FakeKubeRay
) -> None:
    """How far a worker has come is seen while something is missing; then nothing more is asked of the cluster."""
    application = running(rig)
    assert rig.site.observe().workers is None
    pods = double.kind("pods")
    labels = IDENTITY.labels | {"ray.io/node-type": "worker"}
    made = {"metadata": {"name": "w", "labels": labels}, "spec": {"containers": [{"name": "worker"}]}}
    double.objects.create(pods, "default", made, "kuberay")
    (serve,) = kuberay.serves.values()
    serve.applications[application.name]["target"] = 2
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:20Z"}
    double.objects.replace(pods, "default", "w", made | {"status": {"conditions": [placed]}}, "kubelet", "status")
    (worker,) = rig.site.observe().workers or ()
    assert worker.node_s == worker.asked_s + 20
    assert worker.running_s is None
