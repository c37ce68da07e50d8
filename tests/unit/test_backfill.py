"""The record of traffic filled from elsewhere: only gaps, once, beside the tick, and never in the way."""

from __future__ import annotations

import pytest

from autoscaler.handles import InlineExecutor
from autoscaler.observing import traffic
from autoscaler.observing.backfill import RETRY_S, Backfill
from autoscaler.observing.history import RecordedHistory
from autoscaler.observing.traffic import KIND, Counts, TrafficLog
from autoscaler.policy.earlier import NOTHING
from serving.errors import HcctlError
from tests.support.daemon_rig import DaemonRig
from tests.support.memory_store import MemoryStore

HOUR_S, DAY_S = 3_600, 86_400
NOW_S = 1_800_000_000
"""A full hour."""


DAYS = 2


@pytest.fixture(autouse=True)
def days(monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of hours is the same, and longer."""
    monkeypatch.setattr(traffic, "BACKFILL_DAYS", DAYS)


class Past:
    """A history that says the same for every minute, or that is away."""

    def __init__(self, rate_rps: float | None = 2.0) -> None:
        self.rate_rps = rate_rps
        self.away = False
        self.asked: list[tuple[str, int, int]] = []

    def rates(self, service: str, *, start_s: int, minutes: int) -> list[float | None]:
        self.asked.append((service, start_s, minutes))
        if self.away:
            raise HcctlError("Prometheus does not say what was asked for", where="http://127.0.0.1:9")
        return [self.rate_rps] * minutes

    def latency_s(self, service: str, q: float, *, start_s: int, hours: int) -> float | None:
        raise AssertionError("nobody needs it")


def filled(past: Past, record: TrafficLog, *moments_s: float) -> Backfill:
    made = Backfill(past, InlineExecutor())
    for now_s in moments_s:
        made.go_on(record, ["shop"], now_s)
        record.store(now_s)
    return made


def test_a_new_daemon_knows_the_last_week() -> None:
    """All hours that are unknown are asked for at once, and each minute of them is known after the next call."""
    store, past = MemoryStore(), Past()
    filled(past, TrafficLog(store), NOW_S + 90, NOW_S + 100, NOW_S + 110)
    assert past.asked == [("shop", NOW_S - DAYS * DAY_S, DAYS * 24 * 60)]
    rates = RecordedHistory(store).rates("shop", start_s=NOW_S - DAYS * DAY_S, minutes=DAYS * 24 * 60)
    assert set(rates) == {2.0}
    assert RecordedHistory(store).rates("shop", start_s=NOW_S, minutes=1) == [None]


def test_forecasts_use_it_at_once() -> None:
    """What the record said of earlier days before is forgotten."""
    record = TrafficLog(MemoryStore())
    assert record.earlier("shop", NOW_S + 90) == NOTHING
    filled(Past(), record, NOW_S + 90, NOW_S + 100)
    assert record.earlier("shop", NOW_S + 110).growths(NOW_S + 200, NOW_S + 600) == (1.0, None)


def test_what_the_record_knows_is_not_replaced() -> None:
    """Only steps in which nobody looked are filled, also within a minute; parts of a request are rounded."""
    store = MemoryStore()
    record = TrafficLog(store)
    record.record({("shop", NOW_S - HOUR_S + 10): Counts(70)}, ["shop"], NOW_S - HOUR_S + 25)
    record.store(NOW_S - HOUR_S + 25)
    filled(Past(0.25), record, NOW_S + 90, NOW_S + 100)
    hour = next(d.body for d in store.observations(KIND) if d.body["start_s"] == NOW_S - HOUR_S)
    assert hour["requests"][:8] == [3, 70, 3, 2, 2, 2, 3, 3]


def test_what_nobody_knows_stays_unknown() -> None:
    """None from the source is no traffic of nought."""
    store = MemoryStore()
    filled(Past(None), TrafficLog(store), NOW_S + 90, NOW_S + 100)
    assert RecordedHistory(store).rates("shop", start_s=NOW_S - DAY_S, minutes=60) == [None] * 60


def test_a_source_that_is_away_is_asked_again_later(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once per attempt, and the next attempt waits."""
    past = Past()
    past.away = True
    made = filled(past, record := TrafficLog(MemoryStore()), NOW_S + 90, NOW_S + 100, NOW_S + 110)
    assert (len(past.asked), caplog.text.count("the past of a service is not known")) == (1, 1)
    past.away = False
    made.go_on(record, ["shop"], NOW_S + 90 + RETRY_S)
    made.go_on(record, ["shop"], NOW_S + 100 + RETRY_S)
    record.store(NOW_S + 100 + RETRY_S)
    assert len(past.asked) == 2
    assert record.earlier("shop", NOW_S + 110 + RETRY_S) != NOTHING


def test_a_full_record_asks_nobody() -> None:
    """After a restart of a daemon that has been there all week there is nothing to ask for."""
    store = MemoryStore()
    filled(Past(), TrafficLog(store), NOW_S + 90, NOW_S + 100)
    again = Past()
    filled(again, TrafficLog(store), NOW_S + 110, NOW_S + 120)
    assert again.asked == []


def test_the_daemon_fills_its_record() -> None:
    """A daemon with a history puts it on disk with its own ticks."""
    rig = DaemonRig()
    rig.past = Past()
    rig.restart()
    rig.deploy("v1")
    rig.run(40)
    start_s = int(rig.clock()) // HOUR_S * HOUR_S - DAY_S
    assert RecordedHistory(rig.store).rates("shop", start_s=start_s, minutes=60) == [2.0] * 60
