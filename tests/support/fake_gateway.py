"""A gateway in memory, for tests of what drives one."""

from __future__ import annotations

from collections.abc import Callable

from serving.errors import GatewayUnreachable
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.gateway.routes import TRACKS, Routes, ServiceRoutes, Track


class FakeGateway:
    """See `serving.gateway.gateway.Gateway`. Tests set `running`, `down`, `in_use` and `queued`."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = clock
        self.running = True
        self.deaf = False
        """It answers questions, and takes no routes."""
        self.asserted: list[Routes] = []
        """Every assertion, the latest last."""
        self.down: set[tuple[str, Track, str]] = set()
        """(service, track, site) that its health checks or the outlier rule hold down."""
        self.in_use: dict[tuple[str, Track, str], int] = {}
        self.queued: dict[str, int] = {}

    @property
    def routes(self) -> Routes:
        """What was asserted last."""
        return self.asserted[-1] if self.asserted else ()

    def assert_routes(self, routes: Routes) -> None:
        """Keep the routes, even while stopped."""
        if self.deaf:
            raise GatewayUnreachable("The gateway does not answer", where="fake", why="timed out")
        self.asserted.append(routes)
        self._require_running()

    def observe(self) -> GatewayObservation:
        """What was asserted, with what the test set."""
        self._require_running()
        servers = tuple(server for service in self.routes for server in self._servers(service))
        queued = {service.service.name: self.queued.get(service.service.name, 0) for service in self.routes}
        return GatewayObservation(servers, queued, self.clock())

    def _servers(self, service: ServiceRoutes) -> list[ServerObservation]:
        found = []
        for track in TRACKS:
            for server in (service.stable if track == "stable" else service.candidate).servers:
                key = (service.service.name, track, server.site)
                reachable = server.endpoint is not None
                found.append(
                    ServerObservation(
                        service.service.name,
                        track,
                        server.site,
                        up=reachable and key not in self.down,
                        limit=server.limit if reachable else 0,
                        in_use=self.in_use.get(key, 0),
                    )
                )
        return found

    def _require_running(self) -> None:
        if not self.running:
            raise GatewayUnreachable("The gateway does not answer", where="fake", next_step="start it")
