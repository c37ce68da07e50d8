"""Declared events: when they take place, and what is refused with its fix."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.loading import parse_service
from serving.spec_events import DAYS, Event
from tests.support.declared import SERVICE

ONCE = {"name": "sale", "starts": "2026-11-27T20:00+01:00", "duration_s": 7_200.0, "expected_rps": 180.0}
WEEKLY = {
    "name": "friday",
    "weekly": {"days": ["fri"], "at": "20:00", "zone": "Europe/Berlin"},
    "duration_s": 7_200.0,
    "rate_factor": 3.0,
}


def at(text: str) -> float:
    """A moment as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def test_an_event_takes_place_once() -> None:
    """Before and while it runs it is the one that matters; when it ends there is none."""
    event = Event.model_validate(ONCE)
    for now in ("2020-01-01T00:00Z", "2026-11-27T20:59:59Z"):
        found = event.occurrence(at(now))
        assert found is not None
        assert (found.start_s, found.end_s) == (at("2026-11-27T19:00Z"), at("2026-11-27T21:00Z"))
    assert event.occurrence(at("2026-11-27T21:00Z")) is None


def test_a_weekly_event_is_at_the_same_time_where_people_are() -> None:
    """Eight in the evening in Berlin is 18:00 UTC in summer and 19:00 in winter."""
    event = Event.model_validate(WEEKLY)
    for now, start in (
        ("2026-10-20T00:00Z", "2026-10-23T18:00Z"),
        ("2026-10-23T19:59Z", "2026-10-23T18:00Z"),
        ("2026-10-23T20:00Z", "2026-10-30T19:00Z"),
    ):
        found = event.occurrence(at(now))
        assert found is not None
        assert found.start_s == at(start)


@given(
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.integers(1, 7 * 86_400),
    st.integers(1_600_000_000, 2_000_000_000),
    st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Auckland", "America/St_Johns"]),
)
def test_a_weekly_event_is_always_to_come(days: set[str], duration_s: int, now_s: int, zone: str) -> None:
    """At any moment there is one that has not ended, within eight days, on a day that is declared."""
    weekly = {"days": sorted(days), "at": "23:30", "zone": zone}
    event = Event.model_validate({**WEEKLY, "weekly": weekly, "duration_s": float(duration_s)})
    found = event.occurrence(now_s)
    assert found is not None
    assert now_s < found.end_s
    assert found.start_s < now_s + 8 * 86_400
    assert found.end_s - found.start_s == duration_s


@pytest.mark.parametrize(
    ("events", "field", "word"),
    [
        ([{**ONCE, "weekly": WEEKLY["weekly"]}], "events.0.starts", "exactly one"),
        ([{key: value for key, value in ONCE.items() if key != "starts"}], "events.0.starts", "exactly one"),
        ([{**ONCE, "rate_factor": 2.0}], "events.0.expected_rps", "exactly one"),
        ([{**ONCE, "starts": "2026-11-27T20:00"}], "events.0.starts", "distance from UTC"),
        ([{**ONCE, "starts": "2026-02-30T20:00Z"}], "events.0.starts", "calendar"),
        ([{**WEEKLY, "weekly": {"days": ["fri"], "at": "20:00", "zone": "Europe/Berlyn"}}], "zone", "tzdata"),
        ([{**WEEKLY, "weekly": {"days": ["fri"], "at": "20:00", "zone": "../../etc/passwd"}}], "zone", "time zone"),
        ([{**WEEKLY, "weekly": {"days": ["fri"], "at": "20:00", "zone": "Europe"}}], "zone", "time zone"),
        ([{**WEEKLY, "weekly": {"days": ["fri", "fri"], "at": "20:00"}}], "events.0.weekly.days", "twice"),
        ([{**WEEKLY, "weekly": {"days": ["friday"], "at": "20:00"}}], "events.0.weekly.days.0", "one of mon"),
        ([{**ONCE, "duration_s": 0.0}], "events.0.duration_s", "above 0"),
        ([ONCE, ONCE], "events", "rename one"),
    ],
)
def test_a_wrong_event_is_one_error_with_field_and_fix(events: list[object], field: str, word: str) -> None:
    """What is wrong, where, and what to write instead."""
    with pytest.raises(InvalidInput) as caught:
        parse_service({**SERVICE, "events": events})
    error = caught.value
    assert field in error.where
    assert word in f"{error.why} {error.next_step}"
    assert error.next_step
