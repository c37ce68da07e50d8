"""What is exported is what is documented: names, labels, types; and what is unknown is not exported."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from autoscaler.exporter import DaemonMetrics
from autoscaler.snapshot import Hold
from autoscaler.telemetry import Telemetry
from serving.gateway.gateway import RequestRecord
from serving.metrics.families import Exposition
from serving.metrics.table import METRICS, Metric
from serving.supervisor import Child, Keeper, Plan, Telling
from tests.support.daemon_rig import DaemonRig
from tests.support.prometheus import promtool
from tests.support.world import service

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
UNITS = ("seconds", "bytes", "ratio", "usd", "requests")


def exposed(source: DaemonMetrics | Telling) -> str:
    """The text that a scrape gets."""

    class Collected:
        def collect(self):  # type: ignore[no-untyped-def]
            return iter(source.families())

    registry = CollectorRegistry()
    registry.register(Collected())  # type: ignore[arg-type]
    return generate_latest(registry).decode()


def names_and_labels(text: str) -> dict[str, set[frozenset[str]]]:
    """By documented name, the sets of labels that samples have."""
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name) if family.type == "histogram" else sample.name
            found.setdefault(name, set()).add(frozenset(sample.labels) - {"le"})
    return found


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Samples of a metric, by the values of its labels in the table's order."""
    labels = next(metric.labels for metric in METRICS if metric.name == name)
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


class Rig:
    """A daemon on doubles with its exporter."""

    def __init__(self) -> None:
        budget = {"usd_per_hour": 50.0, "usd_per_day": 500.0, "usd_per_month": 5_000.0}
        spec = service()
        self.rig = DaemonRig(spec=spec.model_validate({**spec.model_dump(by_alias=True), "budget": budget}))
        self.telemetry = Telemetry()
        self.rig.telemetry = self.telemetry
        self.rig.restart()
        self.exporter = DaemonMetrics(
            self.telemetry, self.rig.requests, self.rig.clock, silent_after_s=5.0, version="1.2.3"
        )

    def text(self) -> str:
        return exposed(self.exporter)


def served() -> Rig:
    """One that serves, is held, releases a second version and has rented nodes."""
    made = Rig()
    made.rig.deploy("v1")
    made.rig.run(40)
    made.rig.load(30, rate_rps=40, total_s=2.0, queue_s=1.5)
    made.rig.deploy("v2")
    hold = Hold({"cloud": 2}, made.rig.clock() + 600, "test")
    body = {"replicas": dict(hold.replicas), "until_s": hold.until_s, "reason": hold.reason}
    made.rig.store.put_intent("hold", made.rig.spec.name, body, expected_revision=None, at_s=made.rig.clock())
    made.rig.load(3, rate_rps=5, total_s=0.1)
    return made


def supervised(folder: Path) -> Telling:
    """A supervisor that keeps one process, which does not run, and one that is not needed."""

    def child(name: str, **more: object) -> Child:
        return Child.model_validate(
            {
                "name": name,
                "command": ["true"],
                "environment": {},
                "cwd": folder,
                "log": folder / f"{name}.log",
                "record": folder / f"{name}.json",
                **more,
            }
        )

    telling = Telling()
    telling.listen(Plan(children=[], version="1.2.3"))
    telling.keepers = [Keeper(child("daemon")), Keeper(child("relief", only_while=folder / "absent"))]
    return telling


def test_what_is_exported_is_what_is_documented(tmp_path: Path) -> None:
    """Every metric of the table has a sample in a busy project, with its labels and no others; nothing else has."""
    found = names_and_labels(served().text() + exposed(supervised(tmp_path)))
    assert found == {metric.name: {frozenset(metric.labels)} for metric in METRICS}


def test_the_page_is_the_table() -> None:
    """docs/reference/metrics.md is what its generator writes today."""
    spec = importlib.util.spec_from_file_location("generate_metrics", PAGE.with_name("generate_metrics.py"))
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert PAGE.read_text() == generate.reference(), "run `python docs/reference/generate_metrics.py`"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_follows_prometheus_rules(metric: Metric) -> None:
    """Prefix, base unit at the end of what has one, `_total` on counters and on nothing else; a sentence of help."""
    assert re.fullmatch(r"hcctl_[a-z0-9]+(_[a-z0-9]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)
    assert not re.search(r"_(ms|millis\w*|minutes|hours|percent|kb|mb)(_|$)", metric.name)
    assert metric.help.endswith(".")
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)


@pytest.mark.prometheus
def test_promtool_finds_nothing_to_say(tmp_path: Path) -> None:
    """Prometheus' own linter accepts the whole exposition."""
    checked = promtool("check", "metrics", told=served().text() + exposed(supervised(tmp_path)))
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_what_is_not_in_the_table_cannot_be_exported() -> None:
    """Neither a name, nor a label, nor a metric of another process."""
    out = Exposition("daemon")
    with pytest.raises(KeyError):
        out.add("hcctl_invented", 1)
    with pytest.raises(KeyError):
        out.add("hcctl_gateway_up", 1, site="private")
    with pytest.raises(KeyError):
        out.add("hcctl_supervisor_rotation_failures_total", 1)
    assert out.families() == []


