"""What the same time of day was like on earlier days, as recorded: how a rate went on from there. Pure.

Only the shape counts: a forecast scales the present level by it, so a day that is busier than the others says the
same. Two shapes are kept: the mean of the last week's days, and the same day a week ago. They are made anew each hour
from the recorded traffic; nothing of them is state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autoscaler.policy.queueing import Floats

DAY_S, HOUR_S = 86_400, 3_600
WEEK_DAYS = 7
MINUTE_S = 60
SMOOTH_S = 300
"""Each value is a mean over so many seconds around its minute: single requests are no shape."""
REACH_S = HOUR_S
"""Known before and after the hour that a profile is for: the longest horizon that it can say something of."""
SEEN_SHARE = 0.5
"""A mean of which less was watched is unknown."""
LEAST_RPS = 0.05
"""Added to both sides of a growth: from nothing to one request a minute is no multiple."""
MOST_GROWTH = 3.0


@dataclass(frozen=True)
class Profile:
    """Rates of earlier days, put at the present day's time."""

    start_s: int
    """Seconds since the epoch of the first one."""
    rates_rps: tuple[float, ...]
    """One each minute."""

    def growth(self, from_s: float, to_s: float) -> float | None:
        """By what factor the rate changed from one moment to another; None if that is not known."""
        before, after = self._at(from_s), self._at(to_s)
        if before is None or after is None:
            return None
        growth = (after + LEAST_RPS) / (before + LEAST_RPS)
        return min(MOST_GROWTH, max(1.0 / MOST_GROWTH, growth))

    def _at(self, at_s: float) -> float | None:
        minute, past = divmod(at_s - self.start_s, MINUTE_S)
        index = int(minute)
        if not 0 <= index < len(self.rates_rps) - 1:
            return None
        first, second = self.rates_rps[index : index + 2]
        return first + (second - first) * past / MINUTE_S


@dataclass(frozen=True)
class Earlier:
    """All that is known of earlier days around one hour."""

    days: Profile | None = None
    """Mean of those of the last seven days that were watched."""
    week: Profile | None = None
    """The same day of the week before."""

    def growths(self, from_s: float, to_s: float) -> tuple[float | None, float | None]:
        """What each says."""
        return (
            self.days.growth(from_s, to_s) if self.days else None,
            self.week.growth(from_s, to_s) if self.week else None,
        )


NOTHING = Earlier()


def window(now_s: float) -> tuple[int, int]:
    """First second, and end, of what must be known of an earlier day: that of today, to be shifted by whole days."""
    hour_s = int(now_s) // HOUR_S * HOUR_S
    margin_s = SMOOTH_S // 2
    return hour_s - REACH_S - margin_s, hour_s + HOUR_S + REACH_S + margin_s


def earlier(now_s: float, days: Mapping[int, Floats], step_s: int) -> Earlier:
    """The shapes for the hour of `now_s`.

    Args:
        now_s: wall clock.
        days: by how many days ago, requests per second in each step of `window`; nan where nobody looked.
        step_s: length of a step; divides a minute.
    """
    start_s = window(now_s)[0] + SMOOTH_S // 2
    smooth = {ago: rates for ago, day in days.items() if (rates := _smoothed(day, step_s)) is not None}
    if not smooth:
        return NOTHING
    mean = Profile(start_s, tuple(np.mean(list(smooth.values()), axis=0).tolist()))
    week = smooth.get(WEEK_DAYS)
    return Earlier(mean, None if week is None else Profile(start_s, tuple(week.tolist())))


def _smoothed(rates_rps: Floats, step_s: int) -> Floats | None:
    """The means around each minute; None where too little is known: then the day says nothing in this hour."""
    wide = np.lib.stride_tricks.sliding_window_view(rates_rps, SMOOTH_S // step_s)[:: MINUTE_S // step_s]
    known = ~np.isnan(wide)
    if known.mean(axis=1).min() < SEEN_SHARE:
        return None
    return np.asarray(np.where(known, wide, 0.0).sum(axis=1) / known.sum(axis=1))
