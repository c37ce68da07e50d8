"""What to order of a provider of machines, and when to ask again. Pure.

The bill says which nodes are paid for (`DaemonState.nodes`), budgets and caps included; the groups are brought to that
and never above. A machine leaves only while no pod of the site is on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from autoscaler.capacity.port import CapacitySeen, Machine, PoolSeen
from autoscaler.money.market import taken
from autoscaler.state import DaemonState, RentedNode
from serving.sites.site import NodesInUse, Notice

LOOK_EVERY_S = 15.0
"""Between two looks while nothing is ordered: a reclaim leaves two minutes, and AWS counts the questions."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
ORPHAN_AFTER_S = 600.0
"""A machine that no group counts is given so long to be counted."""
ENDED_AT_ONCE = 10
SETTLE_S = 10.0
"""So long a group that was given a number is not given a higher one: EKS passes it on late, and refuses meanwhile."""


@dataclass(frozen=True)
class Resize:
    """Ask a pool's group for another number of machines."""

    site: str
    pool: str
    machines: int
    reason: str

    @property
    def body(self) -> dict[str, JsonValue]:
        """For the journal."""
        return {"kind": "Resize", "site": self.site, "reason": self.reason, "pool": self.pool, "n": self.machines}


@dataclass(frozen=True)
class Remove:
    """End machines on which nothing runs."""

    site: str
    machines: tuple[Machine, ...]
    reason: str

    @property
    def body(self) -> dict[str, JsonValue]:
        """For the journal."""
        ids: list[JsonValue] = [machine.id for machine in self.machines]
        return {"kind": "Remove", "site": self.site, "reason": self.reason, "machines": ids}


Order = Resize | Remove


def wanted(site: str, state: DaemonState, pools: Collection[str]) -> dict[str, int]:
    """Machines that are paid for, by pool."""
    paid = taken(state.nodes)
    return {pool: paid.get((site, pool), 0) for pool in pools}


def free_machines(seen: CapacitySeen, in_use: NodesInUse | None) -> list[Machine]:
    """Machines on which nothing of the site runs, the newest first; what is not known may be in use.

    A worker on a node that no machine has means that machines and nodes cannot be told from each other: none is free.
    """
    nodes = {machine.node for machine in seen.machines if machine.node is not None}
    if in_use is None or in_use.workers - nodes:
        return []
    free = nodes - in_use.workers - in_use.others
    return sorted((m for m in seen.machines if m.node in free), key=lambda m: (-m.launched_at_s, m.id))


def needs_occupancy(seen: CapacitySeen, want: Mapping[str, int], now_s: float) -> bool:
    """Whether machines are to leave, so that it matters on which of them something runs."""
    return bool(_orphans(seen, now_s)) or any(_surplus(seen, name, want[name]) for name in seen.pools if name in want)


def orders(
    site: str, want: Mapping[str, int], seen: CapacitySeen, in_use: NodesInUse | None, now_s: float
) -> tuple[Order, ...]:
    """What brings each pool to the machines that are wanted; at most one order a pool, and one for orphans.

    Args:
        site: whose machines they are.
        want: by pool; a pool that is not in it is left alone.
        seen: the latest look.
        in_use: nodes that may not leave; None: not known, so nothing leaves.
        now_s: wall clock.
    """
    found: list[Order] = []
    free = free_machines(seen, in_use)
    for name, pool in seen.pools.items():
        if name not in want:
            continue
        there, count = len(seen.of(name)), _bounded(want[name], pool)
        if count > pool.asked:
            found.append(Resize(site, name, count, f"{want[name]} nodes of {name} are paid for"))
        elif pool.asked > max(count, there):
            why = f"{pool.asked - max(count, there)} of {name} did not come and are no longer wanted"
            found.append(Resize(site, name, max(count, there), why))
        elif leaving := [m for m in free if m.pool == name and m.grouped][: _surplus(seen, name, want[name])]:
            found.append(Remove(site, tuple(leaving[:ENDED_AT_ONCE]), f"{want[name]} nodes of {name} are paid for"))
    if lost := [machine for machine in _orphans(seen, now_s) if machine in free]:
        found.append(Remove(site, tuple(lost[:ENDED_AT_ONCE]), "no group counts them"))
    return tuple(found)


def shortfalls(site: str, state: DaemonState, seen: CapacitySeen) -> tuple[Notice, ...]:
    """Launches that are paid for and have failed, as notices: the pool rests, and another one is taken.

    A failure stands for the newest node that is paid for, so one that is older than that node is of the past.
    """
    found: list[Notice] = []
    for name, pool in seen.pools.items():
        nodes = _nodes(site, name, state)
        if not nodes:
            continue
        newest_s = max(node.launched_at_s for node in nodes)
        if len(nodes) > max(pool.most, pool.asked):
            found.append(Notice(f"{name}/full/{newest_s:.3f}", name, newest_s, "launch_failed"))
            continue
        fresh = [f for f in pool.failures if f.at_s >= newest_s and f"{site}/{f.id}" not in state.notices]
        short = max(0, len(nodes) - len(seen.of(name)))
        ordered = sorted(fresh, key=lambda failure: failure.at_s)
        found += [Notice(failure.id, name, failure.at_s, "launch_failed") for failure in ordered[:short]]
    return tuple(found)


def _nodes(site: str, pool: str, state: DaemonState) -> list[RentedNode]:
    mine = (nodes for key, nodes in state.nodes.items() if key.partition("/")[0] == site)
    return [node for nodes in mine for node in nodes if node.pool == pool]


def _bounded(count: int, pool: PoolSeen) -> int:
    return max(pool.least, min(count, pool.most))


def _surplus(seen: CapacitySeen, name: str, want: int) -> int:
    """Machines to be ended; those that the group ends already are not among them."""
    pool = seen.pools[name]
    return max(0, min(len(seen.of(name)), pool.asked) - _bounded(want, pool))


def _orphans(seen: CapacitySeen, now_s: float) -> list[Machine]:
    return [m for m in seen.machines if not m.grouped and now_s - m.launched_at_s > ORPHAN_AFTER_S]


@dataclass(frozen=True)
class Pace:
    """When the provider may be asked again."""

    failures: int = 0
    """In a row."""
    not_before_s: float = 0.0

    def waits(self, now_s: float) -> bool:
        """Whether it is too early; a clock that was set back ends the wait."""
        return 0.0 < self.not_before_s - now_s <= LONGEST_PAUSE_S

    def after_failure(self, now_s: float, chance: float) -> Pace:
        """Twice the last pause, spread by `chance` from 0 to 1 over its second half, so that daemons come apart."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 16))
        return Pace(self.failures + 1, now_s + pause_s * (0.5 + 0.5 * chance))
