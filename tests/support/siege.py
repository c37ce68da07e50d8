"""The whole daemon under fire: its real loop, store and journal between doubles, on a clock of their own.

A seed makes a script of happenings; the same seed and code replay identically (`Siege.digest`). Faults stop after
the script; then the world must come to rest. What must hold is in `tests/support/promises.py`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.daemon import Daemon
from autoscaler.observing.receiver import RequestLog
from autoscaler.plan import ApplyApplications, ProbeApplication, ScaleApplication, SiteAction
from autoscaler.snapshot import ProbeResult, Wanted
from serving import failpoints
from serving.errors import HcctlError
from serving.gateway.gateway import RequestRecord
from serving.gateway.routes import TRACKS, Track
from serving.sqlite_store import SqliteStore
from tests.support import promises
from tests.support.clients import Clients
from tests.support.declared import project, service
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_site import FakeClock
from tests.support.lying_site import LyingSite
from tests.support.siege_script import Crash, Happening

TICK_S = 1.0
START_S = 1_800_000_000.0
CALM_RPS = 10.0
REST_S = 400.0
QUIET_S = 60.0
ACTION_S = 30.0
"""An action that began in the last second of rest has this long to end."""


class LateExecutor:
    """Runs work after a delay, as a slow site does; a crash drops or half-does what is under way."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.delay_s = 0.0
        self.pending: list[tuple[float, Callable[[], None]]] = []

    def submit(self, work: Callable[[], None]) -> None:
        if self.delay_s == 0 and not self.pending:
            work()
        else:
            self.pending.append((self.clock() + self.delay_s, work))

    def run_due(self) -> None:
        """Do what has waited long enough."""
        due = [work for at_s, work in self.pending if at_s <= self.clock()]
        self.pending = [(at_s, work) for at_s, work in self.pending if at_s > self.clock()]
        for work in due:
            work()


@dataclass
class Account:
    """What the world knows without asking the daemon."""

    spent_usd: Counter[int] = field(default_factory=Counter)
    """By UTC hour."""
    helpless_s: Counter[int] = field(default_factory=Counter)
    """Seconds of each hour in which nobody could have given a node back."""
    wanted: dict[str, Any] = field(default_factory=dict)
    """Acknowledged intents of the service, as written."""
    maybe: list[dict[str, Any]] = field(default_factory=list)
    """What a command wrote that died before its answer: it may stand or not."""
    verdicts: dict[str, set[str]] = field(default_factory=dict)


