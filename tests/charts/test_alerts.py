"""Alerts and dashboards: they parse, ask only for documented metrics, and fire when they should."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from serving.metrics.table import METRICS, Metric
from tests.support.charts import CHARTS, merged, named, render
from tests.support.prometheus import promtool
from tests.support.promql import metrics
from tests.support.value_sets import BASE, MONITORED

RULES = named(render(merged(BASE, MONITORED)), "PrometheusRule")["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted((CHARTS / "hcctl/dashboards").glob("*.json"))}
SERIES = {
    series: metric
    for metric in METRICS
    for series in (
        [f"{metric.name}_{end}" for end in ("bucket", "sum", "count")] if metric.kind == "histogram" else [metric.name]
    )
}


def queries() -> dict[str, str]:
    """Every expression of alerts and dashboards, by where it stands."""
    found = {name: rule["expr"] for name, rule in ALERTS.items()}
    for file, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                where = f"{file} {panel['title']} {target['refId']}"
                found[where] = target["expr"].replace("$__rate_interval", "5m").replace("$service", ".*")
    return found


QUERIES = queries()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_asks_for_what_is_documented(query: str) -> None:
    """It parses, every metric in it is in the table, and every label that it groups or chooses by is the metric's."""
    asked = metrics(query)
    assert asked
    assert asked <= set(SERIES)
    labels = {label for name in asked for label in SERIES[name].labels} | {"le"}
    grouped = {label.strip() for found in re.findall(r"(?:by|on) \(([^)]*)\)", query) for label in found.split(",")}
    assert grouped <= labels
    assert set(re.findall(r"[{,]\s*(\w+)=", query)) <= labels


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_counter_is_asked_for_its_rate(query: str) -> None:
    """A counter or histogram stands in `rate`, a gauge never does."""
    for name in metrics(query):
        rated = {re.sub(r"\{.*", "", found) for found in re.findall(r"(?:rate|increase)\(([^\[]+)\[", query)}
        assert (name in rated) == (SERIES[name].kind in ("counter", "histogram")), name


def test_the_parser_refuses_what_is_none() -> None:
    """The check above is not blind."""
    with pytest.raises(ValueError, match=r".+"):
        promql_parser.parse("sum by (service (rate(x[5m]))")
    assert metrics('sum(rate(a_total{x="1"}[5m])) / (max(b) > 0) or absent(c) unless on (s) d') == {
        "a_total",
        "b",
        "c",
        "d",
    }


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """Severity, a summary that names its object, a description with the next step, and where to read on."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    named_labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert named_labels <= {label for name in metrics(rule["expr"]) for label in SERIES[name].labels}
    assert (CHARTS.parent / rule["annotations"]["runbook_url"]).is_file()


def test_each_trouble_has_its_alert() -> None:
    """Burn of both promises at two speeds, stuck release, budget, stale signals, capacity, and the daemon itself."""
    assert set(ALERTS) == {
        "HcctlLatencyBurnsFast",
        "HcctlLatencyBurnsSlow",
        "HcctlErrorsBurnFast",
        "HcctlErrorsBurnSlow",
        "HcctlDaemonSilent",
        "HcctlSignalsStale",
        "HcctlSiteOutOfSight",
        "HcctlCapacityMissing",
        "HcctlSiteRefuses",
        "HcctlReleaseStuck",
        "HcctlBudgetNear",
    }


@pytest.mark.prometheus
def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    """promtool finds nothing to say."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    checked = promtool("check", "rules", tmp_path / "rules.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


