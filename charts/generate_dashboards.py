"""Write the Grafana dashboards of the chart: `python charts/generate_dashboards.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("hcctl") / "dashboards"
COLUMNS, HEIGHT = 24, 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """One graph: a title, what it tells, its unit in Grafana's words, and (legend, query) of each line."""

    title: str
    told: str
    unit: str
    lines: Sequence[tuple[str, str]]
    width: int = 12


def _of(name: str) -> str:
    return f'{name}{{service=~"$service"}}'


def _share(part: str) -> str:
    wanted = f"sum by (service) (rate({_of('hcctl_gateway_wanted_requests_total')}[$__rate_interval]))"
    return f"sum by (service) (rate({_of(part)}[$__rate_interval])) / {wanted}"


def _quantile(q: float, name: str) -> str:
    return f"histogram_quantile({q:g}, sum by (service, le) (rate({_of(name)}[$__rate_interval])))"


DURATION, QUEUE = "hcctl_gateway_request_duration_seconds_bucket", "hcctl_gateway_queue_duration_seconds_bucket"

SERVICES = (
    Panel(
        "Requests",
        "Per second, by who answered.",
        "reqps",
        [
            (
                "{{service}} {{answer}} {{site}}",
                f"sum by (service, answer, site) (rate({_of('hcctl_gateway_requests_total')}[$__rate_interval]))",
            )
        ],
    ),
    Panel(
        "Latency at the gateway",
        "Queue included, with the SLO. Of those that a site had or that waited in vain.",
        "s",
        [
            ("{{service}} p50", _quantile(0.5, DURATION)),
            ("{{service}} p99", _quantile(0.99, DURATION)),
            ("{{service}} SLO", f"max by (service) ({_of('hcctl_service_slo_latency_seconds')})"),
        ],
    ),
    Panel(
        "Late or refused",
        "Share of the requests that wanted an answer. The SLO allows 1 %.",
        "percentunit",
        [("{{service}}", _share("hcctl_gateway_late_requests_total"))],
    ),
    Panel(
        "Failed",
        "Share answered with 5xx or not at all, with what is allowed.",
        "percentunit",
        [
            ("{{service}}", _share("hcctl_gateway_failed_requests_total")),
            ("{{service}} allowed", f"max by (service) ({_of('hcctl_service_slo_error_ratio')})"),
        ],
    ),
    Panel(
        "Queue",
        "Requests that wait at the gateways. A gap: the daemon does not see them.",
        "short",
        [
            ("{{service}} waiting", f"max by (service) ({_of('hcctl_gateway_queued_requests')})"),
            ("{{service}} p99 wait (s)", _quantile(0.99, QUEUE)),
        ],
    ),
    Panel(
        "Replicas",
        "Wanted and ready. A gap in ready: the site is out of sight.",
        "short",
        [
            ("{{service}} {{site}} wanted", f"max by (service, site) ({_of('hcctl_site_replicas_wanted')})"),
            ("{{service}} {{site}} ready", f"max by (service, site) ({_of('hcctl_site_replicas_ready')})"),
        ],
    ),
    Panel(
        "Slots",
        "Requests that each site holds, and the most it is sent.",
        "short",
        [
            ("{{site}} in use", f"sum by (site) ({_of('hcctl_gateway_server_in_use_requests')})"),
            ("{{site}} limit", f"sum by (site) ({_of('hcctl_gateway_server_limit_requests')})"),
        ],
    ),
    Panel(
        "Cost",
        "Now, in US dollars per hour, and the nodes that are being paid for.",
        "currencyUSD",
        [
            ("{{service}} {{site}} per hour", f"max by (service, site) ({_of('hcctl_service_usd_per_hour')})"),
            ("{{site}} {{pool}} nodes", f"max by (site, pool) ({_of('hcctl_site_rented_nodes')})"),
        ],
    ),
    Panel(
        "Budget used",
        "Spent of the declared cap, per UTC hour, day and month. At 100 % rented nodes leave.",
        "percentunit",
        [
            (
                "{{service}} {{window}}",
                f"max by (service, window) ({_of('hcctl_service_spent_usd')})"
                f" / (max by (service, window) ({_of('hcctl_service_budget_usd')}) > 0)",
            )
        ],
    ),
    Panel(
        "Releases and relief",
        "How long a release has been under way; the level of relief in force.",
        "short",
        [
            (
                "{{service}} release (s)",
                f"time() - max by (service) ({_of('hcctl_release_start_timestamp_seconds')})",
            ),
            ("{{service}} relief", f"max by (service) ({_of('hcctl_service_relief_level')})"),
        ],
    ),
)

