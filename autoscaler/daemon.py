"""The loop: snapshot -> step -> act -> record. The only place where time passes.

Level-triggered: each tick starts from what is wanted and what is seen. An action is
journalled before its call; state is on disk before anything is acted on.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from autoscaler.capacity.hands import CapacityHands, Machines, Rented
from autoscaler.decisions import DecisionLog
from autoscaler.handles import Executor, Outcome, ProbeHands, Prober, SiteHands
from autoscaler.intents import Intents
from autoscaler.observing.backfill import Backfill
from autoscaler.observing.history import History
from autoscaler.observing.receiver import RequestLog
from autoscaler.observing.traffic import RECORD_STEP_S, TrafficLog
from autoscaler.plan import Decision, Plan, ProbeApplication, SiteAction
from autoscaler.policy.earlier import NOTHING
from autoscaler.records import Records
from autoscaler.sizing.reconcile import takes_away
from autoscaler.snapshot import ServiceSnapshot, SiteSnapshot, Snapshot
from autoscaler.state import (
    DaemonState,
)
from autoscaler.step import Step, step
from autoscaler.telemetry import Telemetry
from serving.errors import GatewayUnreachable, HcctlError, NotLeading, RevisionConflict
from serving.failpoints import failpoint
from serving.gateway.gateway import Gateway, GatewayObservation
from serving.project import HybridProject
from serving.sites.site import Site, SiteObservation
from serving.state import Document, Store

log = logging.getLogger(__name__)

LONGEST_RETRY_S = 60.0

HELD_BACK = "held back: the gateway has not taken the routes that go with it"


class Daemon:
    """The autoscaler of one project. `tick` is all it does; the caller decides when."""

    def __init__(
        self,
        project: HybridProject,
        *,
        store: Store,
        sites: Mapping[str, Site],
        gateway: Gateway,
        requests: RequestLog,
        prober: Prober,
        executor: Executor,
        clock: Callable[[], float],
        shadow: bool = False,
        news: Callable[[], None] = lambda: None,
        telemetry: Telemetry | None = None,
        past: History | None = None,
        fence: Callable[[], None] = lambda: None,
        rented: Mapping[str, Rented] | None = None,
        chance: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._project = project
        self._store = store
        self._gateway = gateway
        self._requests = requests
        self._clock = clock
        self._shadow = shadow
        self.telemetry = telemetry or Telemetry()
        self._fence = fence
        self._hands = {name: SiteHands(sites[name], executor, news, fence) for name in project.site_order}
        self._probes = ProbeHands(prober, executor, news)
        machines = {} if shadow else rented or {}
        self._machines = Machines(
            {n: CapacityHands(n, each, executor, news, fence, clock, chance) for n, each in machines.items()}
        )
        self._gateway_seen: GatewayObservation | None = None
        self._gateway_error = ""
        self._intents = Intents(store, project, self._note)
        self._declared: dict[str, int] = {}
        """Revision of each service's declaration as this tick read it."""
        self._judging: dict[str, str] = {}
        self._traffic = TrafficLog(store)
        self._backfill = Backfill(past, executor) if past is not None else None
        self._records = Records(store, project)
        self._counted_s = 0.0
        self._unsettled: list[Outcome] = []
        """Actions that ended and are still open in the journal."""
        self._decisions = DecisionLog(store, self.telemetry, keep=project.daemon.decisions_kept)
        self._state = DaemonState()

    @property
    def state(self) -> DaemonState:
        """What the daemon remembers now."""
        return self._state

    def resume(self) -> None:
        """Take up the stored state; actions that a former daemon left open are decided again."""
        now_s = self._clock()
        self.telemetry.begin(now_s)
        self._state = self._records.resume(now_s)
        self._decisions.resume()
        for hands in self._hands.values():
            hands.look_now()  # what runs must be known before routes are asserted
        for action in self._store.open_actions():
            self._store.complete_action(action.key, {"error": "interrupted by a restart of the daemon"}, at_s=now_s)

    def tick(self) -> Step:
        """One round. Never raises for what a site, the gateway or a user did."""
        now_s = self._clock()
        self._decisions.discard()  # of a tick that failed
        self._records.discard()
        for hands in self._hands.values():
            self._take(hands.collect(), now_s)
        for hands in self._hands.values():
            hands.look()
        self._unsettled += self._machines.collect(now_s)
        self._observe_gateway(now_s)
        snapshot = self._snapshot(now_s)
        result = step(snapshot, self._state)
        self._begin_samples(result.state)
        actions = [(self._key(action, now_s), action) for action in result.plan.site_actions]
        orders = self._machines.orders(result.state, now_s)
        with self._store.atomic():  # all of a tick is on disk, or nothing of it
            self._settle(now_s)
            self._record(snapshot, result, now_s)
            for key, action in actions:
                body = {
                    "kind": type(action).__name__,
                    "site": action.site,
                    "reason": action.reason,
                    "decision": self._decisions.cause(action),
                }
                self._store.begin_action(key, body, at_s=now_s)
            for key, order in orders:
                self._store.begin_action(key, order.body, at_s=now_s)
        self._decisions.say()
        self._unsettled = []
        self._state = result.state
        self._records.stored()
        self._require_lead(actions)
        asserted = self._assert_routes(result.plan)
        self._dispatch(actions, result.plan.probes, asserted=asserted)
        self._machines.act(orders, now_s)
        ended_s = self._clock()
        self.telemetry.ticked(snapshot, result, ended_s=ended_s, took_s=ended_s - now_s)
        return result

    def _require_lead(self, actions: Sequence[tuple[str, SiteAction]]) -> None:
        """What was decided is acted on only by who leads now: this process may have slept since it was stored."""
        try:
            self._fence()
        except NotLeading as error:
            self._unsettled = [Outcome(action.site, key, error.one_line()) for key, action in actions]
            raise

    def _observe_gateway(self, now_s: float) -> None:
        try:
            self._gateway_seen = self._gateway.observe()
        except GatewayUnreachable as error:
            self._gateway_trouble(error.one_line())
            return
        self._gateway_error = ""
        self._requests.observe(replace(self._gateway_seen, at_s=now_s))

    def _gateway_trouble(self, text: str) -> None:
        if text != self._gateway_error:
            log.warning("gateway: %s", text)
        self._gateway_error = text

    def _snapshot(self, now_s: float) -> Snapshot:
        scaling: Literal["active", "paused", "shadow"] = "shadow" if self._shadow else "active"
        control = self._store.intent("control", "autoscaler")
        if control is not None and control.body.get("paused"):
            scaling = "paused"
        services = [self._service(document, now_s) for document in self._store.intents("service")]
        present = [service for service in services if service is not None]
        return Snapshot(
            now_s=now_s,
            services=tuple(present),
            sites={name: self._site(name, hands, now_s) for name, hands in self._hands.items()},
            gateway=self._gateway_seen,
            stale_after_s=self._project.daemon.stale_after_s,
            spend=self._records.spend([service.spec.name for service in present], now_s),
            probes=self._probes.collect(),
            probing=self._probes.running,
            scaling=scaling,
        )

    def _site(self, name: str, hands: SiteHands, now_s: float) -> SiteSnapshot:
        """The latest look; one that is too old no longer says what runs there."""
        seen = hands.observation
        if seen is None:
            unknown = SiteObservation(name, "open", None, None, now_s, "not looked at yet")
            return SiteSnapshot(self._project.sites[name], unknown, busy=True)
        if now_s - seen.at_s > self._project.daemon.stale_after_s:
            seen = replace(seen, applications=None, message=f"not seen for {now_s - seen.at_s:.0f} s")
        seen = replace(seen, notices=(*seen.notices, *self._machines.notices(name, self._state)))
        return SiteSnapshot(self._project.sites[name], seen, busy=hands.busy)

    def _service(self, document: Document, now_s: float) -> ServiceSnapshot | None:
        self._declared[document.name] = document.revision
        spec = self._intents.spec(document)
        if spec is None:
            return None
        cloud = frozenset(site for site in spec.sites if self._project.sites[site].role == "cloud")
        self._requests.follow(spec, cloud)
        return ServiceSnapshot(
            spec=spec,
            wanted=self._intents.wanted(document),
            signals=self._requests.signals(spec.name, now_s),
            hold=self._intents.hold(spec.name),
            abort=self._intents.abort(spec.name),
            candidate_sample=self._requests.candidate_sample(spec.name),
            leaving=bool(document.body.get("remove")),
            earlier=self._traffic.earlier(spec.name, now_s) if spec.burst.policy == "predictive" else NOTHING,
        )

    def _note(self, service: str, action: str, reason: str) -> None:
        self._decisions.append([Decision(service, action, reason)], at_s=self._clock())
        self._decisions.say()

    def _begin_samples(self, state: DaemonState) -> None:
        """A candidate's sample begins when it is first given real requests."""
        for name, service in state.services.items():
            release = service.release
            key = f"{release.deployment}/{release.phase}" if release and release.phase == "judging" else ""
            if key and self._judging.get(name) != key:
                self._requests.forget_sample(name)
                self._judging[name] = key
            if release is None and name in self._judging:
                del self._judging[name]
                self._requests.forget_sample(name)

    def _record(self, snapshot: Snapshot, result: Step, now_s: float) -> None:
        """Put on disk what was decided, before it is acted on."""
        if result.plan.decisions:
            self._decisions.append(result.plan.decisions, at_s=now_s)
        self._records.record(snapshot, result, now_s, rented=self._state.nodes, gateway_error=self._gateway_error)
        for name in result.removed:
            self._forget(name)
        if not 0 <= now_s - self._counted_s < RECORD_STEP_S:
            self._counted_s = now_s
            names = [s.spec.name for s in snapshot.services]
            self._traffic.record(self._requests.take_counts(), names, now_s)
            if self._backfill is not None:
                self._backfill.go_on(self._traffic, names, now_s)
            self._traffic.store(now_s)

    def _forget(self, service: str) -> None:
        """Nothing of a service is left: its declaration goes, unless it was deployed again this moment."""
        with contextlib.suppress(RevisionConflict):
            self._store.delete_intent("service", service, expected_revision=self._declared[service])
            self._store.delete_intent("hold", service)
            self._store.delete_intent("abort", service)
            self._store.delete_observation("service", service)
        self._records.forget(service)
        self._traffic.forget(service)
        self._intents.forget(service)
        self._requests.unfollow(service)

    def _assert_routes(self, plan: Plan) -> bool:
        try:
            self._gateway.assert_routes(plan.routes)
        except HcctlError as error:  # refused or out of reach: the former routes stay, the next tick tries again
            self._gateway_trouble(error.one_line())
            return False
        return True

    def _dispatch(
        self, actions: Sequence[tuple[str, SiteAction]], probes: Sequence[ProbeApplication], *, asserted: bool
    ) -> None:
        """Begin what was decided. Nothing is taken away while the gateway may still send there."""
        for key, action in actions:
            failpoint("daemon.after-journal")
            hands = self._hands[action.site]
            seen = hands.observation.applications if hands.observation else None
            if not asserted and takes_away(action, seen or ()):
                self._unsettled.append(Outcome(action.site, key, HELD_BACK))
                continue
            extra = {"site": action.site, "key": key, "decision": self._decisions.cause(action)}
            log.info("%s begins", type(action).__name__, extra=extra)
            hands.act(action, key)
        for probe in probes:
            self._probes.probe(probe)

    def _key(self, action: SiteAction, now_s: float) -> str:
        """An action decided twice in one tick is one action; decided later it is another."""
        digest = hashlib.sha256(repr(action).encode()).hexdigest()[:12]
        return f"{action.site}/{type(action).__name__}/{digest}/{now_s:.3f}"

    def _settle(self, now_s: float) -> None:
        """Close the journal of finished actions."""
        for outcome in self._unsettled:
            self._store.complete_action(outcome.key, {"error": outcome.error}, at_s=now_s)
            if outcome.error and outcome.error != HELD_BACK:
                details = {"site": outcome.site, "key": outcome.key}
                self._decisions.append([Decision("", "action failed", outcome.error, details)], at_s=now_s)

    def _take(self, outcomes: list[Outcome], now_s: float) -> None:
        """Note how actions ended; a failed one is not tried again at once."""
        self._unsettled += outcomes
        for outcome in outcomes:
            failpoint("daemon.after-call")
            self.telemetry.action(outcome.site, failed=bool(outcome.error))
            told = f"failed: {outcome.error}" if outcome.error else "done"
            log.info("action %s", told, extra={"site": outcome.site, "key": outcome.key})
            failures, retry = dict(self._state.failures), dict(self._state.retry_at_s)
            if outcome.error:
                failures[outcome.site] = failures.get(outcome.site, 0) + 1
                retry[outcome.site] = now_s + min(LONGEST_RETRY_S, 2.0 ** failures[outcome.site])
            else:
                failures.pop(outcome.site, None)
                retry.pop(outcome.site, None)
            self._state = replace(self._state, failures=failures, retry_at_s=retry)
