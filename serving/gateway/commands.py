"""Run-time commands that take the gateway from what it does to what it should do. Pure.

The order is the point. Limits are withdrawn before any grows, so that a site never gets more
than it holds; but a track that gets requests is never without room in between: one that moves from
some sites to others leaves the old ones last, and one that hands over all its requests keeps its
room until none waits for it (`next_step`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from serving.gateway.relief import map_lines
from serving.gateway.routes import TRACKS, Routes, ServerRoute, ServiceRoutes, Track, TrackRoute
from serving.gateway.values import (
    KEYS,
    PATHS,
    RELIEF,
    SHARE,
    SHARE_PARTS,
    address,
    app_path,
    backend,
    label,
    limit,
    sha256,
    share_parts,
    track,
)
from serving.sites.site import Endpoint


def commands(current: Routes | None, desired: Routes) -> list[str]:
    """Commands from `current` to `desired`, in the order in which to run them; none if both are the same.

    Args:
        current: what the gateway does now, for the same sites; of a service that is missing every
            value is stated. None: nothing is known.
        desired: what it should do.

    Raises:
        InvalidInput: a value is outside its pattern.
    """
    known = {service.service.name: service for service in current or ()}
    tracks = [(known.get(service.service.name), service, name) for service in desired for name in TRACKS]
    stay = [pair for pair in tracks if not _moves(*pair)]
    move = [pair for pair in tracks if _moves(*pair)]
    return [
        *(line for pair in tracks for line in _lower(*pair)),
        *(line for pair in stay for line in _leave(*pair)),
        *(line for pair in tracks for line in _path(*pair)),
        *(line for pair in tracks for line in _grow(*pair)),
        *(line for service in desired for line in _share(known.get(service.service.name), service)),
        *(line for service in desired for line in _relief(known.get(service.service.name), service)),
        *(line for pair in move for line in _leave(*pair)),
    ]


def next_step(current: Routes, desired: Routes, waiting: Mapping[str, int]) -> Routes:
    """What to make true now on the way to `desired`; usually `desired` itself.

    A track that is to lose all its room keeps it while it still gets requests or some wait for it:
    draining it at once would let those time out. So its share moves first, and a later step drains it.

    Args:
        current: what the gateway does now.
        desired: what it should do in the end.
        waiting: requests in the queue of each backend.
    """
    known = {service.service.name: service for service in current}

    def kept(new: ServiceRoutes, name: Track) -> TrackRoute:
        old = known.get(new.service.name)
        if old is None or _part(new, name) or _has_room(track(new, name)) or not _has_room(track(old, name)):
            return track(new, name)
        busy = _part(old, name) or waiting.get(backend(new, name), 0)
        return track(old, name) if busy else track(new, name)

    return tuple(replace(new, stable=kept(new, "stable"), candidate=kept(new, "candidate")) for new in desired)


def key_commands(current: Mapping[str, str], desired: Mapping[str, str]) -> list[str]:
    """Commands that replace the API keys (hex SHA-256 -> name) in force; revoked ones go first."""
    gone = [digest for digest in current if digest not in desired]
    new = [digest for digest in desired if digest not in current]
    return [f"del map {KEYS} {sha256(digest)}" for digest in gone] + [
        f"add map {KEYS} {sha256(digest)} {label(desired[digest])}" for digest in new
    ]


def _servers(
    old: ServiceRoutes | None, new: ServiceRoutes, name: Track
) -> Iterator[tuple[str, ServerRoute | None, ServerRoute]]:
    known = {server.site: server for server in track(old, name).servers} if old else {}
    for server in track(new, name).servers:
        yield f"{backend(new, name)}/{label(server.site)}", known.get(server.site), server


def _moves(old: ServiceRoutes | None, new: ServiceRoutes, name: Track) -> bool:
    """Whether the track has room now and will have some, but on no site both."""
    if old is None or not (_has_room(track(old, name)) and _has_room(track(new, name))):
        return False
    return not any(before and limit(before) and limit(server) for _, before, server in _servers(old, new, name))


def _lower(old: ServiceRoutes | None, new: ServiceRoutes, name: Track) -> Iterator[str]:
    """Lower limits of servers that stay in use."""
    for where, before, server in _servers(old, new, name):
        if before is not None and 0 < limit(server) < limit(before):
            yield f"set maxconn server {where} {limit(server)}"


def _leave(old: ServiceRoutes | None, new: ServiceRoutes, name: Track) -> Iterator[str]:
    """Take servers out of use: drain, or maintenance where there is no endpoint. Maxconn 0 would mean no limit."""
    for where, before, server in _servers(old, new, name):
        if server.endpoint is None:
            if before is None or before.endpoint is not None:
                yield f"set server {where} state maint"
        elif limit(server) == 0:
            yield from _address(where, before, server.endpoint)
            if before is None or before.endpoint is None or limit(before) > 0:
                yield f"set server {where} state drain"


def _path(old: ServiceRoutes | None, new: ServiceRoutes, name: Track) -> Iterator[str]:
    path = app_path(track(new, name))
    if old is None or app_path(track(old, name)) != path:
        yield f"set map {PATHS} {backend(new, name)} {path}"


def _grow(old: ServiceRoutes | None, new: ServiceRoutes, name: Track) -> Iterator[str]:
    """New addresses, higher limits, and servers that come into use.

    A server that comes into use, moves, or gets another version starts with a clean slate (`health
    up`): the caller knows that it is ready, and waiting for two checks would cost two seconds.
    """
    fresh = old is None or app_path(track(old, name)) != app_path(track(new, name))
    for where, before, server in _servers(old, new, name):
        if server.endpoint is None or limit(server) == 0:
            continue
        moved = list(_address(where, before, server.endpoint))
        enters = before is None or limit(before) == 0
        grow = f"set maxconn server {where} {limit(server)}"
        yield from moved
        if before is None or limit(before) < limit(server):
            yield grow
        if enters:
            yield f"set server {where} state ready"
        if enters or moved or fresh:
            yield f"set server {where} health up"
            # Said again: only this makes HAProxy hand a server those who already wait, and while
            # any wait, new ones queue behind them.
            yield grow


def _address(where: str, before: ServerRoute | None, endpoint: Endpoint) -> Iterator[str]:
    host, port = address(endpoint)
    if before is None or before.endpoint is None or address(before.endpoint) != (host, port):
        yield f"set server {where} addr {host} port {port}"


def _share(old: ServiceRoutes | None, new: ServiceRoutes) -> Iterator[str]:
    if old is None or share_parts(old) != share_parts(new):
        yield f"set map {SHARE} {label(new.service.name)} {share_parts(new)}"


def _relief(old: ServiceRoutes | None, new: ServiceRoutes) -> Iterator[str]:
    known = map_lines(old) if old else {}
    for key, length in map_lines(new).items():
        if known.get(key) != length:
            yield f"set map {RELIEF} {key} {length}"


def _part(service: ServiceRoutes, name: Track) -> int:
    """The track's part of the requests, of `SHARE_PARTS`."""
    return share_parts(service) if name == "candidate" else SHARE_PARTS - share_parts(service)


def _has_room(route: TrackRoute) -> bool:
    return any(limit(server) > 0 for server in route.servers)
