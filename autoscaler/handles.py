"""The daemon's hands: looks at sites, runs their actions and probes beside the tick.

The tick never waits for a site. An executor runs functions; `ThreadExecutor` in production,
`InlineExecutor` where time is simulated. Results are collected by the next tick.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from autoscaler.plan import ApplyApplications, CloseSite, OpenSite, ProbeApplication, SiteAction
from autoscaler.snapshot import ProbeResult
from serving.errors import HcctlError
from serving.sites.site import Site, SiteObservation

log = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs functions, at once or beside the caller."""

    def submit(self, work: Callable[[], None]) -> None: ...


class InlineExecutor:
    """Runs each function when it is submitted; for simulations and tests."""

    def submit(self, work: Callable[[], None]) -> None:
        work()


class ThreadExecutor:
    """Runs functions in a bounded pool of threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hands")

    def submit(self, work: Callable[[], None]) -> None:
        self._pool.submit(work)

    def stop(self) -> None:
        """Take no more work; what runs may finish or die with the process: it is journalled."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Outcome:
    """How an action on a site ended."""

    site: str
    key: str
    error: str
    """Empty when it succeeded."""


@dataclass
class SiteHands:
    """One site: its latest observation, and the one action that may run on it."""

    site: Site
    executor: Executor
    news: Callable[[], None]
    """Called, from any thread, when something is known that the last tick did not know."""
    fence: Callable[[], None] = lambda: None
    """Raises NotLeading when this process must not act any more."""
    observation: SiteObservation | None = None
    busy: bool = False
    _looking: bool = False
    _begun: int = 0
    """Looks begun; their order, unlike their time, is right when the clock is set back."""
    _shown: int = 0
    """Number of the look that `observation` is of."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _outcomes: list[Outcome] = field(default_factory=list)

    def look(self) -> None:
        """Observe the site beside the tick, unless a look is still under way."""
        with self._lock:
            if self._looking:
                return
            self._looking = True
        self.executor.submit(self._look)

    def look_now(self) -> None:
        """Observe the site and wait for it; before the first tick."""
        self._look()

    def act(self, action: SiteAction, key: str) -> None:
        """Run one action; the site is busy until its outcome is collected."""
        self.busy = True
        self.executor.submit(lambda: self._act(action, key))

    def collect(self) -> list[Outcome]:
        """Outcomes since the last call."""
        with self._lock:
            done, self._outcomes = self._outcomes, []
        if done:
            self.busy = False
        return done

    def _look(self) -> None:
        with self._lock:
            self._begun += 1
            number = self._begun
        try:
            observation = self.site.observe()
        finally:
            with self._lock:
                self._looking = False
        with self._lock:  # a look that began before an action must not hide what a later one saw
            if number < self._shown:
                return
            former, self._shown, self.observation = self.observation, number, observation
        if former is None or replace(former, at_s=observation.at_s) != observation:
            self.news()

    def _act(self, action: SiteAction, key: str) -> None:
        error = ""
        try:
            self.fence()
            perform(self.site, action)
        except HcctlError as problem:
            error = problem.one_line()
        except Exception as problem:  # a bug in one action must not stop the loop for the others
            log.exception("action failed", extra={"site": action.site, "key": key})
            error = f"{type(problem).__name__}: {problem}"
        # What an action changed must be seen before the next one is decided.
        self._look()
        with self._lock:
            self._outcomes.append(Outcome(action.site, key, error))
        self.news()


def perform(site: Site, action: SiteAction) -> None:
    """Carry out one action through the site's port."""
    if isinstance(action, OpenSite):
        site.open()
    elif isinstance(action, CloseSite):
        site.close()
    elif isinstance(action, ApplyApplications):
        site.apply(action.applications)
    else:
        site.scale(action.application, action.replicas)


Prober = Callable[[ProbeApplication], ProbeResult]


@dataclass
class ProbeHands:
    """Probes under way and their results."""

    prober: Prober
    executor: Executor
    news: Callable[[], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: set[tuple[str, str]] = field(default_factory=set)
    _results: list[ProbeResult] = field(default_factory=list)

    @property
    def running(self) -> frozenset[tuple[str, str]]:
        """(site, application) pairs being probed."""
        with self._lock:
            return frozenset(self._running)

    def probe(self, action: ProbeApplication) -> None:
        """Send one set of probes beside the tick."""
        with self._lock:
            self._running.add((action.site, action.application))
        self.executor.submit(lambda: self._probe(action))

    def collect(self) -> tuple[ProbeResult, ...]:
        """Results since the last call."""
        with self._lock:
            done, self._results = self._results, []
            self._running -= {(result.site, result.application) for result in done}
        return tuple(done)

    def _probe(self, action: ProbeApplication) -> None:
        try:
            result = self.prober(action)
        except Exception as problem:  # an unforeseen failure is a failed probe, with its text
            log.exception("probe of %s failed", action.application, extra={"site": action.site})
            text = f"{type(problem).__name__}: {problem}"
            result = ProbeResult(action.site, action.application, action.requests, action.requests, text)
        with self._lock:
            self._results.append(result)
        self.news()
