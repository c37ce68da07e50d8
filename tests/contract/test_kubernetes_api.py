"""One contract for the API double and for a real API server, where HCCTL_TEST_KUBECONFIG names one."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import HcctlError, SiteUnreachable
from serving.sites.kubernetes.answers import (
    CONFIG_MAPS,
    LEASES,
    PODS,
    SECRETS,
    Answer,
    Conflict,
    Forbidden,
    Resource,
    UnknownKind,
)
from serving.sites.kubernetes.api import APPLY, JSON_PATCH, KubernetesApi, connect
from serving.spec_artefacts import Artefacts
from serving.spec_kubernetes import KubernetesSpec
from tests.support.kubernetes_api import KubernetesDouble
from tests.support.kubernetes_objects import Objects

MERGE = "application/merge-patch+json"
TIMEOUT_S = 10.0


class Cluster:
    """A namespace to write in, with names that nobody else has."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.run = f"hcctl-test-{uuid.uuid4().hex[:10]}"

    def name(self, short: str) -> str:
        return f"{self.run}-{short}"

    def config(self, short: str, data: dict[str, str], **meta: Any) -> dict[str, Any]:
        labels = {"run": self.run} | meta.pop("labels", {})
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name(short), "labels": labels, **meta},
            "data": data,
        }

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        return self.api.request(method, path, body=body, timeout_s=TIMEOUT_S, **options)

    def create(self, short: str, data: dict[str, str], **meta: Any) -> dict[str, Any]:
        self.api.create(CONFIG_MAPS, self.namespace, self.config(short, data, **meta), timeout_s=TIMEOUT_S)
        return self.read(short)

    def read(self, short: str, resource: Resource = CONFIG_MAPS) -> dict[str, Any]:
        found = self.api.get(resource, self.namespace, self.name(short), timeout_s=TIMEOUT_S)
        assert found is not None
        return found

    def path(self, short: str = "", resource: Resource = CONFIG_MAPS, subresource: str = "") -> str:
        return resource.path(self.namespace, self.name(short) if short else "", subresource)

    def apply(self, wanted: dict[str, Any], manager: str, **query: str) -> Answer:
        path = CONFIG_MAPS.path(self.namespace, wanted["metadata"]["name"])
        return self.ask("PATCH", path, wanted, content_type=APPLY, query={"fieldManager": manager, **query})

    def watch(self, **query: str) -> list[dict[str, Any]]:
        asked = {"watch": "true", "timeoutSeconds": "1", "labelSelector": f"run={self.run}", **query}
        answer = self.ask("GET", self.path(), query=asked)
        assert answer.status == 200
        return [json.loads(line) for line in answer.body.splitlines()]


@pytest.fixture
def double() -> Iterator[KubernetesDouble]:
    with KubernetesDouble() as api:
        yield api


def spec(kubeconfig: str) -> KubernetesSpec:
    return KubernetesSpec(kubeconfig=kubeconfig, namespace="n", image="i:1", artefacts=Artefacts(claim="versions"))


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.cluster)])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    if request.param == "double":
        double: KubernetesDouble = request.getfixturevalue("double")
        yield Cluster(connect(spec(double.kubeconfig(tmp_path).name), tmp_path), "default")
        return
    api = connect(spec(os.environ["HCCTL_TEST_KUBECONFIG"]), tmp_path)
    real = Cluster(api, os.environ.get("HCCTL_TEST_NAMESPACE", "default"))
    yield real
    for resource in (CONFIG_MAPS, SECRETS, LEASES, PODS):
        for item in api.list(resource, real.namespace, {"labelSelector": f"run={real.run}"}, timeout_s=TIMEOUT_S):
            api.delete(resource, real.namespace, item["metadata"]["name"], timeout_s=TIMEOUT_S)


def test_an_object_is_made_once(cluster: Cluster) -> None:
    """What is created can be read; a second creation is a conflict; what is absent is None."""
    made = cluster.create("one", {"a": "1"})
    assert made["data"] == {"a": "1"}
    assert made["metadata"]["uid"]
    with pytest.raises(Conflict):
        cluster.create("one", {"a": "2"})
    assert cluster.api.get(CONFIG_MAPS, cluster.namespace, cluster.name("none"), timeout_s=TIMEOUT_S) is None


