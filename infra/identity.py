"""What the daemon and the replicas may do in AWS, without any stored key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.stack_config import DaemonConfig

DAEMON_GROUP = "hcctl:daemon"
"""Kubernetes group of a daemon that runs outside of EKS."""


@dataclass(frozen=True)
class IdentityArgs:
    """What identities are made from."""

    config: DaemonConfig
    place: policies.Place
    cluster_name: pulumi.Input[str]
    """Of the cluster resource, so that associations wait for it."""
    node_groups: Sequence[str]
    bucket_arn: pulumi.Output[str]
    key_arn: pulumi.Output[str]
    queue_arn: pulumi.Output[str]
    tags: Mapping[str, str]


class Identity(pulumi.ComponentResource):
    """The roles of daemon and replicas.

    The daemon's may resize its own pools, read prices and notices, and put versions into the bucket; the replicas' may
    read versions. In EKS pods take them by pod identity, a daemon on-prem by the issuer of its cluster's tokens.
    """

    daemon_role: aws.iam.Role
    replica_role: aws.iam.Role

    def __init__(self, name: str, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:Identity", name, None, opts)
        self._name, self._args = name, args
        self._inside = pulumi.ResourceOptions(parent=self)
        self._tags = {**args.tags, "Name": name}
        config = args.config
        known = pulumi.Output.all(args.bucket_arn, args.key_arn, args.queue_arn)
        self.daemon_role = self._role("daemon", self._daemon_trust(), known.apply(self._daemon_policy))
        replica_trust = policies.pod_trust(args.place, config.namespace, config.replica_service_account)
        self.replica_role = self._role(
            "replica",
            json.dumps(replica_trust),
            known.apply(lambda arns: json.dumps(policies.document(*policies.read_models(arns[0], arns[1])))),
        )
        self._associate("replica", config.replica_service_account, self.replica_role)
        if config.runs_on == "cloud":
            self._associate("daemon", config.service_account, self.daemon_role)
        else:
            # From outside it comes to the API server as its role; hcctl's chart binds the group to what it may do.
            aws.eks.AccessEntry(
                f"{name}-daemon",
                cluster_name=args.cluster_name,
                principal_arn=self.daemon_role.arn,
                kubernetes_groups=[DAEMON_GROUP],
                tags=self._tags,
                opts=self._inside,
            )
        self.register_outputs({"daemon_role_arn": self.daemon_role.arn})

    def _daemon_trust(self) -> pulumi.Input[str]:
        config, place = self._args.config, self._args.place
        if config.oidc_issuer is None:
            return json.dumps(policies.pod_trust(place, config.namespace, config.service_account))
        issuer = config.oidc_issuer
        provider = aws.iam.OpenIdConnectProvider(
            self._name, url=issuer, client_id_lists=["sts.amazonaws.com"], tags=self._tags, opts=self._inside
        )
        trust: pulumi.Output[str] = provider.arn.apply(
            lambda arn: json.dumps(policies.oidc_trust(arn, issuer, config.namespace, config.service_account))
        )
        return trust

    def _daemon_policy(self, arns: Sequence[str]) -> str:
        bucket_arn, key_arn, queue_arn = arns
        return json.dumps(
            policies.document(
                *policies.resize_pools(self._args.place, self._args.node_groups),
                policies.sweep_orphans(self._args.place, self._args.node_groups),
                policies.see_machines(self._args.place.region),
                policies.reclaim_notices(queue_arn),
                *policies.read_models(bucket_arn, key_arn),
                *policies.write_models(bucket_arn, key_arn),
            )
        )

    def _role(self, part: str, trust: pulumi.Input[str], policy: pulumi.Input[str]) -> aws.iam.Role:
        name = f"{self._name}-{part}"
        role = aws.iam.Role(name, assume_role_policy=trust, tags=self._tags, opts=self._inside)
        aws.iam.RolePolicy(name, role=role.name, policy=policy, opts=self._inside)
        return role

    def _associate(self, part: str, service_account: str, role: aws.iam.Role) -> None:
        aws.eks.PodIdentityAssociation(
            f"{self._name}-{part}",
            cluster_name=self._args.cluster_name,
            namespace=self._args.config.namespace,
            service_account=service_account,
            role_arn=role.arn,
            tags=self._tags,
            opts=self._inside,
        )
