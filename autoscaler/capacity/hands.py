"""The daemon's hands on machines: looks and orders beside the tick, one of them at a time for each site."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.capacity.orders import (
    LOOK_EVERY_S,
    SETTLE_S,
    Order,
    Pace,
    Resize,
    free_machines,
    needs_occupancy,
    orders,
    shortfalls,
    wanted,
)
from autoscaler.capacity.port import Capacity, CapacitySeen, NoRoom
from autoscaler.handles import Executor, Outcome
from autoscaler.state import DaemonState
from serving.errors import HcctlError
from serving.failpoints import failpoint
from serving.sites.site import NodesInUse, Notice

log = logging.getLogger(__name__)

Occupied = Callable[[], NodesInUse]
"""On which nodes pods of the site are.

Raises: HcctlError when that cannot be known.
"""


@dataclass(frozen=True)
class Rented:
    """Machines of one site: who rents them out, and which of them are in use."""

    capacity: Capacity
    occupied: Occupied


@dataclass(frozen=True)
class _Done:
    """How a look, with or without orders before it, ended."""

    seen: CapacitySeen | None
    in_use: NodesInUse | None
    error: str
    outcomes: tuple[Outcome, ...] = ()
    refused: tuple[Notice, ...] = ()


@dataclass
class CapacityHands:
    """Machines of one site. What is seen holds until the next look; one that fails leaves nothing to decide from."""

    site: str
    rented: Rented
    executor: Executor
    news: Callable[[], None]
    fence: Callable[[], None]
    clock: Callable[[], float]
    chance: Callable[[], float]
    """From 0 to 1: spreads the pauses after failures."""
    seen: CapacitySeen | None = None
    _in_use: NodesInUse | None = None
    _settled_s: dict[str, float] = field(default_factory=dict)
    """By pool, when its group has taken in the number that it was given last."""
    _refused: tuple[Notice, ...] = ()
    _known: tuple[str, ...] = ()
    """Notices that are on disk."""
    _pace: Pace = field(default_factory=Pace)
    _busy: bool = False
    _error: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: _Done | None = None

    def collect(self, now_s: float) -> tuple[Outcome, ...]:
        """Take in what has ended since the last call."""
        with self._lock:
            done, self._done = self._done, None
        if done is None:
            return ()
        failpoint("daemon.after-call")
        self._busy = False
        self.seen, self._in_use = done.seen, done.in_use
        self._refused += done.refused
        self._pace = self._pace.after_failure(now_s, self.chance()) if done.error else Pace()
        if done.error and done.error != self._error:
            log.warning("machines: %s", done.error, extra={"site": self.site})
        self._error = done.error
        return done.outcomes

    def notices(self, state: DaemonState) -> tuple[Notice, ...]:
        """What the daemon has to know of machines that go, or did not come.

        `state` is that of the last tick, which is on disk: what is known there may be forgotten by the provider.
        """
        told = () if self.seen is None else self.seen.notices
        self._known = tuple(notice.id for notice in told if f"{self.site}/{notice.id}" in state.notices)
        self._refused = tuple(notice for notice in self._refused if f"{self.site}/{notice.id}" not in state.notices)
        if self.seen is None:
            return self._refused
        return (*self.seen.notices, *shortfalls(self.site, state, self.seen), *self._refused)

    def orders(self, state: DaemonState, now_s: float) -> tuple[Order, ...]:
        """What to order now; where nothing is, a look begins if one is due."""
        if self._busy or self._pace.waits(now_s):
            return ()
        want = {} if self.seen is None else wanted(self.site, state, self.seen.pools)
        if self.seen is not None and 0.0 <= now_s - self.seen.at_s < LOOK_EVERY_S:
            found = orders(self.site, want, self.seen, self._in_use, now_s)
            found = tuple(order for order in found if not self._settles(order, self.seen, now_s))
            unknown = self._in_use is None and needs_occupancy(self.seen, want, now_s)
            if found or not unknown:
                return found
        self._submit((), want, self._known)
        return ()

    def act(self, keyed: Sequence[tuple[str, Order]], now_s: float) -> None:
        """Carry out orders that are in the journal, then look."""
        for _, order in keyed:
            if isinstance(order, Resize):
                self._settled_s[order.pool] = now_s + SETTLE_S
        self._submit(keyed, {}, ())

    def _settles(self, order: Order, seen: CapacitySeen, now_s: float) -> bool:
        """Whether it asks for more of a group that was given a number just now, which may not show yet."""
        if not isinstance(order, Resize) or order.machines <= seen.pools[order.pool].asked:
            return False
        return 0.0 < self._settled_s.get(order.pool, 0.0) - now_s <= SETTLE_S

    def _submit(self, keyed: Sequence[tuple[str, Order]], want: Mapping[str, int], known: Collection[str]) -> None:
        self._busy = True
        self.executor.submit(lambda: self._run(keyed, want, known))

    def _run(self, keyed: Sequence[tuple[str, Order]], want: Mapping[str, int], known: Collection[str]) -> None:
        outcomes, refused, error = [], [], ""
        for key, order in keyed:
            trouble = error  # after one that failed the others wait for the next look
            try:
                if not error:
                    self.fence()
                    perform(self.rented, order)
            except NoRoom as problem:
                trouble = problem.one_line()
                pool = order.pool if isinstance(order, Resize) else order.machines[0].pool
                refused.append(Notice(f"{pool}/refused/{key}", pool, self.clock(), "launch_failed"))
            except HcctlError as problem:
                trouble = error = problem.one_line()
            except Exception as problem:  # a bug in one order must not stop the loop for the rest
                log.exception("order failed", extra={"site": self.site, "key": key})
                trouble = error = f"{type(problem).__name__}: {problem}"
            outcomes.append(Outcome(self.site, key, trouble))
        seen, in_use = None, None
        try:
            if not error:  # who was asked too often is left in peace
                if known:
                    self.rented.capacity.forget(known)
                seen = self.rented.capacity.observe()
                if needs_occupancy(seen, want, self.clock()):
                    in_use = self.rented.occupied()
        except HcctlError as problem:
            error = problem.one_line()
        except Exception as problem:  # a bug here must not stop the loop for the rest
            log.exception("look at machines failed", extra={"site": self.site})
            error = f"{type(problem).__name__}: {problem}"
        with self._lock:
            self._done = _Done(seen, in_use, error, tuple(outcomes), tuple(refused))
        self.news()


def perform(rented: Rented, order: Order) -> None:
    """Carry out one order. What was free when it was decided is looked at again: the world moves."""
    if isinstance(order, Resize):
        rented.capacity.resize(order.pool, order.machines)
        return
    free = {machine.id for machine in free_machines(rented.capacity.observe(), rented.occupied())}
    for machine in order.machines:
        if machine.id in free:
            rented.capacity.remove(machine)


class Machines:
    """The machines of all sites that hcctl rents them for, from the daemon's side of a tick."""

    def __init__(self, hands: Mapping[str, CapacityHands]) -> None:
        self._hands = hands

    def collect(self, now_s: float) -> list[Outcome]:
        """Outcomes of orders since the last call."""
        return [outcome for hands in self._hands.values() for outcome in hands.collect(now_s)]

    def notices(self, site: str, state: DaemonState) -> tuple[Notice, ...]:
        """Of one site; none where others rent its machines."""
        hands = self._hands.get(site)
        return () if hands is None else hands.notices(state)

    def orders(self, state: DaemonState, now_s: float) -> list[tuple[str, Order]]:
        """What to journal, each with its key, and to hand to `act` once that is on disk."""
        found = [order for hands in self._hands.values() for order in hands.orders(state, now_s)]
        return [(_key(order, now_s), order) for order in found]

    def act(self, keyed: Sequence[tuple[str, Order]], now_s: float) -> None:
        """Begin what is in the journal."""
        for site, hands in self._hands.items():
            mine = [(key, order) for key, order in keyed if order.site == site]
            if mine:
                failpoint("daemon.after-journal")
                hands.act(mine, now_s)


def _key(order: Order, now_s: float) -> str:
    """An order decided twice in one tick is one order; decided later it is another."""
    digest = hashlib.sha256(repr(order).encode()).hexdigest()[:12]
    return f"{order.site}/{type(order).__name__}/{digest}/{now_s:.3f}"


def give_back(site: str, rented: Rented) -> None:
    """Ask each group for its least, now that the site is closed.

    Raises:
        HcctlError: the provider refuses or does not answer; machines may still be paid for.
    """
    try:
        for name, pool in rented.capacity.observe().pools.items():
            if pool.asked > pool.least:
                rented.capacity.resize(name, pool.least)
    except HcctlError as error:
        raise HcctlError(
            "machines were not given back, and are paid for",
            where=site,
            why=error.one_line(),
            next_step="run `hcctl down` again",
        ) from None
