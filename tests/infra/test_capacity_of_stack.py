"""From the Pulumi program to machines in one world: a stack's outputs become a site whose groups the daemon resizes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from moto import mock_aws

from autoscaler.capacity.hands import Rented
from autoscaler.money.market import taken
from cli.site_of_stack import Choices, cloud_site
from infra.costs import load_prices
from infra.outputs import StackOutputs, read
from serving.project import HybridProject
from serving.sites.site import NodesInUse
from tests.support.daemon_rig import DaemonRig
from tests.support.declared import PROJECT, service
from tests.support.iam_policy import allowed
from tests.support.moto_cloud import MotoCloud
from tests.support.moto_machines import StackMachines
from tests.support.pulumi_program import Applied, example, run, shapes_only

RAMP = {"rate_rps": 60, "total_s": 1.0, "queue_s": 0.5}


NEEDED = ("aws:ec2/", "aws:eks/", "aws:iam/role:", "aws:sqs/queue:")
"""What machines stand on is created in moto; the rest of the stack is declared only, which saves seconds."""


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Applied]:
    """The example stack, as the program makes it under Pulumi's mocks."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        cloud = MotoCloud("us-east-1", "123456789012")

        def create(type_: str, name: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
            return (cloud.create if type_.startswith(NEEDED) else shapes_only)(type_, name, inputs)

        yield run(example(), create)


def project_of(outputs: StackOutputs) -> HybridProject:
    """The usual private site, and the cloud site that `hcctl site add` makes of the outputs, with prices of spot."""
    book = load_prices()
    spot = {"spot_hours": {"g5.xlarge": 0.41, "g5.2xlarge": 0.52}, "spot_as_of": "2026-11-20"}
    regions = {"us-east-1": book.regions["us-east-1"].model_copy(update=spot)}
    chosen = Choices("images.example.org/shop:1.4.0", None, "cloud.kubeconfig", None)
    cloud = cloud_site(outputs, book.model_copy(update={"regions": regions}), chosen).site
    return HybridProject.model_validate({**PROJECT, "sites": {"private": PROJECT["sites"]["private"], "cloud": cloud}})


def test_the_daemon_resizes_what_the_program_made(applied: Applied) -> None:
    """A reclaim, a launch that fails and a throttle on the stack's own groups; at the end no machine is left."""
    outputs = read(applied.outputs)
    rig = DaemonRig(fleet=project_of(outputs), spec=service(sites={"cloud": {"max_replicas": 2}}))
    aws = StackMachines(outputs, rig.clock)
    bounds = {name: (pool.asked, pool.least, pool.most) for name, pool in aws.capacity.observe().pools.items()}
    assert bounds == {"a10g-spot": (0, 0, 8), "a10g": (0, 0, 4)}
    rig.rented = {"cloud": Rented(aws.capacity, NodesInUse)}
    rig.restart()
    rig.deploy("v1")
    rig.run(20)
    rig.load(40, **RAMP)
    seen = aws.capacity.observe()
    spot = seen.of("a10g-spot")
    assert aws.node_group("a10g-spot")["scalingConfig"]["desiredSize"] == len(spot) == 2
    tags = aws.tags_of(spot[0].id)
    assert (tags["hcctl:stack"], tags["hcctl:pool"], tags["team"]) == ("hcctl-prod", "a10g-spot", "search")
    aws.lack("a10g")
    aws.reclaim(spot[0], rig.clock() + 120.0)
    aws.throttle(3)
    rig.load(70, **RAMP)
    reasons = " ".join(str(d.body["reason"]) for d in rig.store.decisions(limit=1_000))
    assert "pool a10g-spot takes a node back" in reasons
    assert "pool a10g failed to launch a node" in reasons
    assert (aws.autoscaling.errors, aws.waiting()) == ([], 0)
    paid = taken(rig.daemon.state.nodes)
    assert (aws.size("a10g-spot")[0], aws.size("a10g")[0]) == (paid["cloud", "a10g-spot"], 0) == (3, 0)
    rig.run(150)
    assert aws.running() == set()
    assert rig.store.open_actions() == ()
    assert aws.node_group("system")["scalingConfig"]["desiredSize"] == 2
    assert_allowed(applied, aws)


def assert_allowed(applied: Applied, aws: StackMachines) -> None:
    """All that was asked of AWS is a right of the daemon's role, on the resources of this stack."""
    (policy,) = (each for each in applied.of(":RolePolicy") if each.name == "hcctl-prod-daemon")
    document, at = json.loads(policy.inputs["policy"]), "us-east-1:123456789012"
    clients = {"ec2": aws.ec2, "autoscaling": aws.autoscaling, "eks": aws.eks, "sqs": aws.sqs}
    asked = {f"{name}:{call.title().replace('_', '')}" for name, each in clients.items() for call in each.asked}
    asked.discard("ec2:GetPaginator")
    asked |= {"ec2:DescribeInstances", "ec2:DescribeInstanceTypes"}
    assert {"eks:UpdateNodegroupConfig", "autoscaling:TerminateInstanceInAutoScalingGroup"} <= asked
    resources = {
        "eks": f"arn:aws:eks:{at}:nodegroup/hcctl-prod/a10g/6c2f",
        "autoscaling": f"arn:aws:autoscaling:{at}:autoScalingGroup:0f:autoScalingGroupName/eks-a10g-6c2f",
        "sqs": f"arn:aws:sqs:{at}:hcctl-prod-reclaims",
        "ec2": "*",
    }
    context = {
        "aws:ResourceTag/eks:cluster-name": "hcctl-prod",
        "aws:ResourceTag/eks:nodegroup-name": "a10g",
        "aws:RequestedRegion": "us-east-1",
    }
    refused = [
        action for action in sorted(asked) if not allowed(document, action, resources[action.split(":")[0]], context)
    ]
    assert refused == []
