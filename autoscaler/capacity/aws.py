"""Machines of AWS: managed node groups or Auto Scaling groups, spot notices from a queue, quotas before a launch.

What is asked while nothing happens: the groups, the machines with our tag, the queue; three questions a look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from autoscaler.capacity.aws_calls import Clients, asking
from autoscaler.capacity.aws_groups import Group, Groups
from autoscaler.capacity.aws_words import Interruption, quota_class, quota_code, read_interruption
from autoscaler.capacity.port import CapacitySeen, Failure, Machine, NoRoom, PoolSeen
from serving.errors import HcctlError
from serving.sites.site import Notice

log = logging.getLogger(__name__)

STACK_TAG, POOL_TAG = "hcctl:stack", "hcctl:pool"
"""As `infra/tagging.py` writes them; no import, since the Pulumi program stands alone."""
FAILURES_READ = 20
STRANGE_FOR_S = 300.0
"""A notice of a machine that nobody here knows is left in the queue for so long: it may be another site's."""
_ALIVE = ("pending", "running")


class AwsCapacity:
    """Machines of one site in AWS; see `autoscaler.capacity.port.Capacity`.

    Args:
        clients: of AWS.
        groups: finds and resizes the group of each pool.
        names: of the groups as declared, by pool: the tag `hcctl:pool` of their machines.
        stack: the tag `hcctl:stack` of all machines; without it none is ever ended.
        queue_url: SQS queue of spot notices; None: there is none.
        clock: wall-clock seconds since the epoch.
    """

    def __init__(
        self,
        clients: Clients,
        groups: Groups,
        names: Mapping[str, str],
        *,
        stack: str,
        queue_url: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._clients = clients
        self._groups = groups
        self._names = names
        self._stack = stack
        self._queue_url = queue_url
        self._clock = clock
        self._found: Mapping[str, Group] = {}
        self._told: dict[str, tuple[Notice, str]] = {}
        """By machine, its notice and the receipt by which the queue forgets it."""
        self._vcpus: dict[str, int] = {}

    def observe(self) -> CapacitySeen:
        now_s = self._clock()
        described = self._described()
        counted = {
            each["InstanceId"]: pool
            for pool, group in described.items()
            for each in group["Instances"]
            if not each["LifecycleState"].startswith(("Terminat", "Detach"))
        }
        leaving = {each["InstanceId"] for group in described.values() for each in group["Instances"]} - set(counted)
        tagged = {each["InstanceId"]: each for each in self._tagged() if each["InstanceId"] not in leaving}
        machines = [_member(name, pool, tagged.get(name), now_s) for name, pool in counted.items()]
        machines += [self._orphan(each) for name, each in tagged.items() if name not in counted]
        pools = {
            pool: PoolSeen(
                group["DesiredCapacity"],
                group["MinSize"],
                group["MaxSize"],
                self._failures(group) if len(group["Instances"]) < group["DesiredCapacity"] else (),
            )
            for pool, group in described.items()
        }
        self._hear({machine.id: machine.pool for machine in machines}, now_s)
        return CapacitySeen(now_s, pools, tuple(machines), tuple(notice for notice, _ in self._told.values()))

    def resize(self, pool: str, machines: int) -> None:
        group = self._described()[pool]
        if group["DesiredCapacity"] == machines:
            return
        if machines > group["MaxSize"]:
            raise NoRoom("no machine was launched", where=pool, why=f"its group has at most {group['MaxSize']}")
        if machines > group["DesiredCapacity"]:
            self._require_quota(pool, machines - group["DesiredCapacity"])
        self._groups.set_size(pool, machines)

    def remove(self, machine: Machine) -> None:
        if machine.id not in {each["InstanceId"] for each in self._tagged()}:
            return
        counted = {
            each["InstanceId"]: each["LifecycleState"]
            for group in self._described().values()
            for each in group["Instances"]
        }
        state = counted.get(machine.id)
        with asking("the machine was not ended", machine.id):
            if state is None:
                self._clients.ec2.terminate_instances(InstanceIds=[machine.id])
            elif not state.startswith("Terminat"):
                self._clients.autoscaling.terminate_instance_in_auto_scaling_group(
                    InstanceId=machine.id, ShouldDecrementDesiredCapacity=True
                )

    def forget(self, notices: Collection[str]) -> None:
        for name in notices:
            if name in self._told and self._told[name][1]:
                notice, receipt = self._told[name]
                self._drop(receipt)
                self._told[name] = (notice, "")

    def _described(self) -> dict[str, dict[str, Any]]:
        """The Auto Scaling group of each pool.

        Raises:
            HcctlError: one is not there; the others are not told without it.
        """
        if not self._found:
            self._found = self._groups.find()
        wanted = {pool: group.name for pool, group in self._found.items()}
        with asking("the groups cannot be seen", ", ".join(self._names.values())):
            answer = self._clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=list(wanted.values()))
        found = {each["AutoScalingGroupName"]: each for each in answer["AutoScalingGroups"]}
        missing = [pool for pool in self._names if wanted.get(pool) not in found]
        if missing:
            self._found = {}  # it may have been made anew, under another name
            raise HcctlError(
                "a pool has no group", where=missing[0], next_step="name it in `capacity.groups`, or make it"
            )
        return {pool: found[name] for pool, name in wanted.items()}

    def _instances(self, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        with asking("machines cannot be seen", self._stack):
            pages = self._clients.ec2.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-state-name", "Values": list(_ALIVE)}, *filters]
            )
            for page in pages:
                for reservation in page["Reservations"]:
                    yield from reservation["Instances"]

    def _tagged(self) -> Iterator[dict[str, Any]]:
        return self._instances(
            [
                {"Name": f"tag:{STACK_TAG}", "Values": [self._stack]},
                {"Name": f"tag:{POOL_TAG}", "Values": sorted(self._names.values())},
            ]
        )

    def _orphan(self, instance: Mapping[str, Any]) -> Machine:
        tag = next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == POOL_TAG)
        pool = next(pool for pool, name in self._names.items() if name == tag)
        return _machine(instance, pool, grouped=False)

    def _failures(self, group: Mapping[str, Any]) -> tuple[Failure, ...]:
        with asking("launches cannot be seen", group["AutoScalingGroupName"]):
            answer = self._clients.autoscaling.describe_scaling_activities(
                AutoScalingGroupName=group["AutoScalingGroupName"], MaxRecords=FAILURES_READ
            )
        return tuple(
            Failure(each["ActivityId"], each["StartTime"].timestamp(), each.get("StatusMessage", "")[:300])
            for each in answer["Activities"]
            if each["StatusCode"] == "Failed" and each.get("Description", "").startswith("Launching")
        )

    def _hear(self, pools: Mapping[str, str], now_s: float) -> None:
        """Read the queue. What is told stays until its machine is gone; the queue repeats it until `forget`."""
        self._told = {name: told for name, told in self._told.items() if name in pools}
        if self._queue_url is None:
            return
        with asking("spot notices cannot be read", self._queue_url):
            answer = self._clients.sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            said = _interruption(message["Body"])
            if said is not None and said.machine in pools:
                notice = Notice(said.machine, pools[said.machine], said.ends_s)
                self._told[said.machine] = (notice, message["ReceiptHandle"])
            elif said is None or now_s - said.ends_s > STRANGE_FOR_S:
                self._drop(message["ReceiptHandle"])

    def _drop(self, receipt: str) -> None:
        with asking("a spot notice was not deleted", str(self._queue_url)):
            self._clients.sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=receipt)

    def _require_quota(self, pool: str, more: int) -> None:
        """Refuse what the account's quota does not allow; where that is not known, the launch itself tells.

        Raises:
            NoRoom: names quota and use.
        """
        group = self._found[pool]
        codes = {quota_code(kind, spot=group.spot) for kind in group.instance_types}
        code = codes.pop() if len(codes) == 1 else None
        if code is None:
            return
        kind = quota_class(group.instance_types[0])
        with asking("the quota cannot be read", code):
            allowed = self._clients.quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        running = [
            one["InstanceType"]
            for one in self._instances([])
            if quota_class(one["InstanceType"]) == kind and (one.get("InstanceLifecycle") == "spot") == group.spot
        ]
        self._learn_vcpus({*running, *group.instance_types})
        used, least = sum(self._vcpus[one] for one in running), min(self._vcpus[one] for one in group.instance_types)
        if used + more * least > allowed:
            raise NoRoom(
                "no machine was launched",
                where=pool,
                why=f"{more} x {least} vCPUs with {used} in use are more than quota {code} of {allowed:g}",
                next_step="ask AWS for a higher quota",
            )

    def _learn_vcpus(self, kinds: Collection[str]) -> None:
        missing = sorted(set(kinds) - set(self._vcpus))
        if not missing:
            return
        with asking("machine types cannot be seen", ", ".join(missing)):
            pages = self._clients.ec2.get_paginator("describe_instance_types").paginate(
                Filters=[{"Name": "instance-type", "Values": missing}]
            )
            for page in pages:
                for each in page["InstanceTypes"]:
                    self._vcpus[each["InstanceType"]] = each["VCpuInfo"]["DefaultVCpus"]


def _member(name: str, pool: str, instance: Mapping[str, Any] | None, now_s: float) -> Machine:
    """A machine that a group counts; one that has just been launched may have no description yet."""
    return Machine(name, pool, now_s, None) if instance is None else _machine(instance, pool, grouped=True)


def _machine(instance: Mapping[str, Any], pool: str, *, grouped: bool) -> Machine:
    node = instance.get("PrivateDnsName") or None
    return Machine(instance["InstanceId"], pool, instance["LaunchTime"].timestamp(), node, grouped)


def _interruption(body: str) -> Interruption | None:
    """What a message says; one that is no event is told once and dropped, for nobody can ever read it."""
    try:
        return read_interruption(body)
    except ValueError as error:
        log.warning("a message in the queue of spot notices was dropped: %s", error)
        return None