SHOP, ON_CLOUD = '{service="shop"}', '{service="shop", site="cloud"}'
WANTED, LATE, FAILED = (f"hcctl_gateway_{what}_requests_total{SHOP}" for what in ("wanted", "late", "failed"))
ALLOWED = f"hcctl_service_slo_error_ratio{SHOP}"
TICK = "hcctl_daemon_last_tick_timestamp_seconds"
SCENES: dict[str, tuple[dict[str, str], str, dict[str, set[str]]]] = {
    "a quiet day": (
        {WANTED: "0+6000x600", LATE: "0+30x600", FAILED: "0+6x600", ALLOWED: "0.01x600", TICK: "0+60x600"},
        "600m",
        {"10m": set(), "600m": set()},
    ),
    "one in four is late": (
        {WANTED: "0+6000x120", LATE: "0x60 0+1500x60", TICK: "0+60x120"},
        "120m",
        {"60m": set(), "100m": {"HcctlLatencyBurnsFast", "HcctlLatencyBurnsSlow"}},
    ),
    "late for a moment only": (
        {WANTED: "0+6000x600", LATE: "0x60 0+1500x5 7500x535", TICK: "0+60x600"},
        "600m",
        {"80m": set(), "120m": set()},
    ),
    "one in ten is late for hours": (
        {WANTED: "0+6000x600", LATE: "0+600x600", TICK: "0+60x600"},
        "600m",
        {"400m": {"HcctlLatencyBurnsSlow"}},
    ),
    "one in four fails where one in a hundred may": (
        {WANTED: "0+6000x120", FAILED: "0+1500x120", ALLOWED: "0.01x120", TICK: "0+60x120"},
        "120m",
        {"100m": {"HcctlErrorsBurnFast", "HcctlErrorsBurnSlow"}},
    ),
    "one in four fails where half may": (
        {WANTED: "0+6000x120", FAILED: "0+1500x120", ALLOWED: "0.5x120", TICK: "0+60x120"},
        "120m",
        {"100m": set()},
    ),
    "nobody asks": ({WANTED: "7x120", LATE: "3x120", TICK: "0+60x120"}, "120m", {"100m": set()}),
    "the daemon has gone": ({TICK: "0+60x10 _x50"}, "60m", {"9m": set(), "40m": {"HcctlDaemonSilent"}}),
    "the daemon hangs": ({TICK: "0+60x10 600x50"}, "60m", {"9m": set(), "20m": {"HcctlDaemonSilent"}}),
    "a second daemon stands by": ({TICK + '{pod="a"}': "0+60x60", TICK + '{pod="b"}': "60x60"}, "60m", {"50m": set()}),
    "signals are stale": (
        {f"hcctl_service_signals_stale{SHOP}": "0x10 1x50", TICK: "0+60x60"},
        "60m",
        {"9m": set(), "20m": {"HcctlSignalsStale"}},
    ),
    "a site is out of sight": (
        {'hcctl_site_in_sight{site="cloud"}': "1x10 0x50", TICK: "0+60x60"},
        "60m",
        {"9m": set(), "20m": {"HcctlSiteOutOfSight"}},
    ),
    "replicas do not come": (
        {f"hcctl_site_replicas_wanted{ON_CLOUD}": "4x60", f"hcctl_site_replicas_ready{ON_CLOUD}": "1x60"}
        | {TICK: "0+60x60"},
        "60m",
        {"10m": set(), "30m": {"HcctlCapacityMissing"}},
    ),
    "replicas come late": (
        {f"hcctl_site_replicas_wanted{ON_CLOUD}": "4x60", f"hcctl_site_replicas_ready{ON_CLOUD}": "1x10 4x50"}
        | {TICK: "0+60x60"},
        "60m",
        {"30m": set()},
    ),
    "nobody knows whether they came": (
        {f"hcctl_site_replicas_wanted{ON_CLOUD}": "4x60", TICK: "0+60x60"},
        "60m",
        {"30m": {"HcctlCapacityMissing"}},
    ),
    "none is wanted": ({f"hcctl_site_replicas_wanted{ON_CLOUD}": "0x60", TICK: "0+60x60"}, "60m", {"30m": set()}),
    "actions fail": (
        {'hcctl_site_failed_actions{site="cloud"}': "0x5 2x5 5x50", TICK: "0+60x60"},
        "60m",
        {"9m": set(), "20m": {"HcctlSiteRefuses"}},
    ),
    "a release hangs": (
        {f"hcctl_release_start_timestamp_seconds{SHOP}": "0x60", TICK: "0+60x60"},
        "60m",
        {"29m": set(), "31m": {"HcctlReleaseStuck"}},
    ),
    "the budget is near": (
        {'hcctl_service_spent_usd{service="shop", window="day"}': "70x10 81x50"}
        | {'hcctl_service_budget_usd{service="shop", window="day"}': "100x60", TICK: "0+60x60"},
        "60m",
        {"9m": set(), "20m": {"HcctlBudgetNear"}},
    ),
    "a budget of nought": (
        {'hcctl_service_spent_usd{service="shop", window="day"}': "0x60"}
        | {'hcctl_service_budget_usd{service="shop", window="day"}': "0x60", TICK: "0+60x60"},
        "60m",
        {"20m": set()},
    ),
}


@pytest.mark.prometheus
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Each scene is played by promtool, minute by minute: what fires at which moment."""
    groups = [
        {
            "name": scene,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in told.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
                    "eval_time": at,
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)],
                }
                for at, firing in expected.items()
            ],
        }
        for scene, (told, _, expected) in SCENES.items()
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    played = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": groups}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(played))
    done = promtool("test", "rules", tmp_path / "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_some_scene() -> None:
    """None stands there unproved."""
    assert {alert for *_, expected in SCENES.values() for firing in expected.values() for alert in firing} == set(
        ALERTS
    )


def test_the_dashboards_are_what_the_generator_writes() -> None:
    """charts/generate_dashboards.py has been run."""
    spec = importlib.util.spec_from_file_location("dashboards", CHARTS / "generate_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made = module.files()
    assert {path.name: path.read_text() for path in (CHARTS / "hcctl/dashboards").iterdir()} == made


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_a_dashboard_can_be_read(dashboard: dict[str, Any]) -> None:
    """Panels have a title, a description and a unit, lie side by side, and use the data source that was chosen."""
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${source}"}
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_everything_that_is_exported_by_the_daemon_is_shown_or_alarmed() -> None:
    """A metric that nobody looks at is none; what is for queries by hand only is named."""
    looked_at = {SERIES[name] for query in QUERIES.values() for name in metrics(query)}
    by_hand = {
        "hcctl_daemon_info",
        "hcctl_daemon_scaling_active",
        "hcctl_service_info",
        "hcctl_service_p99_seconds",
        "hcctl_service_held",
        "hcctl_release_phase",
        "hcctl_site_phase",
        "hcctl_site_replicas_max",
        "hcctl_site_ejected",
    }
    unseen: set[Metric] = {metric for metric in METRICS if metric.by == "daemon"} - looked_at
    assert {metric.name for metric in unseen} == by_hand
