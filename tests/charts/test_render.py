"""The chart under every set of values: it lints, renders, is valid Kubernetes, and restricted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.support.charts import CHARTS, Manifest, merged, named, pods, refused, render
from tests.support.kubernetes_schemas import VERSIONS, violations
from tests.support.restricted import unrestricted
from tests.support.value_sets import BASE, MONITORED, REFUSED, VALUE_SETS

OPERATORS = {"PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator: their fields are checked in test_alerts.py and below."""


@pytest.fixture(scope="module", params=VALUE_SETS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(merged(BASE, VALUE_SETS[request.param]))


def test_there_are_enough_sets() -> None:
    """At least 20, each another one."""
    assert len({repr(values) for values in VALUE_SETS.values()}) == len(VALUE_SETS) >= 20


@pytest.mark.parametrize("chart", ["hcctl", "hcctl-crds"])
def test_helm_lints_it(chart: str) -> None:
    """No error and no warning; that an icon is recommended is information."""
    found = helm_python.lint(str(CHARTS / chart))
    assert found["errors"] == []
    assert [message for message in found["messages"] if message["severity"] > 1] == []


def test_it_is_valid_for_kubernetes(manifests: list[Manifest]) -> None:
    """Every manifest by the API's own schemas, unknown fields forbidden."""
    for manifest in manifests:
        if manifest["kind"] not in OPERATORS:
            assert violations(manifest) == [], manifest["metadata"]["name"]


@pytest.mark.parametrize("change", [{"unknown": 1}, {"replicas": "two"}, {"template": {"spec": {}}}])
def test_the_check_against_the_api_sees(change: Manifest) -> None:
    """An unknown field, a wrong type and a missing one are told for each version."""
    deployment = named(render(BASE), "Deployment", "-gateway")
    told = violations({**deployment, "spec": {**deployment["spec"], **change}})
    assert {text.split()[0] for text in told} == set(VERSIONS)


def test_everything_is_named_for_its_release(manifests: list[Manifest]) -> None:
    """Names begin with the release's and are unique per kind and namespace; Helm's labels are on all."""
    seen = [(m["kind"], m["metadata"]["namespace"], m["metadata"]["name"]) for m in manifests]
    assert len(set(seen)) == len(seen)
    for manifest in manifests:
        assert manifest["metadata"]["name"].startswith("hcctl")
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/instance"] == "hcctl"


def test_pods_keep_the_restricted_standard(manifests: list[Manifest]) -> None:
    """Pod Security Standard `restricted`, and beyond it a read-only root, numbers for users and no service links."""
    for name, _, spec in pods(manifests):
        assert unrestricted(spec) == [], name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "volume hostPath"),
        ({"securityContext": {}}, "seccomp"),
        ({"enableServiceLinks": True}, "service links"),
    ],
)
def test_the_check_of_the_standard_sees(change: dict[str, Any], told: str) -> None:
    """The check above is not blind: each breach is told."""
    (_, _, spec), *_ = pods(render(BASE))
    assert told in unrestricted({**spec, **change})


