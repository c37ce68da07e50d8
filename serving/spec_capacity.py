"""The part of hcctl.yaml that says who adds nodes to a Kubernetes site: hcctl itself, through AWS."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.declared import Model, Name

AwsName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
"""Of a stack, an EKS cluster, a node group or an Auto Scaling group."""
RegionName = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]$")]
QueueUrl = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]{1,100}/[0-9]{12}/[A-Za-z0-9_-]{1,80}$")]


class CapacitySpec(Model):
    """Machines of AWS that hcctl launches and gives back: one group for each pool of the site."""

    kind: Literal["eks", "auto_scaling"] = Field(
        description="eks: managed node groups. auto_scaling: Auto Scaling groups whose machines join the cluster."
    )
    region: RegionName = Field(description="Of the groups; credentials come from the usual places.")
    cluster: AwsName | None = Field(default=None, description="Name of the EKS cluster; of kind eks, and needed there.")
    stack: AwsName = Field(
        description="Value of the tag hcctl:stack on every machine; only machines with it are ever ended."
    )
    groups: dict[Name, AwsName] = Field(
        default_factory=dict,
        max_length=16,
        description="Group of a pool, which is also the tag hcctl:pool of its machines; by default the pool's name.",
    )
    reclaim_queue_url: QueueUrl | None = Field(
        default=None, description="SQS queue of spot notices. Unset: nobody says that a machine will be taken."
    )

    @model_validator(mode="after")
    def _cluster_is_of_eks(self) -> Self:
        if self.kind == "eks" and self.cluster is None:
            raise ValueError("cluster is missing; name the EKS cluster of the node groups")
        if self.kind == "auto_scaling" and self.cluster is not None:
            raise ValueError("cluster is for kind eks; leave it out")
        return self
