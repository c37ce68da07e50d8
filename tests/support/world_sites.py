"""Sites of the test world as they really are: what they run, how long it takes, how it breaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.plan import ApplyApplications, CloseSite, OpenSite, ScaleApplication, SiteAction
from serving.sites.site import Application, ApplicationStatus, Notice, Phase

BROKEN = "import failed"


@dataclass
class Running:
    """One application on a site."""

    application: Application
    ready: int = 0
    ready_at_s: float = 0.0
    target: int = 0

    @property
    def slots(self) -> int:
        """Requests its ready replicas can hold."""
        return self.ready * int(self.application.args["model"]["slots_per_replica"])


@dataclass
class WorldSite:
    """One site as it really is."""

    phase: Phase = "closed"
    opens_at_s: float = 0.0
    apps: dict[str, Running] = field(default_factory=dict)
    probed: set[str] = field(default_factory=set)
    """Applications that answered their probes since they were loaded."""
    in_sight: bool = True
    notices: list[Notice] = field(default_factory=list)
    """What its provider says of nodes."""
    lists_nothing: bool = False
    """It answers, but with an empty list, while its replicas serve."""

    def lose(self) -> None:
        """Its processes are gone."""
        self._be("lost")

    def advance(self, now_s: float, broken: set[str], stuck: set[str]) -> None:
        """What has become ready by now; `broken` versions do not load, of `stuck` ones only the first replica."""
        if self.phase == "opening" and now_s >= self.opens_at_s:
            self.phase = "open"
        for run in self.apps.values():
            version = run.application.version
            if run.ready > run.target:
                run.ready = run.target
            elif now_s >= run.ready_at_s:
                run.ready = 0 if version in broken else 1 if version in stuck else run.target

    def statuses(self, broken: set[str]) -> tuple[ApplicationStatus, ...] | None:
        """What it says about its applications; None when it is not open, or out of sight."""
        if self.phase != "open" or not self.in_sight:
            return None
        if self.lists_nothing:
            return ()
        return tuple(_status(run, broken=run.application.version in broken) for run in self.apps.values())

    def slots(self, application: str) -> int:
        """Requests an application can really hold here."""
        run = self.apps.get(application)
        return run.slots if run and self.phase == "open" else 0

    def act(self, action: SiteAction, now_s: float, *, lead_s: float, load_s: float) -> None:
        """Carry out one action: clusters take `lead_s` to open, replicas `load_s` to load."""
        if isinstance(action, OpenSite):
            self._be("opening")
            self.opens_at_s = now_s + lead_s
        elif isinstance(action, CloseSite):
            self._be("closed")
        elif isinstance(action, ApplyApplications):
            wanted = {app.name: app for app in action.applications}
            self.probed &= set(wanted)
            self.apps = {name: run for name, run in self.apps.items() if name in wanted}
            for app in action.applications:
                self._aim(self.apps.setdefault(app.name, Running(app)), app.replicas, now_s + load_s)
        elif isinstance(action, ScaleApplication):
            self._aim(self.apps[action.application], action.replicas, now_s + load_s)

    def _be(self, phase: Phase) -> None:
        self.phase, self.apps, self.probed = phase, {}, set()

    def _aim(self, run: Running, replicas: int, ready_at_s: float) -> None:
        if replicas > run.target:
            run.ready_at_s = ready_at_s
        run.target = replicas


def _status(run: Running, *, broken: bool) -> ApplicationStatus:
    phase = "failed" if broken else "running" if run.ready else "starting"
    return ApplicationStatus(run.application.name, phase, BROKEN if broken else "", run.ready, run.target)
