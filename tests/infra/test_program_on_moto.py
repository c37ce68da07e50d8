"""The program under Pulumi's mocks, which create each resource in moto; what stands there is read through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

import pytest
from moto import mock_aws

from infra.outputs import read
from tests.support.moto_cloud import WITHOUT_MOTO, MotoCloud
from tests.support.pulumi_program import Applied, example, run

STACK = "hcctl-prod"


@dataclass(frozen=True)
class World:
    """A stack that was applied, and the AWS it stands in."""

    applied: Applied
    cloud: MotoCloud


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The example stack in an account of moto's, once for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        with mock_aws():
            cloud = MotoCloud("us-east-1", "123456789012")
            yield World(run(example(), cloud.create), cloud)


def test_the_vpc_has_a_private_and_a_public_side(world: World) -> None:
    """Three private subnets, one in each zone, go out by NAT; only the public one has a way in."""
    ec2 = world.cloud.ec2
    mine = [{"Name": "vpc-id", "Values": [world.applied.outputs["vpc_id"]]}]
    (vpc,) = ec2.describe_vpcs(VpcIds=[world.applied.outputs["vpc_id"]])["Vpcs"]
    subnets = ec2.describe_subnets(Filters=mine)["Subnets"]
    tables = {
        association["SubnetId"]: {route.get("DestinationCidrBlock"): route for route in table["Routes"]}
        for table in ec2.describe_route_tables(Filters=mine)["RouteTables"]
        for association in table["Associations"]
        if "SubnetId" in association
    }
    public = [name for name, routes in tables.items() if routes["0.0.0.0/0"].get("GatewayId", "").startswith("igw-")]
    private = [name for name, routes in tables.items() if routes["0.0.0.0/0"].get("NatGatewayId")]
    assert vpc["CidrBlock"] == "10.64.0.0/16"
    assert all(IPv4Network(subnet["CidrBlock"]).subnet_of(IPv4Network("10.64.0.0/16")) for subnet in subnets)
    assert (len(public), len(private), len(subnets)) == (1, 3, 4)
    assert len({subnet["AvailabilityZone"] for subnet in subnets if subnet["SubnetId"] in private}) == 3
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
    (nat,) = ec2.describe_nat_gateways()["NatGateways"]
    assert nat["SubnetId"] == public[0]


def test_the_way_home_is_a_tunnel(world: World) -> None:
    """Private subnets send what is for on-prem to the VPN gateway, whose other end is the on-prem device."""
    ec2 = world.cloud.ec2
    (tunnel,) = ec2.describe_vpn_connections()["VpnConnections"]
    (device,) = ec2.describe_customer_gateways(CustomerGatewayIds=[tunnel["CustomerGatewayId"]])["CustomerGateways"]
    home = [
        route["GatewayId"]
        for table in ec2.describe_route_tables()["RouteTables"]
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "192.168.0.0/16"
    ]
    assert device["IpAddress"] == "203.0.113.10"
    assert home == [tunnel["VpnGatewayId"]] * 3
    assert world.applied.outputs["vpn_connection_id"] == tunnel["VpnConnectionId"]


def test_the_default_group_lets_nothing_through(world: World) -> None:
    """The group that AWS gives to what names none has no rule left."""
    mine = [{"Name": "vpc-id", "Values": [world.applied.outputs["vpc_id"]]}]
    groups = world.cloud.ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    (default,) = (group for group in groups if group["GroupName"] == "default")
    assert (default["IpPermissions"], default["IpPermissionsEgress"]) == ([], [])


def test_the_cluster_is_private_and_its_secrets_encrypted(world: World) -> None:
    """The control plane stands in the private subnets, answers inside only, and encrypts secrets with our key."""
    cluster = world.cloud.eks.describe_cluster(name=STACK)["cluster"]
    key = world.cloud.session.client("kms").describe_key(KeyId=cluster["encryptionConfig"][0]["provider"]["keyArn"])
    network = cluster["resourcesVpcConfig"]
    assert (network["endpointPublicAccess"], network["endpointPrivateAccess"]) == (False, True)
    assert len(network["subnetIds"]) == 3
    assert cluster["encryptionConfig"][0]["resources"] == ["secrets"]
    assert key["KeyMetadata"]["Description"] == f"Kubernetes secrets of {STACK}"
    assert cluster["logging"]["clusterLogging"][0]["types"] == ["api", "audit", "authenticator"]
    assert cluster["version"] == "1.34"
    logs = world.cloud.session.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/eks/{STACK}/cluster")
    assert logs["logGroups"][0]["retentionInDays"] == 30


def test_the_pools_are_there_as_declared(world: World) -> None:
    """Each pool of the configuration is a node group: kind, types, bounds, labels, taint; at nought."""
    groups = {
        name: world.cloud.eks.describe_nodegroup(clusterName=STACK, nodegroupName=name)["nodegroup"]
        for name in world.cloud.eks.list_nodegroups(clusterName=STACK)["nodegroups"]
    }
    spot, fixed = groups["a10g-spot"], groups["a10g"]
    assert set(groups) == {"system", "a10g", "a10g-spot"}
    assert (spot["capacityType"], fixed["capacityType"]) == ("SPOT", "ON_DEMAND")
    assert spot["instanceTypes"] == ["g5.xlarge", "g5.2xlarge"]
    assert spot["scalingConfig"] == {"minSize": 0, "maxSize": 8, "desiredSize": 0}
    assert spot["labels"] == {
        "hcctl.dev/pool": "a10g-spot",
        "hcctl.dev/gpu": "a10g",
        "hcctl.dev/capacity": "spot",
    }
    assert spot["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert spot["amiType"] == "AL2023_x86_64_NVIDIA"
    assert groups["system"]["taints"] == []
    assert groups["system"]["scalingConfig"] == {"minSize": 2, "maxSize": 2, "desiredSize": 2}


def test_machines_of_a_pool_are_hardened(world: World) -> None:
    """The launch template of each pool encrypts the volume, wants IMDSv2, keeps pods from it, and tags all it makes."""
    for name in ("system", "a10g", "a10g-spot"):
        group = world.cloud.eks.describe_nodegroup(clusterName=STACK, nodegroupName=name)["nodegroup"]
        found = world.cloud.ec2.describe_launch_template_versions(LaunchTemplateId=group["launchTemplate"]["id"])
        data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        marked = {spec["ResourceType"] for spec in data["TagSpecifications"]}
        assert marked >= {"instance", "volume", "network-interface"}


def test_a_pool_of_the_outputs_can_be_resized(world: World) -> None:
    """What the outputs name is what AWS resizes: the call that capacity makes goes through for each pool."""
    outputs = read(world.applied.outputs)
    for pool in outputs.pools:
        world.cloud.eks.update_nodegroup_config(
            clusterName=outputs.name, nodegroupName=pool.name, scalingConfig={"desiredSize": pool.max_nodes}
        )
        group = world.cloud.eks.describe_nodegroup(clusterName=outputs.name, nodegroupName=pool.name)["nodegroup"]
        assert group["scalingConfig"]["desiredSize"] == pool.max_nodes
        world.cloud.eks.update_nodegroup_config(
            clusterName=outputs.name, nodegroupName=pool.name, scalingConfig={"desiredSize": 0}
        )


def test_models_are_private_versioned_and_encrypted(world: World) -> None:
    """The bucket refuses the public, keeps former objects, encrypts with its own key and refuses plain HTTP."""
    s3, outputs = world.cloud.s3, world.applied.outputs
    bucket = outputs["model_bucket"]
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == outputs["model_key_arn"]
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    assert tags == {
        "Name": "hcctl-prod-models",
        "hcctl:stack": STACK,
        "hcctl:managed-by": "pulumi",
        "team": "search",
        "cost-centre": "4711",
    }


def test_images_are_encrypted_and_their_tags_final(world: World) -> None:
    """Each repository uses the models' key, scans at push, and never lets a tag mean another image."""
    found = world.cloud.session.client("ecr").describe_repositories()["repositories"]
    assert {repository["repositoryName"] for repository in found} == {
        "hcctl-prod/hcctl/daemon",
        "hcctl-prod/hcctl/serve",
    }
    for repository in found:
        assert repository["imageTagMutability"] == "IMMUTABLE"
        assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
        assert repository["encryptionConfiguration"]["kmsKey"] == world.applied.outputs["model_key_arn"]


