"""Run-time commands that take the gateway from what it does to what it should do. Pure.

The order is the point. Limits are withdrawn before any grows, so that a site never gets more
than it holds; but a track that gets requests is never without room in between: one that moves from
some sites to others leaves the old ones last, and one that hands over all its requests keeps its
room until its queue is empty (`waypoints`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from serving.gateway.config import (
    KEYS,
    PATHS,
    SHARE,
    SHARE_PARTS,
    ListenSettings,
    address,
    app_path,
    backend,
    limit,
    share_parts,
    static_digest,
    track,
)
from serving.gateway.routes import TRACKS, Routes, ServerRoute, ServiceRoutes, Track, TrackRoute
from serving.sites.site import Endpoint


def needs_reload(current: Routes, desired: Routes, listen: ListenSettings) -> bool:
    """Whether commands are not enough: a service is new, gone, or its static settings changed."""
    return static_digest(current, listen) != static_digest(desired, listen)


def commands(current: Routes | None, desired: Routes) -> list[str]:
    """Commands from `current` to `desired`, in the order in which to run them; none if both are the same.

    Args:
        current: what the gateway does now, for the same services and sites; None if that is unknown:
            then every value is stated.
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
        *(line for pair in move for line in _leave(*pair)),
    ]


def waypoints(current: Routes, desired: Routes) -> tuple[Routes, ...]:
    """What to make true one after the other; before the last, the queues of `relieved` tracks must be empty.

    A track that loses all its room because the other one takes all requests would let those that
    already wait for it time out; so it keeps its room for one step more.
    """
    names = relieved(current, desired)
    if not names:
        return (desired,)
    known = {service.service.name: service for service in current}

    def kept(service: ServiceRoutes) -> ServiceRoutes:
        old = known.get(service.service.name, service)
        return replace(
            service,
            stable=track(old if (service.service.name, "stable") in names else service, "stable"),
            candidate=track(old if (service.service.name, "candidate") in names else service, "candidate"),
        )

    return (tuple(kept(service) for service in desired), desired)


def relieved(current: Routes, desired: Routes) -> tuple[tuple[str, Track], ...]:
    """(service, track) that loses all its room while all requests move to the other track."""
    known = {service.service.name: service for service in current}
    return tuple(
        (new.service.name, name)
        for new in desired
        for name in TRACKS
        if (old := known.get(new.service.name)) is not None
        and (_part(old, name) > 0 and _part(new, name) == 0)
        and (_has_room(track(old, name)) and not _has_room(track(new, name)))
    )


def key_commands(current: Mapping[str, str], desired: Mapping[str, str]) -> list[str]:
    """Commands that replace the API keys (hex SHA-256 -> name) in force; revoked ones go first."""
    gone = [digest for digest in current if digest not in desired]
    new = [digest for digest in desired if digest not in current]
    return [f"del map {KEYS} {digest}" for digest in gone] + [f"add map {KEYS} {d} {desired[d]}" for d in new]


def _servers(
    old: ServiceRoutes | None, new: ServiceRoutes, name: Track
) -> Iterator[tuple[str, ServerRoute | None, ServerRoute]]:
    known = {server.site: server for server in track(old, name).servers} if old else {}
    for server in track(new, name).servers:
        yield f"{backend(new.service.name, name)}/{server.site}", known.get(server.site), server


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
        yield f"set map {PATHS} {backend(new.service.name, name)} {path}"


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
    if before is None or before.endpoint != endpoint:
        host, port = address(endpoint)
        yield f"set server {where} addr {host} port {port}"


def _share(old: ServiceRoutes | None, new: ServiceRoutes) -> Iterator[str]:
    parts = share_parts(new.candidate_share)
    if old is None or share_parts(old.candidate_share) != parts:
        yield f"set map {SHARE} {new.service.name} {parts}"


def _part(service: ServiceRoutes, name: Track) -> int:
    """The track's part of the requests, of `SHARE_PARTS`."""
    parts = share_parts(service.candidate_share)
    return parts if name == "candidate" else SHARE_PARTS - parts


def _has_room(route: TrackRoute) -> bool:
    return any(limit(server) > 0 for server in route.servers)
