"""A site in memory, driven by an explicit clock: same contract as a real one, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from serving.errors import HcctlError, SiteUnreachable
from serving.sites.site import Application, ApplicationStatus, Endpoint, Phase, SiteObservation


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class _Running:
    """An application on the site, by the times at which its replicas are or were ready."""

    application: Application
    ready_at_s: list[float] = field(default_factory=list)
    served: bool = False
    """It has had a ready replica."""
    deleted_at_s: float | None = None


class FakeSite:
    """A site whose times are given and whose faults are called.

    Args:
        name: the site's name.
        clock: the present time, in seconds.
        open_s: from `open` until it is open.
        load_s: from the order of a replica until it is ready.
        drain_s: from the removal of an application until it is gone.
        port: where its ingress claims to listen.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        *,
        open_s: float = 8.0,
        load_s: float = 3.0,
        drain_s: float = 2.0,
        port: int = 20_001,
    ) -> None:
        self.name = name
        self.open_s, self.load_s, self.drain_s = open_s, load_s, drain_s
        self.ingress = Endpoint("127.0.0.1", port)
        self.unreachable = False
        """It neither obeys nor tells what it runs."""
        self.load_failures: dict[str, str] = {}
        """Message by version, for versions that do not load."""
        self.calls: list[str] = []
        """Every order that was obeyed, as `open`, `close`, `apply a b`, `scale a 3`."""
        self._clock = clock
        self._phase: Phase = "closed"
        self._opened_at_s = 0.0
        self._running: dict[str, _Running] = {}

    def observe(self) -> SiteObservation:
        phase, now_s = self._phase_now(), self._clock()
        if phase != "open":
            return SiteObservation(self.name, phase, None, None, now_s)
        if self.unreachable:
            return SiteObservation(self.name, phase, None, self.ingress, now_s, "no answer")
        statuses = tuple(self._status(self._running[name]) for name in sorted(self._alive()))
        return SiteObservation(self.name, phase, statuses, self.ingress, now_s)

    def open(self) -> None:
        if self._phase_now() in {"open", "opening"}:
            return
        self.calls.append("open")
        self._phase, self._opened_at_s = "opening", self._clock() + self.open_s
        self._running = {}

    def close(self) -> None:
        if self._phase != "closed":
            self.calls.append("close")
        self._phase, self._running = "closed", {}

    def apply(self, applications: tuple[Application, ...]) -> None:
        self._check_reachable()
        self.calls.append(" ".join(["apply", *(application.name for application in applications)]))
        wanted = {application.name: application for application in applications}
        for name, running in self._alive().items():
            if name not in wanted and running.deleted_at_s is None:
                running.deleted_at_s = self._clock()
        for name, application in wanted.items():
            running = self._alive().get(name)
            if running is None or running.deleted_at_s is not None:
                running = self._running[name] = _Running(application)
            self._resize(running, application.replicas)

    def scale(self, application: str, replicas: int) -> None:
        self._check_reachable()
        running = self._alive().get(application)
        if running is None or running.deleted_at_s is not None:
            raise HcctlError("the site refused the change", where=application, why="404: not found")
        self.calls.append(f"scale {application} {replicas}")
        self._resize(running, replicas)

    def crash(self) -> None:
        """Its processes die."""
        if self._phase_now() in {"open", "opening"}:
            self._phase, self._running = "lost", {}

    def kill_replica(self, application: str) -> None:
        """One ready replica dies; the site starts another."""
        running = self._running[application]
        self._status(running)
        running.ready_at_s.remove(min(running.ready_at_s))
        running.ready_at_s.append(self._clock() + self.load_s)

    def _phase_now(self) -> Phase:
        if self._phase == "opening" and self._clock() >= self._opened_at_s:
            self._phase = "open"
        return self._phase

    def _check_reachable(self) -> None:
        phase = self._phase_now()
        if phase != "open" or self.unreachable:
            raise SiteUnreachable("the site is not open", where=self.name, why=f"it is {phase}")

    def _alive(self) -> dict[str, _Running]:
        """Applications that are not gone yet."""
        now_s = self._clock()
        self._running = {
            name: running
            for name, running in self._running.items()
            if running.deleted_at_s is None or now_s < running.deleted_at_s + self.drain_s
        }
        return self._running

    def _resize(self, running: _Running, replicas: int) -> None:
        running.application = replace(running.application, replicas=replicas)
        running.ready_at_s = sorted(running.ready_at_s)[:replicas]
        missing = replicas - len(running.ready_at_s)
        running.ready_at_s += [self._clock() + self.load_s] * missing

    def _status(self, running: _Running) -> ApplicationStatus:
        application, now_s = running.application, self._clock()

        def status(phase: str, message: str = "", ready: int = 0) -> ApplicationStatus:
            return ApplicationStatus(application.name, phase, message, ready, application.replicas)

        if running.deleted_at_s is not None:
            return status("deleting")
        due = sum(at_s <= now_s for at_s in running.ready_at_s)
        failure = self.load_failures.get(application.version)
        if failure is not None:
            return status("failed", failure) if due else status("starting")
        running.served |= due > 0
        if due:
            return status("running", ready=due)
        return status("unhealthy", "no replica is left") if running.served else status("starting")
