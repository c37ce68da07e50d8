"""Groups of machines in moto, and the little that moto lacks.

moto keeps node groups and Auto Scaling groups apart: here a node group's size reaches the group behind it, as EKS does
it. It knows no scaling activities and no quotas of EC2: here they are what a test says. Must be used inside
`moto.mock_aws`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends

from autoscaler.capacity.aws import AwsCapacity
from autoscaler.capacity.aws_calls import Clients
from autoscaler.capacity.aws_groups import Groups, NodeGroups, ScalingGroups
from autoscaler.capacity.port import Machine
from infra.outputs import StackOutputs

REGION, ACCOUNT = "us-east-1", "123456789012"


@cache
def client(service: str) -> Any:
    """A client for all tests: making one takes longer than most of its calls. moto answers whichever was made."""
    return boto3.session.Session("testing", "testing", region_name=REGION).client(service)


@dataclass
class Service:
    """A client of moto with some answers of our own, and errors on demand."""

    client: Any
    own: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    """Codes that the next calls fail with."""
    asked: list[str] = field(default_factory=list)
    """Operations, in order."""

    def __getattr__(self, name: str) -> Any:
        call = self.own.get(name) or getattr(self.client, name)

        def asked(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(name)
            if self.errors:
                raise ClientError({"Error": {"Code": self.errors.pop(0), "Message": "as a test says"}}, name)
            return call(*args, **kwargs)

        return asked


class MotoMachines:
    """Pools of machines in moto.

    Args:
        kind: of groups.
        most: machines that each pool may have.
        clock: wall-clock seconds since the epoch.
        start: machines that each pool has at first.
    """

    stack = "hcctl-test"
    """Also the name of the EKS cluster."""

    def __init__(self, kind: str, most: Mapping[str, int], clock: Callable[[], float], *, start: int = 0) -> None:
        self.ec2 = Service(client("ec2"))
        self.autoscaling = Service(
            client("autoscaling"),
            {
                "describe_scaling_activities": self._activities,
                "describe_auto_scaling_groups": self._groups,
                "set_desired_capacity": self._set,
            },
        )
        self.eks = Service(client("eks"), {"update_nodegroup_config": self._update})
        self.sqs = Service(client("sqs"))
        self.quotas = Service(None, {"get_service_quota": self._quota})
        self.vcpus = 1_000.0
        """What the quota allows."""
        self._clock = clock
        self._empty: set[str] = set()
        self._missing: dict[str, int] = {}
        """By group, machines that it is asked for and cannot launch; moto's groups always can."""
        self._failures: list[dict[str, Any]] = []
        self._behind: dict[str, str] = {}
        self._subnet = self.ec2.client.describe_subnets()["Subnets"][0]
        self._image = self.ec2.client.register_image(Name="nodes", RootDeviceName="/dev/xvda")["ImageId"]
        if kind == "eks":
            self._make_cluster()
        for pool, count in most.items():
            name = self._make_node_group(pool, count, start) if kind == "eks" else pool
            self._group(name, pool, count, start)
        self.queue_url = self._make_queue()
        clients = Clients(self.ec2, self.autoscaling, self.eks, self.sqs, self.quotas)
        names = {pool: pool for pool in most}
        groups: Groups = NodeGroups(clients, self.stack, names) if kind == "eks" else ScalingGroups(clients, names)
        self.capacity = AwsCapacity(clients, groups, names, stack=self.stack, queue_url=self.queue_url, clock=clock)

    def throttle(self, calls: int) -> None:
        """Refuse the next calls: AWS was asked too often."""
        self.autoscaling.errors += ["Throttling"] * calls

    def lack(self, pool: str) -> None:
        """There is no machine of the kind any more: launches fail."""
        self._empty.add(self._behind[pool])

    def restock(self, pool: str) -> None:
        """There are machines of the kind again."""
        self._empty.discard(self._behind[pool])

    def allow(self, machines: int) -> None:
        """The account's quota, in machines of this test's type."""
        self.vcpus = 4.0 * machines

    def reclaim(self, machine: Machine, ends_s: float) -> None:
        """AWS says two minutes before that it takes a machine back."""
        at_s = ends_s - 120.0
        event = {
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "time": datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {"instance-id": machine.id, "instance-action": "terminate"},
        }
        self.say(json.dumps(event))

    def say(self, body: str) -> None:
        """Put a message into the queue."""
        self.sqs.client.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def waiting(self) -> int:
        """Messages in the queue."""
        found = self.sqs.client.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["All"])["Attributes"]
        return int(found["ApproximateNumberOfMessages"])

    def stray(self, pool: str) -> None:
        """A pool's group loses sight of one machine, which runs on."""
        name = self.behind(pool)["Instances"][0]["InstanceId"]
        self.autoscaling.client.detach_instances(
            InstanceIds=[name], AutoScalingGroupName=self._behind[pool], ShouldDecrementDesiredCapacity=True
        )

    def running(self) -> set[str]:
        """Machines that AWS bills."""
        return set(self.nodes())

    def nodes(self) -> dict[str, str]:
        """Machines that AWS bills, each with the name of its node: what is behind moto's answers, which take long."""
        found = ec2_backends[ACCOUNT][REGION].all_instances()
        return {each.id: each.private_dns_name for each in found if each.state in ("pending", "running")}

    def size(self, pool: str) -> tuple[int, int]:
        """Machines that a pool's group is asked for, and those that it has: in the same way."""
        name = self._behind[pool]
        group = autoscaling_backends[ACCOUNT][REGION].autoscaling_groups[name]
        return group.desired_capacity + self._missing.get(name, 0), len(group.instance_states)

    def behind(self, pool: str) -> Any:
        """The Auto Scaling group of a pool, as AWS describes it."""
        (found,) = self.autoscaling.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self._behind[pool]])[
            "AutoScalingGroups"
        ]
        return found

    def _make_cluster(self) -> None:
        self.eks.client.create_cluster(
            name=self.stack,
            version="1.33",
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/r",
            resourcesVpcConfig={"subnetIds": [self._subnet["SubnetId"]]},
        )

    def _make_node_group(self, pool: str, most: int, start: int) -> str:
        """The node group of a pool; returns the name of the Auto Scaling group that belongs behind it."""
        made = self.eks.client.create_nodegroup(
            clusterName=self.stack,
            nodegroupName=pool,
            nodeRole=f"arn:aws:iam::{ACCOUNT}:role/r",
            subnets=[self._subnet["SubnetId"]],
            instanceTypes=["g5.xlarge"],
            scalingConfig={"minSize": 0, "maxSize": most, "desiredSize": start},
        )
        return behind_node_group(made["nodegroup"])

    def _make_queue(self) -> str:
        made = self.sqs.client.create_queue(QueueName="reclaims", Attributes={"VisibilityTimeout": "0"})
        return str(made["QueueUrl"])

    def _tags(self, pool: str) -> dict[str, str]:
        """Of the machines of a pool."""
        return {"hcctl:stack": self.stack, "hcctl:pool": pool}

    def _group(self, name: str, pool: str, most: int, start: int) -> None:
        template = self.ec2.client.create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": self._image, "InstanceType": "g5.xlarge"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.autoscaling.client.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=0,
            MaxSize=most,
            DesiredCapacity=start,
            AvailabilityZones=[self._subnet["AvailabilityZone"]],
            MixedInstancesPolicy={
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"},
                    "Overrides": [{"InstanceType": "g5.xlarge"}],
                }
            },
            Tags=[
                {"Key": key, "Value": value, "PropagateAtLaunch": True, "ResourceType": "auto-scaling-group"}
                for key, value in self._tags(pool).items()
            ],
        )
        self._behind[pool] = name

    def _set(self, *, AutoScalingGroupName: str, DesiredCapacity: int, **_: Any) -> None:  # noqa: N803
        name, there = AutoScalingGroupName, self._there(AutoScalingGroupName)
        lacks = max(0, DesiredCapacity - there) if name in self._empty else 0
        for number in range(lacks - self._missing.get(name, 0)):
            failure = {
                "ActivityId": f"{name}-{len(self._failures)}",
                "AutoScalingGroupName": name,
                "Description": "Launching a new EC2 instance.  Status Reason: no capacity",
                "StatusCode": "Failed",
                "StatusMessage": "We currently do not have sufficient g5.xlarge capacity",
                "StartTime": datetime.fromtimestamp(self._clock() + number, UTC),
            }
            self._failures.append(failure)
        self._missing[name] = lacks
        self.autoscaling.client.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=DesiredCapacity - lacks)

    def _there(self, name: str) -> int:
        (found,) = self.autoscaling.client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
            "AutoScalingGroups"
        ]
        return len(found["Instances"])

    def _groups(self, **asked: Any) -> Any:
        answer = self.autoscaling.client.describe_auto_scaling_groups(**asked)
        for group in answer["AutoScalingGroups"]:
            group["DesiredCapacity"] += self._missing.get(group["AutoScalingGroupName"], 0)
        return answer

    def _update(self, **asked: Any) -> Any:
        """EKS hands the size on."""
        answer = self.eks.client.update_nodegroup_config(**asked)
        name = self._behind[asked["nodegroupName"]]
        self._set(AutoScalingGroupName=name, DesiredCapacity=asked["scalingConfig"]["desiredSize"])
        return answer

    def _activities(self, *, AutoScalingGroupName: str, **_: Any) -> Any:  # noqa: N803
        mine = [each for each in self._failures if each["AutoScalingGroupName"] == AutoScalingGroupName]
        return {"Activities": mine[::-1]}

    def _quota(self, **_: Any) -> Any:
        return {"Quota": {"Value": self.vcpus}}


