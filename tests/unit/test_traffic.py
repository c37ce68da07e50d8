"""The recorded traffic of services: what is counted, what is unknown, and that it stays bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.observing import traffic
from autoscaler.observing.receiver import RequestLog
from autoscaler.observing.traffic import HOUR_S, KIND, MOST_UNTAKEN, Counts, TrafficLog, count, recorded
from autoscaler.policy.earlier import NOTHING
from serving.errors import HcctlError
from serving.gateway.gateway import RequestRecord
from serving.state import Document
from tests.support.daemon_rig import DaemonRig
from tests.support.declared import service
from tests.support.memory_store import MemoryStore

NOW_S = 1_800_000_000
"""A full hour."""


def request(at_s: float, *, site: str = "private", status: int = 200, total_s: float = 0.5) -> RequestRecord:
    """A request that waited 0.1 s."""
    return RequestRecord("shop", "stable", site, status, 0.1, total_s, "--", 200, "id", at_s)


def kept(log: TrafficLog, at_s: float, **counts: int) -> None:
    """A call of the daemon with so many requests in steps that begin at `_<seconds since NOW_S>`."""
    counted = {("shop", NOW_S + int(name[1:])): Counts(number) for name, number in counts.items()}
    log.record(counted, ["shop"], at_s)
    log.store(at_s)


def test_requests_are_counted_when_they_arrived() -> None:
    """Refused ones count, also late lines; those that the gateway refused for their own faults do not."""
    log = RequestLog()
    log.follow(service(), frozenset({"cloud"}))
    for record in (
        request(NOW_S + 9.9, total_s=5.0),
        request(NOW_S + 1),
        request(NOW_S + 12, site="", status=429),
        request(NOW_S + 13, site="", status=413),
    ):
        log.add(record)
    taken = log.take_counts()
    assert {key: counts.requests for key, counts in taken.items()} == {("shop", NOW_S): 2, ("shop", NOW_S + 10): 1}
    assert taken["shop", NOW_S].held_s == pytest.approx(4.9 + 0.4)
    assert taken["shop", NOW_S].bytes_out == 400
    assert taken["shop", NOW_S + 10].answered == 0
    assert log.take_counts() == {}


def test_light_answers_are_traffic_and_no_work_of_a_replica() -> None:
    """A request that relief answered came; it held no slot. One that it passed on is counted by its own record."""
    counted: dict[tuple[str, int], Counts] = {}
    for relief in ("light", "shed_low", "passed", ""):
        count(counted, replace(request(NOW_S + 1), relief=relief))  # type: ignore[arg-type]
    assert counted["shop", NOW_S].requests == 3
    assert counted["shop", NOW_S].answered == 1


def test_counts_that_nobody_takes_are_bounded() -> None:
    """While the daemon stands still the oldest steps go."""
    counted: dict[tuple[str, int], Counts] = {}
    for step in range(MOST_UNTAKEN + 3):
        count(counted, request(step * 10.0))
    assert len(counted) == MOST_UNTAKEN
    assert ("shop", 20) not in counted


def test_the_record_is_read_as_it_came() -> None:
    """Steps that were watched without a request are empty; a late line is added to its step."""
    store = MemoryStore()
    log = TrafficLog(store)
    kept(log, NOW_S + 1, _0=4)
    kept(log, NOW_S + 31, _0=2, _20=9)
    found = recorded(store, "shop", since_s=NOW_S - 7_200, now_s=NOW_S + 35)
    assert found is not None
    assert (found.curve.rate_rps * 10).tolist() == [6, 0, 9]
    assert (found.start_s, found.unwatched.sum()) == (NOW_S, 0)
    assert found.service_s is None


def test_a_line_that_is_half_an_hour_late_finds_its_step() -> None:
    """A request may be held for long: its hour is over, and read again."""
    store = MemoryStore()
    log = TrafficLog(store)
    for minute in range(0, 91, 10):
        kept(log, NOW_S + minute * 60 + 1)
    kept(log, NOW_S + 5_410, _3000=4)
    found = recorded(store, "shop", since_s=NOW_S, now_s=NOW_S + 5_410)
    assert found is not None
    assert not found.unwatched.any()
    assert found.curve.rate_rps[300] * 10 == 4
    assert found.curve.expected_requests == 4


def test_what_nobody_watched_is_unknown() -> None:
    """A daemon that was away leaves a gap that is told, and the service time of what it saw."""
    store = MemoryStore()
    kept(TrafficLog(store), NOW_S + 1, _0=4)
    again = TrafficLog(store)
    again.record({("shop", NOW_S + 7_200): Counts(3, 2, 1.0, 500)}, ["shop"], NOW_S + 7_205)
    again.store(NOW_S + 7_205)
    found = recorded(store, "shop", since_s=NOW_S, now_s=NOW_S + 7_215)
    assert found is not None
    assert found.unwatched.sum() * found.curve.step_s == 7_190
    assert found.curve.expected_requests == 7
    assert (found.service_s, found.bytes_mean) == (0.5, 250)
    assert recorded(store, "other", since_s=NOW_S, now_s=NOW_S + 7_215) is None


def test_a_restart_goes_on_with_the_stored_hour() -> None:
    """The next daemon adds to what the last one stored; a store that failed once is made up for."""
    store = MemoryStore()
    kept(TrafficLog(store), NOW_S + 1, _0=4)
    log = TrafficLog(store)
    log.record({("shop", NOW_S): Counts(1)}, ["shop"], NOW_S + 5)  # its transaction failed: nothing stored
    kept(log, NOW_S + 15, _10=2)
    found = recorded(store, "shop", since_s=NOW_S, now_s=NOW_S + 25)
    assert found is not None
    assert (found.curve.rate_rps * 10).tolist() == [5, 2]


def test_who_waited_for_a_slot_is_counted_apart() -> None:
    """How long full slots are held is known of a hundred that had waited, through a restart; of fewer it is not."""
    counted: dict[tuple[str, int], Counts] = {}
    for _ in range(60):
        count(counted, replace(request(NOW_S, total_s=0.3), queue_s=0.0))
        count(counted, replace(request(NOW_S, total_s=5.1), queue_s=5.0))
    store = MemoryStore()
    for at_s in (NOW_S, NOW_S + 10):
        log = TrafficLog(store)
        log.record({("shop", at_s): counted["shop", NOW_S]}, ["shop"], at_s + 1)
        log.store(at_s + 1)
        found = recorded(store, "shop", since_s=NOW_S, now_s=at_s + 11)
        assert found is not None
        assert found.service_s == pytest.approx(0.2)
        assert found.free_service_s == pytest.approx(0.3)
        assert found.full_service_s == (pytest.approx(0.1) if at_s > NOW_S else None)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service has a ring of documents: the oldest hour gives its place to the newest."""
    hours = 24
    monkeypatch.setattr(traffic, "HOURS_KEPT", hours)
    store = MemoryStore()
    log = TrafficLog(store)
    for hour in range(hours + 5):
        kept(log, NOW_S + hour * HOUR_S + 5, **{f"_{hour * HOUR_S}": 1 + hour})
    assert len(store.observations(KIND)) == hours
    found = recorded(store, "shop", since_s=0, now_s=NOW_S + (hours + 4) * HOUR_S + 15)
    assert found is not None
    assert found.start_s == NOW_S + 5 * HOUR_S
    assert found.curve.rate_rps[0] * 10 == 6
    log.forget("shop")
    assert store.observations(KIND) == ()


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_is_set_invents_nothing(jump_s: int) -> None:
    """After a jump of the clock the time between is unknown, and lines of another time are dropped."""
    store = MemoryStore()
    log = TrafficLog(store)
    kept(log, NOW_S + 1, _0=4)
    kept(log, NOW_S + jump_s + 1, _0=7)
    kept(log, NOW_S + jump_s + 11)
    found = recorded(store, "shop", since_s=NOW_S - 90_000, now_s=NOW_S + 90_000)
    assert found is not None
    assert found.curve.expected_requests == 4
    assert found.unwatched.sum() * found.curve.step_s == 86_400 - 10


