"""The report: a picture and a page that show what was measured, and nothing a name can break out of."""

import itertools
import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.alternatives import Prices
from cli.canvas import apart, seconds, usd
from cli.demo.chart import ChartData, Event, render
from cli.demo.cost import compare
from cli.demo.outcome import Outcome, ReplayResult
from cli.demo.report import DemoReport, cost_rows, moments, render_html, summary_rows, write_report
from cli.demo.verdict import Check, Sample
from serving.state import Decision

PRICES = Prices(private_nodes=2, private_usd_per_node_hour=0.245, cloud_usd_per_node_hour=1.006, node_rps=20.0)
NASTY = "</title><script>alert(1)</script>'\"& {body} $\\frac$"


def outcome(at_s: float, chance: float) -> Outcome:
    """Served slowly from 10 to 40 s, by the cloud from 30 to 50 s."""
    late = 10 <= at_s < 40
    if late and chance < 0.1:
        return Outcome(at_s, "refused", 0.0, 2.0, 503, None, "stable", None)
    site = "cloud" if 30 <= at_s < 50 and chance < 0.5 else "private"
    return Outcome(at_s, "served", 0.001, (1.5 if late else 0.15) + 0.1 * chance, 200, site, "stable", None)


def sample(t_s: float) -> Sample:
    phase = "closed" if t_s < 12 or t_s >= 55 else "opening" if t_s < 30 else "open"
    replicas = {"private": 2, "cloud": 3 if 30 <= t_s < 52 else 0}
    limits = {"private": 8, "cloud": replicas["cloud"] * 4}
    rent = max(0.0, min(t_s, 55) - 12) * 0.001
    return Sample(t_s, 20.0, 0.2, 0.4, int(t_s), replicas, limits, {"private": "open", "cloud": phase}, rent)


def made(name: str = "shop") -> DemoReport:
    """A burst of a minute; `name` stands in every text."""
    rng = random.Random(1)
    outcomes = tuple(outcome(index / 20, rng.random()) for index in range(1_200))
    samples = [sample(index / 2) for index in range(1, 120)]
    chart = ChartData(
        headline=f"Headline {name}",
        subtitle=f"Subtitle {name}",
        result=ReplayResult(1_000.0, 60.0, 3.0, outcomes),
        samples=samples,
        sites=["private", "cloud", name],
        events=[*moments(samples, cloud="cloud", sale_at_s=10), Event(20, name)],
        slo_p99_s=0.4,
        cost=compare(samples, clouds=["cloud"], prices=PRICES),
    )
    return DemoReport(
        chart=chart,
        decisions=[Decision(1, 1_012.5, "shop", {"action": f"open {name}", "site": "cloud", "reason": f"why {name}"})],
        checks=[Check(f"held {name}", True, name), Check("failed one", False, name)],
        prices=PRICES,
        settings={f"Setting {name}": name},
        model_quality={f"model {name}.recall_at_10": 0.33744, "popularity.recall_at_10": 0.129},
    )


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_report_is_one_picture_and_one_page(tmp_path: Path) -> None:
    """Both files are written, the picture is a PNG at least 1,500 pixels wide."""
    files = write_report(made(), tmp_path)
    head = files.png.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20]) >= 1_500
    assert files.html.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.html", "demo.png"]


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    """Its one address is the picture inside it; the policy forbids everything else."""
    text = render_html(made())
    page = Page(text)
    assert [address[:26] for address in page.addresses] == ["data:image/svg+xml;base64,"]
    assert "default-src 'none'" in text
    assert "script" not in page.tags


def test_no_text_can_break_out_of_the_page() -> None:
    """Names, reasons, settings and checks come out as the text they are."""
    plain, nasty = Page(render_html(made())), Page(render_html(made(NASTY)))
    assert nasty.tags == plain.tags
    assert nasty.handlers == []
    for place in ("Headline", "Subtitle", "open", "why", "held", "Setting", "model"):
        assert f"{place} {NASTY}" in nasty.words


def test_a_dollar_sign_is_no_formula() -> None:
    """Names with dollar signs and backslashes are drawn, not parsed."""
    image = render(made(NASTY).chart, "svg")
    ET.fromstring(image)


def test_the_same_run_gives_the_same_bytes() -> None:
    """Pictures hold neither the time of day nor random names."""
    assert render(made().chart, "svg") == render(made().chart, "svg")
    assert render(made().chart, "png") == render(made().chart, "png")


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    """Settings of other drawings in the process are not touched."""
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    render(made().chart, "svg")
    assert dict(mpl.rcParams) == before


