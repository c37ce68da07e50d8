"""What the daemon keeps on disk of its own: its state, the spend, the releases, and what commands show of them.

The caller holds the transaction: all of a tick is on disk, or nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import TypeAdapter

from autoscaler.money.cost import spend
from autoscaler.policy.bids import PolicyState
from autoscaler.snapshot import Snapshot, Spend
from autoscaler.state import (
    STATE,
    DaemonState,
    Release,
    ServiceState,
    state_name,
    stored_form,
    stored_service,
    stored_state,
)
from autoscaler.status import service_status
from autoscaler.step import Step
from serving.project import HybridProject
from serving.state import LedgerEntry, Store

LEDGER_EVERY_S = 5.0
LONGEST_MONTH_S = 32 * 86_400.0
LEDGER_KEPT = 100_000
"""Spans in the ledger, one for each node from rent to return. By number and not by age, as the other bounds:
a clock that is wrong for a moment must not cost what was recorded."""
RELEASES_KEPT = 500
"""Releases in `hcctl history`; the oldest beyond are forgotten."""
SWEEP_EVERY_S = 3_600.0

# Made once: building one takes longer than the rest of a tick.
_RELEASE: TypeAdapter[Release] = TypeAdapter(Release)


class Records:
    """State, ledger and releases of one project, written when they change and at the store's pace."""

    def __init__(self, store: Store, project: HybridProject) -> None:
        self._store = store
        self._project = project
        self._ledger_every_s = max(LEDGER_EVERY_S, store.pace_s)
        self._persisted_s = self._ledger_s = self._swept_s = 0.0
        self._ledger: dict[tuple[str, str, str, float], LedgerEntry] = {}
        self._stored: Mapping[str, ServiceState] = {}
        """What is on disk of the services."""
        self._storing: Mapping[str, ServiceState] = {}
        """What will be, once this tick is on disk."""

    def resume(self, now_s: float) -> DaemonState:
        """The stored state, without what `hcctl down` gave back since; an empty one if nothing is stored."""
        state = DaemonState()
        document = self._store.observation("daemon", STATE)
        if document is not None:
            state = stored_state(self._store.observations("daemon"))
            down = self._store.intent("control", "down")
            if down is not None and down.at_s > document.at_s:
                state = self._given_back(state)
        self._ledger = self._spans(now_s)
        return state

    def spend(self, services: Sequence[str], now_s: float) -> dict[str, Spend]:
        """What each service has cost, as its caps ask."""
        spans: dict[str, list[LedgerEntry]] = {name: [] for name in services}
        for entry in self._ledger.values():
            if entry.service in spans:
                spans[entry.service].append(entry)
        return {name: spend(mine, now_s) for name, mine in spans.items()}

    def record(
        self, snapshot: Snapshot, result: Step, now_s: float, *, rented: Mapping[str, object], gateway_error: str
    ) -> None:
        """Put a tick's result on disk; `rented` are the nodes before it."""
        plan = result.plan
        for entry in result.ledger:
            self._ledger[(entry.site, entry.pool, entry.service, entry.start_s)] = entry
        if result.state.nodes != rented or now_s - self._ledger_s >= self._ledger_every_s:
            self._ledger_s = now_s
            for entry in result.ledger:
                self._store.append_ledger(entry)
        changed = bool(plan.decisions or plan.site_actions or plan.probes or result.finished or result.removed)
        if changed or not 0 <= now_s - self._persisted_s < self._store.pace_s:
            self._persist(snapshot, result, now_s, gateway_error)
        if not 0 <= now_s - self._swept_s < SWEEP_EVERY_S:
            self._sweep(now_s)

    def stored(self) -> None:
        """The transaction is on disk."""
        self._stored = self._storing

    def discard(self) -> None:
        """The transaction may have failed: what it would have stored is stored again."""
        self._storing = self._stored

    def forget(self, service: str) -> None:
        """Nothing of a service is left."""
        self._store.delete_observation("daemon", state_name(service))

    def _given_back(self, state: DaemonState) -> DaemonState:
        """After `hcctl down` nothing is rented any more: capacity is asked for anew, by need."""
        rented = {name for name, site in self._project.sites.items() if site.role == "cloud"}
        services = {
            name: replace(
                mine,
                targets={site: 0 if site in rented else n for site, n in mine.targets.items()},
                policy=PolicyState(),
            )
            for name, mine in state.services.items()
        }
        return replace(state, services=services, nodes={})

    def _persist(self, snapshot: Snapshot, result: Step, now_s: float, gateway_error: str) -> None:
        """Put the state on disk, and what commands show of it."""
        self._persisted_s = now_s
        self._store.put_observation("daemon", STATE, stored_form(result.state), at_s=now_s)
        for name, mine in result.state.services.items():
            if mine != self._stored.get(name):
                self._store.put_observation("daemon", state_name(name), stored_service(mine), at_s=now_s)
        self._storing = result.state.services
        for service in snapshot.services:
            if service.spec.name in result.removed:
                continue
            mine = result.state.services[service.spec.name]
            body = service_status(service, mine, snapshot, result.plan, result.state.nodes, gateway_error=gateway_error)
            self._store.put_observation("service", service.spec.name, body, at_s=now_s)
            if mine.release is not None:
                self._put_release(service.spec.name, mine.release, now_s)
        for name, release in result.finished:
            self._put_release(name, release, now_s)

    def _sweep(self, now_s: float) -> None:
        """Forget the oldest of what is recorded: what is kept is bounded, however long the daemon runs."""
        self._swept_s = now_s
        self._store.trim_ledger(keep=LEDGER_KEPT)
        self._ledger = self._spans(now_s)
        releases = sorted(self._store.observations("release"), key=lambda document: document.at_s)
        for document in releases[:-RELEASES_KEPT]:
            self._store.delete_observation("release", document.name)

    def _spans(self, now_s: float) -> dict[tuple[str, str, str, float], LedgerEntry]:
        """The recorded spend that a cap may still ask for."""
        found = self._store.ledger(since_s=now_s - LONGEST_MONTH_S)
        return {(entry.site, entry.pool, entry.service, entry.start_s): entry for entry in found}

    def _put_release(self, service: str, release: Release, now_s: float) -> None:
        body = {"service": service, **_RELEASE.dump_python(release, mode="json")}
        self._store.put_observation("release", release.deployment, body, at_s=now_s)
