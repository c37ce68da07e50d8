"""The demo's report: one picture, and one HTML page that needs nothing else.

The page has no scripts and loads nothing; whatever text enters it is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from autoscaler.money.alternatives import Prices
from cli.canvas import seconds, usd
from cli.demo.chart import ChartData, Event, render
from cli.demo.cost import cloud_replicas
from cli.demo.outcome import ReplayResult
from cli.demo.verdict import MIN_SERVED, WINDOW_S, Check, Sample
from cli.page import page, picture, section, table
from serving.state import Decision

PNG_NAME, HTML_NAME = "demo.png", "demo.html"
DECISIONS_SHOWN = 200


@dataclass(frozen=True)
class DemoReport:
    """Everything the report tells."""

    chart: ChartData
    decisions: Sequence[Decision]
    """Oldest first."""
    checks: Sequence[Check]
    prices: Prices
    settings: Mapping[str, str]
    """What the run was made with, such as the emulated accelerator time and the seed."""
    model_quality: Mapping[str, float]
    """The artefact's metrics, named `row.metric`."""


@dataclass(frozen=True)
class ReportFiles:
    """Where the report was written."""

    png: Path
    html: Path


def write_report(report: DemoReport, directory: Path) -> ReportFiles:
    """Draw the chart and write both files into `directory`, which exists.

    Raises:
        OSError: the disk is full or failing.
    """
    files = ReportFiles(directory / PNG_NAME, directory / HTML_NAME)
    files.png.write_bytes(render(report.chart, "png"))
    files.html.write_text(render_html(report), encoding="utf-8")
    return files


def moments(samples: Sequence[Sample], *, cloud: str, sale_at_s: float) -> list[Event]:
    """The events of a burst to `cloud`, as far as they happened."""
    found = [Event(sale_at_s, "flash sale")]
    steps: list[tuple[str, Callable[[Sample], bool]]] = [
        ("burst opened", lambda sample: sample.phases.get(cloud) not in {"closed", None}),
        (f"{cloud} ready", lambda sample: sample.replicas.get(cloud, 0) > 0),
        ("home", lambda sample: sample.phases.get(cloud) == "closed"),
    ]
    rest = iter(samples)
    for label, happened in steps:
        sample = next((sample for sample in rest if happened(sample)), None)
        if sample is None:
            break
        found.append(Event(sample.t_s, label))
    return found


def summary_rows(report: DemoReport) -> list[tuple[str, str]]:
    """The figures of the run as (name, value), for the page and for the terminal."""
    chart, result = report.chart, report.chart.result
    over_s = _seconds_over_slo(result, chart.slo_p99_s)
    rows = [
        ("Requests", f"{len(result.outcomes):,}"),
        ("Served", f"{result.count('served'):,}"),
        ("Refused with Retry-After", f"{result.count('refused'):,}"),
        ("Lost", f"{result.count('lost'):,}"),
    ]
    rows += [(name, f"{count:,}") for name, count in _oddities(result) if count]
    rows += [
        (f"Served by {site}", _share(result.served_by_site().get(site, 0), result.count("served")))
        for site in chart.sites
    ]
    rows += [
        ("p50", _time(result.latency_s(0.5))),
        ("p99", _time(result.latency_s(0.99))),
        (f"p99 above the SLO of {_time(chart.slo_p99_s)}", f"for {over_s:.0f} s"),
        ("Longest queue at the gateway", _most(sample.queued for sample in chart.samples)),
    ]
    rows += [
        (f"Most replicas on {site}", _most(sample.replicas.get(site) for sample in chart.samples))
        for site in chart.sites
    ]
    rows += [
        (f"Most requests at once on {site}", _most(sample.limits.get(site) for sample in chart.samples))
        for site in chart.sites
    ]
    used = result.cpu_s / result.duration_s if result.duration_s else 0.0
    rows.append(("Load generator", f"{_time(result.late_s(0.99))} late at p99, {used:.2f} cores"))
    return rows


