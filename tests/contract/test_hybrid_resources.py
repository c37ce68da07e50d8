"""HybridService and HybridRelease in an API server: the double, and a real one where hcctl's CRDs are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import HcctlError
from serving.kubernetes_state.resources import service_body, service_revision, service_spec
from serving.sites.kubernetes.answers import HYBRID_SERVICES
from serving.spec import HybridService
from tests.support.clusters import Cluster, double_cluster, real_cluster
from tests.support.declared import service

TIMEOUT_S = 10.0


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.cluster)])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) if request.param == "double" else real_cluster(tmp_path) as found:
        yield found


def object_of(spec: HybridService, **more: Any) -> dict[str, Any]:
    body = {"spec": spec.model_dump(mode="json", by_alias=True), "wanted": None, **more}
    meta = {"name": spec.name}
    return {"apiVersion": "hcctl.dev/v1", "kind": "HybridService", "metadata": meta, "spec": service_spec(body)}


def create(cluster: Cluster, made: dict[str, Any]) -> dict[str, Any]:
    return cluster.client.create(HYBRID_SERVICES, cluster.namespace, made, timeout_s=TIMEOUT_S)


def test_a_full_spec_comes_back_equal(cluster: Cluster) -> None:
    """All fields, unset ones included, are those that were declared; free forms keep what is in them."""
    spec = service(model={"config": {"deep": {"list": [1, 2.5, None, "x"], "none": None}, "n": 3}})
    stored = create(cluster, object_of(spec))
    assert HybridService.model_validate(service_body(stored)["spec"]) == spec
    assert service_body(stored)["spec"]["model"]["config"] == spec.model.config
    assert "relief" not in stored["spec"], "what is not set is left out: a null might be refused"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("surprise",), 1, id="unknown"),
        pytest.param(("model", "surprise"), 1, id="unknown-below"),
        pytest.param(("slo", "latency_p99_s"), 0, id="not-above-0"),
        pytest.param(("slo", "latency_p99_s"), "1", id="text-for-number"),
        pytest.param(("data_policy",), "none", id="not-one-of"),
        pytest.param(("model", "import_path"), "no colon", id="pattern"),
        pytest.param(("routing", "rules"), [], id="too-few"),
        pytest.param(("slo",), None, id="missing"),
    ],
)
def test_what_the_schema_forbids_is_refused(cluster: Cluster, path: tuple[str, ...], value: object) -> None:
    """The API server refuses it with a reason, for hcctl and for kubectl alike."""
    made = object_of(service())
    here = made["spec"]
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    with pytest.raises(HcctlError):
        create(cluster, made)


def test_status_is_written_apart_and_makes_no_revision(cluster: Cluster) -> None:
    """A status does not change the spec's generation, and a spec does not change the status."""
    stored = create(cluster, object_of(service()))
    status = {"version": "a", "conditions": []}
    told = cluster.client.replace(
        HYBRID_SERVICES, cluster.namespace, stored | {"status": status}, timeout_s=TIMEOUT_S, subresource="status"
    )
    assert service_revision(told) == service_revision(stored) == 1
    changed = told | {"spec": told["spec"] | {"data_policy": "private_only"}, "status": {}}
    again = cluster.client.replace(HYBRID_SERVICES, cluster.namespace, changed, timeout_s=TIMEOUT_S)
    assert again["status"] == status
    assert service_revision(again) == 2


def test_deletion_is_a_revision(cluster: Cluster) -> None:
    """An object that a finalizer keeps says that it is to go."""
    made = object_of(service())
    made["metadata"]["finalizers"] = ["hcctl.dev/drain"]
    create(cluster, made)
    cluster.client.delete(HYBRID_SERVICES, cluster.namespace, "shop", timeout_s=TIMEOUT_S)
    found = cluster.client.get(HYBRID_SERVICES, cluster.namespace, "shop", timeout_s=TIMEOUT_S)
    assert found is not None
    assert service_body(found)["remove"] is True
    assert service_revision(found) == 2