def test_a_stale_revision_is_refused(cluster: Cluster) -> None:
    """Of two writers that read the same revision, the second is told so and changes nothing."""
    first = cluster.create("one", {"a": "1"})
    answer = cluster.ask("PUT", cluster.path("one"), first | {"data": {"a": "2"}})
    assert answer.status == 200
    assert answer.data()["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    late = cluster.ask("PUT", cluster.path("one"), first | {"data": {"a": "3"}})
    assert (late.status, late.data()["reason"]) == (409, "Conflict")
    assert cluster.read("one")["data"] == {"a": "2"}


def test_a_write_that_changes_nothing_makes_no_revision(cluster: Cluster) -> None:
    """Applying or replacing what is there already leaves the revision alone: no watcher wakes for it."""
    cluster.apply(cluster.config("one", {"a": "1"}), "hcctl")
    before = cluster.read("one")
    cluster.apply(cluster.config("one", {"a": "1"}), "hcctl")
    cluster.ask("PUT", cluster.path("one"), before, query={"fieldManager": "hcctl"})
    assert cluster.read("one")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_merge_patch(cluster: Cluster) -> None:
    """Fields are set, null removes, others stay."""
    cluster.create("one", {"a": "1", "b": "2"})
    answer = cluster.ask("PATCH", cluster.path("one"), {"data": {"a": None, "c": "3"}}, content_type=MERGE)
    assert answer.status == 200
    assert cluster.read("one")["data"] == {"b": "2", "c": "3"}


def test_json_patch_is_all_or_nothing(cluster: Cluster) -> None:
    """A test that fails leaves the object as it was, and is a conflict."""
    cluster.create("one", {"a": "1"})
    test: dict[str, Any] = {"op": "test", "path": "/data/a", "value": "1"}
    change: dict[str, Any] = {"op": "replace", "path": "/data/a", "value": "2"}
    cluster.api.json_patch(CONFIG_MAPS, cluster.namespace, cluster.name("one"), [test, change], timeout_s=TIMEOUT_S)
    assert cluster.read("one")["data"] == {"a": "2"}
    more = {"op": "add", "path": "/data/b", "value": "3"}
    with pytest.raises(Conflict):
        cluster.api.json_patch(CONFIG_MAPS, cluster.namespace, cluster.name("one"), [more, test], timeout_s=TIMEOUT_S)
    assert cluster.read("one")["data"] == {"a": "2"}


def test_apply_makes_and_changes_only_its_own(cluster: Cluster) -> None:
    """Apply creates, sets its fields and removes those it no longer names; fields of others stay."""
    cluster.apply(cluster.config("one", {"mine": "1", "old": "1"}), "hcctl")
    cluster.ask(
        "PATCH", cluster.path("one"), {"data": {"theirs": "1"}}, content_type=MERGE, query={"fieldManager": "other"}
    )
    answer = cluster.apply(cluster.config("one", {"mine": "2"}), "hcctl")
    assert answer.status == 200
    assert cluster.read("one")["data"] == {"mine": "2", "theirs": "1"}


def test_apply_never_takes_what_another_owns(cluster: Cluster) -> None:
    """Another value for another's field is a conflict that names manager and field; force takes it over."""
    cluster.apply(cluster.config("one", {"a": "1"}), "gitops")
    refused = cluster.apply(cluster.config("one", {"a": "2"}), "hcctl")
    assert refused.status == 409
    (cause,) = refused.data()["details"]["causes"]
    assert cause["field"] == ".data.a"
    assert "gitops" in cause["message"]
    assert cluster.read("one")["data"] == {"a": "1"}
    assert cluster.apply(cluster.config("one", {"a": "2"}), "hcctl", force="true").status == 200
    assert cluster.apply(cluster.config("one", {"a": "3"}), "gitops").status == 409


def test_the_same_value_is_shared(cluster: Cluster) -> None:
    """Two that apply the same value own it together, and it stays until both let go."""
    cluster.apply(cluster.config("one", {"a": "1"}), "hcctl")
    assert cluster.apply(cluster.config("one", {"a": "1"}), "gitops").status == 200
    cluster.apply(cluster.config("one", {}), "hcctl")
    assert cluster.read("one")["data"] == {"a": "1"}
    cluster.apply(cluster.config("one", {}), "gitops")
    assert cluster.read("one").get("data") in (None, {})


def test_owners_are_told(cluster: Cluster) -> None:
    """managedFields name who owns which field, by apply or by update."""
    cluster.apply(cluster.config("one", {"mine": "1"}), "hcctl")
    cluster.ask(
        "PATCH", cluster.path("one"), {"data": {"theirs": "1"}}, content_type=MERGE, query={"fieldManager": "other"}
    )
    owners = {entry["manager"]: entry for entry in cluster.read("one")["metadata"]["managedFields"]}
    assert owners["hcctl"]["operation"] == "Apply"
    assert "f:mine" in owners["hcctl"]["fieldsV1"]["f:data"]
    assert owners["other"]["operation"] == "Update"
    assert owners["other"]["fieldsV1"]["f:data"] == {"f:theirs": {}}


def test_our_own_conflict_is_in_words(cluster: Cluster) -> None:
    """The client's apply names the other manager and the field."""
    cluster.apply(cluster.config("one", {"a": "1"}), "gitops")
    with pytest.raises(Conflict) as caught:
        cluster.api.apply(CONFIG_MAPS, cluster.namespace, cluster.config("one", {"a": "2"}), timeout_s=TIMEOUT_S)
    assert "gitops" in caught.value.why
    assert ".data.a" in caught.value.why


def test_labels_select(cluster: Cluster) -> None:
    """Equality, sets, existence and their opposites."""
    cluster.create("a", {}, labels={"tier": "one", "extra": "x"})
    cluster.create("b", {}, labels={"tier": "two"})

    def chosen(selector: str) -> list[str]:
        query = {"labelSelector": f"run={cluster.run},{selector}"}
        items = cluster.api.list(CONFIG_MAPS, cluster.namespace, query, timeout_s=TIMEOUT_S)
        return sorted(item["metadata"]["name"].rpartition("-")[2] for item in items)

    assert chosen("tier=one") == ["a"]
    assert chosen("tier!=one") == ["b"]
    assert chosen("tier in (one, two)") == ["a", "b"]
    assert chosen("tier notin (one)") == ["b"]
    assert chosen("extra") == ["a"]
    assert chosen("!extra") == ["b"]


def test_fields_select(cluster: Cluster) -> None:
    """An object can be listed by its name."""
    cluster.create("a", {})
    cluster.create("b", {})
    query = {"fieldSelector": f"metadata.name={cluster.name('b')}"}
    (item,) = cluster.api.list(CONFIG_MAPS, cluster.namespace, query, timeout_s=TIMEOUT_S)
    assert item["metadata"]["name"] == cluster.name("b")


def test_delete_waits_for_finalizers(cluster: Cluster) -> None:
    """An object with a finalizer is marked, and goes with the last one; deleting what is gone is nothing."""
    cluster.create("one", {}, finalizers=["example.org/hold"])
    cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S)
    assert cluster.read("one")["metadata"]["deletionTimestamp"]
    cluster.ask("PATCH", cluster.path("one"), {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert cluster.api.get(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S) is None
    cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S)


def test_secrets_are_encoded(cluster: Cluster) -> None:
    """Text goes in, base64 comes out."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": cluster.name("one"), "labels": {"run": cluster.run}},
        "stringData": {"key": "text"},
    }
    cluster.api.create(SECRETS, cluster.namespace, secret, timeout_s=TIMEOUT_S)
    found = cluster.read("one", SECRETS)
    assert found["data"] == {"key": "dGV4dA=="}
    assert "stringData" not in found


def test_status_is_apart(cluster: Cluster) -> None:
    """Who writes the object does not write its status, and the other way round."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": cluster.name("one"), "labels": {"run": cluster.run}},
        "spec": {
            "schedulerName": "nobody",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
        "status": {"message": "from create"},
    }
    cluster.api.create(PODS, cluster.namespace, pod, timeout_s=TIMEOUT_S)
    assert cluster.read("one", PODS).get("status", {}).get("message") is None
    labels = {"metadata": {"labels": {"more": "x"}}, "status": {"message": "from main"}}
    cluster.ask("PATCH", cluster.path("one", PODS), labels, content_type=MERGE)
    assert cluster.read("one", PODS).get("status", {}).get("message") is None
    change = {"metadata": {"labels": {"more": "y"}}, "status": {"message": "from status"}}
    answer = cluster.ask("PATCH", cluster.path("one", PODS, "status"), change, content_type=MERGE)
    assert answer.status == 200
    found = cluster.read("one", PODS)
    assert found["status"]["message"] == "from status"
    assert found["metadata"]["labels"]["run"] == cluster.run


def test_a_lease_is_taken_by_one(cluster: Cluster) -> None:
    """Of two that saw the same free lease, one takes it."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": cluster.name("one"), "labels": {"run": cluster.run}},
        "spec": {"leaseDurationSeconds": 15},
    }
    cluster.api.create(LEASES, cluster.namespace, lease, timeout_s=TIMEOUT_S)
    free = cluster.read("one", LEASES)
    answers = [
        cluster.ask("PUT", cluster.path("one", LEASES), free | {"spec": free["spec"] | {"holderIdentity": who}}).status
        for who in ("a", "b")
    ]
    assert answers == [200, 409]
    assert cluster.read("one", LEASES)["spec"]["holderIdentity"] == "a"


def test_a_watch_tells_what_changes(cluster: Cluster) -> None:
    """From the revision of a list on: added, modified, deleted, in order; nothing of other labels."""
    before = cluster.ask("GET", cluster.path(), query={"labelSelector": f"run={cluster.run}"}).data()
    cluster.create("one", {"a": "1"})
    cluster.ask("PATCH", cluster.path("one"), {"data": {"a": "2"}}, content_type=MERGE)
    cluster.create("other", {}, labels={"run": "another"})
    cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S)
    cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("other"), timeout_s=TIMEOUT_S)
    events = cluster.watch(resourceVersion=before["metadata"]["resourceVersion"])
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert events[1]["object"]["data"] == {"a": "2"}


def test_a_watch_in_which_nothing_happens(cluster: Cluster) -> None:
    """Nothing comes but bookmarks, and these are no promise: a real server sends at most one a minute."""
    cluster.create("one", {})
    before = cluster.ask("GET", cluster.path()).data()["metadata"]["resourceVersion"]
    events = cluster.watch(resourceVersion=before, allowWatchBookmarks="true")
    assert {event["type"] for event in events} <= {"BOOKMARK"}
    assert all(int(event["object"]["metadata"]["resourceVersion"]) >= int(before) for event in events)


def test_the_client_follows_a_watch(cluster: Cluster) -> None:
    """Events come one by one as objects, and the iterator ends with the server's time."""
    query = {"labelSelector": f"run={cluster.run}"}
    _, version = cluster.api.list_at(CONFIG_MAPS, cluster.namespace, query, timeout_s=TIMEOUT_S)
    cluster.create("one", {"a": "1"})
    events = list(cluster.api.watch(CONFIG_MAPS, cluster.namespace, query, since=version, lasts_s=2))
    assert [event["type"] for event in events][:1] == ["ADDED"]
    assert events[0]["object"]["data"] == {"a": "1"}


