"""Every metric that hcctl exports: one table, from which the exports and docs/reference/metrics.md are made.

Names follow Prometheus' rules (https://prometheus.io/docs/practices/naming/): base units in the name, counters end
with `_total`. A name, its type and its labels are promised: they change only with a note in the changelog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "info"]
Exporter = Literal["daemon", "supervisor"]


@dataclass(frozen=True)
class Metric:
    """One exported metric."""

    name: str
    """As it stands in a query; of a histogram without `_bucket`, `_sum` or `_count`."""
    kind: Kind
    labels: tuple[str, ...]
    help: str
    """What it says, and when there is no sample of it."""
    by: Exporter = "daemon"


def _gauge(name: str, labels: str, text: str, by: Exporter = "daemon") -> Metric:
    return Metric(f"hcctl_{name}", "gauge", tuple(labels.split()), text, by)


def _counter(name: str, labels: str, text: str, by: Exporter = "daemon") -> Metric:
    return Metric(f"hcctl_{name}_total", "counter", tuple(labels.split()), text, by)


def _histogram(name: str, labels: str, text: str) -> Metric:
    return Metric(f"hcctl_{name}", "histogram", tuple(labels.split()), text)


def _info(name: str, labels: str, text: str, by: Exporter = "daemon") -> Metric:
    return Metric(f"hcctl_{name}_info", "info", tuple(labels.split()), text, by)


METRICS: tuple[Metric, ...] = (
    _info("daemon", "version", "1, with the version of hcctl; empty when it runs from a source tree."),
    _gauge("daemon_last_tick_timestamp_seconds", "", "When the last tick ended well. None before the first."),
    _histogram("daemon_tick_duration_seconds", "", "How long ticks took that ended well."),
    _counter("daemon_tick_failures", "", "Ticks that failed, for a full disk or a locked database."),
    _counter("daemon_actions", "site outcome", "Actions on sites that ended: `done`, or `failed`."),
    _counter("daemon_decisions", "service action", "Lines of the decision log, see `hcctl why`."),
    _counter("daemon_malformed_lines", "", "Lines of the gateway's log that could not be read."),
    _counter("daemon_lost_lines", "", "Lines of several gateways' logs that were gone before they were fetched."),
    _gauge("daemon_leading", "", "1 from its start, or since it leads; 0 while another daemon leads."),
    _gauge("daemon_scaling_active", "", "1; 0 while paused by an operator or in shadow."),
    _gauge("gateway_up", "", "Whether the gateway answered within `daemon.stale_after_s`."),
    _counter(
        "gateway_requests",
        "service track site answer status",
        "Requests that ended. `answer`: `site`, `light`, `shed` (by priority), `refused` (no room, or waited too long) "
        "or `rejected` (not valid, not let in); `status`: class of the HTTP status, or `none`; "
        "`site` is empty if none had it.",
    ),
    _counter(
        "gateway_late_requests",
        "service",
        "Of the requests that wanted an answer of the model, those that took longer than the SLO or were refused.",
    ),
    _counter("gateway_failed_requests", "service", "Of the requests that a site had, those answered with 5xx or not."),
    _counter("gateway_wanted_requests", "service", "Requests that wanted an answer of the model: refused ones too."),
    _histogram(
        "gateway_request_duration_seconds",
        "service",
        "From the first byte of a request to the last of its answer, of those that a site had or that waited in vain; "
        "one bucket ends at the SLO.",
    ),
    _histogram("gateway_queue_duration_seconds", "service", "How long the same requests waited at the gateway."),
    _gauge("gateway_queued_requests", "service", "Requests that wait at the gateway. None while it does not answer."),
    _gauge("gateway_server_up", "service track site", "Whether the gateway sends there: healthy, not held down."),
    _gauge("gateway_server_limit_requests", "service track site", "Most requests that it sends there at once."),
    _gauge("gateway_server_in_use_requests", "service track site", "Requests that are there now."),
    _info("service", "service version", "1, with the stable version; empty before the first."),
    _gauge("service_signals_stale", "service", "1 while nothing new is known of its requests: scale-in is frozen."),
    _gauge("service_slo_latency_seconds", "service", "Declared `slo.latency_p99_s`."),
    _gauge("service_slo_error_ratio", "service", "Declared `slo.max_error_rate`."),
    _gauge(
        "service_p99_seconds",
        "service",
        "p99 over the daemon's own window, which it decides by. None without requests.",
    ),
    _gauge("service_held", "service", "1 while `hcctl scale` holds its replica counts."),
    _gauge("service_usd_per_hour", "service site", "What it costs now: nodes rented, or owned ones wanted."),
    _gauge("service_spent_usd", "service window", "Rent in the running UTC `hour`, `day` or `month`."),
    _gauge("service_budget_usd", "service window", "Declared cap of that window. None without one."),
    _gauge("service_relief_level", "service", "0 none, 1 light answers, 2 low priority refused, 3 normal too."),
    _gauge("release_start_timestamp_seconds", "service", "When the release in progress began. None without one."),
    _gauge("release_phase", "service phase", "1 for the phase that the release in progress is in."),
    _gauge("site_in_sight", "site", "Whether what runs there is known. 0: what follows of it is missing, not zero."),
    _gauge("site_phase", "site phase", "1 for the phase that the site is in, as last seen."),
    _gauge("site_failed_actions", "site", "Actions on the site that failed one after the other; 0 after a success."),
    _gauge("site_replicas_wanted", "service site", "Replicas that should serve."),
    _gauge("site_replicas_ready", "service site", "Replicas that are ready, of both tracks. None out of sight."),
    _gauge("site_replicas_max", "service site", "Declared `max_replicas`."),
    _gauge("site_rented_nodes", "service site pool", "Nodes that are being paid for, from launch to return."),
    _gauge("site_ejected", "service site", "1 while the site is out of the stable track for failing fast."),
    _info(
        "supervisor", "version", "1, with the version of hcctl; empty when it runs from a source tree.", "supervisor"
    ),
    _gauge("supervisor_child_up", "child", "Whether the process runs. None while it is not needed.", "supervisor"),
    _counter("supervisor_child_starts", "child", "How often this supervisor started it.", "supervisor"),
    _counter("supervisor_rotation_failures", "", "Rounds in which a log could not be rotated.", "supervisor"),
)

BY_NAME = {metric.name: metric for metric in METRICS}
