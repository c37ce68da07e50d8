"""What the daemon and the replicas may do: decided by evaluating the documents that the program writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra import policies
from tests.support.iam_policy import allowed, as_list
from tests.support.pulumi_program import Applied, example, run, shapes_only

PLACE = policies.Place("us-east-1", "123456789012", "hcctl-prod")
GROUPS = "arn:aws:eks:us-east-1:123456789012:nodegroup"
AUTO_SCALING = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:0f:autoScalingGroupName"
BUCKET, KEY, QUEUE = "arn:aws:s3:::models", "arn:aws:kms:us-east-1:123456789012:key/k", "arn:aws:sqs:::reclaims"


@pytest.fixture(scope="module")
def applied() -> Applied:
    """The example stack."""
    return run(example(), shapes_only)


def policy_of(applied: Applied, name: str) -> dict[str, Any]:
    """The document of a role's own policy."""
    (found,) = (resource for resource in applied.of(":RolePolicy") if resource.name == f"hcctl-prod-{name}")
    document: dict[str, Any] = json.loads(found.inputs["policy"])
    return document


def trust_of(applied: Applied, name: str) -> dict[str, Any]:
    """The document that says who may take a role."""
    (found,) = (resource for resource in applied.of(":Role") if resource.name == f"hcctl-prod-{name}")
    document: dict[str, Any] = json.loads(found.inputs["assumeRolePolicy"])
    return document


@pytest.mark.parametrize("pool", ["a10g", "a10g-spot"])
def test_the_daemon_resizes_its_own_pools(applied: Applied, pool: str) -> None:
    """Each GPU pool of the stack may be resized, and one machine of it taken out."""
    document = policy_of(applied, "daemon")
    tags = {
        "aws:ResourceTag/eks:cluster-name": "hcctl-prod",
        "aws:ResourceTag/eks:nodegroup-name": pool,
    }
    assert allowed(document, "eks:UpdateNodegroupConfig", f"{GROUPS}/hcctl-prod/{pool}/6c2f")
    assert allowed(document, "autoscaling:TerminateInstanceInAutoScalingGroup", f"{AUTO_SCALING}/eks-{pool}-6c2f", tags)


@pytest.mark.parametrize(
    "group",
    [
        "hcctl-prod/system/6c2f",
        "hcctl-prod/a10g2/6c2f",
        "another/a10g/6c2f",
        "hcctl-prod/other/a10g/6c2f",
    ],
)
def test_no_other_pool_is_resized(applied: Applied, group: str) -> None:
    """Neither the system pool, nor a pool whose name begins the same, nor one of another cluster."""
    assert not allowed(policy_of(applied, "daemon"), "eks:UpdateNodegroupConfig", f"{GROUPS}/{group}")


@pytest.mark.parametrize(
    ("cluster", "pool", "group"),
    [
        ("another", "a10g", "eks-a10g-6c2f"),
        ("hcctl-prod", "system", "eks-a10g-6c2f"),
        ("hcctl-prod", "a10g", "web-servers"),
    ],
)
def test_no_other_machine_is_taken_out(applied: Applied, cluster: str, pool: str, group: str) -> None:
    """A group of another cluster, pool or name keeps its machines, and so does one without tags."""
    document = policy_of(applied, "daemon")
    action = "autoscaling:TerminateInstanceInAutoScalingGroup"
    tags = {"aws:ResourceTag/eks:cluster-name": cluster, "aws:ResourceTag/eks:nodegroup-name": pool}
    assert not allowed(document, action, f"{AUTO_SCALING}/{group}", tags)
    assert not allowed(document, action, f"{AUTO_SCALING}/eks-a10g-6c2f")


def test_only_machines_with_our_tags_are_swept(applied: Applied) -> None:
    """An orphan has the tags of this stack and of a GPU pool of it; whoever lacks one of them is not ended."""
    document, action = policy_of(applied, "daemon"), "ec2:TerminateInstances"
    machine = "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc"
    mine = {"aws:ResourceTag/hcctl:stack": "hcctl-prod", "aws:ResourceTag/hcctl:pool": "a10g-spot"}
    assert allowed(document, action, machine, mine)
    assert not allowed(document, action, machine, mine | {"aws:ResourceTag/hcctl:stack": "another"})
    assert not allowed(document, action, machine, mine | {"aws:ResourceTag/hcctl:pool": "system"})
    assert not allowed(document, action, machine, {"aws:ResourceTag/hcctl:pool": "a10g"})
    assert not allowed(document, action, machine.replace("us-east-1", "eu-west-1"), mine)


