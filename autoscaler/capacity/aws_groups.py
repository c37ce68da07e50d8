"""The two kinds of groups that AWS keeps machines in. Behind both is an Auto Scaling group, which is what is looked at.

They differ in how a group is found, and in who has to be told a number: EKS keeps one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from autoscaler.capacity.aws_calls import Clients, asking
from serving.errors import HcctlError


@dataclass(frozen=True)
class Group:
    """The Auto Scaling group of one pool."""

    name: str
    instance_types: tuple[str, ...]
    """That it may launch; empty: not known."""
    spot: bool


class Groups(Protocol):
    """Finds the groups of pools and sets their size. Raises as `aws_calls.asking` does."""

    def find(self) -> Mapping[str, Group]:
        """By pool."""
        ...

    def set_size(self, pool: str, machines: int) -> None: ...


class NodeGroups:
    """Managed node groups of an EKS cluster.

    Args:
        clients: of AWS.
        cluster: name of the EKS cluster.
        names: node group of each pool.
    """

    def __init__(self, clients: Clients, cluster: str, names: Mapping[str, str]) -> None:
        self._clients = clients
        self._cluster = cluster
        self._names = names

    def find(self) -> Mapping[str, Group]:
        return {pool: self._find(name) for pool, name in self._names.items()}

    def _find(self, name: str) -> Group:
        with asking("the node group cannot be seen", name):
            answer = self._clients.eks.describe_nodegroup(clusterName=self._cluster, nodegroupName=name)
        found = answer["nodegroup"]
        behind = found.get("resources", {}).get("autoScalingGroups", [])
        if len(behind) != 1:
            raise HcctlError(
                "the node group cannot be used", where=name, why=f"it has {len(behind)} Auto Scaling groups, not one"
            )
        types = tuple(found.get("instanceTypes") or ())
        return Group(behind[0]["name"], types, found.get("capacityType") == "SPOT")

    def set_size(self, pool: str, machines: int) -> None:
        with asking("the node group was not resized", self._names[pool]):
            self._clients.eks.update_nodegroup_config(
                clusterName=self._cluster,
                nodegroupName=self._names[pool],
                scalingConfig={"desiredSize": machines},
            )


class ScalingGroups:
    """Auto Scaling groups whose machines join the cluster by themselves.

    Args:
        clients: of AWS.
        names: Auto Scaling group of each pool.
    """

    def __init__(self, clients: Clients, names: Mapping[str, str]) -> None:
        self._clients = clients
        self._names = names

    def find(self) -> Mapping[str, Group]:
        with asking("the Auto Scaling groups cannot be seen", ", ".join(self._names.values())):
            answer = self._clients.autoscaling.describe_auto_scaling_groups(
                AutoScalingGroupNames=list(self._names.values())
            )
        found = {
            each["AutoScalingGroupName"]: each.get("MixedInstancesPolicy", {}) for each in answer["AutoScalingGroups"]
        }
        return {pool: _mixed(name, found[name]) for pool, name in self._names.items() if name in found}

    def set_size(self, pool: str, machines: int) -> None:
        with asking("the Auto Scaling group was not resized", self._names[pool]):
            self._clients.autoscaling.set_desired_capacity(
                AutoScalingGroupName=self._names[pool], DesiredCapacity=machines, HonorCooldown=False
            )


def _mixed(name: str, policy: Mapping[str, Mapping[str, object]]) -> Group:
    overrides = policy.get("LaunchTemplate", {}).get("Overrides") or []
    kinds = [each.get("InstanceType") for each in overrides] if isinstance(overrides, list) else []
    spot = policy.get("InstancesDistribution", {}).get("OnDemandPercentageAboveBaseCapacity") == 0
    return Group(name, tuple(kind for kind in kinds if kind), spot)