def test_figures_are_those_of_the_run() -> None:
    """The summary counts served, refused and lost, and names what was slow."""
    report = made()
    rows = dict(summary_rows(report))
    result = report.chart.result
    assert rows["Requests"] == "1,200"
    assert rows["Served"] == f"{result.count('served'):,}"
    assert int(rows["Refused with Retry-After"]) == result.count("refused") > 0
    assert rows["Lost"] == "0"
    assert rows["p99 above the SLO of 400 ms"] == "for 30 s"
    assert rows["Most replicas on cloud"] == "3"
    assert rows["Longest queue at the gateway"] == "59"
    assert "Rejected as wrong" not in rows


def test_losses_are_shown_by_reason() -> None:
    """What was lost or never sent has its own row, whatever else went well."""
    report = made()
    lost = Outcome(59.0, "lost", 0.0, None, None, None, None, "timeout")
    unsent = Outcome(59.5, "unsent", None, None, None, None, None, "client limit")
    result = replace(report.chart.result, outcomes=(*report.chart.result.outcomes[:-20], lost, unsent))
    rows = dict(summary_rows(replace(report, chart=replace(report.chart, result=result))))
    assert (rows["Lost"], rows["Lost or unsent: timeout"], rows["Lost or unsent: client limit"]) == ("1", "1", "1")


def test_costs_say_how_they_are_counted() -> None:
    """Each way has its amount and the formula with the numbers put in."""
    rows = {name: (amount, counted) for name, amount, counted in cost_rows(made())}
    assert rows["Always on"][1] == "2 owned x $0.245/h + 3 rented x $1.006/h all the time"
    assert re.fullmatch(r"\$\d\.\d+", rows["hcctl"][0])
    assert "20 per node" in rows["Cloud only"][1]


def test_moments_are_those_that_happened() -> None:
    """Opened, ready and home in order; a burst that never opened has only the sale."""
    samples = [sample(index / 2) for index in range(1, 120)]
    assert [(event.label, event.t_s) for event in moments(samples, cloud="cloud", sale_at_s=10)] == [
        ("flash sale", 10),
        ("burst opened", 12),
        ("cloud ready", 30),
        ("home", 55),
    ]
    assert [event.label for event in moments(samples[:20], cloud="cloud", sale_at_s=10)] == ["flash sale"]
    assert moments(samples[:70], cloud="cloud", sale_at_s=10)[-1].label == "cloud ready"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_run_that_broke_off_can_be_drawn(count: int) -> None:
    """Hardly any request, one sample, nothing served: still a picture and a page."""
    report = made()
    result = ReplayResult(1_000.0, 1.0, 0.0, report.chart.result.outcomes[:count])
    chart = replace(report.chart, result=result, samples=[sample(0.5)], events=[])
    chart = replace(chart, cost=compare(chart.samples, clouds=["cloud"], prices=PRICES))
    assert "not measured" in render_html(replace(report, chart=chart)) or count


def test_nothing_served_is_a_gap() -> None:
    """Windows in which all was lost are drawn without inventing a latency."""
    report = made()
    lost = tuple(
        Outcome(o.intended_s, "lost", 0.0, None, None, None, None, "connect") if 20 < o.intended_s < 40 else o
        for o in report.chart.result.outcomes
    )
    chart = replace(report.chart, result=replace(report.chart.result, outcomes=lost))
    assert render(chart, "png")


@given(st.lists(st.floats(-1, 2), max_size=6).map(sorted), st.floats(0.01, 0.15))
def test_labels_are_kept_apart(wanted: list[float], gap: float) -> None:
    """Neighbours are a line apart, in order, and none is above the panel."""
    placed = apart(wanted, gap)
    assert len(placed) == len(wanted)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(placed))
    assert not placed or placed[-1] <= 1 + 1e-9


def test_times_and_amounts_read_well() -> None:
    """Milliseconds below a second; cents, or four decimals where cents say nothing."""
    assert [seconds(value) for value in (0.0404, 0.4, 0.9996, 6.2057)] == ["40 ms", "400 ms", "1 s", "6.21 s"]
    assert [usd(value) for value in (0.0, 0.0123, 0.187, 12.0)] == ["$0.00", "$0.0123", "$0.19", "$12.00"]
