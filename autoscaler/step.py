"""One tick, in values: `step(snapshot, state) -> state, plan`. No I/O, clock, randomness or logging.

Order: notices of providers -> admissions -> bids -> allocation -> guards -> releases -> outliers -> relief ->
moves to cheaper pools -> placements -> routes and site actions -> bill. Each decision carries its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autoscaler.clock import follow_clock
from autoscaler.money.market import going, taken
from autoscaler.plan import Decision, Plan
from autoscaler.policy.leads import Lead, follow
from autoscaler.routing.admission import admit, eject_failing, probes
from autoscaler.routing.placement import SitePlacement, all_rooms, placements, routes, seen_ready, unlisted, versions
from autoscaler.routing.relieving import relief_route, relieve_service
from autoscaler.routing.rollout import roll
from autoscaler.sizing.allocate import Demand, allocate
from autoscaler.sizing.home import watch_home
from autoscaler.sizing.removal import forget, gone, leave
from autoscaler.sizing.rent import rent
from autoscaler.sizing.spot import move_to_cheaper, take_notices
from autoscaler.sizing.targets import demand, set_targets
from autoscaler.sizing.wish import site_actions, wished
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import Admission, DaemonState, Release, ServiceState, admission_key, ready_key
from autoscaler.values import updated
from serving.state import LedgerEntry


@dataclass(frozen=True)
class Step:
    """The outcome of a tick."""

    state: DaemonState
    plan: Plan
    ledger: tuple[LedgerEntry, ...] = ()
    finished: tuple[tuple[str, Release], ...] = ()
    """Releases that ended in this tick, by service."""
    removed: tuple[str, ...] = ()
    """Services of which nothing is left: their declarations can go."""


def step(snapshot: Snapshot, state: DaemonState) -> Step:
    """Decide everything for this moment."""
    state, notes = follow_clock(state, snapshot.now_s)
    state, reclaims = take_notices(snapshot, state)
    known = state.services
    seen = {
        s.spec.name: _observe(
            s, known.get(s.spec.name, ServiceState()), snapshot, _going_s(s.spec.name, state, snapshot)
        )
        for s in snapshot.services
    }
    state = _with(state, seen)
    state, demands, decisions = _targets(snapshot, state)
    state, finished, events = _releases(snapshot, state)
    state, reliefs = _relief(snapshot, state)
    state, moves = move_to_cheaper(snapshot, state, {found.spec.name: found.offers for found in demands})
    return _plan(snapshot, state, finished, [*notes, *reclaims, *decisions, *events, *reliefs, *moves])


def _going_s(name: str, state: DaemonState, snapshot: Snapshot) -> dict[str, tuple[float, ...]]:
    """Per site, when the nodes of a service end that are announced to go."""
    found = {site: going(state.nodes.get(f"{site}/{name}", ()), snapshot.now_s) for site in snapshot.sites}
    return {site: tuple(n.ends_s for n in nodes if n.ends_s is not None) for site, nodes in found.items() if nodes}


def _observe(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, going_s: Mapping[str, tuple[float, ...]]
) -> ServiceState:
    """Take in probe results, what is ready, which nodes are announced to go, and how the private site is."""
    mine = updated(mine, unlisted_since_s=unlisted(mine, snapshot))
    mine = updated(mine, admissions=admit(service, mine, snapshot))
    names = [d.application for d in (mine.stable, mine.release and mine.release.candidate) if d]
    ready = {
        ready_key(name, site): seen_ready(mine, snapshot, name, site) for name in names for site in service.spec.sites
    }
    mine = replace(mine, known_ready=ready, leads=_leads(service, mine, snapshot, ready), going_s=going_s)
    return watch_home(service, mine, snapshot)


def _leads(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, ready: Mapping[str, int]
) -> dict[str, Lead]:
    """How long capacity takes on the rented sites, with what this moment shows; only of what has served before."""
    stable = mine.stable
    if stable is None or mine.release is not None:  # a new version loads for other reasons than a lack of room
        return {site: replace(lead, going_on=None, warming_since_s=None) for site, lead in mine.leads.items()}
    return {
        site: follow(
            mine.leads.get(site, Lead()),
            phase=snapshot.sites[site].observation.phase,
            target=mine.targets.get(site, 0),
            ready=ready.get(ready_key(stable.application, site), 0),
            now_s=snapshot.now_s,
            answered=mine.admissions.get(admission_key(site, stable.application), Admission()).ok,
            workers=snapshot.sites[site].observation.workers,
        )
        for site in service.spec.sites
        if site != snapshot.private_site
    }


def _targets(snapshot: Snapshot, state: DaemonState) -> tuple[DaemonState, list[Demand], list[Decision]]:
    """What all services ask for, arbitrated, guarded and put in force."""
    demands, decisions = [], []
    mine: dict[str, ServiceState] = {}
    rooms = all_rooms(state, snapshot)
    everybodys = taken(state.nodes)
    for service in _staying(snapshot):
        found, mine[service.spec.name] = demand(service, state, snapshot, rooms[service.spec.name], everybodys)
        demands.append(found)
    proposed = allocate(demands, snapshot)
    for service in _staying(snapshot):
        name = service.spec.name
        mine[name], notes = set_targets(service, mine[name], proposed[name], snapshot)
        decisions += notes
    return _with(state, mine), demands, decisions


def _releases(
    snapshot: Snapshot, state: DaemonState
) -> tuple[DaemonState, tuple[tuple[str, Release], ...], list[Decision]]:
    """Releases moved on, and sites that fail fast taken out."""
    finished, decisions = [], []
    mine: dict[str, ServiceState] = {}
    rooms = all_rooms(state, snapshot)
    for service in snapshot.services:
        name = service.spec.name
        ejections: list[Decision] = []
        if service.leaving:
            mine[name], ended, events = leave(service, state.services[name], snapshot.now_s)
        else:
            mine[name], ended, events = roll(service, state.services[name], snapshot, rooms[name])
            mine[name], ejections = eject_failing(service, mine[name], snapshot)
        finished += [(name, ended)] if ended else []
        decisions += [*events, *ejections]
    return _with(state, mine), tuple(finished), decisions


def _relief(snapshot: Snapshot, state: DaemonState) -> tuple[DaemonState, list[Decision]]:
    """What the gateway does for requests that wait, as the services declare it."""
    decisions = []
    mine: dict[str, ServiceState] = {}
    for service in _staying(snapshot):
        name = service.spec.name
        mine[name], notes = relieve_service(service, state.services[name], snapshot)
        decisions += notes
    return _with(state, mine), decisions


def _plan(
    snapshot: Snapshot,
    state: DaemonState,
    finished: tuple[tuple[str, Release], ...],
    decisions: Sequence[Decision],
) -> Step:
    """From decided state to routes, actions, probes and the bill."""
    mine = {s.spec.name: state.services[s.spec.name] for s in snapshot.services}
    rooms = all_rooms(state, snapshot)
    placed = {s.spec.name: placements(s, mine[s.spec.name], snapshot, rooms[s.spec.name]) for s in snapshot.services}
    all_routes = tuple(
        routes(s, m, snapshot, placed[s.spec.name], relief_route(s, m, snapshot))
        for s, m in ((s, mine[s.spec.name]) for s in snapshot.services)
    )
    actions, action_notes = site_actions(snapshot, state, placed)
    all_probes = tuple(
        probe for s in _staying(snapshot) for probe in probes(s, mine[s.spec.name], snapshot, rooms[s.spec.name])
    )
    state, ledger = rent(snapshot, state, placed)
    state = _with(
        state, {s.spec.name: _expected(s, mine[s.spec.name], snapshot, placed[s.spec.name]) for s in snapshot.services}
    )
    removed = tuple(s.spec.name for s in snapshot.services if s.leaving and gone(s, mine[s.spec.name], snapshot, state))
    all_routes = tuple(route for route in all_routes if route.service.name not in removed)
    notes = tuple(Decision(name, "removed", "nothing of it is left") for name in removed)
    plan = Plan(all_routes, actions, all_probes, (*decisions, *action_notes, *notes))
    return Step(forget(state, removed), plan, ledger, finished, removed)


def _staying(snapshot: Snapshot) -> list[ServiceSnapshot]:
    return [service for service in snapshot.services if not service.leaving]


def _expected(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, placed: Mapping[str, SitePlacement]
) -> ServiceState:
    """Forget what is no longer wanted on a site: it will vanish from there, and nobody need doubt that."""
    names = {
        ready_key(deployed.application, site)
        for site, placement in placed.items()
        for deployed, _ in versions(mine, wished(service, mine, snapshot, site, placement))
    }
    return updated(mine, known_ready={key: ready for key, ready in mine.known_ready.items() if key in names})


def _with(state: DaemonState, services: Mapping[str, ServiceState]) -> DaemonState:
    return replace(state, services={**state.services, **services})
