"""The daemon's metrics, made at each scrape from its counters and its last tick.

What is out of sight or too old has no sample: a gap is honest, a last value that goes on is not. A daemon that no
longer ticks exports its counters, the time of its last tick, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.metrics_core import Metric as Family

from autoscaler.observing.receiver import RequestLog
from autoscaler.routing.outlier import ejected
from autoscaler.routing.placement import seen_ready
from autoscaler.snapshot import ServiceSnapshot, Snapshot, Spend
from autoscaler.state import RentedNode, ServiceState
from autoscaler.status import running_usd_per_hour
from autoscaler.telemetry import RequestCounts, Telemetry, Ticked
from serving.metrics.families import Exposition
from serving.spec_relief import RELIEF_LEVELS

WINDOWS = ("hour", "day", "month")


class DaemonMetrics:
    """What the daemon tells of itself; see `serving.metrics.server.Source`.

    Args:
        telemetry: counters of the loop.
        requests: counters of requests.
        clock: wall clock in seconds, the same as the daemon's.
        silent_after_s: without a tick for so long the daemon is in trouble, and its gauges are no longer true.
        version: of hcctl; None when it runs from a source tree.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        requests: RequestLog,
        clock: Callable[[], float],
        *,
        silent_after_s: float,
        version: str | None,
    ) -> None:
        self._telemetry = telemetry
        self._requests = requests
        self._clock = clock
        self._silent_after_s = silent_after_s
        self._version = version

    def families(self) -> Iterable[Family]:
        """All metrics of this moment."""
        last, durations, counts, failures = self._telemetry.read()
        out = Exposition("daemon")
        out.add("hcctl_daemon_info", 1, version=self._version or "")
        out.add("hcctl_daemon_leading", self._telemetry.begun_s is not None)
        out.add("hcctl_daemon_last_tick_timestamp_seconds", last.ended_s if last else None)
        out.add_histogram("hcctl_daemon_tick_duration_seconds", durations.counts, durations.edges, durations.sum)
        out.add("hcctl_daemon_tick_failures_total", failures)
        out.add("hcctl_daemon_malformed_lines_total", self._requests.malformed)
        out.add("hcctl_daemon_lost_lines_total", self._requests.lost)
        for (site, outcome), count in sorted(counts["actions"].items()):
            out.add("hcctl_daemon_actions_total", count, site=site, outcome=outcome)
        for (service, action), count in sorted(counts["decisions"].items()):
            out.add("hcctl_daemon_decisions_total", count, service=service, action=action)
        for service, totals in sorted(self._requests.totals().items()):
            _requests(out, service, totals)
        if last is not None and not self._silent(last):
            _ticked(out, last)
        return out.families()

    def trouble(self) -> str:
        """Why the loop does not do its work; empty when it does."""
        begun_s, last = self._telemetry.begun_s, self._telemetry.read()[0]
        since_s = begun_s if last is None else last.ended_s
        if begun_s is None or since_s is None or self._clock() - since_s <= self._silent_after_s:
            return ""
        return f"no tick has ended well for {self._clock() - since_s:.0f} s"

    def _silent(self, last: Ticked) -> bool:
        return self._clock() - last.ended_s > self._silent_after_s


def _requests(out: Exposition, service: str, totals: RequestCounts) -> None:
    for (track, site, answer, status), count in sorted(totals.requests.items()):
        labels = {"service": service, "track": track, "site": site, "answer": answer, "status": status}
        out.add("hcctl_gateway_requests_total", count, **labels)
    out.add("hcctl_gateway_wanted_requests_total", totals.wanted, service=service)
    out.add("hcctl_gateway_late_requests_total", totals.late, service=service)
    out.add("hcctl_gateway_failed_requests_total", totals.failed, service=service)
    for name, found in (("request", totals.duration), ("queue", totals.queue)):
        out.add_histogram(
            f"hcctl_gateway_{name}_duration_seconds", found.counts, found.edges, found.sum, service=service
        )