def test_reclaims_reach_the_queue(world: World) -> None:
    """Both kinds of notice go to the queue of the outputs."""
    events = world.cloud.session.client("events")
    rules = events.list_rules()["Rules"]
    kinds = {json.loads(rule["EventPattern"])["detail-type"][0] for rule in rules}
    queue = world.cloud.session.client("sqs").get_queue_attributes(
        QueueUrl=world.applied.outputs["reclaim_queue_url"], AttributeNames=["All"]
    )["Attributes"]
    targets = {events.list_targets_by_rule(Rule=rule["Name"])["Targets"][0]["Arn"] for rule in rules}
    assert kinds == {"EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"}
    assert targets == {queue["QueueArn"]}
    assert set(json.loads(queue["Policy"])["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]) == {
        rule["Arn"] for rule in rules
    }


def test_the_budget_counts_this_stack_and_tells_somebody(world: World) -> None:
    """The month's limit is over the stack's tag; actual and forecast cost are told by e-mail."""
    budgets = world.cloud.session.client("budgets")
    (budget,) = budgets.describe_budgets(AccountId="123456789012")["Budgets"]
    alarms = budgets.describe_notifications_for_budget(AccountId="123456789012", BudgetName=STACK)["Notifications"]
    assert float(budget["BudgetLimit"]["Amount"]) == 3_000
    assert budget["CostFilters"] == {"TagKeyValue": [f"user:hcctl:stack${STACK}"]}
    assert {(alarm["NotificationType"], alarm["Threshold"]) for alarm in alarms} == {
        ("ACTUAL", 50.0),
        ("ACTUAL", 80.0),
        ("ACTUAL", 100.0),
        ("FORECASTED", 100.0),
    }


def test_nodes_have_the_role_that_aws_asks_for(world: World) -> None:
    """Their role has AWS's three policies for nodes and nothing of ours: pods bring roles of their own."""
    role = world.cloud.eks.describe_nodegroup(clusterName=STACK, nodegroupName="a10g")["nodegroup"]["nodeRole"]
    name = role.rsplit("/", 1)[1]
    attached = world.cloud.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert {policy["PolicyName"] for policy in attached} == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonEKS_CNI_Policy",
    }
    assert world.cloud.iam.list_role_policies(RoleName=name)["PolicyNames"] == []


def test_what_moto_lacks_is_declared_at_least(world: World) -> None:
    """The few types that moto cannot make are in the program, so their list hides nothing."""
    assert {resource.type for resource in world.applied.resources} >= WITHOUT_MOTO
    assert {addon.inputs["addonName"] for addon in world.applied.of(":Addon")} == {
        "vpc-cni",
        "kube-proxy",
        "coredns",
        "eks-pod-identity-agent",
    }


def test_the_outputs_are_those_of_the_contract(world: World) -> None:
    """They read back as declared; the administrator's kubeconfig of the private site is the one secret."""
    outputs = read(world.applied.outputs)
    kubeconfig = json.loads(outputs.kubeconfig)
    assert world.applied.secret_outputs == {"on_prem_kubeconfig"}
    assert kubeconfig["clusters"][0]["cluster"]["server"] == outputs.cluster_endpoint
    assert kubeconfig["users"][0]["user"]["exec"]["command"] == "aws"
    assert [pool.name for pool in outputs.pools] == ["a10g-spot", "a10g"]
