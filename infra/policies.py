"""Policy documents, as values. Pure.

Each statement has an id that says what it is for; docs/guides/clusters-pulumi.md explains them one by one. Only reads
that AWS does not bind to a resource stand on "*", each action named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.tagging import POOL_TAG, STACK_TAG

Statement = dict[str, Any]
Document = dict[str, Any]

VERSION = "2012-10-17"


@dataclass(frozen=True)
class Place:
    """Where ARNs point."""

    region: str
    account_id: str
    cluster: str

    @property
    def cluster_arn(self) -> str:
        """ARN of the EKS cluster."""
        return f"arn:aws:eks:{self.region}:{self.account_id}:cluster/{self.cluster}"


def document(*statements: Statement) -> Document:
    """A policy document of allowing statements, but where one says otherwise."""
    return {"Version": VERSION, "Statement": [{"Effect": "Allow", **statement} for statement in statements]}


def service_trust(service: str) -> Document:
    """An AWS service may take the role."""
    return document({"Sid": "Service", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})


def pod_trust(place: Place, namespace: str, service_account: str) -> Document:
    """Pods of one service account of one cluster may take the role (EKS pod identity)."""
    return document(
        {
            "Sid": "Pods",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:RequestTag/kubernetes-namespace": namespace,
                    "aws:RequestTag/kubernetes-service-account": service_account,
                },
                "ArnEquals": {"aws:RequestTag/eks-cluster-arn": place.cluster_arn},
            },
        }
    )


def oidc_trust(provider_arn: str, issuer: str, namespace: str, service_account: str) -> Document:
    """Pods of one service account of a cluster with its own token issuer may take the role."""
    host = issuer.removeprefix("https://")
    return document(
        {
            "Sid": "Pods",
            "Principal": {"Federated": provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{host}:sub": f"system:serviceaccount:{namespace}:{service_account}",
                    f"{host}:aud": "sts.amazonaws.com",
                }
            },
        }
    )


def resize_pools(place: Place, node_groups: Sequence[str]) -> list[Statement]:
    """Change the size of these node groups, take out one machine of theirs, and nothing else.

    The number is set on the node group; a certain machine can be removed only through the Auto Scaling group behind
    it, which EKS tags with the names of cluster and node group.
    """
    at = f"{place.region}:{place.account_id}"
    return [
        {
            "Sid": "ResizeOwnPools",
            "Action": ["eks:UpdateNodegroupConfig", "eks:DescribeNodegroup", "eks:DescribeUpdate"],
            "Resource": [f"arn:aws:eks:{at}:nodegroup/{place.cluster}/{group}/*" for group in node_groups],
        },
        {
            "Sid": "RemoveOneMachine",
            "Action": ["autoscaling:TerminateInstanceInAutoScalingGroup", "autoscaling:SetDesiredCapacity"],
            "Resource": [
                f"arn:aws:autoscaling:{at}:autoScalingGroup:*:autoScalingGroupName/eks-{group}-*"
                for group in node_groups
            ],
            "Condition": {
                "StringEquals": {
                    "aws:ResourceTag/eks:cluster-name": place.cluster,
                    "aws:ResourceTag/eks:nodegroup-name": list(node_groups),
                }
            },
        },
        {
            "Sid": "SeeCluster",
            "Action": ["eks:DescribeCluster", "eks:ListNodegroups"],
            "Resource": place.cluster_arn,
        },
    ]


def see_machines(region: str) -> Statement:
    """Reads that AWS binds to no resource: machines, launches, prices. Prices and quotas are read in fixed regions."""
    return {
        "Sid": "SeeMachines",
        "Action": [
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeScalingActivities",
            "ec2:DescribeInstances",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeSpotPriceHistory",
            "pricing:GetProducts",
            "servicequotas:GetServiceQuota",
        ],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": sorted({region, "us-east-1"})}},
    }


def sweep_orphans(place: Place, node_groups: Sequence[str]) -> Statement:
    """End machines of these pools that no group counts any more: only those with the tags of stack and pool."""
    return {
        "Sid": "SweepOrphans",
        "Action": "ec2:TerminateInstances",
        "Resource": f"arn:aws:ec2:{place.region}:{place.account_id}:instance/*",
        "Condition": {
            "StringEquals": {
                f"aws:ResourceTag/{STACK_TAG}": place.cluster,
                f"aws:ResourceTag/{POOL_TAG}": list(node_groups),
            }
        },
    }


def reclaim_notices(queue_arn: str) -> Statement:
    """Take notices of reclaims from the queue."""
    return {
        "Sid": "ReclaimNotices",
        "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
        "Resource": queue_arn,
    }


def read_models(bucket_arn: str, key_arn: str) -> list[Statement]:
    """Read versions; what replicas need."""
    return [
        {"Sid": "ListModels", "Action": "s3:ListBucket", "Resource": bucket_arn},
        {"Sid": "ReadModels", "Action": "s3:GetObject", "Resource": f"{bucket_arn}/*"},
        {"Sid": "DecryptModels", "Action": "kms:Decrypt", "Resource": key_arn},
    ]


def write_models(bucket_arn: str, key_arn: str) -> list[Statement]:
    """Put versions there; never delete one."""
    return [
        {"Sid": "WriteModels", "Action": "s3:PutObject", "Resource": f"{bucket_arn}/*"},
        {"Sid": "EncryptModels", "Action": "kms:GenerateDataKey", "Resource": key_arn},
    ]


def deny_plain_http(service: str, resources: Sequence[str]) -> Statement:
    """Refuse whoever comes without TLS. The one statement with a wildcard action: it denies."""
    return {
        "Sid": "DenyPlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": f"{service}:*",
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def queue_policy(queue_arn: str, rule_arns: Sequence[str]) -> Document:
    """These event rules may send to the queue."""
    return document(
        {
            "Sid": "EventRules",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
        },
        deny_plain_http("sqs", [queue_arn]),
    )