class StackMachines(MotoMachines):
    """Machines behind the node groups that the Pulumi program has made in moto, tagged as its launch templates say.

    Args:
        outputs: of the stack.
        clock: wall-clock seconds since the epoch.
    """

    def __init__(self, outputs: StackOutputs, clock: Callable[[], float]) -> None:
        self.stack, self._outputs = outputs.name, outputs
        super().__init__("eks", {pool.name: pool.max_nodes for pool in outputs.pools}, clock)

    def node_group(self, pool: str) -> Any:
        """As EKS describes it."""
        return self.eks.client.describe_nodegroup(clusterName=self.stack, nodegroupName=pool)["nodegroup"]

    def tags_of(self, machine: str) -> dict[str, str]:
        """Of a machine that was launched."""
        (found,) = self.ec2.client.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"]
        return {tag["Key"]: tag["Value"] for tag in found["Tags"]}

    def _make_cluster(self) -> None:
        """It is there."""

    def _make_node_group(self, pool: str, most: int, start: int) -> str:
        return behind_node_group(self.node_group(pool))

    def _make_queue(self) -> str:
        return self._outputs.reclaim_queue_url

    def _tags(self, pool: str) -> dict[str, str]:
        template = self.node_group(pool)["launchTemplate"]
        (version,) = self.ec2.client.describe_launch_template_versions(
            LaunchTemplateId=template["id"], Versions=[template["version"]]
        )["LaunchTemplateVersions"]
        specs = version["LaunchTemplateData"]["TagSpecifications"]
        return {
            tag["Key"]: tag["Value"] for spec in specs if spec["ResourceType"] == "instance" for tag in spec["Tags"]
        }


def behind_node_group(group: Mapping[str, Any]) -> str:
    """Name of the Auto Scaling group behind a node group."""
    return str(group["resources"]["autoScalingGroups"][0]["name"])
