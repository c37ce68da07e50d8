"""Relief of one service within a tick: what is seen, the decision, and the route that carries it. Pure."""

from __future__ import annotations

from autoscaler.plan import Decision
from autoscaler.routing.placement import usable_ready
from autoscaler.routing.relief import ReliefState, ReliefView, relieve
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import ServiceState
from autoscaler.values import updated
from serving.gateway.routes import ReliefRoute
from serving.spec_relief import RELIEF_LEVELS, ReliefLevel


def relieve_service(
    service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot
) -> tuple[ServiceState, list[Decision]]:
    """Decide the service's level, and say so when it changes."""
    settings, before = service.spec.relief, mine.relief
    if settings is None:
        after = ReliefState(reason="relief is not declared any more") if before.level else ReliefState()
    elif mine.stable is None:
        return mine, []
    else:
        after = relieve(settings, service.spec.slo.latency_p99_s, _seen(service, mine, snapshot), before)
    decisions = []
    if after.level != before.level:
        verb = "would relieve" if snapshot.scaling == "shadow" else "relief"
        details = {"from": before.level or "none", "to": after.level or "none"}
        decisions.append(Decision(service.spec.name, verb, after.reason, details))
    return updated(mine, relief=after), decisions


def relief_route(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot) -> ReliefRoute | None:
    """What the gateway is told: levels in force apply from an empty queue on, the others from their queue length.

    In shadow mode none applies.
    """
    if service.spec.relief is None or mine.stable is None:
        return None
    queue_from: dict[ReliefLevel, int] = {}
    if snapshot.scaling != "shadow":
        level = mine.relief.level
        in_force = RELIEF_LEVELS[: RELIEF_LEVELS.index(level) + 1] if level else ()
        queue_from = {**mine.relief.queue_from, **dict.fromkeys(in_force, 0)}
    return ReliefRoute(queue_from, mine.stable.version, mine.stable.version_dir)


def _seen(service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot) -> ReliefView:
    signals, name = service.signals, service.spec.name
    kept_away_rps = signals.recent_relief_rps
    ready = sum(usable_ready(mine, snapshot, mine.stable, site) for site in service.spec.sites)
    return ReliefView(
        now_s=snapshot.now_s,
        queued=snapshot.queued(name),
        slots=snapshot.slots(name),
        service_mean_s=signals.service_mean_s,
        through_rps=max(0.0, signals.recent_rate_rps - sum(kept_away_rps.values())),
        kept_away_rps=kept_away_rps,
        starting=max(0, sum(mine.targets.values()) - ready),
    )
