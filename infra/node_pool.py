"""One managed node group with its launch template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from infra.tagging import POOL_TAG

UPDATED_TOGETHER_PERCENT = 33
"""Share of a pool's nodes that EKS replaces at the same time when image or version change."""


@dataclass(frozen=True)
class NodePoolArgs:
    """What a pool is made from."""

    cluster_name: pulumi.Input[str]
    node_group_name: str
    """Fixed, not generated: the daemon's permission and `hcctl.yaml` name it."""
    node_role_arn: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    instance_types: Sequence[str]
    image_type: str
    """EKS's name of the machine image, `AL2023_x86_64_NVIDIA`."""
    spot: bool
    min_nodes: int
    max_nodes: int
    start_nodes: int
    volume_gb: int
    tags: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Mapping[str, str] = field(default_factory=dict)
    """Key to value; the effect is NO_SCHEDULE."""
    fixed_size: bool = False
    """False: hcctl owns the number of nodes, Pulumi never sets it again."""


class NodePool(pulumi.ComponentResource):
    """Machines of one kind: encrypted volumes, IMDSv2 only and not from pods, tagged down to machine and volume."""

    node_group: aws.eks.NodeGroup

    def __init__(self, name: str, args: NodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:NodePool", name, None, opts)
        tags = {**args.tags, "Name": name, POOL_TAG: args.node_group_name}
        template = aws.ec2.LaunchTemplate(
            name,
            update_default_version=True,
            # The key is AWS's own for EBS: with one of ours, its policy must name the service-linked role of Auto
            # Scaling, which a new account does not have yet.
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name="/dev/xvda",
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        encrypted="true", volume_size=args.volume_gb, volume_type="gp3", delete_on_termination="true"
                    ),
                )
            ],
            # One hop: a pod cannot reach the node's credentials.
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            tag_specifications=[
                aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags)
                for kind in ("instance", "volume", "network-interface")
            ],
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.node_group = aws.eks.NodeGroup(
            name,
            cluster_name=args.cluster_name,
            node_group_name=args.node_group_name,
            node_role_arn=args.node_role_arn,
            subnet_ids=list(args.subnet_ids),
            ami_type=args.image_type,
            capacity_type="SPOT" if args.spot else "ON_DEMAND",
            instance_types=list(args.instance_types),
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=args.min_nodes, max_size=args.max_nodes, desired_size=args.start_nodes
            ),
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable_percentage=UPDATED_TOGETHER_PERCENT),
            labels=dict(args.labels),
            taints=[
                aws.eks.NodeGroupTaintArgs(key=key, value=value, effect="NO_SCHEDULE")
                for key, value in args.taints.items()
            ],
            tags=tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=None if args.fixed_size else ["scalingConfig.desiredSize"],
                # The name is fixed, so a replacement cannot stand beside what it replaces.
                delete_before_replace=True,
            ),
        )
        self.register_outputs({"node_group_name": self.node_group.node_group_name})