@pytest.mark.parametrize("body", [{}, {"start_s": NOW_S}, {"start_s": NOW_S, "requests": [-1] * 360}, {"start_s": "x"}])
def test_a_document_of_another_form_is_unknown(body: dict[str, object]) -> None:
    """It is no error of the daemon, and no traffic: the next hour written there replaces it."""
    store = MemoryStore()
    kept(TrafficLog(store), NOW_S + 1, _0=4)
    name = store.observations(KIND)[0].name
    store.put_observation(KIND, name, body, at_s=NOW_S)  # type: ignore[arg-type]
    assert recorded(store, "shop", since_s=NOW_S, now_s=NOW_S + 30) is None
    kept(TrafficLog(store), NOW_S + 15, _10=2)
    found = recorded(store, "shop", since_s=NOW_S, now_s=NOW_S + 30)
    assert found is not None
    assert found.curve.expected_requests == 2


def test_the_daemon_records_and_a_restart_loses_seconds_at_most() -> None:
    """Requests of a served service are on disk within ten seconds, through a restart; removed with the service."""
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(30)
    begun_s = rig.clock()
    rig.load(60, rate_rps=3, total_s=0.2)
    rig.restart()
    rig.load(60, rate_rps=3, total_s=0.2)
    rig.run(12)
    found = recorded(rig.store, rig.spec.name, since_s=begun_s - 100, now_s=rig.clock())
    assert found is not None
    assert 3 * 110 <= found.curve.expected_requests <= 3 * 120
    assert found.service_s == pytest.approx(0.2)


