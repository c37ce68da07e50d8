"""The EKS control plane, the role of its nodes, and the small pool for operators and monitoring."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws

from infra.node_pool import NodePool, NodePoolArgs
from infra.policies import service_trust
from infra.stack_config import SYSTEM_VOLUME_GB, ClusterConfig

BEFORE_NODES = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""Add-ons that run on each node; a node without them does not become ready."""
AFTER_NODES = ("coredns",)
"""Add-ons that are Deployments and need a node first."""
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy")
SYSTEM_POOL = "system"


@dataclass(frozen=True)
class EksClusterArgs:
    """What a cluster is made from."""

    config: ClusterConfig
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    on_prem_cidrs: Sequence[IPv4Network]
    """May reach the API server; nothing outside of VPC and these can."""
    tags: Mapping[str, str]


class EksCluster(pulumi.ComponentResource):
    """A control plane and what makes it ready for charts: add-ons and the system pool.

    Its endpoint is private only, its secrets are encrypted with a key of the stack.
    """

    cluster: aws.eks.Cluster
    node_role: aws.iam.Role

    def __init__(self, name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:EksCluster", name, None, opts)
        self._name, self._tags = name, {**args.tags, "Name": name}
        self._inside = pulumi.ResourceOptions(parent=self)
        self.cluster = self._control_plane(args)
        self.node_role, attachments = self._role(f"{name}-node", "ec2.amazonaws.com", NODE_POLICIES)
        on_nodes = [self._addon(addon, [self.cluster]) for addon in BEFORE_NODES]
        system = NodePool(
            f"{name}-{SYSTEM_POOL}",
            NodePoolArgs(
                cluster_name=self.cluster.name,
                node_group_name=SYSTEM_POOL,
                node_role_arn=self.node_role.arn,
                subnet_ids=args.subnet_ids,
                instance_types=[args.config.system_instance_type],
                image_type="AL2023_x86_64_STANDARD",
                spot=False,
                min_nodes=args.config.system_nodes,
                max_nodes=args.config.system_nodes,
                start_nodes=args.config.system_nodes,
                volume_gb=SYSTEM_VOLUME_GB,
                tags=args.tags,
                labels={"hcctl.dev/pool": SYSTEM_POOL},
                fixed_size=True,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[*attachments, *on_nodes]),
        )
        self.ready: list[pulumi.Resource] = [
            *attachments,
            *on_nodes,
            *(self._addon(addon, [system]) for addon in AFTER_NODES),
        ]
        """What pools and charts wait for."""
        self.register_outputs({"name": self.cluster.name})

    def _control_plane(self, args: EksClusterArgs) -> aws.eks.Cluster:
        name = self._name
        key = aws.kms.Key(
            f"{name}-secrets",
            description=f"Kubernetes secrets of {name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            tags=self._tags,
            # Without the key the secrets in the control plane are lost.
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        role, attached = self._role(f"{name}-control-plane", "eks.amazonaws.com", ("AmazonEKSClusterPolicy",))
        # EKS would make the log group itself, without an end to its logs.
        logs = aws.cloudwatch.LogGroup(
            name,
            name=f"/aws/eks/{name}/cluster",
            retention_in_days=args.config.log_retention_days,
            tags=self._tags,
            opts=self._inside,
        )
        callers = aws.ec2.SecurityGroup(
            f"{name}-api",
            description="The API server, from on-prem",
            vpc_id=args.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp", from_port=443, to_port=443, cidr_blocks=[str(cidr) for cidr in args.on_prem_cidrs]
                )
            ]
            if args.on_prem_cidrs
            else [],
            tags=self._tags,
            opts=self._inside,
        )
        return aws.eks.Cluster(
            name,
            name=name,
            version=args.config.kubernetes_version,
            role_arn=role.arn,
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=list(args.subnet_ids),
                endpoint_private_access=True,
                endpoint_public_access=False,
                security_group_ids=[callers.id],
            ),
            kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(
                service_ipv4_cidr=str(args.config.service_cidr)
            ),
            encryption_config=aws.eks.ClusterEncryptionConfigArgs(
                resources=["secrets"], provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=key.arn)
            ),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True
            ),
            enabled_cluster_log_types=["api", "audit", "authenticator"],
            bootstrap_self_managed_addons=False,
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*attached, logs]),
        )

    def _role(
        self, name: str, service: str, managed_policies: Sequence[str]
    ) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        """A role for an AWS service with policies that AWS maintains for it."""
        role = aws.iam.Role(
            name, assume_role_policy=json.dumps(service_trust(service)), tags=self._tags, opts=self._inside
        )
        attached: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}", role=role.name, policy_arn=f"arn:aws:iam::aws:policy/{policy}", opts=self._inside
            )
            for policy in managed_policies
        ]
        return role, attached

    def _addon(self, addon: str, after: Sequence[pulumi.Resource]) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{self._name}-{addon}",
            cluster_name=self.cluster.name,
            addon_name=addon,
            resolve_conflicts_on_update="PRESERVE",
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )
