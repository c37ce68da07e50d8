"""What HAProxy says that it does, read from its answers. Pure.

An answer that is not in the expected form is `GatewayUnreachable`, never a guess.
"""

from __future__ import annotations

import csv
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serving.errors import GatewayUnreachable, InvalidInput
from serving.gateway.relief import levels_in_force
from serving.gateway.routes import TRACKS, ReliefRoute, Routes, ServerRoute, ServiceRoutes, Track, TrackRoute
from serving.gateway.values import MOST_LIMIT, RELIEF_SERVER, SHARE_PARTS, app_path, backend, share_parts, track
from serving.sites.site import Endpoint

_MAINTENANCE, _DRAIN = 0x01 | 0x02 | 0x20 | 0x40, 0x08 | 0x10
"""Bits of srv_admin_state; 0x04 only remembers that the server started disabled."""
_STOPPED = 0
_COUNT = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class LiveServer:
    """One server as HAProxy has it now."""

    backend: str
    name: str
    endpoint: Endpoint | None
    """None in maintenance."""
    limit: int
    """0 in maintenance or drain."""
    up: bool
    """Not in maintenance, and neither the health checks nor the outlier rule hold it down."""
    in_use: int


@dataclass(frozen=True)
class Live:
    """All servers and queues as HAProxy has them now."""

    servers: tuple[LiveServer, ...]
    queued: dict[str, int]
    """Requests waiting for a site, per backend."""
    relief_up: dict[str, bool] = field(default_factory=dict)
    """Whether the relief process answers its checks, per backend that has it."""


def parse_live(state: str, stat: str) -> Live:
    """Read the answers to `show servers state` and `show stat`.

    Raises:
        GatewayUnreachable: they are not in HAProxy's format, or do not fit each other.
    """
    try:
        counters = _stat_rows(stat)
        rows = _state_rows(state)
        servers = tuple(_server(row, counters) for row in rows if row["srv_name"] != RELIEF_SERVER)
        relief_up = {r["be_name"]: _up(r) for r in rows if r["srv_name"] == RELIEF_SERVER}
        queued: dict[str, int] = {}
        for (where, name), row in counters.items():
            queued[where] = queued.get(where, 0) + (_count(row["qcur"]) if name != RELIEF_SERVER else 0)
    except (KeyError, ValueError, csv.Error) as error:
        raise _unreadable(error) from None
    return Live(servers, queued, relief_up)


def parse_map(text: str) -> dict[str, str]:
    """Read the answer to `show map`: lines `<id> <key> <value>`.

    Raises:
        GatewayUnreachable: it is not in HAProxy's format.
    """
    entries: dict[str, str] = {}
    for line in filter(None, text.splitlines()):
        words = line.split(" ")
        if len(words) != 3 or not words[0].startswith("0x"):
            raise _unreadable(ValueError(line))
        entries[words[1]] = words[2]
    return entries


def routes_in_force(
    routes: Routes,
    live: Live,
    shares: Mapping[str, str],
    paths: Mapping[str, str],
    relief: Mapping[str, str] | None = None,
) -> Routes:
    """The routes in force for the services of `routes`; one whose values are not readable is left out.

    Raises:
        GatewayUnreachable: a server of `routes` is missing: another configuration is running.
    """
    servers = {(server.backend, server.name): server for server in live.servers}

    def route(service: ServiceRoutes, name: Track) -> TrackRoute:
        where = backend(service, name)
        found = [servers[where, server.site] for server in track(service, name).servers]
        return TrackRoute(paths[where], tuple(ServerRoute(s.name, s.endpoint, s.limit) for s in found))

    in_force = []
    for service in routes:
        try:
            stable, candidate = (route(service, name) for name in TRACKS)
            share = int(shares[service.service.name]) / SHARE_PARTS
            levels = ReliefRoute(levels_in_force(service, relief or {})) if service.service.relief else None
            found = replace(service, stable=stable, candidate=candidate, candidate_share=share, relief=levels)
            in_force.append(_checked(found))
        except KeyError as missing:
            raise GatewayUnreachable("The gateway runs another configuration", why=f"{missing} is missing") from None
        except (ValueError, InvalidInput):
            continue
    return tuple(in_force)


def _checked(service: ServiceRoutes) -> ServiceRoutes:
    share_parts(service)
    for name in TRACKS:
        app_path(track(service, name))
    return service


def _stat_rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    head, *lines = text.removeprefix("# ").strip().splitlines()
    names = head.split(",")
    # Texts about failed checks are quoted and may hold commas.
    rows = [dict(zip(names, cells, strict=True)) for cells in csv.reader(lines, strict=True)]
    return {(row["pxname"], row["svname"]): row for row in rows}


def _state_rows(text: str) -> list[dict[str, str]]:
    version, head, *lines = text.strip().splitlines()
    if version != "1":
        raise ValueError(version)
    names = head.removeprefix("# ").split(" ")
    return [dict(zip(names, line.split(" "), strict=True)) for line in lines]


def _server(row: dict[str, str], counters: dict[tuple[str, str], dict[str, str]]) -> LiveServer:
    backend, name, flags = row["be_name"], row["srv_name"], _count(row["srv_admin_state"])
    endpoint = Endpoint(str(ipaddress.ip_address(row["srv_addr"])), _count(row["srv_port"]))
    counter = counters[backend, name]
    maintenance = bool(flags & _MAINTENANCE)
    return LiveServer(
        backend=backend,
        name=name,
        endpoint=None if maintenance else endpoint,
        limit=0 if flags & (_MAINTENANCE | _DRAIN) else _limit(counter["slim"]),
        up=not maintenance and _up(row),
        in_use=_count(counter["scur"]),
    )


def _up(row: dict[str, str]) -> bool:
    return _count(row["srv_op_state"]) != _STOPPED


def _limit(text: str) -> int:
    """A server's maxconn; without one, as only a command by hand makes it, it is unlimited."""
    return min(_count(text), MOST_LIMIT) if text else MOST_LIMIT


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _unreadable(error: Exception) -> GatewayUnreachable:
    return GatewayUnreachable(
        "The gateway's answer cannot be read",
        why=f"{type(error).__name__}: {str(error)[:80]}",
        next_step="check that only the HAProxy of hcctl uses this control socket",
    )