def test_earlier_days_are_read_from_the_record_once_an_hour() -> None:
    """Yesterday's doubling is known after a restart, and nothing is read again before the hour is over."""
    store = MemoryStore()
    log = TrafficLog(store)
    yesterday_s = NOW_S - 86_400
    for at_s in range(yesterday_s - 2 * HOUR_S, yesterday_s + 3 * HOUR_S, 10):
        rate = 30 if at_s < yesterday_s + 1_800 else 60
        log.record({("shop", at_s): Counts(rate * 10)}, ["shop"], at_s + 10)
        if at_s % 600 == 0:
            log.store(at_s + 10)
    log.store(yesterday_s + 3 * HOUR_S)
    again = TrafficLog(store)
    found = again.earlier("shop", NOW_S + 60)
    assert found.growths(NOW_S + 1_200, NOW_S + 2_400) == (pytest.approx(2.0, rel=0.01), None)
    assert again.earlier("shop", NOW_S + 3_599) is found
    assert again.earlier("other", NOW_S + 3_599) == NOTHING
    assert again.earlier("shop", NOW_S + 3_600) is not found


def test_a_damaged_hour_of_another_day_is_unknown_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read costs the forecast a day, not the daemon its tick."""

    class Damaged(MemoryStore):
        def observation(self, kind: str, name: str) -> Document | None:
            raise HcctlError("a row is damaged", where=name)

    assert TrafficLog(Damaged()).earlier("shop", NOW_S) == NOTHING
    assert "left out: a row is damaged" in caplog.text


def test_one_service_is_read_at_a_moment() -> None:
    """A tick at the full hour reads the record of one of many services, the next tick that of another."""
    log = TrafficLog(MemoryStore())
    first = log.earlier("a", NOW_S)
    assert log.earlier("b", NOW_S) == NOTHING
    assert set(log._earlier) == {"a"}
    log.earlier("b", NOW_S + 0.5)
    assert set(log._earlier) == {"a", "b"}
    assert log.earlier("a", NOW_S + 0.5) is first
    log.forget("a")
    assert set(log._earlier) == {"b"}