def cost_rows(report: DemoReport) -> list[tuple[str, str, str]]:
    """The three ways to run the load as (name, usd, how it is counted)."""
    cost, prices, chart = report.chart.cost, report.prices, report.chart
    peak = max(cloud_replicas(sample, chart.sites[1:]) for sample in chart.samples)
    own = f"{prices.private_nodes} owned x ${prices.private_usd_per_node_hour:g}/h"
    rent = f"${prices.cloud_usd_per_node_hour:g}/h"
    return [
        ("hcctl", usd(cost.hybrid_usd[-1]), f"{own} + rent, from the ledger"),
        ("Always on", usd(cost.always_on_usd[-1]), f"{own} + {peak} rented x {rent} all the time"),
        (
            "Cloud only",
            usd(cost.cloud_only_usd[-1]),
            f"ceil(rate / {prices.node_rps:g} per node) x {rent}; an ideal: nodes come and go at once",
        ),
    ]


def render_html(report: DemoReport) -> str:
    """The page as text."""
    chart = report.chart
    body = [
        f"<h1>{escape(chart.headline)}</h1>",
        f"<p class=lead>{escape(chart.subtitle)}</p>",
        _checks(report.checks),
        picture(render(chart, "svg", titled=False), _alternative(report)),
        "<div class=columns>",
        section("The run", table((), summary_rows(report))),
        "<div>",
        section("Cost", table(("", "usd", "counted as"), cost_rows(report))),
        section("Settings", table((), report.settings.items())),
        "</div></div>",
        section("Decisions", _decisions(report.decisions, chart.result.started_at_s)),
        section("The model", _quality(report.model_quality)) if report.model_quality else "",
    ]
    return page(chart.headline, body)


def _seconds_over_slo(result: ReplayResult, slo_p99_s: float) -> float:
    windows = [window for window in result.windows(WINDOW_S) if window.served >= MIN_SERVED]
    return sum(WINDOW_S for window in windows if window.p99_s is not None and window.p99_s > slo_p99_s)


def _oddities(result: ReplayResult) -> list[tuple[str, int]]:
    named = [(f"Lost or unsent: {reason}", count) for reason, count in result.errors().items()]
    return [("Rejected as wrong", result.count("rejected")), *named]


def _checks(checks: Sequence[Check]) -> str:
    items = (
        f"<li class={'held' if check.ok else 'failed'}><b>{escape(check.name)}</b>: {escape(check.text)}"
        for check in checks
    )
    return f"<ul class=checks>{''.join(items)}</ul>"


def _decisions(decisions: Sequence[Decision], started_at_s: float) -> str:
    rows = [
        (
            _clock(decision.at_s - started_at_s),
            " ".join(str(decision.body[key]) for key in ("action", "site") if decision.body.get(key)),
            str(decision.body.get("reason", "")),
        )
        for decision in decisions[:DECISIONS_SHOWN]
    ]
    more = len(decisions) - len(rows)
    note = f"<p class=lead>and {more} more; see <code>hcctl why</code></p>" if more else ""
    return table(("time", "action", "reason"), rows) + note


def _quality(metrics: Mapping[str, float]) -> str:
    """Metrics named `row.metric` as a table of rows and columns."""
    split = [(*name.rpartition(".")[::2], value) for name, value in metrics.items()]
    columns = list(dict.fromkeys(metric for _, metric, _ in split))
    rows: dict[str, dict[str, float]] = {}
    for row, metric, value in split:
        rows.setdefault(row, {})[metric] = value
    cells = ((row, *(f"{had[c]:.3f}" if c in had else "" for c in columns)) for row, had in rows.items())
    return table(("", *(column.replace("_at_", "@") for column in columns)), cells)


def _alternative(report: DemoReport) -> str:
    figures = "; ".join(f"{name}: {value}" for name, value in summary_rows(report))
    return f"Requests per second, latency, replicas and cost over time. {figures}"


def _clock(t_s: float) -> str:
    sign, whole = ("-" if t_s < 0 else ""), abs(t_s)
    return f"{sign}{int(whole) // 60}:{whole % 60:04.1f}"


def _time(value_s: float | None) -> str:
    return "not measured" if value_s is None else seconds(value_s)


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.0f} %)" if whole else f"{part:,}"


def _most(values: Iterable[int | None]) -> str:
    return str(max((value for value in values if value is not None), default="unknown"))
