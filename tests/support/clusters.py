"""A cluster for tests: the double, or a namespace of a real one that HCCTL_TEST_KUBECONFIG names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.sites.kubernetes.answers import Resource
from serving.sites.kubernetes.api import KubernetesApi, connect
from serving.spec_artefacts import Artefacts
from serving.spec_kubernetes import KubernetesSpec
from tests.support.kubernetes_api import KubernetesDouble

NAMESPACES = "/api/v1/namespaces"
TIMEOUT_S = 30.0


@dataclass
class Cluster:
    """Access to a namespace that is empty."""

    client: KubernetesApi
    namespace: str
    double: KubernetesDouble | None = None


def access(kubeconfig: str, folder: Path, agent: str = "hcctl") -> KubernetesApi:
    """A client for a kubeconfig."""
    spec = KubernetesSpec(kubeconfig=kubeconfig, namespace="n", image="i:1", artefacts=Artefacts(claim="versions"))
    return connect(spec, folder, agent=agent)


@contextmanager
def double_cluster(folder: Path) -> Iterator[Cluster]:
    """A new double."""
    with KubernetesDouble() as double:
        yield Cluster(access(double.kubeconfig(folder).name, folder), "default", double)


@contextmanager
def real_cluster(folder: Path) -> Iterator[Cluster]:
    """A new namespace of the real cluster, where hcctl's CRDs are installed; it is deleted afterwards."""
    api = access(os.environ["HCCTL_TEST_KUBECONFIG"], folder)
    name = f"hcctl-test-{uuid.uuid4().hex[:10]}"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    answer = api.request("POST", NAMESPACES, body=made, timeout_s=TIMEOUT_S)
    if answer.status != 201:
        raise RuntimeError(f"the cluster makes no namespace: {answer.status} {answer.body[:300]!r}")
    try:
        yield Cluster(api, name)
    finally:
        for plural in ("hybridservices", "hybridreleases"):
            _free(api, Resource("hcctl.dev", "v1", plural), name)
        api.request("DELETE", f"{NAMESPACES}/{name}", timeout_s=TIMEOUT_S)


def _free(api: KubernetesApi, resource: Resource, namespace: str) -> None:
    """Take the finalizers off, so that the namespace can go."""
    for item in api.list(resource, namespace, {}, timeout_s=TIMEOUT_S):
        item["metadata"]["finalizers"] = []
        api.replace(resource, namespace, item, timeout_s=TIMEOUT_S)
