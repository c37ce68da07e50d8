"""Windowed signals of one service, from the gateway's request records.

A window keeps one cell per second. A cell counts into logarithmic latency buckets with
an edge exactly at the SLO, so that "99 % within the SLO" is decided without
interpolation error (the approach of Prometheus' histogram guidance:
https://prometheus.io/docs/practices/histograms/). Time is always an argument.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autoscaler.snapshot import OUTLIER_WINDOW_S, STEP_S, Signals, Step, TrackSignals
from serving.gateway.gateway import GatewayObservation, RequestRecord
from serving.gateway.routes import Track
from serving.spec_relief import ReliefLevel

BUCKETS_PER_DECADE = 20  # a bucket is 12 % wide: p99 within 12 % of the truth
_SMALLEST_S, _DECADES = 0.001, 5
RECENT_S = 3
STEPS_KEPT = 6
"""A daemon that was held up for half a minute still counts every step."""
TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503


def bucket_edges(slo_s: float) -> tuple[float, ...]:
    """Upper edges in seconds, 1 ms to 100 s, with one exactly at `slo_s`."""
    edges = {_SMALLEST_S * 10 ** (i / BUCKETS_PER_DECADE) for i in range(_DECADES * BUCKETS_PER_DECADE + 1)}
    return tuple(sorted(edges | {slo_s}))


def quantile(counts: Sequence[int], edges: Sequence[float], q: float) -> float | None:
    """The `q` quantile's upper bucket edge, in seconds; None without observations.

    `counts` has one entry per edge and a last one for all above; that one answers with the last edge.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank, seen = q * total, 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= rank and count:
            return edges[min(index, len(edges) - 1)]
    return edges[-1]


@dataclass
class _Cell:
    """One second of one service."""

    second: int
    latency: Counter[int] = field(default_factory=Counter)
    queue: Counter[int] = field(default_factory=Counter)
    requests: int = 0
    answered: int = 0
    refused: int = 0
    late: int = 0
    """Too late because they waited, or refused for want of room; not what relief refused by priority."""
    relief: Counter[ReliefLevel] = field(default_factory=Counter)
    held_s: float = 0.0
    bytes_out: int = 0
    by_site: dict[tuple[Track, str], list[int]] = field(default_factory=dict)
    use_sum: float = 0.0
    use_samples: int = 0
    unfinished: int | None = None
    """Requests waiting or being answered, when the gateway was last looked at."""