@pytest.mark.parametrize(
    "action",
    [
        "eks:CreateNodegroup",
        "eks:DeleteNodegroup",
        "eks:UpdateClusterConfig",
        "eks:CreateAccessEntry",
        "ec2:RunInstances",
        "ec2:TerminateInstances",
        "iam:PassRole",
        "iam:CreateRole",
        "sts:AssumeRole",
        "s3:DeleteObject",
        "s3:PutBucketPolicy",
        "kms:ScheduleKeyDeletion",
        "autoscaling:UpdateAutoScalingGroup",
    ],
)
def test_the_daemon_does_nothing_else(applied: Applied, action: str) -> None:
    """It makes and deletes no pool, machine, role or bucket, and takes no other role, on whatever resource."""
    document = policy_of(applied, "daemon")
    targets = {pattern for statement in document["Statement"] for pattern in as_list(statement["Resource"])}
    context = {"aws:RequestedRegion": "us-east-1", "aws:ResourceTag/eks:cluster-name": "hcctl-prod"}
    assert [target for target in targets if allowed(document, action, target, context)] == []


def test_reads_stay_in_the_region(applied: Applied) -> None:
    """What AWS binds to no resource is read in the stack's region only, and in the one where prices are."""
    document = policy_of(applied, "daemon")
    assert allowed(document, "ec2:DescribeInstances", "*", {"aws:RequestedRegion": "us-east-1"})
    assert not allowed(document, "ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-west-1"})


def test_a_replica_reads_versions_and_no_more(applied: Applied) -> None:
    """It reads objects of the bucket and decrypts them; it writes nothing and resizes nothing."""
    document = policies.document(*policies.read_models(BUCKET, KEY))
    sids = [statement["Sid"] for statement in document["Statement"]]
    assert [statement["Sid"] for statement in policy_of(applied, "replica")["Statement"]] == sids
    assert allowed(document, "s3:GetObject", f"{BUCKET}/versions/a/weights.safetensors")
    assert allowed(document, "kms:Decrypt", KEY)
    assert not allowed(document, "s3:GetObject", "arn:aws:s3:::another/versions/a")
    assert not allowed(document, "s3:PutObject", f"{BUCKET}/versions/a")
    assert not allowed(document, "eks:UpdateNodegroupConfig", f"{GROUPS}/hcctl-prod/a10g/6c2f")


def test_pods_of_others_take_no_role(applied: Applied) -> None:
    """Only the one service account, in its namespace, of this cluster."""
    mine = {
        "aws:RequestTag/kubernetes-namespace": "hcctl",
        "aws:RequestTag/kubernetes-service-account": "hcctl-daemon",
        "aws:RequestTag/eks-cluster-arn": PLACE.cluster_arn,
    }
    trust = trust_of(applied, "daemon")
    assert allowed(trust, "sts:AssumeRole", "role", mine)
    for key, value in (
        ("aws:RequestTag/kubernetes-namespace", "default"),
        ("aws:RequestTag/kubernetes-service-account", "hcctl-replica"),
        ("aws:RequestTag/eks-cluster-arn", "arn:aws:eks:us-east-1:123456789012:cluster/another"),
    ):
        assert not allowed(trust, "sts:AssumeRole", "role", mine | {key: value})
    associated = {resource.inputs["serviceAccount"]: resource for resource in applied.of(":PodIdentityAssociation")}
    assert set(associated) == {"hcctl-daemon", "hcctl-replica"}
    assert {resource.inputs["namespace"] for resource in associated.values()} == {"hcctl"}


def test_a_daemon_on_prem_comes_by_its_issuer() -> None:
    """With runs_on: on_prem the role trusts tokens of that issuer for the one service account; no pod identity.

    In the cluster it is a group without rights of its own, never an administrator.
    """
    stack = example()
    stack["daemon"] = {"runs_on": "on_prem", "oidc_issuer": "https://tokens.example.com/hall"}
    applied = run(stack, shapes_only)
    trust = trust_of(applied, "daemon")
    mine = {
        "tokens.example.com/hall:sub": "system:serviceaccount:hcctl:hcctl-daemon",
        "tokens.example.com/hall:aud": "sts.amazonaws.com",
    }
    action = "sts:AssumeRoleWithWebIdentity"
    assert allowed(trust, action, "role", mine)
    other = "system:serviceaccount:hcctl:other"
    assert not allowed(trust, action, "role", mine | {"tokens.example.com/hall:sub": other})
    assert not allowed(trust, action, "role", {"tokens.example.com/hall:aud": "sts.amazonaws.com"})
    assert [resource.inputs["serviceAccount"] for resource in applied.of(":PodIdentityAssociation")] == [
        "hcctl-replica"
    ]
    (entry,) = applied.of(":AccessEntry")
    assert entry.inputs["kubernetesGroups"] == ["hcctl:daemon"]
    assert applied.of(":AccessPolicyAssociation") == []


def test_only_the_event_rules_send_notices() -> None:
    """The queue takes messages of the two rules over TLS, and of nobody else."""
    rule = "arn:aws:events:us-east-1:123456789012:rule/hcctl-prod-reclaims-interruption"
    document = policies.queue_policy(QUEUE, [rule])
    secure = {"aws:SecureTransport": "true"}
    assert allowed(document, "sqs:SendMessage", QUEUE, secure | {"aws:SourceArn": rule})
    assert not allowed(document, "sqs:SendMessage", QUEUE, secure | {"aws:SourceArn": f"{rule}-of-another"})
    assert not allowed(document, "sqs:SendMessage", QUEUE, {"aws:SecureTransport": "false", "aws:SourceArn": rule})
