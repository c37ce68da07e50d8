"""Rules that every stack keeps, whatever its configuration: checked over the example and generated ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import pulumi_program
from tests.support.iam_policy import as_list
from tests.support.pulumi_program import Applied, Declared, run, shapes_only

REGIONS = ("us-east-1", "eu-central-1", "ap-southeast-2")
NO_TAGS = (
    ":BucketLifecycleConfiguration",
    ":BucketOwnershipControls",
    ":BucketPolicy",
    ":BucketPublicAccessBlock",
    ":BucketServerSideEncryptionConfiguration",
    ":BucketVersioning",
    ":EventTarget",
    ":LifecyclePolicy",
    ":QueuePolicy",
    ":RolePolicy",
    ":RolePolicyAttachment",
    ":Route",
    ":RouteTableAssociation",
    ":VpnConnectionRoute",
)
"""Types of AWS resources that take no tags."""
DATA = (":Bucket", ":Key", ":Repository")
"""Types that hold what cannot be made again."""


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """Valid configurations that differ in all that changes what is declared."""
    region = draw(st.sampled_from(REGIONS))
    stack = pulumi_program.example() | {"region": region}
    zones = [f"{region}{letter}" for letter in "abc"[: draw(st.integers(2, 3))]]
    endpoints = draw(st.lists(st.sampled_from(["ecr.api", "sts", "sqs", "logs"]), unique=True))
    stack["network"] = {
        "vpc_cidr": f"10.{draw(st.integers(0, 255))}.0.0/{draw(st.integers(16, 20))}",
        "zones": zones,
        "nat": draw(st.sampled_from(["one", "per_zone"])),
        "interface_endpoints": endpoints,
    }
    stack["gpu_pools"] = [
        {
            "name": f"pool-{n}",
            "capacity": draw(st.sampled_from(["spot", "on_demand"])),
            "gpu": "l4",
            "instance_types": ["g6.xlarge"],
            "max_nodes": draw(st.integers(1, 450)),
        }
        for n in range(draw(st.integers(1, 4)))
    ]
    stack["tags"] = draw(st.dictionaries(st.sampled_from(["team", "stage"]), st.just("x")))
    on_prem_daemon = {"runs_on": "on_prem", "oidc_issuer": "https://tokens.example.com"}
    stack["daemon"] = draw(st.sampled_from([{"runs_on": "cloud"}, on_prem_daemon]))
    for optional in ("on_prem", "platform"):
        if draw(st.booleans()):
            del stack[optional]
    if "on_prem" in stack:
        cluster = stack["on_prem"]["cluster"]
        stack["on_prem"]["cluster"] = draw(st.sampled_from([cluster, {"kind": "kubeconfig"}, None]))
        if draw(st.booleans()):
            del stack["on_prem"]["vpn"]
    return stack


def aws(applied: Applied) -> Iterator[Declared]:
    """The resources of AWS."""
    return (resource for resource in applied.resources if resource.type.startswith("aws:"))


def nothing_is_public(applied: Applied) -> None:
    """No public endpoint, address, bucket or open port."""
    for cluster in applied.of(":Cluster"):
        assert cluster.inputs["vpcConfig"]["endpointPublicAccess"] is False
        assert cluster.inputs["vpcConfig"]["endpointPrivateAccess"] is True
    for subnet in applied.of(":Subnet"):
        assert subnet.inputs["mapPublicIpOnLaunch"] is False
    for group in applied.of(":SecurityGroup"):
        for rule in group.inputs.get("ingress", []):
            assert rule["cidrBlocks"]
            assert "0.0.0.0/0" not in rule["cidrBlocks"]
            assert rule["fromPort"] == rule["toPort"] == 443
    for group in applied.of(":DefaultSecurityGroup"):
        assert not {"ingress", "egress"} & set(group.inputs)
    closed = {resource.inputs["bucket"] for resource in applied.of(":BucketPublicAccessBlock")}
    assert closed == {f"{bucket.name}-id" for bucket in applied.of(":Bucket")}
    for block in applied.of(":BucketPublicAccessBlock"):
        assert all(block.inputs[key] for key in block.inputs if key != "bucket")
    nodes = [group for group in applied.of(":NodeGroup") if "remoteAccess" in group.inputs]
    assert nodes == []


def everything_is_encrypted(applied: Applied) -> None:
    """Volumes, secrets, bucket, images and queue; keys rotate; credentials of nodes are out of reach of pods."""
    for template in applied.of(":LaunchTemplate"):
        assert [disk["ebs"]["encrypted"] for disk in template.inputs["blockDeviceMappings"]] == ["true"]
        metadata = template.inputs["metadataOptions"]
        assert (metadata["httpTokens"], metadata["httpPutResponseHopLimit"]) == ("required", 1)
    (cluster,) = applied.of(":Cluster")
    assert cluster.inputs["encryptionConfig"]["resources"] == ["secrets"]
    assert cluster.inputs["encryptionConfig"]["provider"]["keyArn"]
    (bucket,) = applied.of(":BucketServerSideEncryptionConfiguration")
    (rule,) = bucket.inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "aws:kms"
    for repository in applied.of("ecr/repository:Repository"):
        assert repository.inputs["encryptionConfigurations"][0]["encryptionType"] == "KMS"
    assert all(queue.inputs["sqsManagedSseEnabled"] for queue in applied.of(":Queue"))
    assert all(key.inputs["enableKeyRotation"] for key in applied.of(":Key"))
    groups = applied.of(":NodeGroup")
    assert len(groups) == len(applied.of(":LaunchTemplate"))
    assert all(group.inputs["launchTemplate"]["id"] for group in groups)


def no_wildcard_action(applied: Applied) -> None:
    """What is allowed is named action by action, and "*" as a resource carries only reads."""
    documents = [
        json.loads(resource.inputs[key])
        for resource in aws(applied)
        for key in ("policy", "assumeRolePolicy")
        if key in resource.inputs and not resource.type.endswith(":LifecyclePolicy")
    ]
    assert len(documents) >= 8
    for statement in (statement for document in documents for statement in document["Statement"]):
        if statement["Effect"] == "Deny":
            continue
        assert not any("*" in action for action in as_list(statement["Action"]))
        if "*" in as_list(statement.get("Resource", [])):
            assert all(action.split(":")[1].startswith(("Describe", "Get")) for action in as_list(statement["Action"]))
            assert statement["Condition"]
        assert statement.get("Principal") not in ("*", {"AWS": "*"})


def data_is_protected(applied: Applied) -> None:
    """Pulumi refuses to delete bucket, images and keys; objects have versions; nothing is deleted by force."""
    for resource in aws(applied):
        assert resource.protected == resource.type.endswith(DATA), resource.name
        assert not resource.inputs.get("forceDestroy")
        assert not resource.inputs.get("forceDelete")
    assert [found.inputs["versioningConfiguration"]["status"] for found in applied.of(":BucketVersioning")] == [
        "Enabled"
    ]
    assert all(command.kept_on_delete for command in applied.of("remote:Command"))


def tags_are_everywhere(applied: Applied) -> None:
    """Whatever takes tags carries the stack's, and so do the machines, volumes and interfaces that pools start."""
    for resource in aws(applied):
        if not resource.type.endswith(NO_TAGS):
            assert resource.inputs["tags"]["hcctl:stack"] == "hcctl-prod", resource.name
    for template in applied.of(":LaunchTemplate"):
        marked = {spec["resourceType"]: spec["tags"] for spec in template.inputs["tagSpecifications"]}
        assert set(marked) == {"instance", "volume", "network-interface"}
        assert all(tags["hcctl:stack"] == "hcctl-prod" and tags["hcctl:pool"] for tags in marked.values())


