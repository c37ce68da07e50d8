"""Names and values that may stand in HAProxy's files and commands.

Everything that comes from elsewhere passes through here: what is outside its pattern or bounds is
refused, although the spec has refused it before. Raises (all that check): InvalidInput.
"""

from __future__ import annotations

import ipaddress
import re

from serving.errors import InvalidInput
from serving.gateway.routes import ServerRoute, ServiceRoutes, Track, TrackRoute
from serving.sites.site import Endpoint

SERVICES, RULES, SHARE, PATHS, KEYS = "services.map", "rules.map", "share.map", "paths.map", "keys.map"
RELIEF = "relief.map"
"""Map files; the configuration and commands call them by these names."""

RELIEF_SERVER = "_relief"
"""The relief process among the servers of a backend; no site can have this name."""

SHARE_PARTS = 10_000
"""Shares are kept as whole parts of this many."""
MOST_LIMIT = 1_000_000
LONGEST_S = 86_400

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def track(service: ServiceRoutes, name: Track) -> TrackRoute:
    """One track of a service by name."""
    return service.stable if name == "stable" else service.candidate


def backend(service: ServiceRoutes, name: Track) -> str:
    """Name of a track's backend."""
    return f"{label(service.service.name)}.{name}"


def app_path(route: TrackRoute) -> str:
    """What replaces the service's prefix in the path of a request of this track."""
    return folder(route.path_prefix)


def share_parts(service: ServiceRoutes) -> int:
    """The candidate's share in whole parts of `SHARE_PARTS`."""
    if not 0 <= service.candidate_share <= 1:
        raise refused("candidate_share", service.candidate_share)
    return round(service.candidate_share * SHARE_PARTS)


def limit(server: ServerRoute) -> int:
    """Limit of a server; 0 when it may take nothing."""
    return integer(server.limit, "limit", 0, MOST_LIMIT) if server.endpoint else 0


def address(endpoint: Endpoint) -> tuple[str, int]:
    """(IP address, port)."""
    try:
        host = ipaddress.ip_address(endpoint.host)
    except ValueError:
        raise refused("endpoint", endpoint.host) from None
    if getattr(host, "scope_id", None) is not None:  # it may hold any text
        raise refused("endpoint", endpoint.host)
    return str(host), integer(endpoint.port, "port", 1, 65_535)


def address_text(endpoint: Endpoint) -> str:
    """`host:port` as HAProxy reads it."""
    host, port = address(endpoint)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_text(host: str) -> str:
    """An IP address as it stands in a Host header."""
    return address_text(Endpoint(host, 1)).removesuffix(":1")


def host_name(text: str) -> str:
    """A host by name, lower-case, or by IPv4 address; no port."""
    return _matching(_HOST, text, "host")


def label(text: str) -> str:
    """Name of a service, a site or a key."""
    return _matching(_LABEL, text, "name")


def folder(path: str) -> str:
    """A URL path that ends in exactly one slash, so that a prefix ends at a segment."""
    return _matching(_PATH, path, "path").rstrip("/") + "/"


def sha256(text: str) -> str:
    """A hex SHA-256, lower-case."""
    return _matching(_SHA256, text, "sha256")


def milliseconds(seconds: float) -> int:
    """A time span, at least 1 ms."""
    if type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_S:
        raise refused("time in seconds", seconds)
    return max(1, round(seconds * 1_000))


def integer(value: int, what: str, least: int, most: int) -> int:
    """A whole number within bounds."""
    if type(value) is not int or not least <= value <= most:
        raise refused(what, value)
    return value


def refused(what: str, value: object) -> InvalidInput:
    """The error for a value that may not stand in the configuration; shows 60 characters of it."""
    return InvalidInput(
        "a value may not stand in the gateway's configuration",
        where=what,
        why=f"{str(value)[:60]!r} is outside its bounds",
        next_step="correct it in the service or project file",
    )


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise refused(what, text)
    return text