def test_a_daemon_that_stands_by_is_in_no_trouble() -> None:
    """Another one leads: it does not tick, and says nothing of services, sites and gateway. Once it leads it must."""
    now = [0.0]
    telemetry = Telemetry()
    exporter = DaemonMetrics(telemetry, DaemonRig().requests, lambda: now[0], silent_after_s=5.0, version=None)
    found = names_and_labels(exposed(exporter))
    assert set(found) == {
        "hcctl_daemon_info",
        "hcctl_daemon_tick_duration_seconds",
        "hcctl_daemon_tick_failures_total",
        "hcctl_daemon_malformed_lines_total",
        "hcctl_daemon_lost_lines_total",
        "hcctl_daemon_leading",
    }
    assert values(exposed(exporter), "hcctl_daemon_leading") == {(): 0}
    now[0] = 1_000.0
    assert exporter.trouble() == ""
    telemetry.begin(now[0])
    assert exporter.trouble() == ""
    now[0] += 6
    assert exporter.trouble() == "no tick has ended well for 6 s"
    assert values(exposed(exporter), "hcctl_daemon_leading") == {(): 1}


def test_a_daemon_that_no_longer_ticks_exports_no_gauges() -> None:
    """Its last values are no longer true: counters and the time of the last tick stay, and health says why."""
    made = served()
    assert made.exporter.trouble() == ""
    made.rig.clock.advance(6)
    found = names_and_labels(made.text())
    kinds = {metric.name: metric.kind for metric in METRICS}
    gauges = {name for name in found if kinds[name] == "gauge"}
    assert gauges == {"hcctl_daemon_last_tick_timestamp_seconds", "hcctl_daemon_leading"}
    assert "hcctl_gateway_requests_total" in found
    assert made.exporter.trouble() == "no tick has ended well for 6 s"


def test_a_site_out_of_sight_has_no_replicas_not_none_ready() -> None:
    """Its sample of ready replicas is missing, what is wanted there stays; the one in sight keeps its own."""
    made = served()
    made.rig.sites["cloud"].unreachable = True
    made.rig.run(8)
    text = made.text()
    assert values(text, "hcctl_site_in_sight") == {("private",): 1, ("cloud",): 0}
    assert set(values(text, "hcctl_site_replicas_ready")) == {("shop", "private")}
    assert set(values(text, "hcctl_site_replicas_wanted")) == {("shop", "private"), ("shop", "cloud")}


def test_a_gateway_out_of_sight_has_no_queue() -> None:
    """What waits there is unknown; the service's signals are told to be stale."""
    made = served()
    made.rig.gateway.running = False
    made.rig.run(8)
    text = made.text()
    assert values(text, "hcctl_gateway_up") == {(): 0}
    assert values(text, "hcctl_service_signals_stale") == {("shop",): 1}
    for name in ("hcctl_gateway_queued_requests", "hcctl_gateway_server_up", "hcctl_gateway_server_limit_requests"):
        assert values(text, name) == {}


def test_requests_are_counted_by_who_answered() -> None:
    """Late is over the SLO or refused for want of room; what was not let in wanted nothing."""
    made = served()
    before = values(made.text(), "hcctl_gateway_late_requests_total")["shop",]
    base = RequestRecord("shop", "stable", "private", 200, 0.0, 0.1, "--", 9, "id", made.rig.clock())
    refused = replace(base, site="", queue_s=None)
    for record in (
        base,
        replace(base, total_s=9.0),
        replace(base, status=500),
        replace(refused, status=429),
        replace(refused, status=503, termination="sQ"),
        replace(refused, status=413),
        replace(refused, status=429, relief="shed_low"),
        replace(refused, status=200, relief="light"),
        replace(refused, status=200, relief="passed"),
    ):
        made.rig.requests.add(record)
    text = made.text()
    counts = values(text, "hcctl_gateway_requests_total")
    assert {key[2:]: count for key, count in counts.items() if key[2] != "private"} == {
        ("", "refused", "4xx"): 1,
        ("", "refused", "5xx"): 1,
        ("", "rejected", "4xx"): 1,
        ("", "shed", "4xx"): 1,
        ("", "light", "2xx"): 1,
    } | {key[2:]: count for key, count in counts.items() if key[2] == "cloud"}
    assert values(text, "hcctl_gateway_late_requests_total")["shop",] - before == 3
    assert values(text, "hcctl_gateway_failed_requests_total")["shop",] == 1


def test_one_bucket_ends_at_the_slo() -> None:
    """The share of late requests can be read from the histogram without interpolation."""
    made = served()
    slo_s = made.rig.spec.slo.latency_p99_s
    edges = re.findall(r'hcctl_gateway_request_duration_seconds_bucket\{le="([^"]+)"', made.text())
    assert slo_s in [float(edge) for edge in edges]


def test_a_removed_service_leaves_no_samples() -> None:
    """Names of services that are gone do not pile up."""
    made = served()
    made.rig.requests.unfollow("shop")
    assert "hcctl_gateway_requests_total" not in names_and_labels(made.text())
