"""The recorded traffic of services: requests in each ten seconds of the last weeks.

For `hcctl simulate --from-log`, and for forecasts that know what this time of day was like before.

One document per service and hour, in a ring of `HOURS_KEPT`: what is kept is bounded by its names. A document
is written whole, so a crash loses the last seconds and nothing else; the daemon is the one writer. Steps in which
no daemon looked are null: unknown, not without requests.
"""

from __future__ import annotations

import bisect
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from autoscaler.observing.signals import TOO_MANY_REQUESTS
from autoscaler.policy.earlier import DAY_S, HOUR_S, MINUTE_S, NOTHING, WEEK_DAYS, Earlier, earlier, window
from autoscaler.telemetry import LATENCY_EDGES_S
from serving.errors import HcctlError
from serving.gateway.gateway import RequestRecord
from serving.state import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autoscaler.simulation.trace import RateCurve

log = logging.getLogger(__name__)

KIND = "traffic"
RECORD_STEP_S = 10
STEPS = HOUR_S // RECORD_STEP_S
MINUTE_STEPS = MINUTE_S // RECORD_STEP_S
BACKFILL_DAYS = WEEK_DAYS + 1
"""What a forecast looks at, with room at both ends."""
HOURS_KEPT = 5 * 7 * 24
"""Of each service: five weeks, so that every hour of the week is there some times."""
HELD_S = 120
"""An hour that is over is written for so much longer: late lines, or a transaction that failed."""
LEAST_WAITED = 100
"""Requests that waited; of fewer a mean says little of full slots."""
MOST_UNTAKEN = 100_000
"""Steps that are counted while the daemon takes none, over all services; the oldest beyond are dropped."""


@dataclass
class Counts:
    """What was answered or refused in some time."""

    requests: int = 0
    """Refused ones included."""
    answered: int = 0
    held_s: float = 0.0
    """Time that answered ones held a slot: total less queue."""
    bytes_out: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    """Of those that the service's promise is about, by bucket of `LATENCY_EDGES_S`."""
    waited: int = 0
    """Answered ones that had waited for a slot: all were full."""
    waited_held_s: float = 0.0
    """Time that those held theirs."""

    def add(self, record: RequestRecord) -> None:
        """Count one finished request."""
        self.requests += 1
        if not record.relief and (record.site or record.status != TOO_MANY_REQUESTS):
            self.latency[bisect.bisect_left(LATENCY_EDGES_S, record.total_s)] += 1
        if record.site and not record.relief:
            held_s = max(0.0, record.total_s - (record.queue_s or 0.0))
            self.answered += 1
            self.held_s += held_s
            if record.queue_s:
                self.waited += 1
                self.waited_held_s += held_s
            self.bytes_out += record.bytes_out


Counted = dict[tuple[str, int], Counts]
"""By service and second at which a step begins."""


def count(counted: Counted, record: RequestRecord) -> None:
    """Count one finished request in the step in which it arrived; one that was passed on has a record of its own."""
    if record.relief == "passed":
        return
    key = (record.service, int(record.at_s) // RECORD_STEP_S * RECORD_STEP_S)
    if key not in counted and len(counted) >= MOST_UNTAKEN:
        del counted[next(iter(counted))]
    counted.setdefault(key, Counts()).add(record)


BUCKETS = len(LATENCY_EDGES_S) + 1
Steps = Annotated[list[Annotated[int, Field(ge=0)] | None], Field(min_length=STEPS, max_length=STEPS)]


@dataclass
class Hour:
    """One document: an hour of one service."""

    start_s: int
    requests: Steps = field(default_factory=lambda: [None] * STEPS)
    """In each step, by time of arrival; None: nobody looked."""
    answered: Annotated[int, Field(ge=0)] = 0
    held_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    waited: Annotated[int, Field(ge=0)] = 0
    waited_held_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """These two are 0 also in an hour that an older hcctl wrote."""
    bytes_out: Annotated[int, Field(ge=0)] = 0
    latency: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=BUCKETS, max_length=BUCKETS)] = field(
        default_factory=lambda: [0] * BUCKETS
    )
    """Requests by bucket of `LATENCY_EDGES_S`; all 0 also in an hour that an older hcctl wrote."""

    def add(self, at_s: int, counts: Counts) -> None:
        """Merge what was counted in the step that begins at `at_s`."""
        step = (at_s - self.start_s) // RECORD_STEP_S
        self.requests[step] = (self.requests[step] or 0) + counts.requests
        self.answered += counts.answered
        self.held_s += counts.held_s
        self.waited += counts.waited
        self.waited_held_s += counts.waited_held_s
        self.bytes_out += counts.bytes_out
        for bucket, count in counts.latency.items():
            self.latency[bucket] += count

    def fill(self, at_s: int, rate_rps: float) -> None:
        """What another source knows of the minute that begins at `at_s`, for the steps of it that are unknown here."""
        first = (at_s - self.start_s) // RECORD_STEP_S
        whole, rest = divmod(round(rate_rps * MINUTE_S), MINUTE_STEPS)
        for number in range(MINUTE_STEPS):
            if self.requests[first + number] is None:
                self.requests[first + number] = whole + (number < rest)


