"""The port to the gateway: one endpoint in front of all sites.

Implementations: `serving.gateway.haproxy.HaproxyGateway`, `serving.gateway.remote.RemoteGateway` (one that runs
elsewhere), `serving.gateway.fleet.GatewayFleet` (several as one) and `tests.support.fake_gateway.FakeGateway`; all pass
tests/contract/test_gateway.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from serving.gateway.routes import Routes, Track


@dataclass(frozen=True)
class ServerObservation:
    """What the gateway says about one server (site of a track) now."""

    service: str
    track: Track
    site: str
    up: bool
    """Its health checks pass and no outlier rule has marked it down."""
    limit: int
    """Limit in force; 0 when it takes no new requests."""
    in_use: int
    """Requests it holds now."""


@dataclass(frozen=True)
class GatewayObservation:
    """What the gateway says at one moment."""

    servers: tuple[ServerObservation, ...]
    queued: dict[str, int]
    """Requests waiting at the gateway, per service (both tracks)."""
    at_s: float
    relief_up: Mapping[str, bool] = field(default_factory=dict)
    """Per service with light answers, whether its relief process answers."""
    leaving: bool = False
    """It takes no new requests and ends when those it has are finished."""

    @cached_property
    def by_service(self) -> Mapping[str, Sequence[ServerObservation]]:
        """The servers of each service that has one."""
        found: dict[str, list[ServerObservation]] = {}
        for server in self.servers:
            found.setdefault(server.service, []).append(server)
        return found


ReliefOutcome = Literal["", "light", "shed_low", "shed_normal", "passed"]


@dataclass(frozen=True)
class RequestRecord:
    """One finished request, from the gateway's log line."""

    service: str
    """Empty when the request belonged to no service."""
    track: Track
    """`stable` also when the request was refused before a track was drawn."""
    site: str
    """Empty when no site was chosen (refused or timed out in the queue)."""
    status: int
    queue_s: float | None
    """Wait at the gateway; None when it never left the queue."""
    total_s: float
    """From the first byte of the request to the last of the answer, as the client sees it."""
    termination: str
    """HAProxy's termination state, e.g. `--`, `sQ` (queue timeout), `SC` (connection refused). One that
    begins with `C` or `c` means that the client went away; its status then says nothing of the site."""
    bytes_out: int
    request_id: str
    """Empty when what came was no request."""
    at_s: float
    """Time of arrival of the request at the gateway, seconds since the epoch."""
    relief: ReliefOutcome = ""
    """What relief did with it: a light answer, a refusal by priority, or passed on to be kept, which has a record
    of its own. Empty: nothing; a site or the queue had it."""


class Gateway(Protocol):
    """The gateway's control surface. All methods are idempotent.

    Raises: serving.errors.GatewayUnreachable when it does not answer. What was asserted is kept
    on disk first, so that a gateway that restarts comes back with it.
    """

    def assert_routes(self, routes: Routes) -> None:
        """Make these routes true. Limits are withdrawn before others grow.

        A track that hands over all its requests keeps its room until none waits for it; a later
        assertion then drains it.
        """
        ...

    def observe(self) -> GatewayObservation: ...
