"""A site that may lie, refuse, do half, or be out of sight; what is true is asked of it by other names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from serving.errors import HcctlError, SiteUnreachable
from serving.sites.site import Application, SiteObservation
from tests.support.fake_site import FakeSite

LIES = ("empty", "partial", "stale", "none")
REFUSALS = ("401: denied", "403: forbidden", "409: conflict", "429: too many", "500: internal", "timed out")


class LyingSite(FakeSite):
    """See `FakeSite`. Faults are attributes; `heal` ends them all."""

    def __init__(self, name: str, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        super().__init__(name, clock, open_s=15.0, load_s=4.0, drain_s=2.0)
        self.wall_clock = wall_clock
        self.lie = ""
        """`empty` or `partial` listing, `stale` observation, or `none`: it does not answer."""
        self.refusal = ""
        """It obeys no order, with this text."""
        self.half = False
        """It obeys, and says that it failed."""
        self._former: SiteObservation | None = None

    def heal(self) -> None:
        """It is honest and obedient again."""
        self.lie, self.refusal, self.half, self.unreachable = "", "", False, False

    @property
    def helpless(self) -> bool:
        """Whether nobody could get it to give a node back."""
        return bool(self.lie or self.refusal or self.half or self.unreachable)

    def observe(self) -> SiteObservation:
        seen = replace(super().observe(), at_s=self.wall_clock())
        if self.lie == "stale" and self._former is not None:
            return self._former
        if seen.applications is not None and self.lie == "empty":
            seen = replace(seen, applications=())
        if seen.applications and self.lie == "partial":
            seen = replace(seen, applications=seen.applications[1:])
        if self.lie == "none" and seen.phase == "open":
            seen = replace(seen, applications=None, message="no answer")
        self._former = seen
        return seen

    def truth(self) -> SiteObservation:
        """What really runs there."""
        return super().observe()

    def truly_ready(self, application: str) -> int:
        """Replicas that really serve."""
        found = self.truth().applications or () if not self.unreachable else self._reachable_truth()
        return sum(s.replicas_ready for s in found if s.name == application and s.phase == "running")

    def version_of(self, application: str) -> str:
        """The version behind an application; empty if it is not there."""
        running = self._running.get(application)
        return running.application.version if running else ""

    def nodes(self) -> int:
        """Nodes that the world would bill for. What comes takes the node of what leaves."""
        phase = self._phase_now()
        if phase in ("closed", "lost"):
            return 0
        if phase == "opening":
            return 1
        alive = [running for running in self._alive().values() if running.deleted_at_s is None]
        return sum(running.application.replicas for running in alive)

    def open(self) -> None:
        self._obey(super().open)

    def close(self) -> None:
        self._obey(super().close)

    def apply(self, applications: tuple[Application, ...]) -> None:
        self._obey(lambda: super(LyingSite, self).apply(applications))

    def scale(self, application: str, replicas: int) -> None:
        self._obey(lambda: super(LyingSite, self).scale(application, replicas))

    def _obey(self, order: Callable[[], None]) -> None:
        if self.refusal:
            raise HcctlError("the site refused the change", where=self.name, why=self.refusal)
        order()
        if self.half:
            raise SiteUnreachable("no answer", where=self.name, why="the connection was reset")

    def _reachable_truth(self) -> tuple:
        self.unreachable = False
        try:
            return self.truth().applications or ()
        finally:
            self.unreachable = True