def _ticked(out: Exposition, last: Ticked) -> None:
    """Gauges of the last tick."""
    snapshot, state = last.snapshot, last.step.state
    out.add("hcctl_daemon_scaling_active", snapshot.scaling == "active")
    fresh = snapshot.stale_reason is None
    out.add("hcctl_gateway_up", fresh)
    for server in snapshot.gateway.servers if snapshot.gateway and fresh else ():
        where = {"service": server.service, "track": server.track, "site": server.site}
        out.add("hcctl_gateway_server_up", server.up, **where)
        out.add("hcctl_gateway_server_limit_requests", server.limit, **where)
        out.add("hcctl_gateway_server_in_use_requests", server.in_use, **where)
    for name, site in snapshot.sites.items():
        seen = site.observation.applications is not None or site.observation.phase == "closed"
        out.add("hcctl_site_in_sight", seen, site=name)
        out.add("hcctl_site_phase", 1, site=name, phase=site.observation.phase)
        out.add("hcctl_site_failed_actions", state.failures.get(name, 0), site=name)
    for service in snapshot.services:
        name = service.spec.name
        mine = state.services.get(name)
        if mine is None:  # removed by this tick
            continue
        _service(out, service, mine, snapshot)
        for place in service.spec.sites:
            if place in snapshot.sites:
                _site(out, service, mine, snapshot, place, state.nodes)


def _service(out: Exposition, service: ServiceSnapshot, mine: ServiceState, snapshot: Snapshot) -> None:
    spec, name = service.spec, service.spec.name
    out.add("hcctl_service_info", 1, service=name, version=mine.stable.version if mine.stable else "")
    out.add("hcctl_service_signals_stale", snapshot.stale_reason is not None, service=name)
    out.add("hcctl_gateway_queued_requests", snapshot.queued(name), service=name)
    out.add("hcctl_service_slo_latency_seconds", spec.slo.latency_p99_s, service=name)
    out.add("hcctl_service_slo_error_ratio", spec.slo.max_error_rate, service=name)
    out.add("hcctl_service_p99_seconds", service.signals.p99_s, service=name)
    held = service.hold is not None and service.hold.until_s > snapshot.now_s
    out.add("hcctl_service_held", held, service=name)
    level = mine.relief.level
    out.add("hcctl_service_relief_level", RELIEF_LEVELS.index(level) + 1 if level else 0, service=name)
    spent = snapshot.spend.get(name, Spend())
    for window in WINDOWS:
        out.add("hcctl_service_spent_usd", getattr(spent, f"{window}_usd"), service=name, window=window)
        out.add("hcctl_service_budget_usd", getattr(spec.budget, f"usd_per_{window}"), service=name, window=window)
    if mine.release is not None:
        out.add("hcctl_release_start_timestamp_seconds", mine.release.started_at_s, service=name)
        out.add("hcctl_release_phase", 1, service=name, phase=mine.release.phase)


def _site(
    out: Exposition,
    service: ServiceSnapshot,
    mine: ServiceState,
    snapshot: Snapshot,
    site: str,
    nodes: Mapping[str, tuple[RentedNode, ...]],
) -> None:
    name = service.spec.name
    where = {"service": name, "site": site}
    seen = snapshot.sites[site]
    rented = nodes.get(f"{site}/{name}", ())
    out.add("hcctl_site_replicas_wanted", mine.targets.get(site, 0), **where)
    out.add("hcctl_site_replicas_max", service.spec.sites[site].max_replicas, **where)
    out.add("hcctl_site_ejected", ejected(mine.ejections, "stable", site, snapshot.now_s), **where)
    out.add("hcctl_site_replicas_ready", _ready(mine, snapshot, site), **where)
    for pool in seen.spec.pools if seen.spec.role == "cloud" else ():
        out.add("hcctl_site_rented_nodes", sum(node.pool == pool.name for node in rented), **where, pool=pool.name)
    out.add("hcctl_service_usd_per_hour", running_usd_per_hour(site, mine, snapshot, rented), **where)


def _ready(mine: ServiceState, snapshot: Snapshot, site: str) -> int | None:
    """Ready replicas of both tracks; None when the site is out of sight."""
    observation = snapshot.sites[site].observation
    if observation.phase == "closed":
        return 0
    if observation.applications is None:
        return None
    names = [d.application for d in (mine.stable, mine.release and mine.release.candidate) if d]
    return sum(seen_ready(mine, snapshot, name, site) for name in names)