def test_a_replacement_names_the_version_it_replaces(cluster: Cluster) -> None:
    """The client's replace is refused at another version, and where the object is gone."""
    first = cluster.create("one", {"a": "1"})
    second = cluster.api.replace(CONFIG_MAPS, cluster.namespace, first | {"data": {"a": "2"}}, timeout_s=TIMEOUT_S)
    assert second["data"] == {"a": "2"}
    assert second["metadata"]["namespace"] == cluster.namespace
    with pytest.raises(Conflict):
        cluster.api.replace(CONFIG_MAPS, cluster.namespace, first, timeout_s=TIMEOUT_S)
    cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S)
    with pytest.raises(Conflict):
        cluster.api.replace(CONFIG_MAPS, cluster.namespace, second, timeout_s=TIMEOUT_S)


def test_a_replacement_needs_no_namespace(cluster: Cluster) -> None:
    """An object without a namespace is in that of the URL, before and after."""
    first = cluster.create("one", {"a": "1"})
    meta = {key: value for key, value in first["metadata"].items() if key in ("name", "labels", "resourceVersion")}
    made = first | {"metadata": meta, "data": {"a": "2"}}
    cluster.api.replace(CONFIG_MAPS, cluster.namespace, made, timeout_s=TIMEOUT_S)
    assert cluster.read("one")["metadata"]["namespace"] == cluster.namespace


