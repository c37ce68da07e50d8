"""What the daemon tells about a service: the body of its status document. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pydantic import JsonValue

from autoscaler.money.cost import node_usd_per_hour, site_usd_per_hour, usd_per_1000
from autoscaler.money.market import pool_of
from autoscaler.plan import Plan
from autoscaler.policy.leads import Lead
from autoscaler.policy.threshold import breaches
from autoscaler.routing.outlier import ejected
from autoscaler.routing.placement import seen_ready
from autoscaler.sizing.targets import site_lead_s
from autoscaler.snapshot import ServiceSnapshot, Snapshot, Spend
from autoscaler.state import RentedNode, ServiceState


def service_status(
    service: ServiceSnapshot,
    state: ServiceState,
    snapshot: Snapshot,
    plan: Plan,
    nodes: Mapping[str, Sequence[RentedNode]],
    *,
    gateway_error: str,
) -> dict[str, JsonValue]:
    """Status of one service as plain JSON; `hcctl status`, `why` and `cost` read it.

    `nodes` are the rented ones by `site/service`, as they stand in the daemon's state.
    """
    spec, signals = service.spec, service.signals
    routes = plan.routes_of[spec.name]
    spent = snapshot.spend.get(spec.name, Spend())
    rates_usd = {
        site: running_usd_per_hour(site, state, snapshot, nodes.get(f"{site}/{spec.name}", ())) for site in spec.sites
    }
    usd_per_hour = sum(rates_usd.values())
    return {
        "service": spec.name,
        "slo_p99_s": spec.slo.latency_p99_s,
        "slo_max_error_rate": spec.slo.max_error_rate,
        "version": state.stable.version if state.stable else None,
        "previous": state.previous.version if state.previous else None,
        "release": _release(state),
        "signals": {
            "rate_rps": signals.recent_rate_rps,
            "p50_s": signals.p50_s,
            "p99_s": signals.p99_s,
            "queue_p99_s": signals.queue_p99_s,
            "queued": signals.queued,
            "error_share": signals.error_share,
            "refused": signals.refused,
            "light_share": signals.light_share,
            "shed_share": signals.shed_share,
            "overflow_share": signals.overflow_share,
            "private_in_use": signals.private_in_use,
            "window_s": signals.window_s,
        },
        "breaches": list(breaches(spec, signals)),
        "standing": [asdict(each) for each in state.policy.standing if snapshot.now_s < each.ends_s],
        "relief": _relief(service, state, snapshot),
        "sites": {
            site: _site(service, state, snapshot, site, [s.limit for s in routes.stable.servers if s.site == site])
            | {"usd_per_hour": rates_usd[site]}
            for site in spec.sites
        },
        "cost": {
            "usd_per_hour": usd_per_hour,
            "usd_per_1000": usd_per_1000(usd_per_hour, signals.rate_rps),
            "spent": asdict(spent),
            "budget": spec.budget.model_dump(),
        },
        "cost_shifted": state.policy.shifted,
        "scaling": snapshot.scaling,
        "leaving": service.leaving,
        "hold": dict(service.hold.replicas) if service.hold and service.hold.until_s > snapshot.now_s else None,
        "stale": snapshot.stale_reason,
        "gateway_error": gateway_error,
    }


def _site(
    service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot, site: str, limits: list[int]
) -> dict[str, JsonValue]:
    seen = snapshot.sites[site]
    names = [d.application for d in (state.stable, state.release and state.release.candidate) if d]
    in_use = snapshot.in_use(service.spec.name, site)
    return {
        "role": seen.spec.role,
        "phase": seen.observation.phase,
        "message": seen.observation.message,
        "in_sight": seen.observation.applications is not None,
        "target": state.targets.get(site, 0),
        "ready": {name: seen_ready(state, snapshot, name, site) for name in names},
        "max": service.spec.sites[site].max_replicas,
        "limit": sum(limits),
        "in_use": in_use,
        "ejected": ejected(state.ejections, "stable", site, snapshot.now_s),
        "waiting": state.notes.get(site) or None,
        "lead": _lead(state, snapshot, site),
    }


def _lead(state: ServiceState, snapshot: Snapshot, site: str) -> dict[str, JsonValue] | None:
    """How long capacity takes on a rented site, from the decision to the first request, and where that time goes."""
    if site == snapshot.private_site:
        return None
    lead = state.leads.get(site, Lead())
    return {"expected_s": site_lead_s(lead, snapshot, site), "longest_s": dict(lead.longest_s())}


def running_usd_per_hour(site: str, state: ServiceState, snapshot: Snapshot, nodes: Sequence[RentedNode]) -> float:
    """What the rented nodes of a site cost per hour, or the owned ones that are wanted."""
    spec = snapshot.sites[site].spec
    if spec.role == "private":
        return site_usd_per_hour(spec.pools, state.targets.get(site, 0), snapshot.now_s)
    return sum(node_usd_per_hour(pool_of(spec, node), snapshot.now_s) for node in nodes)


def _relief(service: ServiceSnapshot, state: ServiceState, snapshot: Snapshot) -> dict[str, JsonValue] | None:
    if service.spec.relief is None:
        return None
    up = snapshot.gateway.relief_up.get(service.spec.name) if snapshot.gateway else None
    return {
        "level": state.relief.level,
        "since_s": state.relief.since_s,
        "reason": state.relief.reason,
        "process": None if service.spec.relief.light is None or up is None else "up" if up else "down",
        "queue_from": {str(level): length for level, length in state.relief.queue_from.items()},
    }


def _release(state: ServiceState) -> dict[str, JsonValue] | None:
    release = state.release
    if release is None:
        return None
    return {
        "deployment": release.deployment,
        "version": release.candidate.version,
        "phase": release.phase,
        "share": release.share,
        "reason": release.events[-1].text if release.events else "",
    }