_HOUR: TypeAdapter[Hour] = TypeAdapter(Hour)


class TrafficLog:
    """The daemon's hand on the record. Its memory is what the documents should say; `store` makes them say it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hours: dict[tuple[str, int], Hour] = {}
        """Those that change: this hour, and one that is just over or had a late line; read again when needed."""
        self._watched_s: dict[str, int] = {}
        """By service, the end of the last step that is known."""
        self._earlier: dict[str, tuple[int, Earlier]] = {}
        """By service, the hour it is for, and what is known of earlier days."""
        self._looked_s = 0.0

    def record(self, counted: Mapping[tuple[str, int], Counts], services: Collection[str], now_s: float) -> None:
        """Merge what was counted since the last call; a step of that time in which nothing came is known as empty."""
        step = int(now_s) // RECORD_STEP_S * RECORD_STEP_S
        for service in services:
            first = self._watched_s.get(service, step)
            if not 0 <= step - first <= HOUR_S:
                first = step  # the clock was set, or the daemon slept: nobody looked
            for at_s in range(first, step, RECORD_STEP_S):
                self._hour(service, at_s).add(at_s, Counts())
            self._watched_s[service] = step
        for (service, at_s), counts in counted.items():
            if service in services and step - HOUR_S <= at_s <= step:
                self._hour(service, at_s).add(at_s, counts)

    def unknown(self, service: str, now_s: float) -> list[int]:
        """Starts of the hours of the last week, the running one left out, in which nobody looked all the time."""
        hour_s = int(now_s) // HOUR_S * HOUR_S
        hours = range(hour_s - BACKFILL_DAYS * DAY_S, hour_s, HOUR_S)
        return [start_s for start_s in hours if None in self._read(service, start_s).requests]

    def fill(self, service: str, start_s: int, rates_rps: Sequence[float | None], now_s: float) -> None:
        """Put what another source knows, minute by minute from `start_s` on, where the record knows nothing."""
        self._earlier.pop(service, None)
        over_s = int(now_s) // HOUR_S * HOUR_S
        for at_s, rate_rps in zip(range(start_s, over_s, MINUTE_S), rates_rps, strict=False):
            if rate_rps is not None:
                self._hour(service, at_s).fill(at_s, rate_rps)

    def store(self, now_s: float) -> None:
        """Put what may have changed on disk, in the caller's transaction; if that fails, the next call does it."""
        for (service, start_s), hour in self._hours.items():
            self._store.put_observation(KIND, _name(service, start_s), _HOUR.dump_python(hour), at_s=now_s)
        over_s = now_s - HOUR_S - HELD_S
        self._hours = {key: hour for key, hour in self._hours.items() if over_s < hour.start_s <= now_s}

    def earlier(self, service: str, now_s: float) -> Earlier:
        """What this time of day was like on earlier days.

        It is read once an hour, for one service at a moment: what is there reaches an hour further.
        """
        hour = int(now_s) // HOUR_S
        known = self._earlier.get(service)
        if (known is None or known[0] != hour) and now_s != self._looked_s:
            self._looked_s = now_s
            self._earlier[service] = known = (hour, self._read_earlier(service, now_s))
        return known[1] if known else NOTHING

    def _read_earlier(self, service: str, now_s: float) -> Earlier:
        import numpy as np

        from_s, until_s = window(now_s)
        days = {}
        for ago in range(1, WEEK_DAYS + 1):
            first_s, last_s = from_s - ago * DAY_S, until_s - ago * DAY_S
            begin_s = first_s // HOUR_S * HOUR_S
            hours = [self._read(service, at_s) for at_s in range(begin_s, last_s, HOUR_S)]
            steps = np.array([step for hour in hours for step in hour.requests], dtype=np.float64) / RECORD_STEP_S
            days[ago] = steps[(first_s - begin_s) // RECORD_STEP_S : (last_s - begin_s) // RECORD_STEP_S]
        return earlier(now_s, days, RECORD_STEP_S)

    def _read(self, service: str, at_s: int) -> Hour:
        """A stored hour; one that is damaged is unknown: a forecast can do without, and the daemon goes on."""
        try:
            return stored_hour(self._store, service, at_s) or Hour(at_s)
        except HcctlError as error:
            log.warning("an hour of recorded traffic is left out: %s", error.one_line(), extra={"service": service})
            return Hour(at_s)

    def forget(self, service: str) -> None:
        """Drop the record of a service that was removed."""
        self._earlier.pop(service, None)
        self._watched_s.pop(service, None)
        self._hours = {key: hour for key, hour in self._hours.items() if key[0] != service}
        for number in range(HOURS_KEPT):
            self._store.delete_observation(KIND, _name(service, number * HOUR_S))

    def _hour(self, service: str, at_s: int) -> Hour:
        key = (service, at_s // HOUR_S * HOUR_S)
        if key not in self._hours:
            self._hours[key] = stored_hour(self._store, *key) or Hour(key[1])
        return self._hours[key]


@dataclass(frozen=True, eq=False)
class Record:
    """What is known of a service's traffic."""

    curve: RateCurve
    """From the first step that is known to the last; unknown ones between are without requests."""
    start_s: float
    """Seconds since the epoch."""
    unwatched: NDArray[np.bool_]
    """Whether a step of the curve is unknown."""
    service_s: float | None
    """Mean time that an answered request held a slot; None if none was answered."""
    free_service_s: float | None
    """The same of those that found a free slot."""
    full_service_s: float | None
    """The same of those that had waited for one, so while all were full; None if fewer than `LEAST_WAITED` had."""
    bytes_mean: float | None
    """Mean size of an answer."""


def recorded(store: Store, service: str, *, since_s: float, now_s: float) -> Record | None:
    """The record of a service between two moments; None when nothing of it is known.

    The step that `now_s` is in is not over, and left out. Service time and size of an answer are those of whole hours.
    """
    import numpy as np

    from autoscaler.simulation.trace import RateCurve

    first_s = max(int(since_s), int(now_s) - (HOURS_KEPT - 1) * HOUR_S) // HOUR_S * HOUR_S
    starts = range(first_s, int(now_s) + 1, HOUR_S)
    hours = [stored_hour(store, service, s) or Hour(s) for s in starts]
    begin = max(0, int(since_s) - first_s) // RECORD_STEP_S
    end = max(0, int(now_s) - first_s) // RECORD_STEP_S
    steps = [step for hour in hours for step in hour.requests][begin:end]
    known = [index for index, step in enumerate(steps) if step is not None]
    if not known:
        return None
    steps = steps[known[0] : known[-1] + 1]
    answered, held_s = sum(hour.answered for hour in hours), sum(hour.held_s for hour in hours)
    waited, waited_held_s = sum(hour.waited for hour in hours), sum(hour.waited_held_s for hour in hours)
    return Record(
        curve=RateCurve(
            float(RECORD_STEP_S), np.array([step or 0 for step in steps], dtype=np.float64) / RECORD_STEP_S
        ),
        start_s=float(first_s + (begin + known[0]) * RECORD_STEP_S),
        unwatched=np.array([step is None for step in steps]),
        service_s=held_s / answered if answered else None,
        free_service_s=max(0.0, held_s - waited_held_s) / (answered - waited) if answered > waited else None,
        full_service_s=waited_held_s / waited if waited >= LEAST_WAITED else None,
        bytes_mean=sum(hour.bytes_out for hour in hours) / answered if answered else None,
    )


def _name(service: str, start_s: int) -> str:
    return f"{service}/{start_s // HOUR_S % HOURS_KEPT:03d}"


def stored_hour(store: Store, service: str, start_s: int) -> Hour | None:
    """The stored hour that begins at `start_s`; None if there is none, or another one in its place."""
    document = store.observation(KIND, _name(service, start_s))
    try:
        hour = None if document is None else _HOUR.validate_python(document.body)
    except ValidationError:
        return None  # of another form: as good as unknown
    return hour if hour is not None and hour.start_s == start_s else None
