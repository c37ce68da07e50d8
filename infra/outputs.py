"""What a stack tells others: the contract with `hcctl site add --from-stack`.

Each output is one field here, and nothing else is exported. A reader that meets outputs of a newer program, or of
another one, gets one clear error instead of half a site.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT = 1
"""Raised when a field changes its meaning or goes."""


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PoolOutput(_Output):
    """One GPU pool, as the capacity code resizes it."""

    name: str = Field(description="Of the pool, and of the managed node group.")
    capacity: Literal["on_demand", "spot"]
    gpu: str = Field(description="Value of the node label hcctl.dev/gpu.")
    instance_types: list[str] = Field(min_length=1)
    min_nodes: int
    max_nodes: int


class StackOutputs(_Output):
    """All outputs of a stack."""

    format: Literal[1] = Field(description="Of this list of fields.")
    name: str = Field(description="Of the stack's configuration, and of the EKS cluster.")
    region: str
    account_id: str
    namespace: str = Field(description="Where daemon and services live.")
    cluster_arn: str
    cluster_endpoint: str = Field(description="Reachable from the VPC and the on-prem ranges only.")
    kubeconfig: str = Field(description="Of the cloud site, without secrets: the AWS CLI gets the token.")
    on_prem_kubeconfig: str | None = Field(description="Of the private site; secret. None: the stack has none.")
    pools: list[PoolOutput]
    daemon_role_arn: str
    replica_role_arn: str
    replica_service_account: str = Field(description="Of the pods that have that role; in the namespace.")
    model_bucket: str
    model_key_arn: str = Field(description="KMS key of the bucket.")
    repository_urls: dict[str, str] = Field(description="Image repositories, by the name of the configuration.")
    reclaim_queue_url: str = Field(description="SQS queue of spot notices.")
    vpc_id: str
    vpn_connection_id: str | None = Field(description="Its tunnels' keys are in the AWS console. None: no VPN.")


class UnknownOutputs(ValueError):
    """The outputs are not those of this program; the text names the first field."""


SECRET = frozenset({"on_prem_kubeconfig"})
"""Outputs that open a door; shown only when asked for."""


def read(found: Mapping[str, object]) -> StackOutputs:
    """The outputs of a stack, checked.

    Raises:
        UnknownOutputs: a field is missing, unknown or of another form.
    """
    try:
        return StackOutputs.model_validate(dict(found))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UnknownOutputs(f"output {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
