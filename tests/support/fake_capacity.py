"""Machines in memory, by an explicit clock: the contract of a real provider, and its troubles on demand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from autoscaler.capacity.port import CapacitySeen, Failure, Machine, NoRoom, NotNow, PoolSeen
from serving.sites.site import Notice


class FakeCapacity:
    """A provider whose machines come at once, unless it is told otherwise.

    Args:
        clock: the present time, in seconds.
        most: machines that each pool may have.
    """

    def __init__(self, clock: Callable[[], float], most: Mapping[str, int]) -> None:
        self._clock = clock
        self._pools = {pool: PoolSeen(0, 0, count) for pool, count in most.items()}
        self._machines: list[Machine] = []
        self._notices: list[Notice] = []
        self._numbers = 0
        self.empty: set[str] = set()
        """Pools of which the provider has no machine: each launch fails."""
        self.quota: dict[str, int] = {}
        """Machines that a pool may have by quota."""
        self.throttled = 0
        """Calls that are refused from now on."""
        self.capacity = self
        self.forgotten: list[str] = []
        self.calls: list[str] = []
        """Every change that was made: `resize a 2`, `remove m1`."""

    def observe(self) -> CapacitySeen:
        self._answer()
        self._launch()
        return CapacitySeen(self._clock(), dict(self._pools), tuple(self._machines), tuple(self._notices))

    def resize(self, pool: str, machines: int) -> None:
        self._answer()
        found = self._pools[pool]
        if machines == found.asked:
            return
        if machines > min(found.most, self.quota.get(pool, found.most)):
            raise NoRoom("no machine was launched", where=pool, why="its limit is reached")
        self.calls.append(f"resize {pool} {machines}")
        self._pools[pool] = replace(found, asked=machines, failures=())
        for machine in self._of(pool)[machines:]:
            self._machines.remove(machine)
        self._launch()

    def remove(self, machine: Machine) -> None:
        self._answer()
        if machine not in self._machines:
            return
        self.calls.append(f"remove {machine.id}")
        self._machines.remove(machine)
        if machine.grouped:
            found = self._pools[machine.pool]
            self._pools[machine.pool] = replace(found, asked=found.asked - 1)

    def forget(self, notices: Collection[str]) -> None:
        self._answer()
        self.forgotten += notices

    def throttle(self, calls: int) -> None:
        """Refuse the next calls: it was asked too often."""
        self.throttled = calls

    def lack(self, pool: str) -> None:
        """There is no machine of the kind any more: launches fail."""
        self.empty.add(pool)

    def allow(self, machines: int) -> None:
        """The account's quota, for each pool."""
        self.quota = dict.fromkeys(self._pools, machines)

    def reclaim(self, machine: Machine, ends_s: float) -> None:
        """Announce the end of a machine."""
        self._notices.append(Notice(machine.id, machine.pool, ends_s))

    def stray(self, pool: str) -> None:
        """The group of a pool loses sight of its oldest machine, which runs on."""
        machine = self._of(pool)[0]
        self._machines[self._machines.index(machine)] = replace(machine, grouped=False)
        self._pools[pool] = replace(self._pools[pool], asked=self._pools[pool].asked - 1)

    def _answer(self) -> None:
        if self.throttled:
            self.throttled -= 1
            raise NotNow("machines cannot be seen", why="Throttling: rate exceeded")

    def _of(self, pool: str) -> list[Machine]:
        return [machine for machine in self._machines if machine.pool == pool and machine.grouped]

    def _launch(self) -> None:
        for pool, found in self._pools.items():
            for _ in range(found.asked - len(self._of(pool))):
                self._numbers += 1
                if pool in self.empty:
                    failure = Failure(f"f{self._numbers}", self._clock(), "no such machine is free")
                    self._pools[pool] = replace(self._pools[pool], failures=(*self._pools[pool].failures, failure))
                else:
                    name = f"m{self._numbers}"
                    self._machines.append(Machine(name, pool, self._clock(), f"node-{name}"))
