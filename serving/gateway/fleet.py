"""Several gateways as one: each gets its part of every limit; see `shares.py`.

A part that moves from one gateway to another is withdrawn before it is given. A gateway that does not answer keeps what
it was given, since it may still send that much; only when it is gone from the list for `LINGER_S` its part is free. One
that leaves holds what it has not finished, and no more. One that has never answered is still starting: it has no part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from serving.errors import GatewayUnreachable, HcctlError
from serving.gateway.gateway import Gateway, GatewayObservation
from serving.gateway.routes import Routes
from serving.gateway.shares import (
    Limits,
    Server,
    granted,
    in_use,
    limits_of,
    merged,
    observed_limit,
    parts,
    with_limits,
)

log = logging.getLogger(__name__)

LINGER_S = 10.0
"""How long a gateway may still be there that has left the list: a name server remembers for some seconds."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
"""Before one that did not answer is asked again: meanwhile it costs the tick nothing."""
MOST_AT_ONCE = 16


@dataclass
class _Member:
    """One gateway, and what is known of it."""

    gateway: Gateway
    limits: dict[Server, int] = field(default_factory=dict)
    """The most that it may have been given of each server."""
    told: Routes | None = None
    """What it took last; None: not known."""
    seen: GatewayObservation | None = None
    listed_s: float = 0.0
    failures: int = 0
    retry_at_s: float = 0.0

    @property
    def leaving(self) -> bool:
        """It takes no new requests."""
        return self.seen is not None and self.seen.leaving

    def held(self, server: Server) -> int:
        """The most requests that it may be sending to a server."""
        running = in_use(self.seen, server)
        if self.leaving:
            return running
        # What it does in truth counts where nothing was told: after a restart of who tells.
        given = self.limits.get(server, 0) if self.told is not None else observed_limit(self.seen, server)
        return max(running, given, self.limits.get(server, 0))


