"""One tick, in values: `step(snapshot, state) -> state, plan`. No I/O, clock, randomness or logging.

Order: admissions -> bids -> allocation -> guards -> releases -> outliers -> placements ->
routes and site actions. Each decision carries its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaler import release as releases
from autoscaler.admission import admit, probes
from autoscaler.allocate import Demand, Target, allocate
from autoscaler.bids import Bid
from autoscaler.bill import bill
from autoscaler.guard import guard
from autoscaler.home import home_down, watch_home
from autoscaler.outlier import eject
from autoscaler.placement import (
    SitePlacement,
    placements,
    release_view,
    rooms,
    routes,
    seen_ready,
    site_release,
    status_of,
    usable_ready,
)
from autoscaler.plan import Decision, Details, Plan
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import (
    DaemonState,
    Deployed,
    Release,
    ReleaseEvent,
    ReleasePhase,
    ServiceState,
    Verdict,
    ready_key,
)
from autoscaler.threshold import Capacity, threshold
from autoscaler.wish import site_actions
from serving.application import application_name
from serving.state import LedgerEntry

FIRST_BID = "the service starts with its least capacity"


@dataclass(frozen=True)
class Step:
    """The outcome of a tick."""

    state: DaemonState
    plan: Plan
    ledger: tuple[LedgerEntry, ...] = ()
    finished: tuple[tuple[str, Release], ...] = ()
    """Releases that ended in this tick, by service."""
    bids: tuple[Bid, ...] = ()


def step(snapshot: Snapshot, state: DaemonState) -> Step:
    """Decide everything for this moment."""
    known = {s.spec.name: state.services.get(s.spec.name, ServiceState()) for s in snapshot.services}
    state = replace(state, services={**state.services, **known})
    decisions: list[Decision] = []
    finished: list[tuple[str, Release]] = []
    for service in snapshot.services:
        mine = _observe(service, state.services[service.spec.name], snapshot)
        state = _with(state, service, mine)
    demands = []
    for service in snapshot.services:
        demand, mine = _bid(service, state, snapshot)
        state = _with(state, service, mine)
        demands.append(demand)
    targets = allocate(demands, snapshot)
    for service in snapshot.services:
        mine, notes = _set_targets(service, state.services[service.spec.name], targets, snapshot)
        decisions += notes
        state = _with(state, service, mine)
    for service in snapshot.services:
        mine, ended, notes = _release(service, state, snapshot)
        finished += [(service.spec.name, ended)] if ended else []
        decisions += notes
        mine, ejections = _eject(service, mine, snapshot)
        decisions += ejections
        state = _with(state, service, mine)
    return _act(snapshot, state, tuple(d.bid for d in demands), decisions, finished)


def _act(
    snapshot: Snapshot,
    state: DaemonState,
    bids: tuple[Bid, ...],
    decisions: list[Decision],
    finished: list[tuple[str, Release]],
) -> Step:
    """From decided state to routes, actions, probes and the bill."""
    placed = {
        s.spec.name: placements(s, state.services[s.spec.name], snapshot, rooms(s, state, snapshot))
        for s in snapshot.services
    }
    all_routes = tuple(routes(s, state.services[s.spec.name], snapshot, placed[s.spec.name]) for s in snapshot.services)
    actions, action_notes = site_actions(snapshot, state, placed)
    all_probes = tuple(
        probe
        for s in snapshot.services
        for probe in probes(s, state.services[s.spec.name], snapshot, rooms(s, state, snapshot))
    )
    state, ledger = _bill(snapshot, state, placed)
    plan = Plan(all_routes, actions, all_probes, (*decisions, *action_notes))
    return Step(state, plan, ledger, tuple(finished), bids)


def _with(state: DaemonState, service: ServiceSnapshot, mine: ServiceState) -> DaemonState:
    return replace(state, services={**state.services, service.spec.name: mine})


def _observe(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot) -> ServiceState:
    """Take in probe results, what is ready, and how the private site is."""
    mine = replace(mine, admissions=admit(service, mine, snapshot))
    names = [d.application for d in (mine.stable, mine.release and mine.release.candidate) if d]
    ready = {
        ready_key(name, site): seen_ready(mine, snapshot, name, site) for name in names for site in service.spec.sites
    }
    return watch_home(service, replace(mine, known_ready=ready), snapshot)


def _bid(service: ServiceSnapshot, state: DaemonState, snapshot: Snapshot) -> tuple[Demand, ServiceState]:
    """Ask the policy what this service wants."""
    spec, mine = service.spec, state.services[service.spec.name]
    serving = [d for d in (mine.stable, mine.release and mine.release.candidate) if d]
    ready = {
        site: min(mine.targets.get(site, 0), sum(usable_ready(mine, snapshot, d, site) for d in serving))
        for site in spec.sites
    }
    capacity = Capacity(
        target=max(1, sum(mine.targets.values())),
        ready=sum(ready.values()),
        private_down=home_down(service, mine, snapshot),
    )
    if mine.stable is None:
        bid = Bid(spec.name, max(1, capacity.target), "keep", FIRST_BID)
    else:
        bid, policy = threshold(service, snapshot, capacity, mine.policy)
        bid = replace(bid, replicas=max(1, bid.replicas))
        mine = replace(mine, policy=policy)
    room = rooms(service, state, snapshot)
    home = site_release(service, mine, snapshot, snapshot.private_site, room[snapshot.private_site])
    hold = service.hold if service.hold and service.hold.until_s > snapshot.now_s else None
    rent = 1 if releases.needs_rent(mine.release, home) else 0
    if service.wanted is None and mine.stable is None:
        bid = replace(bid, replicas=0)
    rented = {site: state.nodes.get(f"{site}/{spec.name}", ()) for site in spec.sites}
    return Demand(spec, bid, mine.targets, ready, rented, hold, rent), mine


def _set_targets(
    service: ServiceSnapshot,
    mine: ServiceState,
    targets: Mapping[str, Mapping[str, Target]],
    snapshot: Snapshot,
) -> tuple[ServiceState, list[Decision]]:
    """Put guarded targets in force, and say why, and what was held back."""
    spec, now_s = service.spec, snapshot.now_s
    if service.wanted is None and mine.stable is None:
        return mine, []
    allowed = guard(
        spec,
        targets[spec.name],
        current=mine.targets,
        last_change_s=mine.last_change_s,
        snapshot=snapshot,
    )
    shadow = snapshot.scaling == "shadow" and mine.stable is not None
    decisions, notes = [], dict(mine.notes)
    counts, changed, reasons = dict(mine.targets), dict(mine.last_change_s), dict(mine.reasons)
    for site, target in allowed.items():
        before, wanted = mine.targets.get(site, 0), targets[spec.name][site].replicas
        details: Details = {"site": site, "from": before, "to": target.replicas, "wanted": wanted}
        verb, note = "scale", ""
        if target.replicas == before:
            verb, note = "wait", f"{target.reason.partition(';')[0]}" if target.told else ""
        elif shadow:
            verb, note = "would scale", f"shadow {target.replicas}"
        if verb == "scale" or (note and _kind(note) != _kind(notes.get(site, ""))):
            decisions.append(Decision(spec.name, verb, target.reason, details))
        notes[site] = note
        if verb == "scale":
            counts[site], changed[site], reasons[site] = target.replicas, now_s, target.reason
    emptying = {site: mine.emptying_since_s.get(site, now_s) for site in spec.sites if counts.get(site, 0) == 0}
    mine = replace(mine, targets=counts, last_change_s=changed, emptying_since_s=emptying, notes=notes)
    return mine, decisions


def _kind(note: str) -> str:
    """A note without its numbers: the same hindrance is told once, not at each new figure."""
    return "".join(char for char in note if not (char.isdigit() or char == "."))


def _release(
    service: ServiceSnapshot, state: DaemonState, snapshot: Snapshot
) -> tuple[ServiceState, Release | None, list[Decision]]:
    """Begin, advance or end the release of a service."""
    mine, now_s = state.services[service.spec.name], snapshot.now_s
    mine = _begin(service, mine, now_s)
    release = mine.release
    if release is None:
        return mine, None, []
    if release.phase != "done":
        view = release_view(service, mine, snapshot, rooms(service, state, snapshot), _interrupted(service, release))
        release = releases.advance(release, view)
    fresh = release.events[len(mine.release.events) if mine.release else 0 :] or (
        release.events[-1:] if release.started_at_s == now_s else ()
    )
    decisions = [
        Decision(service.spec.name, f"release {event.phase}", event.text, {"version": release.candidate.version})
        for event in fresh
    ]
    if release.phase != "done":
        return replace(mine, release=release), None, decisions
    promoted = release.verdict == "promoted"
    mine = replace(
        mine,
        release=None,
        stable=release.candidate if promoted else mine.stable,
        previous=mine.stable if promoted and mine.stable != release.candidate else mine.previous,
    )
    return mine, release, decisions


def _begin(service: ServiceSnapshot, mine: ServiceState, now_s: float) -> ServiceState:
    """Take up a new deployment request, once, when no other release is in progress."""
    wanted = service.wanted
    if wanted is None or wanted.deployment == mine.seen_deployment or mine.release is not None:
        return mine
    name = application_name(service.spec, wanted.version)
    candidate = Deployed(wanted.version, wanted.version_dir, service.spec.model, name)
    same = mine.stable is not None and mine.stable.application == name
    phase: ReleasePhase = "done" if same else "making_room"
    text = "promoted: this version already serves" if same else f"deploy {wanted.version[:12]}"
    release = Release(
        deployment=wanted.deployment,
        candidate=candidate,
        former=mine.stable,
        started_at_s=now_s,
        phase=phase,
        phase_since_s=now_s,
        rollback=wanted.rollback,
        verdict="promoted" if same else None,
        reason="this version already serves" if same else "",
        events=(ReleaseEvent(now_s, phase, text),),
    )
    return replace(mine, release=release, seen_deployment=wanted.deployment)


def _interrupted(service: ServiceSnapshot, release: Release) -> Verdict | None:
    if service.abort == release.deployment:
        return "aborted"
    if service.wanted is not None and service.wanted.deployment != release.deployment:
        return "superseded"
    return None


def _eject(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot) -> tuple[ServiceState, list[Decision]]:
    """Apply the outlier rule to the stable track; who is ejected must be probed before it returns."""
    if snapshot.stale_reason is not None or mine.stable is None:
        return mine, []
    serving = frozenset(site for site in service.spec.sites if usable_ready(mine, snapshot, mine.stable, site) > 0)
    ejections = eject(mine.ejections, service.signals, serving, snapshot.now_s)
    new = [key for key, e in ejections.items() if mine.ejections.get(key) != e]
    admissions = dict(mine.admissions)
    for key in new:
        admissions.pop(f"{key.partition('/')[2]}/{mine.stable.application}", None)
    decisions = [
        Decision(
            service.spec.name,
            "eject",
            f"more than half of its answers in the last seconds were errors; out until probed after "
            f"{ejections[key].until_s - snapshot.now_s:.0f} s",
            {"site": key.partition("/")[2]},
        )
        for key in new
    ]
    return replace(mine, ejections=ejections, admissions=admissions), decisions


def _bill(
    snapshot: Snapshot, state: DaemonState, placed: Mapping[str, Mapping[str, SitePlacement]]
) -> tuple[DaemonState, tuple[LedgerEntry, ...]]:
    """Rented nodes of every service, from what is wanted and what is seen, whichever is more."""
    nodes = dict(state.nodes)
    entries: list[LedgerEntry] = []
    for service in snapshot.services:
        for site, placement in placed[service.spec.name].items():
            seen = snapshot.sites[site]
            if seen.spec.role != "cloud":
                continue
            wanted = placement.stable + placement.candidate
            mine = state.services[service.spec.name]
            names = [d.application for d in (mine.stable, mine.release and mine.release.candidate) if d]
            observed = [status_of(snapshot, site, name) for name in names]
            there = sum(max(s.replicas_ready, s.replicas_target) for s in observed if s)
            key = f"{site}/{service.spec.name}"
            known = nodes.get(key, ())
            if seen.observation.applications is None and seen.observation.phase in ("open", "closing"):
                there = len(known)
            count = min(max(wanted, there), seen.spec.max_nodes)
            result = bill(site, seen.spec, service.spec.name, known, count=count, now_s=snapshot.now_s)
            nodes[key] = result.nodes
            entries += result.entries
    return replace(state, nodes=nodes), tuple(entries)
