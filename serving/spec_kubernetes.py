"""The part of hcctl.yaml that is about Kubernetes: where a site's Ray cluster runs, and on which nodes."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.declared import KubernetesName, Model
from serving.spec_artefacts import Artefacts

_PREFIX, _NAME = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)", r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = rf"^{_PREFIX}?{_NAME}$"
_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
LabelKey = Annotated[str, StringConstraints(pattern=_KEY)]
"""A key of a label or taint, with or without a prefix."""
ResourceName = Annotated[str, StringConstraints(pattern=rf"^{_PREFIX}{_NAME}$")]
"""The name of a device that nodes offer; one without a prefix would be refused in every pod."""
LabelValue = Annotated[str, StringConstraints(pattern=_VALUE)]
ImageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._:/@-]{0,500}$")]


class Taint(Model):
    """A taint of nodes that pods of hcctl may run on all the same."""

    key: LabelKey
    value: LabelValue | None = Field(default=None, description="Unset: whatever its value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="What the taint does to other pods."
    )


class NodeSelection(Model):
    """Which nodes of a Kubernetes cluster may be taken."""

    labels: dict[str, str] = Field(
        default_factory=dict, max_length=16, description="Labels that a node has to have, each with its value."
    )
    taints: list[Taint] = Field(
        default_factory=list, max_length=16, description="Taints of the nodes that are no obstacle."
    )
    zones: list[LabelValue] = Field(
        default_factory=list, max_length=16, description="Zones a node may be in (topology.kubernetes.io/zone)."
    )

    @model_validator(mode="after")
    def _labels_are_labels(self) -> Self:
        for key, value in self.labels.items():
            if not re.fullmatch(_KEY, key) or not re.fullmatch(_VALUE, value):
                raise ValueError(
                    f"labels hold {key[:60]!r}: {value[:60]!r}, which no node can have; use letters, digits and . _ -, "
                    "at most 63 of them, and a prefix with / before the key if it has one"
                )
        return self


class WorkerSpec(NodeSelection):
    """On a Kubernetes site: the worker pod that takes a node of this pool, and which nodes those are."""

    cpus: float = Field(gt=0, le=1_024, description="Processors of the pod. Leave some of the node's to Kubernetes.")
    memory_gib: float = Field(gt=0, le=65_536, description="Memory of the pod. Leave some of the node's to Kubernetes.")
    gpu_resource: ResourceName = Field(
        default="nvidia.com/gpu", description="Name of the resource that `gpus_per_node` is asked of."
    )


class HeadSpec(NodeSelection):
    """The pod of Ray's head: control, dashboard and the proxy that takes the requests. Runs no replica."""

    cpus: float = Field(default=2.0, gt=0, le=1_024, description="Processors of the pod.")
    memory_gib: float = Field(default=8.0, gt=0, le=65_536, description="Memory of the pod.")


class SiteAddress(Model):
    """Where the gateway reaches the site's proxy."""

    host: str = Field(max_length=45, description="IP address, e.g. of an internal load balancer.")
    port: int = Field(default=8_000, ge=1, le=65_535)

    @model_validator(mode="after")
    def _host_is_an_address(self) -> Self:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise ValueError("host is not an IP address; give the address of the load balancer or node") from None
        if "%" in self.host:
            raise ValueError("host has a zone; give a plain address")
        return self


class Access(Model):
    """How an API server is reached, and as whom."""

    kubeconfig: str | None = Field(
        default=None,
        min_length=1,
        max_length=4_096,
        description="Path, from the project's folder. Unset: $KUBECONFIG, ~/.kube/config, or inside a cluster its own.",
    )
    context: str | None = Field(
        default=None, min_length=1, max_length=253, description="Of the kubeconfig; unset: its current one."
    )


class StateSpec(Access):
    """State in a Kubernetes namespace, for daemons that stand by for each other."""

    namespace: KubernetesName = Field(description="Of this project alone, with hcctl's CRDs in the cluster.")


class KubernetesSpec(Access):
    """Where a site of kind `kubernetes` runs: one RayService of KubeRay in one namespace."""

    namespace: KubernetesName = Field(description="It must exist; hcctl makes none.")
    image: ImageName = Field(
        description="With Ray of the same version as hcctl, hcctl itself and the model's code; by tag or digest."
    )
    pre_pull: list[ImageName] = Field(
        default_factory=list,
        max_length=8,
        description="Images that every node of the pools has before a pod asks, beside `image` itself: the next one. "
        "Kept there by a DaemonSet while the site is open. Empty: nothing is pulled beforehand.",
    )
    pull_secrets: list[KubernetesName] = Field(
        default_factory=list, max_length=16, description="Secrets of the namespace that open the image's registry."
    )
    run_as_user: int = Field(default=1_000, ge=1, le=2_147_483_647, description="User id in the pods; 0 is refused.")
    service_account: KubernetesName | None = Field(
        default=None,
        description="Of the pods, e.g. one whose role may read the bucket. It must exist; KubeRay lets it scale "
        "the site's own pods. Unset: the namespace's default one, and for the head one that KubeRay makes.",
    )
    artefacts: Artefacts = Field(description="Where pods find the versions: on a volume, or in a bucket.")
    address: SiteAddress | None = Field(
        default=None,
        description="Where the gateway reaches the site. Unset: the head pod's own address, which a gateway in the "
        "cluster or routed to its pods reaches.",
    )
    head: HeadSpec = Field(default_factory=HeadSpec)
    upgrade: Literal["none", "new_cluster"] = Field(
        default="none",
        description="When image or nodes change. none: at the next opening. new_cluster: KubeRay starts a second "
        "cluster and switches, which needs room for both; cloud sites only.",
    )

    @model_validator(mode="after")
    def _secrets_are_named_once(self) -> Self:
        twice = [name for name in self.pull_secrets if self.pull_secrets.count(name) > 1]
        if twice:
            raise ValueError(f"pull_secrets has {twice[0]} twice; keep one")
        return self

    @model_validator(mode="after")
    def _image_is_a_version(self) -> Self:
        named, _, digest = self.image.partition("@")
        tag = named.rpartition("/")[2].partition(":")[2]
        if digest or (tag and tag != "latest"):
            return self
        raise ValueError(
            "image names no version; add a tag other than latest, or a digest, so that all pods run the same"
        )