class GatewayFleet:
    """See `serving.gateway.gateway.Gateway`. One thread uses it.

    Args:
        members: names of the gateways that are there, ready or not; raises HcctlError when nobody knows.
        connect: the gateway of a name.
        clock: wall clock in seconds.
    """

    def __init__(
        self,
        members: Callable[[], Iterable[str]],
        connect: Callable[[str], Gateway],
        clock: Callable[[], float],
    ) -> None:
        self._list = members
        self._connect = connect
        self._clock = clock
        self._members: dict[str, _Member] = {}
        self._listed: tuple[str, ...] = ()
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="gateways")

    def assert_routes(self, routes: Routes) -> None:
        """Give each gateway its part.

        Raises:
            GatewayUnreachable: one does not answer; the others have their parts, and the next assertion goes on.
            HcctlError: a gateway refuses the routes.
        """
        now_s = self._clock()
        self._look(now_s)
        names = [name for name in self._listed if self._members[name].seen and not self._members[name].leaving]
        if not names:
            raise _nobody()
        limits = limits_of(routes)
        wanted: dict[str, dict[Server, int]] = {name: {} for name in names}
        for server, limit in limits.items():
            for name, part in parts(limit, names, key="/".join(server)).items():
                wanted[name][server] = part
        self._withdraw(wanted, now_s)
        given: dict[str, dict[Server, int]] = {name: {} for name in names}
        for server in limits:
            held = {name: member.held(server) for name, member in self._members.items()}
            for name, part in granted({name: wanted[name][server] for name in names}, held).items():
                given[name][server] = part
        told = {name: with_limits(routes, given[name], len(names)) for name in names}
        self._tell(told, now_s)
        self._refuse_if_away(names)

    def observe(self) -> GatewayObservation:
        """What all say together; of one that does not answer, what it said last, while it may still be there.

        Raises:
            GatewayUnreachable: none answers.
        """
        now_s = self._clock()
        self._look(now_s)
        due = self._due(self._members, now_s)
        for name, found in zip(due, self._pool.map(self._observe, due), strict=True):
            if isinstance(found, HcctlError):
                self._trouble(name, found, now_s)
            else:
                self._members[name].seen = found
                self._members[name].failures = 0
        if not any(member.failures == 0 and member.seen for member in self._members.values()):
            raise _nobody()
        return merged([member.seen for member in self._members.values() if member.seen is not None], now_s)

    def _withdraw(self, wanted: Mapping[str, Limits], now_s: float) -> None:
        """Take away what moves to another gateway; what only shrinks or grows is told with the rest."""
        known = {name: self._members[name] for name in wanted if self._members[name].told is not None}
        grows = {
            server
            for name, mine in wanted.items()
            for server, part in mine.items()
            if part > (self._members[name].limits.get(server, 0) if name in known else 0)
        }
        lower = {}
        for name, member in known.items():
            less = {
                s: min(limit, wanted[name].get(s, 0)) if s in grows else limit for s, limit in member.limits.items()
            }
            if member.told is not None and less != member.limits:
                lower[name] = with_limits(member.told, less, 1)
        self._tell(lower, now_s)

    def _tell(self, told: Mapping[str, Routes], now_s: float) -> None:
        """Assert routes at several gateways at once; raise what one that answers refuses."""
        due = self._due(told, now_s)
        refused: HcctlError | None = None
        for name, error in zip(due, self._pool.map(lambda name: self._assert(name, told[name]), due), strict=True):
            member, new = self._members[name], limits_of(told[name])
            if error is None:
                member.told, member.limits, member.failures = told[name], new, 0
                continue
            # It may have taken some of it.
            member.limits = {s: max(new.get(s, 0), member.limits.get(s, 0)) for s in {*new, *member.limits}}
            if isinstance(error, GatewayUnreachable):
                self._trouble(name, error, now_s)
            else:
                refused = error
        if refused is not None:
            raise refused

    def _assert(self, name: str, routes: Routes) -> HcctlError | None:
        try:
            self._members[name].gateway.assert_routes(routes)
        except HcctlError as error:
            return error
        return None

    def _observe(self, name: str) -> GatewayObservation | HcctlError:
        try:
            return self._members[name].gateway.observe()
        except HcctlError as error:
            return error

    def _look(self, now_s: float) -> None:
        """Who is there now; if nobody knows, those who were."""
        try:
            self._listed = tuple(sorted(set(self._list())))
        except HcctlError as error:
            log.warning("the list of gateways is the former one: %s", error.one_line())
        for name in self._listed:
            if name not in self._members:
                log.info("gateway %s has come", name)
                self._members[name] = _Member(self._connect(name))
            self._members[name].listed_s = now_s
        for name in [name for name, member in self._members.items() if now_s - member.listed_s > LINGER_S]:
            log.info("gateway %s has gone", name)
            del self._members[name]

    def _due(self, names: Iterable[str], now_s: float) -> list[str]:
        """Those that are worth asking now."""
        return [n for n in names if not self._members[n].failures or now_s >= self._members[n].retry_at_s]

    def _trouble(self, name: str, error: HcctlError, now_s: float) -> None:
        """It did not answer: what it does is not known, and it is left alone for a moment."""
        member = self._members[name]
        if member.failures == 0:
            log.warning("gateway %s: %s", name, error.one_line())
        member.told = None
        member.failures += 1
        member.retry_at_s = now_s + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(10, member.failures - 1))

    def _refuse_if_away(self, names: Sequence[str]) -> None:
        away = [name for name in names if self._members[name].failures]
        if away:
            raise GatewayUnreachable(
                f"{len(away)} of {len(names)} gateways do not answer",
                where=", ".join(away)[:200],
                why="they keep the part that they were given",
                next_step="kubectl get pods says whether they run",
            )


def _nobody() -> GatewayUnreachable:
    return GatewayUnreachable("No gateway answers", next_step="kubectl get pods says whether one runs")