class SignalWindow:
    """The last `window_s` seconds of one service. Not thread-safe; its owner locks."""

    def __init__(self, *, slo_s: float, window_s: float, cloud_sites: frozenset[str]) -> None:
        self.window_s = window_s
        self._slo_s = slo_s
        self._edges = bucket_edges(slo_s)
        self._cloud = cloud_sites
        self._cells: deque[_Cell] = deque(
            maxlen=max(int(window_s), STEPS_KEPT * STEP_S + STEP_S, int(OUTLIER_WINDOW_S)) + 3
        )
        self._queued = 0
        self._in_use: int | None = None

    def add(self, record: RequestRecord) -> None:
        """Count one finished request in the second in which it ended."""
        if record.relief == "passed":
            return  # it has a record of its own
        cell = self._cell(int(record.at_s + record.total_s))
        if cell is None or not is_load(record):
            return
        cell.requests += 1
        if record.relief:
            cell.relief[record.relief] += 1
        if record.relief == "light":
            return  # no replica had it: its time says nothing of the service
        cell.late += not record.relief and self._waited_too_long(record)
        if not record.site:
            cell.refused += 1
        if record.status != TOO_MANY_REQUESTS:  # refused at once: no wait that would flatter the quantiles
            waited_s = record.total_s if record.queue_s is None and not record.site else record.queue_s
            if waited_s is not None:
                cell.queue[bisect.bisect_left(self._edges, waited_s)] += 1
            cell.latency[bisect.bisect_left(self._edges, record.total_s)] += 1
        if record.site:
            counts = cell.by_site.setdefault((record.track, record.site), [0, 0])
            counts[0] += 1
            counts[1] += is_error(record)
            cell.answered += 1
            cell.bytes_out += record.bytes_out
            cell.held_s += max(0.0, record.total_s - (record.queue_s or 0.0))

    def _waited_too_long(self, record: RequestRecord) -> bool:
        """Refused for want of room, or it would have been in time without its wait."""
        held_s = record.total_s - (record.queue_s or 0.0)
        return not record.site or record.total_s > self._slo_s >= held_s

    def observe(self, gateway: GatewayObservation, service: str) -> None:
        """Sample how full the private slots are and how many requests wait."""
        self._queued = gateway.queued.get(service, 0)
        mine = gateway.by_service.get(service, ())
        self._in_use = sum(server.in_use for server in mine)
        private = [server for server in mine if server.site not in self._cloud]
        limit = sum(server.limit for server in private)
        cell = self._cell(int(gateway.at_s))
        if cell is not None:
            cell.unfinished = self._in_use + self._queued
        if cell is not None and limit > 0:
            cell.use_sum += min(1.0, sum(server.in_use for server in private) / limit)
            cell.use_samples += 1

    def signals(self, now_s: float) -> Signals:
        """What the window says at `now_s`."""
        while self._cells and self._cells[-1].second > now_s + 1:
            self._cells.pop()  # a clock that was set back would else hide what comes now behind what came before
        first = int(now_s - self.window_s)
        cells = [cell for cell in self._cells if cell.second >= first]
        requests = sum(cell.requests for cell in cells)
        answered = sum(cell.answered for cell in cells)
        by_site = self._by_site(cells, 0.0)
        cloud = sum(s.requests for (_, site), s in by_site.items() if site in self._cloud)
        errors = sum(s.errors for s in by_site.values())
        samples = sum(cell.use_samples for cell in cells)
        latency = self._merged([cell.latency for cell in cells])
        return Signals(
            window_s=self.window_s,
            requests=requests,
            rate_rps=requests / (now_s - first),
            recent_rate_rps=self._recent_rate_rps(int(now_s)),
            p50_s=quantile(latency, self._edges, 0.50),
            p99_s=quantile(latency, self._edges, 0.99),
            queue_p99_s=quantile(self._merged([cell.queue for cell in cells]), self._edges, 0.99),
            service_mean_s=sum(cell.held_s for cell in cells) / answered if answered else None,
            bytes_mean=sum(cell.bytes_out for cell in cells) / answered if answered else None,
            error_share=errors / answered if answered else None,
            refused=sum(cell.refused for cell in cells),
            relief=_total(cell.relief for cell in cells),
            recent_relief_rps={level: count / RECENT_S for level, count in self._recent_relief(int(now_s)).items()},
            overflow_share=cloud / answered if answered else None,
            private_in_use=sum(cell.use_sum for cell in cells) / samples if samples else None,
            queued=self._queued,
            in_use=self._in_use,
            steps=self._steps(int(now_s)),
            by_site=self._by_site(self._cells, now_s - OUTLIER_WINDOW_S),
        )

    def _steps(self, now: int) -> tuple[Step, ...]:
        """Complete steps in which the gateway was looked at: of the others nobody knows what arrived."""
        if not self._cells:
            return ()
        # The current second and the one before may still get lines of what ended in them.
        last_end = (now - 1) // STEP_S * STEP_S
        begun = self._cells[0].second
        ends = range(last_end - (STEPS_KEPT - 1) * STEP_S, last_end + 1, STEP_S)
        finished: Counter[int] = Counter()
        late: Counter[int] = Counter()
        watched = set()
        for cell in self._cells:
            end = (cell.second // STEP_S + 1) * STEP_S
            finished[end] += cell.requests
            late[end] += cell.late
            if cell.unfinished is not None:
                watched.add(end)
        return tuple(
            Step(end, float(max(0, finished[end] + self._grown(end))), float(late[end]))
            for end in ends
            if end - STEP_S > begun and end in watched
        )

    def _grown(self, end: int) -> int:
        """By how much more requests were unfinished at the end of a step than at its beginning."""
        return self._unfinished_by(end) - self._unfinished_by(end - STEP_S)

    def _unfinished_by(self, second: int) -> int:
        """Requests waiting or being answered at the last look before a second; none before the first look."""
        looks = (cell.unfinished for cell in reversed(self._cells) if cell.second < second)
        return next((count for count in looks if count is not None), 0)

    def _recent_rate_rps(self, now: int) -> float:
        """Arrivals over the last complete seconds: what was finished, and by how much the unfinished grew.

        Under overload requests finish no faster than before; only the growing queue tells of the rest.
        """
        recent = [cell for cell in self._cells if now - RECENT_S <= cell.second < now]
        finished = sum(cell.requests for cell in recent)
        before = next((c.unfinished for c in reversed(self._cells) if c.second < now - RECENT_S), None)
        after = recent[-1].unfinished if recent else None
        grown = after - before if before is not None and after is not None else 0
        return max(0, finished + grown) / RECENT_S

    def _recent_relief(self, now: int) -> Counter[ReliefLevel]:
        return _total(cell.relief for cell in self._cells if now - RECENT_S <= cell.second < now)

    def _cell(self, second: int) -> _Cell | None:
        """The cell of `second` or the next one after it; None for a line older than the window."""
        if not self._cells or second > self._cells[-1].second:
            self._cells.append(_Cell(second))
            return self._cells[-1]
        if second < self._cells[0].second:
            return None
        found = self._cells[-1]
        for cell in reversed(self._cells):  # nearly every line is of the last seconds
            if cell.second < second:
                break
            found = cell
        return found

    def _by_site(self, cells: Iterable[_Cell], since_s: float) -> dict[tuple[Track, str], TrackSignals]:
        merged: dict[tuple[Track, str], list[int]] = {}
        for cell in cells:
            if cell.second + 1 <= since_s:
                continue
            for key, (requests, errors) in cell.by_site.items():
                counts = merged.setdefault(key, [0, 0])
                counts[0] += requests
                counts[1] += errors
        return {key: TrackSignals(*counts) for key, counts in merged.items()}

    def _merged(self, counters: list[Counter[int]]) -> list[int]:
        total: Counter[int] = Counter()
        for counter in counters:
            total.update(counter)
        return [total.get(index, 0) for index in range(len(self._edges) + 1)]


def _total(counters: Iterable[Counter[ReliefLevel]]) -> Counter[ReliefLevel]:
    total: Counter[ReliefLevel] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def is_load(record: RequestRecord) -> bool:
    """Somebody wanted an answer from the model: not a request that the gateway refused for its own faults."""
    taken = bool(record.site or record.relief)
    return taken or record.status in (TOO_MANY_REQUESTS, UNAVAILABLE) or record.termination[1:] == "Q"


def is_error(record: RequestRecord) -> bool:
    """A site failed the request: a 5xx answer or none, but not a client that left."""
    return record.status >= 500 or record.status <= 0
