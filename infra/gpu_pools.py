"""The rented GPUs: one managed node group per pool of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.node_pool import NodePool, NodePoolArgs
from infra.stack_config import GpuPoolConfig

GPU_IMAGE = "AL2023_x86_64_NVIDIA"
"""Amazon Linux with the NVIDIA driver and container toolkit: nothing is compiled while a burst waits."""
GPU_TAINT = {"nvidia.com/gpu": "present"}
"""Keeps off what asks for no GPU; the GPU operator and the pods of hcctl tolerate it."""


@dataclass(frozen=True)
class GpuPoolsArgs:
    """What the pools are made from."""

    pools: Sequence[GpuPoolConfig]
    cluster_name: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    tags: Mapping[str, str]


class GpuPools(pulumi.ComponentResource):
    """GPU pools, on-demand and spot, at nought until hcctl rents."""

    pools: dict[str, NodePool]
    """By the name of the configuration, which is also the name of the node group."""

    def __init__(self, name: str, args: GpuPoolsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:GpuPools", name, None, opts)
        self.pools = {
            pool.name: NodePool(
                f"{name}-{pool.name}",
                NodePoolArgs(
                    cluster_name=args.cluster_name,
                    node_group_name=pool.name,
                    node_role_arn=args.node_role_arn,
                    subnet_ids=args.subnet_ids,
                    instance_types=pool.instance_types,
                    image_type=GPU_IMAGE,
                    spot=pool.capacity == "spot",
                    min_nodes=pool.min_nodes,
                    max_nodes=pool.max_nodes,
                    start_nodes=pool.start_nodes,
                    volume_gb=pool.volume_gb,
                    tags=args.tags,
                    labels={
                        "hcctl.dev/pool": pool.name,
                        "hcctl.dev/gpu": pool.gpu,
                        "hcctl.dev/capacity": pool.capacity.replace("_", "-"),
                    },
                    taints=GPU_TAINT,
                ),
                pulumi.ResourceOptions(parent=self),
            )
            for pool in args.pools
        }
        self.register_outputs({})
