"""The month's forecast: spent so far, and the rest as the past days went."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.outlook import LEAST_DAYS, hourly_usd, month_outlook
from serving.state import LedgerEntry

HOUR_S, DAY_S = 3_600.0, 86_400.0
MIDNIGHT_S = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
"""Ten days before November ends; a Saturday."""


def node(start_s: float, hours: float, usd: float) -> LedgerEntry:
    return LedgerEntry("cloud", "g5", "shop", start_s, start_s + hours * HOUR_S, hours * HOUR_S, usd)


def daily(days: int, usd_of_day) -> list[LedgerEntry]:
    """An hour of rent at noon of each of the last days, the oldest first."""
    begin_s = MIDNIGHT_S - days * DAY_S
    return [node(begin_s + day * DAY_S + 12 * HOUR_S, 1.0, usd_of_day(day)) for day in range(days)]


def outlook(ledger, days: float, *, now_s: float = MIDNIGHT_S, cap_usd: float | None = None):
    return month_outlook(ledger, known_since_s=now_s - days * DAY_S, cap_usd=cap_usd, now_s=now_s)


def test_days_that_are_alike_go_on_alike():
    """Two dollars at noon of each of five days: ten spent, and twenty in the ten days to come, without doubt."""
    found = outlook(daily(5, lambda _: 2.0), 5)
    assert found.spent_usd == pytest.approx(10.0)
    assert found.forecast is not None
    assert found.forecast.expected_usd == pytest.approx(30.0)
    assert (found.forecast.low_usd, found.forecast.high_usd) == pytest.approx((30.0, 30.0))


@pytest.mark.parametrize("days", [0.0, 1.0, LEAST_DAYS - 0.01])
def test_too_little_is_no_forecast(days: float):
    """One day says nothing of how days differ; nobody watched says nothing at all."""
    assert outlook(daily(1, lambda _: 2.0), days).forecast is None
    assert month_outlook([], known_since_s=None, cap_usd=None, now_s=MIDNIGHT_S).forecast is None


def test_watched_days_without_spend_are_a_forecast_of_none():
    """Known and zero is not unknown."""
    found = outlook([], 5)
    assert found.forecast is not None
    assert found.forecast.expected_usd == 0.0


def test_days_that_differ_widen_the_range_and_more_of_them_narrow_it():
    """The mean is in the middle, and three days are less sure than twelve."""
    few, many = (outlook(daily(days, lambda day: 1.0 + day % 2), days).forecast for days in (4, 12))
    assert few is not None
    assert many is not None
    assert few.low_usd < few.expected_usd < few.high_usd
    assert many.high_usd - many.low_usd < few.high_usd - few.low_usd


def test_the_same_hours_of_the_last_day_are_ahead():
    """At one in the afternoon today's noon is over: ten more noons are ahead until December, not eleven."""
    spent = [*daily(3, lambda _: 2.0), node(MIDNIGHT_S + 12 * HOUR_S, 1.0, 2.0)]
    found = outlook(spent, 3, now_s=MIDNIGHT_S + 13 * HOUR_S)
    assert found.forecast is not None
    assert found.forecast.expected_usd == pytest.approx(8.0 + 9 * 2.0)


def test_after_two_weeks_the_days_of_the_week_count():
    """Rent on Saturdays only: of ten days from a Saturday on two are one."""
    saturdays = daily(21, lambda day: 7.0 if day % 7 == 0 else 0.0)
    found = outlook(saturdays, 21)
    assert found.forecast is not None
    assert found.forecast.expected_usd - found.spent_usd == pytest.approx(14.0)
    assert found.forecast.high_usd == pytest.approx(found.forecast.expected_usd)


def test_a_cap_bounds_the_month():
    """What a cap forbids is not expected, but what is spent is spent."""
    ledger = daily(5, lambda _: 2.0)
    capped = outlook(ledger, 5, cap_usd=12.0).forecast
    assert capped is not None
    assert (capped.low_usd, capped.expected_usd, capped.high_usd) == (12.0, 12.0, 12.0)
    lowered = outlook(ledger, 5, cap_usd=5.0).forecast
    assert lowered is not None
    assert lowered.expected_usd == pytest.approx(10.0)


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0.01, 30), st.floats(0, 9)), max_size=12),
    st.floats(2.1, 34),
    st.floats(0, 20 * DAY_S),
)
def test_a_forecast_is_ordered_and_never_below_what_is_spent(spans, days: float, later_s: float):
    """Low, expected and high, whatever the past was and whenever it is asked."""
    ledger = [node(MIDNIGHT_S - 100 * HOUR_S + start * HOUR_S, hours, usd) for start, hours, usd in spans]
    found = outlook(ledger, days, now_s=MIDNIGHT_S + later_s)
    assert found.forecast is not None
    low, expected, high = found.forecast.low_usd, found.forecast.expected_usd, found.forecast.high_usd
    assert found.spent_usd - 1e-9 <= low <= expected + 1e-9
    assert expected <= high + 1e-9


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0.01, 30), st.floats(0, 9)), max_size=8))
def test_hours_share_a_span_without_loss(spans):
    """What lies inside all hours is all of it."""
    ledger = [node(start * HOUR_S, hours, usd) for start, hours, usd in spans]
    found = hourly_usd(ledger, 0.0, 72)
    assert float(np.sum(found)) == pytest.approx(sum(usd for _, _, usd in spans), abs=1e-6)