class Siege:
    """One world; `live` runs its script, `rest` lets it calm down."""

    def __init__(self, seed: int, folder: Path, script: list[Happening]) -> None:
        self.random = random.Random(seed)
        self.script = script
        self.clock = FakeClock(START_S + 1_800.0)
        self.began_s = self.last_action_s = self.clock()
        self.quiet_s = QUIET_S
        self.skew_s, self.skewed = 0.0, False
        """How wrong the daemon's wall clock is, and whether it ever was: then its hours are others."""
        self.caps: list[tuple[float, float | None]] = []
        """Spend cap per hour, by the time from which it was declared."""
        self.fleet = project()
        self.spec = service(
            burst={"policy": ("threshold", "predictive")[seed % 2], "cost": None, "calm_s": 20.0},
            release={"load_timeout_s": 40},
            relief={"shed": {"normal_over": 4.0}},
        )
        self.folder = folder
        self.gateway = FakeGateway(self.daemon_clock)
        self.sites = {name: LyingSite(name, self.clock, self.daemon_clock) for name in self.fleet.site_order}
        self.clients = Clients(self.spec, lambda _: self.rate_rps)
        self.rate_rps = CALM_RPS
        self.lost_lines, self.late_lines_s = 0.0, 0.0
        self.late_lines: list[tuple[float, RequestRecord]] = []
        self.bad: dict[str, str] = {}
        """Version -> fails to `load`, `probe` or `err`."""
        self.crashes = self.deployments = 0
        self.away_until_s = 0.0
        """The daemon is down or paused until then."""
        self.account = Account()
        self.broken: list[str] = []
        """Promises that were broken, with their time."""
        self.story = hashlib.sha256()
        self.executor = LateExecutor(self.clock)
        self.daemon: Daemon | None = None
        self.store = SqliteStore(folder / "state.db")
        self.sizes: dict[tuple[str, str], int] = {}
        """What each application was scaled to last, by site."""
        self._remainders: Counter[tuple[Track, str]] = Counter()
        self.good = ""
        """The version that was asked for last and is sound."""

    def daemon_clock(self) -> float:
        """The wall clock of the computer, which may jump."""
        return self.clock() + self.skew_s

    @property
    def digest(self) -> str:
        """Of all that was decided and done: equal for equal seeds and code."""
        return self.story.hexdigest()

    # -- what commands do --

    def write(self, change: dict[str, Any]) -> None:
        """Write the service's intent as a command does; it is acknowledged unless the command dies."""
        found = self.store.intent("service", "shop")
        body = {**(found.body if found else {}), "remove": False, **change}
        revision = found.revision if found else 0
        try:
            self.store.put_intent("service", "shop", body, expected_revision=revision, at_s=self.daemon_clock())
        except Crash:
            self.crashes += 1
            self.account.maybe.append(body)
            return
        self.account.wanted, self.account.maybe = body, []

    def highest_cap(self, hour: int) -> float | None:
        """The highest cap that was in force in an hour; None: there was a time without."""
        before = [cap for at_s, cap in self.caps if at_s < hour * 3_600][-1:]
        during = [cap for at_s, cap in self.caps if hour * 3_600 <= at_s < (hour + 1) * 3_600]
        caps = before + during
        return None if not caps or None in caps else max(cap for cap in caps if cap is not None)

    def deploy(self, version: str, *, rollback: bool = False) -> None:
        """`hcctl deploy`."""
        self.deployments += 1
        self.caps.append((self.clock(), self.spec.budget.usd_per_hour))
        wanted = Wanted(f"d{self.deployments}", version, f"/versions/{version}", rollback)
        self.write({"spec": self.spec.model_dump(mode="json", by_alias=True), "wanted": asdict(wanted)})
        if version not in self.bad:
            self.good = version

    # -- time --

    def live(self) -> None:
        """Let everything in the script happen."""
        self.deploy("v0")
        self.run(30)
        for happening in self.script:
            happening.befall(self)
            self.run(happening.lasts_s)

    def rest(self, seconds: float = REST_S) -> None:
        """All faults stop; time passes until the world should be calm."""
        failpoints.disarm()
        self.lost_lines = self.late_lines_s = self.executor.delay_s = 0.0
        self.bad_stop()
        self.gateway.deaf = False
        self.gateway.running, self.rate_rps, self.away_until_s = True, CALM_RPS, 0.0
        for site in self.sites.values():
            site.heal()
        for kind in ("hold", "control"):
            for document in self.store.intents(kind):
                self.store.delete_intent(kind, document.name)
        document = self.store.intent("service", "shop")
        if document is None or document.body.get("remove"):
            self.deploy(self.good)
        self.run(60)
        mine = self.daemon.state.services.get("shop") if self.daemon else None
        if mine is None or (mine.stable is None and mine.release is None):
            self.deploy(self.good)  # only bad versions were asked for, and rolled back
        self.run(seconds)
        for _ in range(round(ACTION_S / TICK_S)):
            if not self.store.open_actions():
                return
            self.tick()

    def bad_stop(self) -> None:
        """Versions that do not load or err are no longer so: those asked for last may still be promoted."""
        for site in self.sites.values():
            site.load_failures = {}
        self.bad = {}

    def run(self, seconds: float) -> None:
        """Tick for some time."""
        for _ in range(max(1, round(seconds / TICK_S))):
            self.tick()

    def tick(self) -> None:
        """One second of the world, then one tick of the daemon if it is there."""
        self.clock.advance(TICK_S)
        self._serve()
        promises.watch_money(self)
        if self.clock() < self.away_until_s:
            return
        try:
            self.executor.run_due()
            if self.daemon is None:
                self._start()
            assert self.daemon is not None
            step = self.daemon.tick()
        except Crash:
            self.die()
            return
        except HcctlError as error:
            self._tell(f"tick failed: {error.one_line()}")
            return
        for decision in step.plan.decisions:
            self._tell(f"{decision.service} {decision.action} {decision.reason}")
        for action in step.plan.site_actions:
            if not self._lets_go(action):
                self.last_action_s = self.clock()
            self._tell(repr(action))
        for name, release in step.finished:
            self.account.verdicts.setdefault(release.deployment, set()).add(str(release.verdict))
            self._tell(f"{name} {release.deployment} {release.verdict}")
        if "shop" in step.removed:
            self.account.wanted, self.account.maybe = {}, []
        promises.watch(self, step)

    def _lets_go(self, action: SiteAction) -> bool:
        """A forecast grows surer for hours after wild times, and lets a replica go now and then: that is calm."""
        if isinstance(action, ApplyApplications):
            self.sizes |= {(action.site, each.name): each.replicas for each in action.applications}
        if not isinstance(action, ScaleApplication):
            return False
        where = (action.site, action.application)
        before, self.sizes[where] = self.sizes.get(where, 0), action.replicas
        return self.spec.burst.policy == "predictive" and action.replicas < before

    def die(self) -> None:
        """kill -9 of the daemon; the supervisor starts it again in a moment."""
        failpoints.disarm()
        self.crashes += 1
        self._tell("crash")
        pending, self.executor.pending = self.executor.pending, []
        for _, work in pending:  # what was on its way to a site may still arrive there
            if self.random.random() < 0.5:
                work()
        self.daemon = None
        self.away_until_s = max(self.away_until_s, self.clock() + self.random.choice([0.0, 1.0, 5.0]))
        self.store.close()
        self.store = SqliteStore(self.folder / "state.db")
        promises.watch_intents(self)

    def _start(self) -> None:
        self.requests = RequestLog()
        self.daemon = Daemon(
            self.fleet,
            store=self.store,
            sites=self.sites,
            gateway=self.gateway,
            requests=self.requests,
            prober=self._probe,
            executor=self.executor,
            clock=self.daemon_clock,
        )
        self.daemon.resume()

    def _tell(self, text: str) -> None:
        self.story.update(f"{self.clock():.1f} {text}\n".encode())

    def slots(self, application: str, site: str) -> int:
        """Requests that the application can really hold on a site now."""
        return self.sites[site].truly_ready(application) * self.spec.model.slots_per_replica

    def _serve(self) -> None:
        """Clients send what they send; the gateway, if it is up, sends it on and logs it."""
        mine = next((r for r in self.gateway.routes if r.service.name == "shop"), None)
        routes = mine if self.gateway.running else None
        slots = {}
        for track in TRACKS:
            route = (routes.stable if track == "stable" else routes.candidate) if routes else None
            for site in self.sites:
                slots[track, site] = self.slots(route.path_prefix.strip("/"), site) if route else 0
        names = (
            {t: (routes.stable if t == "stable" else routes.candidate).path_prefix for t in TRACKS} if routes else {}
        )
        self.clients.serve(self.clock(), TICK_S, routes, slots, lambda track, _: self._errs(names.get(track, "")))
        self.gateway.in_use = {("shop", t, site): round(n) for (t, site), n in self.clients.in_use.items()}
        self.gateway.queued = {"shop": round(sum(self.clients.queue.values()))}
        if self.daemon is not None and self.clients.ticks:
            self._log()

    def _errs(self, path: str) -> float:
        """Share of errors in the answers of an application, by the version behind its path."""
        for site in self.sites.values():
            version = site.version_of(path.strip("/"))
            if self.bad.get(version) == "err":
                return 1.0
        return 0.0

    def _log(self) -> None:
        """Lines of the last tick; some get lost, some are late."""
        tick, now_s = self.clients.ticks[-1], self.daemon_clock()
        for key, count in tick.answered.items():
            whole = int(count + self._remainders[key])
            self._remainders[key] += count - whole
            errors = round(whole * (tick.errors[key] / count if count else 0.0))
            total_s = tick.wait_s + self.clients.service_s
            for number in range(min(whole, 400)):
                status = 500 if number < errors else 200
                record = RequestRecord("shop", *key, status, tick.wait_s, total_s, "--", 100, "id", now_s - total_s)
                if self.random.random() < self.lost_lines:
                    continue
                self.late_lines.append((self.clock() + self.late_lines_s, record))
        due = [record for at_s, record in self.late_lines if at_s <= self.clock()]
        self.late_lines = [(at_s, record) for at_s, record in self.late_lines if at_s > self.clock()]
        for record in due:
            self.requests.add(record)

    def _probe(self, action: ProbeApplication) -> ProbeResult:
        site = self.sites[action.site]
        bad = self.bad.get(site.version_of(action.application)) == "probe" or site.truly_ready(action.application) == 0
        return ProbeResult(action.site, action.application, action.requests, action.requests if bad else 0, "500")
