"""What a month will cost: what is spent, and the rest of it as the past days went. Pure.

The rest is the mean spend of the same hours of the day, and of the same days of the week once each was seen twice.
The range is where nine months of ten would end if days were independent and went on as before: a prediction interval
of the mean of daily deviations (Student's t; e.g. Hahn and Meeker, Statistical Intervals, 1991). A cap bounds it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.money.cost import HOUR_S, spend, usd_between, windows
from serving.state import LedgerEntry

DAY_HOURS, WEEK_HOURS = 24, 168
LEAST_DAYS = 2
"""Fewer whole days say nothing of how days differ."""
MOST_DAYS = 35
"""What is older says little of the present."""
T_95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)
"""95th percentiles of Student's t for 1 to 10 degrees of freedom; beyond, the last one is a little too wide."""

Hours = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """The whole month, what is spent of it included."""

    expected_usd: float
    low_usd: float
    high_usd: float


@dataclass(frozen=True)
class Outlook:
    """A service's month."""

    spent_usd: float
    known_days: int
    """Whole days that the forecast is made from."""
    forecast: Forecast | None
    """None: too little is known."""


def month_outlook(
    ledger: Sequence[LedgerEntry], *, known_since_s: float | None, cap_usd: float | None, now_s: float
) -> Outlook:
    """The outlook of the running month (UTC).

    Args:
        ledger: what was spent; from the month's begin at least, and `MOST_DAYS` where so much is known.
        known_since_s: since when somebody watched: a day before that is unknown, not without spend. None: never.
        cap_usd: the month's cap; None: no cap.
        now_s: wall clock.
    """
    spent_usd = spend(ledger, now_s).month_usd
    end_s = math.floor(now_s / HOUR_S) * HOUR_S
    known_days = 0 if known_since_s is None else int((end_s - known_since_s) // (DAY_HOURS * HOUR_S))
    known_days = min(MOST_DAYS, max(0, known_days))
    if known_days < LEAST_DAYS:
        return Outlook(spent_usd, known_days, None)
    hours = hourly_usd(ledger, end_s - known_days * DAY_HOURS * HOUR_S, known_days * DAY_HOURS)
    _, (_, _, month_end_s) = windows(now_s)
    left_hours = (month_end_s - now_s) / HOUR_S
    rest_usd, margin_usd = _rest(hours, left_hours, elapsed=(now_s - end_s) / HOUR_S)
    most_usd = math.inf if cap_usd is None else max(cap_usd, spent_usd)
    low_usd, mean_usd, high_usd = (
        min(most_usd, spent_usd + max(0.0, rest_usd + sign * margin_usd)) for sign in (-1, 0, 1)
    )
    return Outlook(spent_usd, known_days, Forecast(mean_usd, low_usd, high_usd))


def hourly_usd(ledger: Sequence[LedgerEntry], start_s: float, hours: int) -> Hours:
    """What was spent in each hour from `start_s`; a span counts in each by the part that lies inside."""
    found = np.zeros(hours)
    for entry in ledger:
        first, last = (int((at_s - start_s) // HOUR_S) for at_s in (entry.start_s, entry.end_s))
        for index in range(max(0, first), min(hours - 1, last) + 1):
            begin_s = start_s + index * HOUR_S
            found[index] += usd_between(entry, begin_s, begin_s + HOUR_S)
    return found


def _rest(hours: Hours, left_hours: float, *, elapsed: float) -> tuple[float, float]:
    """What the rest of the month is expected to cost, and how much more or less it may be.

    Args:
        hours: the spend of past hours, whole days, up to the begin of the running hour.
        left_hours: until the month ends.
        elapsed: part of the running hour that is over.
    """
    days = hours.reshape(-1, DAY_HOURS)
    period = WEEK_HOURS if len(hours) >= 2 * WEEK_HOURS else DAY_HOURS
    lag = len(hours) % period  # whole weeks end now, so that the first hour to come follows the last of them
    profile = hours[lag:].reshape(-1, period).mean(axis=0)
    ahead = np.resize(profile, round(left_hours + elapsed))
    weights = np.ones(len(ahead))
    weights[0] -= elapsed
    times_seen = (len(hours) - lag) // period
    usual = np.resize(np.roll(profile, lag), len(hours)).reshape(-1, DAY_HOURS).sum(axis=1)
    # Each day is part of its own mean: left out of it, it would deviate by so much more.
    deviation = (days.sum(axis=1) - usual) * times_seen / (times_seen - 1)
    freedom = len(days) - 1
    spread_usd = math.sqrt(float((deviation**2).sum()) / len(days))
    days_left = left_hours / DAY_HOURS
    quantile = T_95[min(freedom, len(T_95)) - 1]
    return float(ahead @ weights), quantile * spread_usd * math.sqrt(days_left + days_left**2 / len(days))
