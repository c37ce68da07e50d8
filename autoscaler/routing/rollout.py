"""Releases of one service over time: taking one up, moving it on, drawing its consequence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.plan import Decision
from autoscaler.routing.placement import release_view
from autoscaler.routing.release import advance
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import Deployed, Release, ReleaseEvent, ReleasePhase, ServiceState, Verdict, words
from serving.application import application_name


def roll(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot, rooms: Mapping[str, int]
) -> tuple[ServiceState, Release | None, list[Decision]]:
    """Begin, advance or end the release of a service; also the release that ended, and what there is to tell."""
    told = len(mine.release.events) if mine.release else 0
    mine = _begin(service, mine, snapshot.now_s)
    release = mine.release
    if release is None:
        return mine, None, []
    if release.phase != "done":
        release = advance(release, release_view(service, mine, snapshot, rooms, _interrupted(service, release)))
    details = {"version": release.candidate.version, "deployment": release.deployment}
    decisions = [
        Decision(service.spec.name, f"release {words(event.phase)}", event.text, details)
        for event in release.events[told:]
    ]
    if release.phase != "done":
        return replace(mine, release=release), None, decisions
    if release.verdict == "promoted":
        mine = _promoted(mine, release.candidate)
    return replace(mine, release=None), release, decisions


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


def _promoted(mine: ServiceState, candidate: Deployed) -> ServiceState:
    """The candidate serves now; what the former version did wrong is not held against it."""
    if mine.stable is not None and mine.stable.application == candidate.application:
        return replace(mine, stable=candidate)
    return replace(mine, stable=candidate, previous=mine.stable or mine.previous, ejections={})


def _interrupted(service: ServiceSnapshot, release: Release) -> Verdict | None:
    if service.abort == release.deployment:
        return "aborted"
    if service.wanted is not None and service.wanted.deployment != release.deployment:
        return "superseded"
    return None
