"""What every implementation of `autoscaler.observing.history.History` does, on the same traffic."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from autoscaler.exporter import DaemonMetrics
from autoscaler.observing.history import History, RecordedHistory
from autoscaler.observing.prometheus import PrometheusHistory
from autoscaler.observing.receiver import RequestLog
from autoscaler.observing.traffic import RECORD_STEP_S, TrafficLog
from autoscaler.telemetry import Telemetry
from serving.errors import HcctlError, InvalidInput
from serving.gateway.gateway import RequestRecord
from tests.support import prometheus
from tests.support.declared import service
from tests.support.memory_store import MemoryStore

HOUR_S, MINUTE_S, SCRAPE_S = 3_600, 60, 15
NOW_S = 1_790_000_000 // HOUR_S * HOUR_S
BEGUN_S = NOW_S - 2 * HOUR_S
AWAY = range(BEGUN_S + 2_400, BEGUN_S + 3_000)
"""Ten minutes in which no daemon ran: nobody looked, and the next one counts from nought."""
RUSH = range(BEGUN_S + HOUR_S, BEGUN_S + HOUR_S + 1_200)


def rate_rps(at_s: int) -> int:
    """Ten times the requests in the rush."""
    return 10 if at_s in RUSH else 1


def request(at_s: float) -> RequestRecord:
    """Slow in the rush, between two edges of a bucket; one in five is refused at once."""
    total_s = 0.75 if int(at_s) in RUSH else 0.15
    refused = int(at_s) % 5 == 0
    site, status = ("", 429) if refused else ("private", 200)
    return RequestRecord("shop", "stable", site, status, 0.0, 0.0 if refused else total_s, "--", 200, "id", at_s)


class Past:
    """Two hours of traffic as a daemon saw them: its record, and what a Prometheus would have scraped of it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.samples = io.StringIO()
        self._start()
        for at_s in range(BEGUN_S, NOW_S, 5):
            if at_s in AWAY:
                continue
            if at_s == AWAY.stop:
                self._start()
            self._see(at_s)

    def _start(self) -> None:
        """A new daemon."""
        self.requests, self.traffic = RequestLog(), TrafficLog(self.store)
        self.requests.follow(service(), frozenset({"cloud"}))
        self.exporter = DaemonMetrics(Telemetry(), self.requests, lambda: 0.0, silent_after_s=5.0, version=None)

    def _see(self, at_s: int) -> None:
        if at_s % RECORD_STEP_S == 0:
            self.traffic.record(self.requests.take_counts(), ["shop"], at_s)
            self.traffic.store(at_s)
        if at_s % SCRAPE_S == 0:
            self._scrape(at_s)
        rate = rate_rps(at_s)
        for number in range(5 * rate):
            self.requests.add(request(at_s + number / rate))

    def _scrape(self, at_s: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Collected(self.exporter))
        for line in generate_latest(registry).decode().splitlines():
            if not line.startswith("#"):
                self.samples.write(f"{line} {at_s}\n")


class _Collected(Collector):
    def __init__(self, exporter: DaemonMetrics) -> None:
        self._exporter = exporter

    def collect(self):  # type: ignore[no-untyped-def]
        return iter(self._exporter.families())


def by_metric(samples: str) -> str:
    """OpenMetrics wants the samples of one metric side by side, with its type."""
    found: dict[str, list[str]] = {}
    for line in samples.splitlines():
        found.setdefault(line.partition("{")[0].partition(" ")[0], []).append(line)
    typed = {name: [f"# TYPE {name} unknown", *lines] for name, lines in found.items()}
    return "\n".join([line for lines in typed.values() for line in lines] + ["# EOF", ""])


@pytest.fixture(scope="module")
def past() -> Past:
    return Past()