def test_every_container_is_bounded_and_probed(manifests: list[Manifest]) -> None:
    """Requests, a limit of memory, an image that does not change, and all three probes on what serves."""
    for name, _, spec in pods(manifests):
        for container in spec["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert re.search(r":[^:/]+$|@sha256:[0-9a-f]{64}$", container["image"]), name
            assert not container["image"].endswith(":latest")
        if spec.get("restartPolicy") != "Never":
            probes = {"startupProbe", "livenessProbe", "readinessProbe"}
            assert all(probes <= set(container) for container in spec["containers"]), name


def test_only_who_asks_the_api_server_has_a_token(manifests: list[Manifest]) -> None:
    """The gateway, which strangers reach, has none; accounts mount none by themselves."""
    for name, _, spec in pods(manifests):
        assert spec["automountServiceAccountToken"] is name.endswith("-daemon"), name
    for manifest in manifests:
        if manifest["kind"] == "ServiceAccount":
            assert manifest["automountServiceAccountToken"] is False


def test_rights_are_named_one_by_one(manifests: list[Manifest]) -> None:
    """No wildcard, no cluster role, nothing that gives rights on; secrets can be neither listed nor watched."""
    assert not [m for m in manifests if m["kind"].startswith("ClusterRole")]
    for manifest in manifests:
        for rule in manifest.get("rules", []) if manifest["kind"] == "Role" else ():
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            if "secrets" in rule["resources"]:
                assert not {"list", "watch", "update", "patch"} & set(rule["verbs"])


def test_what_keeps_running_is_spread_and_may_be_drained(manifests: list[Manifest]) -> None:
    """Over nodes and zones; one pod at a time may be taken away, and a drain never waits for ever."""
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            spread = manifest["spec"]["template"]["spec"]["topologySpreadConstraints"]
            keys = {each["topologyKey"] for each in spread}
            assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
            assert all(chooses(each["labelSelector"], labels) for each in spread)
            budget = named(manifests, "PodDisruptionBudget", manifest["metadata"]["name"])
            assert budget["spec"]["maxUnavailable"] == 1
            assert chooses(budget["spec"]["selector"], labels)


def chooses(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a selector that has only matchLabels chooses a pod; an empty one chooses all."""
    assert set(selector) <= {"matchLabels"}
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def test_references_meet(manifests: list[Manifest]) -> None:
    """Services and monitors choose a pod that is there, by a port that it has; mounts have their volume."""
    everything = list(pods(manifests))
    for manifest in manifests:
        if manifest["kind"] == "Service":
            chosen = [
                s for _, m, s in everything if chooses({"matchLabels": manifest["spec"]["selector"]}, m["labels"])
            ]
            ports = {port["name"] for spec in chosen for c in spec["containers"] for port in c["ports"]}
            assert {port["targetPort"] for port in manifest["spec"]["ports"]} <= ports
        if manifest["kind"] == "PodMonitor":
            assert set(manifest["spec"]) == {"jobLabel", "selector", "podMetricsEndpoints"}
            assert [e["port"] for e in manifest["spec"]["podMetricsEndpoints"]] == ["metrics"]
            assert any(chooses(manifest["spec"]["selector"], metadata["labels"]) for _, metadata, _ in everything)
    for name, _, spec in everything:
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        for container in spec["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes), name


def test_every_pod_is_closed_but_for_what_is_named(manifests: list[Manifest]) -> None:
    """Default deny both ways chooses every pod; each other policy opens named ports only."""
    policies = [m for m in manifests if m["kind"] == "NetworkPolicy"]
    if not policies:
        return
    deny = named(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not deny.get("ingress")
    assert not deny.get("egress")
    for name, metadata, _ in pods(manifests):
        assert chooses(deny["podSelector"], metadata["labels"]), name
    for policy in policies:
        for way in ("ingress", "egress"):
            for rule in policy["spec"].get(way) or []:
                own = policy["metadata"]["name"].endswith("-test")
                assert rule.get("ports") or own, policy["metadata"]["name"]
                for peer in rule.get("to" if way == "egress" else "from", []):
                    if "ipBlock" in peer:
                        ipaddress.ip_network(peer["ipBlock"]["cidr"])


def test_policies_let_through_what_the_parts_need() -> None:
    """Clients to gateways, the daemon to their control port, Prometheus to its metrics; gateways to sites alone."""
    made = render(merged(BASE, MONITORED, {"rbac": {"siteNamespaces": ["shop"]}}))
    gateway, daemon = (named(made, "NetworkPolicy", f"hcctl-{part}")["spec"] for part in ("gateway", "daemon"))
    assert {port["port"] for rule in gateway["ingress"] for port in rule["ports"]} == {"https", "control"}
    assert "from" not in gateway["ingress"][0]
    (controller,) = gateway["ingress"][1]["from"]
    labels = {name: metadata["labels"] for name, metadata, _ in pods(made)}
    assert chooses(controller["podSelector"], labels["hcctl-daemon"])
    assert not chooses(controller["podSelector"], labels["hcctl-gateway"])
    (to_sites,) = gateway["egress"]
    assert to_sites["ports"] == [{"port": 8000}]
    names = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in to_sites["to"]]
    assert sorted(names) == ["serving", "shop"]
    assert {port["port"] for rule in daemon["egress"] for port in rule["ports"]} == {
        53,
        443,
        6443,
        "control",
        9090,
        8000,
    }


def test_a_volume_and_a_leader_exclude_each_other() -> None:
    """With SQLite on a volume the old daemon goes before the new one comes; without, several stand by."""
    alone = named(render(BASE), "Deployment", "-daemon")["spec"]
    assert (alone["replicas"], alone["strategy"]) == (1, {"type": "Recreate"})
    several = named(render(merged(BASE, VALUE_SETS["three daemons"])), "Deployment", "-daemon")["spec"]
    assert (several["replicas"], several["strategy"]) == (3, {"type": "RollingUpdate"})


def test_no_mount_is_a_folder_that_hcctl_keeps_for_itself() -> None:
    """A mount point belongs to root, and `private_dir` refuses what is not the user's own."""
    own = {"/project/.hcctl", "/tmp/hcctl", "/tmp/hcctl/gateway"}
    for name, _, spec in pods(render(BASE)):
        for container in spec["containers"]:
            assert not own & {mount["mountPath"] for mount in container.get("volumeMounts", [])}, name


def test_state_outlives_the_release() -> None:
    """`helm uninstall` leaves the claim."""
    claim = named(render(BASE), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_gateway_finishes_its_requests() -> None:
    """It has the time of its drain before it is killed, and a new one stands before an old one goes."""
    spec = named(render(merged(BASE, {"gateway": {"drainSeconds": 300}})), "Deployment", "-gateway")["spec"]
    pod = spec["template"]["spec"]
    asked_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + 300
    assert pod["terminationGracePeriodSeconds"] > asked_s
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "--drain-s=300" in pod["containers"][0]["args"]


def test_a_changed_project_starts_the_daemon_anew() -> None:
    """Its checksum is in the pod; the file in the ConfigMap is the project that was declared."""
    one, other = (render({"project": {"kind": "HybridProject", "name": name}}) for name in ("one", "other"))
    sums = [
        named(m, "Deployment", "-daemon")["spec"]["template"]["metadata"]["annotations"]["checksum/project"]
        for m in (one, other)
    ]
    assert sums[0] != sums[1]
    told = yaml.safe_load(named(one, "ConfigMap", "-project")["data"]["hcctl.yaml"])
    assert told == {"kind": "HybridProject", "name": "one"}


def test_where_only_rights_are_needed_nothing_runs() -> None:
    """A cloud cluster gets a role, and a binding for whom it names; no pod, no service, no secret."""
    made = render(merged(BASE, VALUE_SETS["cloud with a daemon elsewhere"]))
    assert {m["kind"] for m in made} == {"Role", "RoleBinding"}
    assert named(made, "RoleBinding")["subjects"] == [
        {"kind": "Group", "name": "hcctl:daemon", "apiGroup": "rbac.authorization.k8s.io"}
    ]
    assert {m["kind"] for m in render(merged(BASE, VALUE_SETS["cloud"]))} == {"Role"}


def test_the_rights_are_those_the_guide_names() -> None:
    """In a namespace of a site the daemon has what docs/guides/kubernetes-site.md tells, and no more."""
    made = render(merged(BASE, {"rbac": {"siteNamespaces": ["shop"]}}))
    assert rights(made, "shop") == set(told_rights("kubernetes-site.md", "## Permissions"))


def test_the_rights_over_state_are_those_the_guide_names() -> None:
    """In its own namespace the daemon has besides what docs/guides/clusters.md tells, and no more."""
    made = render(merged(BASE, {"rbac": {"siteNamespaces": ["shop"]}}))
    own, site = (rights(made, namespace) for namespace in ("serving", "shop"))
    assert own - site == set(told_rights("clusters.md", "## What each permission is for"))


def rights(manifests: list[Manifest], namespace: str) -> set[tuple[str, str]]:
    """(resource, verb) of the roles in a namespace."""
    return {
        (resource if not group else f"{resource}.{group}", verb)
        for role in manifests
        if role["kind"] == "Role" and role["metadata"]["namespace"] == namespace
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def told_rights(guide: str, heading: str) -> Iterator[tuple[str, str]]:
    """(resource, verb) of the table under a heading of a guide."""
    text = (CHARTS.parent / "docs/guides" / guide).read_text().partition(f"{heading}\n")[2].partition("\n## ")[0]
    for resources, verbs in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", text, re.MULTILINE):
        for resource in re.findall(r"`([^`]+)`", resources):
            yield from ((resource, verb.strip()) for verb in verbs.split(","))


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    """By the schema, before anything is rendered."""
    assert refused(merged(BASE, values)) != ""


def test_every_value_is_in_the_schema_and_used() -> None:
    """values.yaml and values.schema.json have the same fields; each is read by some template."""
    values = yaml.safe_load((CHARTS / "hcctl/values.yaml").read_text())
    schema = yaml.safe_load((CHARTS / "hcctl/values.schema.json").read_text())
    templates = "".join(path.read_text() for path in (CHARTS / "hcctl/templates").rglob("*") if path.is_file())
    for section, fields in values.items():
        known = set(schema["properties"][section].get("properties", {}))
        assert known == set(fields), section
        for field in fields:
            assert re.search(rf"\.{field}\b", templates), f"{section}.{field}"