def test_a_deletion_may_name_a_version(cluster: Cluster) -> None:
    """What was changed meanwhile is not deleted."""
    first = cluster.create("one", {"a": "1"})["metadata"]["resourceVersion"]
    cluster.ask("PATCH", cluster.path("one"), {"data": {"a": "2"}}, content_type=MERGE)
    with pytest.raises(Conflict):
        cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S, version=first)
    now = cluster.read("one")["metadata"]["resourceVersion"]
    cluster.api.delete(CONFIG_MAPS, cluster.namespace, cluster.name("one"), timeout_s=TIMEOUT_S, version=now)


def test_metadata_alone(cluster: Cluster) -> None:
    """Where only the metadata is asked for, nothing else comes; a list of none is empty."""
    query = {"labelSelector": f"run={cluster.run}"}
    none, _ = cluster.api.list_at(CONFIG_MAPS, cluster.namespace, query, timeout_s=TIMEOUT_S, metadata_only=True)
    assert none == []
    made = cluster.create("one", {"a": "1"})
    name = cluster.name("one")
    found = cluster.api.get(CONFIG_MAPS, cluster.namespace, name, timeout_s=TIMEOUT_S, metadata_only=True)
    assert found is not None
    assert "data" not in found
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    (item,), _ = cluster.api.list_at(CONFIG_MAPS, cluster.namespace, query, timeout_s=TIMEOUT_S, metadata_only=True)
    assert (item["metadata"]["name"], "data" in item) == (name, False)


def test_what_is_immutable_stays(cluster: Cluster) -> None:
    """The content of an immutable ConfigMap cannot be changed; it can be deleted."""
    made = cluster.config("one", {"a": "1"}) | {"immutable": True}
    stored = cluster.api.create(CONFIG_MAPS, cluster.namespace, made, timeout_s=TIMEOUT_S)
    answer = cluster.ask("PUT", cluster.path("one"), stored | {"data": {"a": "2"}})
    assert (answer.status, answer.data()["reason"]) == (422, "Invalid")


def test_a_config_map_has_a_bound(cluster: Cluster) -> None:
    """1 MiB of data is taken, a byte more is not."""
    answer = cluster.ask("POST", cluster.path(), cluster.config("large", {"a": "x" * (1 << 20)}))
    assert answer.status == 201
    answer = cluster.ask("POST", cluster.path(), cluster.config("larger", {"a": "x" * ((1 << 20) + 1)}))
    assert answer.status == 422


def test_an_unknown_kind_is_not_an_absent_object(cluster: Cluster) -> None:
    """A CRD that is not installed is an error of its own, never "there is none"."""
    nothing = Resource("example.org", "v1", "things")
    with pytest.raises(UnknownKind, match=r"things\.example\.org"):
        cluster.api.get(nothing, cluster.namespace, "x", timeout_s=TIMEOUT_S)
    with pytest.raises(UnknownKind):
        cluster.api.list(nothing, cluster.namespace, {}, timeout_s=TIMEOUT_S)


def test_a_name_is_needed(cluster: Cluster) -> None:
    """What cannot be stored is refused, not out of reach."""
    nameless = cluster.config("one", {})
    nameless["metadata"]["name"] = ""
    with pytest.raises(HcctlError) as caught:
        cluster.api.create(CONFIG_MAPS, cluster.namespace, nameless, timeout_s=TIMEOUT_S)
    assert not isinstance(caught.value, SiteUnreachable)


# What a real server cannot be asked to do.


@pytest.fixture
def api(double: KubernetesDouble, tmp_path: Path) -> KubernetesApi:
    return connect(spec(double.kubeconfig(tmp_path).name), tmp_path)


