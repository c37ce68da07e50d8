"""The port to who rents out machines: how many there are, more of them, fewer of them, and word of their end.

Implementations: `autoscaler.capacity.aws.AwsCapacity` over EKS managed node groups or Auto Scaling groups, and
`tests.support.fake_capacity.FakeCapacity`; all pass tests/contract/test_capacity.py. Where Karpenter, the cluster
autoscaler or nobody adds nodes there is none of it: never two writers on one layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from serving.errors import HcctlError
from serving.sites.site import Notice


class NotNow(HcctlError):
    """The provider was asked too often, or is busy with a former change; later it may do the same."""


class NoRoom(HcctlError):
    """The provider will not launch more there: a quota, a limit of the group, or no such machine is free."""


@dataclass(frozen=True)
class Machine:
    """One machine that is there or is coming."""

    id: str
    pool: str
    launched_at_s: float
    node: str | None
    """Name of its Kubernetes node; None: not known, and what may run on it neither."""
    grouped: bool = True
    """A group counts it. False: an orphan, which is paid for and nobody looks after."""


@dataclass(frozen=True)
class Failure:
    """A launch that failed."""

    id: str
    at_s: float
    why: str


@dataclass(frozen=True)
class PoolSeen:
    """The group of one pool."""

    asked: int
    """Machines that it is asked for."""
    least: int
    most: int
    failures: tuple[Failure, ...] = ()
    """Of its latest launches, while it lacks machines."""


@dataclass(frozen=True)
class CapacitySeen:
    """What is known of all pools of a site at one moment."""

    at_s: float
    pools: Mapping[str, PoolSeen]
    machines: tuple[Machine, ...] = ()
    notices: tuple[Notice, ...] = field(default=())
    """Reclaims: each until `forget` or until its machine is gone."""

    def of(self, pool: str) -> list[Machine]:
        """Machines that the pool's group counts."""
        return [machine for machine in self.machines if machine.pool == pool and machine.grouped]


class Capacity(Protocol):
    """Machines of one site. All methods are idempotent and safe to repeat after a crash.

    Raises: NotNow when it was asked too often; HcctlError when the provider refuses or does not answer, for then
    nothing is known, which is not the same as no machines.
    """

    def observe(self) -> CapacitySeen:
        """Look at all pools."""
        ...

    def resize(self, pool: str, machines: int) -> None:
        """Ask the pool's group for so many machines.

        Raises:
            NoRoom: more than there are may not be launched; nothing was changed.
        """
        ...

    def remove(self, machine: Machine) -> None:
        """End this machine, and ask its group for one fewer. One that is gone already is no error."""
        ...

    def forget(self, notices: Collection[str]) -> None:
        """These notices are on disk; the provider need not repeat them."""
        ...