OPERATION = (
    Panel("Since the last tick", "A daemon ticks twice a second.", "s",
          [("daemon", "time() - max(hcctl_daemon_last_tick_timestamp_seconds)")]),
    Panel("Duration of a tick", "p50 and p99.", "s",
          [(f"p{q:g}", f"histogram_quantile({q / 100:g}, sum by (le) "
            "(rate(hcctl_daemon_tick_duration_seconds_bucket[$__rate_interval])))") for q in (50, 99)]),
    Panel("Leading daemons", "One; none or two for longer than a takeover is trouble.", "short",
          [("leading", "sum(hcctl_daemon_leading)")]),
    Panel("In sight", "1: gateway and sites answer.", "short",
          [("gateway", "max(hcctl_gateway_up)"), ("{{site}}", "max by (site) (hcctl_site_in_sight)")]),
    Panel("Actions", "On sites, per minute.", "short",
          [("{{site}} {{outcome}}",
            "sum by (site, outcome) (rate(hcctl_daemon_actions_total[$__rate_interval])) * 60")]),
    Panel("Failed actions in a row", "3 and more raise an alert.", "short",
          [("{{site}}", "max by (site) (hcctl_site_failed_actions)")]),
    Panel("Decisions", "Lines of the decision log, per minute; `hcctl why` has them.", "short",
          [("{{service}} {{action}}",
            "sum by (service, action) (rate(hcctl_daemon_decisions_total[$__rate_interval])) * 60")]),
    Panel("Trouble of the daemon", "Ticks that failed and log lines that could not be read, per minute.", "short",
          [("ticks", "sum(rate(hcctl_daemon_tick_failures_total[$__rate_interval])) * 60"),
           ("lines", "sum(rate(hcctl_daemon_malformed_lines_total[$__rate_interval])) * 60"),
           ("lines lost", "sum(rate(hcctl_daemon_lost_lines_total[$__rate_interval])) * 60")]),
    Panel("Servers up", "Share of each site's servers that the gateways send to.", "percentunit",
          [("{{site}}", "avg by (site) (hcctl_gateway_server_up)")]),
)  # fmt: skip


def dashboard(uid: str, title: str, panels: Sequence[Panel], *, by_service: bool) -> dict[str, Any]:
    """One dashboard in Grafana's JSON, its data source and services chosen at the top."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    service = {
        "name": "service",
        "label": "Service",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(hcctl_service_info, service)", "refId": "service"},
        "definition": "label_values(hcctl_service_info, service)",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }
    return {
        "uid": uid,
        "title": title,
        "tags": ["hcctl"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, service] if by_service else [source]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number * panel.width, COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.told,
        "type": "timeseries",
        "datasource": SOURCE,
        "gridPos": {"x": column, "y": row * HEIGHT, "w": panel.width, "h": HEIGHT},
        # A gap stays a gap: what is missing is not what was last.
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"spanNulls": False}}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list"}},
        "targets": [
            {"refId": chr(ord("A") + index), "legendFormat": legend, "expr": query, "datasource": SOURCE}
            for index, (legend, query) in enumerate(panel.lines)
        ],
    }


def files() -> dict[str, str]:
    """File name and content of every dashboard."""
    made = {
        "services.json": dashboard("hcctl-services", "hcctl: services", SERVICES, by_service=True),
        "operation.json": dashboard("hcctl-operation", "hcctl: operation", OPERATION, by_service=False),
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in made.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (TARGET / name).write_text(text, encoding="utf-8")