@pytest.fixture(scope="module", params=["record", pytest.param("prometheus", marks=pytest.mark.prometheus)])
def history(request: pytest.FixtureRequest, past: Past, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    if request.param == "record":
        yield RecordedHistory(past.store)
        return
    folder: Path = tmp_path_factory.mktemp("prometheus")
    data = prometheus.blocks(folder, by_metric(past.samples.getvalue()))
    with ExitStack() as stack:
        yield PrometheusHistory(stack.enter_context(prometheus.running(folder, data)))


def test_rates_are_those_of_the_traffic(history: History) -> None:
    """Each minute's mean, refused requests included: before, in and after the rush."""
    rates = history.rates("shop", start_s=BEGUN_S, minutes=119)
    assert len(rates) == 119
    for minute, rate in enumerate(rates):
        middle_s = BEGUN_S + minute * MINUTE_S + 30
        near = {middle_s - 60 in RUSH, middle_s in RUSH, middle_s + 60 in RUSH}
        if rate is not None and len(near) == 1:
            assert rate == pytest.approx(rate_rps(middle_s), rel=0.1), minute
    assert sum(rate is not None for rate in rates) >= 119 - 14


def test_what_nobody_watched_is_unknown(history: History) -> None:
    """None while no daemon ran, before the first one and after the last: never 0."""
    away = history.rates("shop", start_s=AWAY.start + MINUTE_S, minutes=len(AWAY) // MINUTE_S - 2)
    assert away == [None] * 8
    assert history.rates("shop", start_s=BEGUN_S - HOUR_S, minutes=59) == [None] * 59
    assert history.rates("shop", start_s=NOW_S + HOUR_S, minutes=5) == [None] * 5
    assert history.latency_s("shop", 0.99, start_s=BEGUN_S - 2 * HOUR_S, hours=1) is None


def test_a_service_that_is_not_known_has_no_past(history: History) -> None:
    """It is no error, and not without traffic."""
    assert history.rates("nobody", start_s=BEGUN_S, minutes=3) == [None] * 3
    assert history.latency_s("nobody", 0.5, start_s=BEGUN_S, hours=2) is None


def test_latency_is_told_within_its_bucket(history: History) -> None:
    """What was refused at once is in no quantile; the second hour is slow, the first is not."""
    assert 0.1 < (history.latency_s("shop", 0.5, start_s=BEGUN_S, hours=1) or 0) <= 0.25
    assert 0.5 < (history.latency_s("shop", 0.5, start_s=BEGUN_S + HOUR_S, hours=1) or 0) <= 1.0
    both = history.latency_s("shop", 0.99, start_s=BEGUN_S, hours=2)
    assert both is not None
    assert 0.5 < both <= 1.0


def test_a_span_begins_where_its_steps_do(history: History) -> None:
    """Anything else is refused: two sources would round it to different minutes."""
    with pytest.raises(InvalidInput, match="between two steps"):
        history.rates("shop", start_s=BEGUN_S + 1, minutes=1)
    with pytest.raises(InvalidInput, match="between two steps"):
        history.latency_s("shop", 0.5, start_s=BEGUN_S + MINUTE_S, hours=1)


def test_a_name_is_no_query(history: History) -> None:
    """A name that could change the query is refused, or unknown; nothing else is asked with it."""
    try:
        found = history.rates('shop"} or vector(7) #', start_s=BEGUN_S, minutes=1)
    except InvalidInput:
        return
    assert found == [None]


def test_a_prometheus_that_is_away_is_an_error_that_says_so() -> None:
    """Nobody listens: unknown is told as trouble, once and soon, not as no traffic."""
    with pytest.raises(HcctlError, match="Prometheus does not say") as told:
        PrometheusHistory("http://127.0.0.1:9").rates("shop", start_s=BEGUN_S, minutes=1)
    assert "metrics.prometheus_url" in told.value.next_step


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra there is one error that says what to install; the daemon goes on."""
    monkeypatch.setitem(sys.modules, "prometheus_api_client", None)
    with pytest.raises(HcctlError) as told:
        PrometheusHistory("http://127.0.0.1:9").rates("shop", start_s=BEGUN_S, minutes=1)
    assert told.value.next_step == "pip install 'hcctl[prometheus]'"
