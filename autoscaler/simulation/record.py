"""What a daemon in a simulated world has on record of earlier days: those before the run, and the run's own. Pure."""

from __future__ import annotations

import math

import numpy as np

from autoscaler.policy.earlier import DAY_S, HOUR_S, NOTHING, WEEK_DAYS, Earlier, earlier, window
from autoscaler.policy.forecast import History, observe
from autoscaler.policy.queueing import Floats
from autoscaler.snapshot import STEP_S


class PastTraffic:
    """The requests of each second before a run."""

    def __init__(self, arrivals: Floats, start_s: float) -> None:
        """Prepare a run.

        Args:
            arrivals: requests in each second, the last one just before the run, nan where nobody looked; may be empty.
            start_s: wall clock of the run's first second.
        """
        self._arrivals = arrivals
        self._first_s = start_s - len(arrivals)
        self._hour: int | None = None
        self._earlier = NOTHING

    def earlier(self, now_s: float, seen: Floats) -> Earlier:
        """What is known of earlier days at `now_s`, wall clock, with what the run has `seen` so far."""
        hour = int(now_s) // HOUR_S
        if hour == self._hour:
            return self._earlier
        known = np.concatenate((self._arrivals, seen))
        from_s, until_s = window(now_s)
        days = {}
        for ago in range(1, WEEK_DAYS + 1):
            first, last = (int(at_s - ago * DAY_S - self._first_s) for at_s in (from_s, until_s))
            if first < 0 or last > len(known):
                continue
            days[ago] = known[first:last].reshape(-1, STEP_S).mean(axis=1)
        self._hour, self._earlier = hour, earlier(now_s, days, STEP_S)
        return self._earlier

    def history(self, horizons_s: tuple[float, ...]) -> History:
        """What a forecast has learned in the last day before the run; nothing where nothing was before."""
        first = max(0, len(self._arrivals) - DAY_S)
        history = History()
        for at in range(first, len(self._arrivals) - STEP_S + 1, STEP_S):
            requests = float(self._arrivals[at : at + STEP_S].sum())
            if math.isnan(requests):
                continue
            end_s = self._first_s + at + STEP_S
            known = self.earlier(end_s, np.empty(0))
            history = observe(history, int(end_s), requests, horizons_s, known)
        return history