def test_a_watch_from_too_long_ago_is_410(tmp_path: Path) -> None:
    """A revision that is no longer known ends the watch with an error that says so."""
    with KubernetesDouble(objects=Objects(history=2)) as double:
        cluster = Cluster(connect(spec(double.kubeconfig(tmp_path).name), tmp_path), "default")
        for short in ("a", "b", "c", "d"):
            cluster.create(short, {})
        (event,) = cluster.watch(resourceVersion="1")
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_a_bookmark_says_from_where_to_go_on(double: KubernetesDouble, api: KubernetesApi) -> None:
    """The double sends one at the end of each watch that allows them, at its present revision."""
    Cluster(api, "default").create("one", {})
    events = list(api.watch(CONFIG_MAPS, "default", {"labelSelector": "run=none"}, since="1", lasts_s=1))
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert events[0]["object"]["metadata"]["resourceVersion"] == str(double.objects.revision)


def test_a_missing_right_is_named(double: KubernetesDouble, api: KubernetesApi) -> None:
    """Verb and resource, in words that say what to grant."""
    double.denied.add(("list", "configmaps"))
    with pytest.raises(Forbidden, match="may not list configmaps in namespace default"):
        api.list(CONFIG_MAPS, "default", {}, timeout_s=TIMEOUT_S)
    assert api.get(CONFIG_MAPS, "default", "x", timeout_s=TIMEOUT_S) is None


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503, 504])
def test_a_busy_server_is_out_of_reach(double: KubernetesDouble, api: KubernetesApi, status: int) -> None:
    """An answer that says nothing about the object leaves it unknown; the next one is asked anew."""
    double.fail(status, verb="get")
    with pytest.raises(SiteUnreachable, match=str(status)):
        api.get(CONFIG_MAPS, "default", "x", timeout_s=TIMEOUT_S)
    assert api.get(CONFIG_MAPS, "default", "x", timeout_s=TIMEOUT_S) is None


def test_silence_ends_in_time(double: KubernetesDouble, api: KubernetesApi) -> None:
    """A server that accepts and says nothing is out of reach after the time that was given."""
    double.fail(0)
    with pytest.raises(SiteUnreachable, match="timed out"):
        api.get(CONFIG_MAPS, "default", "x", timeout_s=0.2)


def test_lists_may_be_stale(double: KubernetesDouble, api: KubernetesApi) -> None:
    """The double can show the past, as a cache behind a real server does."""
    cluster = Cluster(api, "default")
    cluster.create("one", {})
    with double.stale():
        api.delete(CONFIG_MAPS, "default", cluster.name("one"), timeout_s=TIMEOUT_S)
        assert len(api.list(CONFIG_MAPS, "default", {}, timeout_s=TIMEOUT_S)) == 1
    assert api.list(CONFIG_MAPS, "default", {}, timeout_s=TIMEOUT_S) == []


def test_json_patch_speaks_of_lists(double: KubernetesDouble, api: KubernetesApi) -> None:
    """Items are addressed by number, and added at the end by a hyphen."""
    double.objects.create(double.kind("rayclusters"), "default", {"metadata": {"name": "x"}, "spec": {"a": [1]}}, "m")
    path = Resource("ray.io", "v1", "rayclusters").path("default", "x")
    operations = [{"op": "add", "path": "/spec/a/-", "value": 2}, {"op": "replace", "path": "/spec/a/0", "value": 3}]
    answer = api.request("PATCH", path, body=operations, content_type=JSON_PATCH, timeout_s=TIMEOUT_S)
    assert answer.data()["spec"]["a"] == [3, 2]
    assert answer.data()["metadata"]["generation"] == 2


def test_a_pod_that_has_not_begun_has_no_log(cluster: Cluster) -> None:
    """Neither one that is not there nor one without a node is an error."""
    query = {"timestamps": "true", "tailLines": "5"}
    assert cluster.api.log(cluster.namespace, cluster.name("none"), query, timeout_s=TIMEOUT_S) is None
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": cluster.name("one"), "labels": {"run": cluster.run}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], "nodeSelector": {"no": "node"}},
    }
    cluster.api.create(PODS, cluster.namespace, made, timeout_s=TIMEOUT_S)
    assert cluster.api.log(cluster.namespace, cluster.name("one"), query, timeout_s=TIMEOUT_S) is None