def hcctl_owns_the_number_of_gpu_nodes(applied: Applied) -> None:
    """Pulumi never sets the size of a GPU pool again, and does set that of the system pool."""
    for group in applied.of(":NodeGroup"):
        gpus = group.inputs["nodeGroupName"] != "system"
        assert group.ignored == (("scalingConfig.desiredSize",) if gpus else ())


def one_account_only(applied: Applied) -> None:
    """Every AWS resource comes from the provider that refuses other accounts."""
    (provider,) = applied.of("pulumi:providers:aws")
    assert json.loads(provider.inputs["allowedAccountIds"]) == ["123456789012"]
    assert {resource.provider.split("::")[-2] for resource in aws(applied)} == {provider.name}


def secrets_stay_secret(applied: Applied) -> None:
    """No secret stands in a plain output or in the text of a command."""
    plain = json.dumps({key: value for key, value in applied.outputs.items() if key not in applied.secret_outputs})
    scripts = json.dumps([command.inputs["create"] for command in applied.of("remote:Command")])
    for secret in pulumi_program.SECRETS.values():
        assert secret not in plain + scripts
    assert all({"stdout", "stderr"} <= set(command.secret_outputs) for command in applied.of("remote:Command"))


RULES: list[Callable[[Applied], None]] = [
    nothing_is_public,
    everything_is_encrypted,
    no_wildcard_action,
    data_is_protected,
    tags_are_everywhere,
    hcctl_owns_the_number_of_gpu_nodes,
    one_account_only,
    secrets_stay_secret,
]


@pytest.fixture(scope="module")
def applied() -> Applied:
    """The example stack."""
    return run(pulumi_program.example(), shapes_only)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_example_keeps_the_rule(applied: Applied, rule: Callable[[Applied], None]) -> None:
    """The commented example, with every part of a stack, keeps each rule."""
    rule(applied)


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(stack=stacks())
@example(stack={**pulumi_program.example(), "on_prem": None, "platform": None})
def test_every_stack_keeps_all_rules(stack: dict[str, Any]) -> None:
    """Whatever is configured: parts left out, other regions, zones, pools and ways in."""
    made = run(stack, shapes_only)
    for rule in RULES:
        rule(made)


@pytest.mark.parametrize(
    ("rule", "type_", "breach"),
    [
        (nothing_is_public, ":Subnet", {"mapPublicIpOnLaunch": True}),
        (nothing_is_public, ":SecurityGroup", {"ingress": [{"cidrBlocks": ["0.0.0.0/0"]}]}),
        (everything_is_encrypted, ":Queue", {"sqsManagedSseEnabled": False}),
        (everything_is_encrypted, ":Key", {"enableKeyRotation": False}),
        (
            no_wildcard_action,
            ":RolePolicy",
            {"policy": '{"Statement": [{"Effect": "Allow", "Action": "eks:*", "Resource": "*"}]}'},
        ),
        (data_is_protected, ":Bucket", {"forceDestroy": True}),
        (tags_are_everywhere, ":Vpc", {"tags": {"hcctl:stack": "another"}}),
    ],
)
def test_a_breach_is_found(applied: Applied, rule: Callable[[Applied], None], type_: str, breach: Any) -> None:
    """Each rule fails on a stack that breaks it: it looks at what it says."""
    broken = [
        Declared(**{**vars(resource), "inputs": {**resource.inputs, **breach}})
        if resource.type.endswith(type_)
        else resource
        for resource in applied.resources
    ]
    with pytest.raises(AssertionError):
        rule(Applied(broken, applied.outputs, applied.secret_outputs))
