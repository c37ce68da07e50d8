"""How several gateways share out what one may send: each its part of every limit. Pure.

The sum of the parts is the limit, also while they move: what a gateway may still hold counts until it is known to be
gone. Where there is any slot each gateway has one: HAProxy refuses what comes while it has none, and passing one slot
round refuses what waits (measured, docs/decisions/0021). So where slots are fewer than gateways, as many requests as
are missing wait at the site instead of the gateway.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.gateway.routes import TRACKS, Routes, ServiceRoutes, Track, TrackRoute
from serving.gateway.values import track

Server = tuple[str, Track, str]
"""Service, track and site."""
Limits = Mapping[Server, int]


def parts(limit: int, members: Sequence[str], *, key: str) -> dict[str, int]:
    """Part of each gateway; together they are the limit, or one each where there are fewer slots than gateways.

    Args:
        limit: requests that all together should send.
        members: the gateways, in an order that all ticks agree on.
        key: of what is shared; spreads the remainders of different limits over different gateways.
    """
    if 0 < limit < len(members):
        return dict.fromkeys(members, 1)
    each, rest = divmod(limit, len(members))
    first = zlib.crc32(key.encode())
    return {name: each + ((number + first) % len(members) < rest) for number, name in enumerate(members)}


def granted(wanted: Mapping[str, int], held: Mapping[str, int]) -> dict[str, int]:
    """What each gateway may be given now: its part, as far as others do not still hold more than theirs.

    Args:
        wanted: the part of each gateway.
        held: what a gateway may hold at this moment, also one that is out of reach or has gone.
    """
    limit = sum(wanted.values())
    taken = {name: max(0, count) for name, count in held.items()}
    given = {}
    for name, part in wanted.items():
        others = sum(count for other, count in taken.items() if other != name)
        mine = taken.get(name, 0)
        # Less than it holds is always possible; more only as far as there is room.
        given[name] = part if part <= mine else max(mine, min(part, limit - others))
        taken[name] = max(taken.get(name, 0), given[name])
    return given


def limits_of(routes: Routes) -> dict[Server, int]:
    """The limit of every server."""
    return {
        (service.service.name, name, server.site): server.limit
        for service in routes
        for name in TRACKS
        for server in track(service, name).servers
    }


def with_limits(routes: Routes, limits: Limits, gateways: int) -> Routes:
    """Routes for one of several gateways: these limits, and its part of every queue."""

    def limited(service: ServiceRoutes, name: Track) -> TrackRoute:
        route = track(service, name)
        servers = tuple(replace(s, limit=limits.get((service.service.name, name, s.site), 0)) for s in route.servers)
        return replace(route, servers=servers)

    return tuple(
        replace(
            _queue_part(service, gateways),
            stable=limited(service, "stable"),
            candidate=limited(service, "candidate"),
        )
        for service in routes
    )


def in_use(seen: GatewayObservation | None, server: Server) -> int:
    """Requests that a gateway has sent to a server and that are not finished, as last seen."""
    if seen is None:
        return 0
    service, name, site = server
    return sum(s.in_use for s in seen.by_service.get(service, ()) if (s.track, s.site) == (name, site))


def observed_limit(seen: GatewayObservation | None, server: Server) -> int:
    """The limit that a gateway has for a server, as last seen."""
    if seen is None:
        return 0
    service, name, site = server
    return sum(s.limit for s in seen.by_service.get(service, ()) if (s.track, s.site) == (name, site))


def merged(seen: Sequence[GatewayObservation], at_s: float) -> GatewayObservation:
    """What all gateways say together: up where one says so, limits, requests and queues added up."""
    servers: dict[Server, list[ServerObservation]] = {}
    queued: dict[str, int] = {}
    relief_up: dict[str, bool] = {}
    for observed in seen:
        for server in observed.servers:
            servers.setdefault((server.service, server.track, server.site), []).append(server)
        for service, waiting in observed.queued.items():
            queued[service] = queued.get(service, 0) + waiting
        for service, up in observed.relief_up.items():
            relief_up[service] = relief_up.get(service, False) or up
    together = tuple(
        replace(
            same[0],
            up=any(server.up for server in same),
            limit=sum(server.limit for server in same),
            in_use=sum(server.in_use for server in same),
        )
        for same in servers.values()
    )
    return GatewayObservation(together, queued, at_s, relief_up)


def _queue_part(service: ServiceRoutes, gateways: int) -> ServiceRoutes:
    """The declared length of queue is that of all gateways together."""
    routing = service.service.routing
    depth = max(1, -(-routing.max_queue // gateways))
    shorter = service.service.model_copy(update={"routing": routing.model_copy(update={"max_queue": depth})})
    relief = service.relief
    if relief is not None:
        lengths = {level: -(-length // gateways) for level, length in relief.queue_from.items()}
        relief = replace(relief, queue_from=lengths)
    return replace(service, service=shorter, relief=relief)
