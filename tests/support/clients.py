"""Clients of one service in the test world: a fluid queue in front of the sites, as the gateway keeps it.

Each track fills its sites in order up to their limits; the rest waits, and is refused when it
waited longer than the gateway allows. Deterministic.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autoscaler.snapshot import OUTLIER_WINDOW_S, STEP_S, Hold, Signals, Step, TrackSignals, Wanted
from serving.gateway.gateway import ServerObservation
from serving.gateway.routes import TRACKS, ServiceRoutes, Track
from serving.spec import HybridService

RECENT_S = 3.0


@dataclass(frozen=True)
class Tick:
    """What clients saw in one tick."""

    arrived: float
    wait_s: float
    refused: float
    private_in_use: float | None
    answered: Mapping[tuple[Track, str], float]
    errors: Mapping[tuple[Track, str], float]


@dataclass
class Clients:
    """Clients and operator of one service."""

    spec: HybridService
    rate_rps: Callable[[float], float] = lambda _: 0.0
    """Requests per second at so many seconds after the start."""
    service_s: float = 0.1
    """How long a request holds a slot."""
    wanted: Wanted | None = None
    hold: Hold | None = None
    abort: str | None = None
    queue: dict[Track, float] = field(default_factory=lambda: dict.fromkeys(TRACKS, 0.0))
    in_use: dict[tuple[Track, str], float] = field(default_factory=dict)
    limits: dict[tuple[Track, str], int] = field(default_factory=dict)
    ticks: deque[Tick] = field(default_factory=deque)
    sample: dict[str, list[float]] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=dict)
    """Answers per site since the start."""
    refused: float = 0.0
    failed: float = 0.0
    """Answers that were errors."""
    cut: float = 0.0
    """Requests in flight on a replica that was taken away."""
    epoch_s: float = 0.0
    """Wall clock at the start of the world."""
    steps: deque[Step] = field(default_factory=lambda: deque(maxlen=6))
    arrived: float = 0.0
    late: float = 0.0
    """Since the last step ended."""

    def deploy(self, version: str, *, deployment: str | None = None, rollback: bool = False) -> None:
        """Ask for a version."""
        self.wanted = Wanted(deployment or f"deploy-{version}", version, f"/versions/{version}", rollback)

    def serve(
        self,
        at_s: float,
        dt_s: float,
        routes: ServiceRoutes | None,
        slots: Mapping[tuple[Track, str], int],
        error_share: Callable[[Track, str], float],
    ) -> None:
        """One tick. `slots` is what each server can really hold now."""
        rate = self.rate_rps(at_s)
        share = routes.candidate_share if routes else 0.0
        answered: dict[tuple[Track, str], float] = {}
        errors: dict[tuple[Track, str], float] = {}
        wait_s = refused = 0.0
        self.limits = {key: min(limit, slots.get(key, 0)) for key, limit in _limits(routes).items()}
        for track, part in (("candidate", share), ("stable", 1.0 - share)):
            waits, lost = self._track(track, rate * part, dt_s, answered)
            wait_s, refused = max(wait_s, waits if part else 0.0), refused + lost
        for key, count in answered.items():
            errors[key] = count * error_share(*key)
        self._count(answered, errors, refused)
        private = [key for key in self.limits if key[1] == "private" and self.limits[key]]
        held = sum(min(self.in_use[key], self.limits[key]) for key in private)
        in_use = held / sum(self.limits[key] for key in private) if private else None
        self.ticks.append(Tick(rate * dt_s, wait_s, refused, in_use, answered, errors))
        self._count_step(at_s, rate * dt_s, late=rate * dt_s if wait_s > self.spec.slo.latency_p99_s else 0.0)
        while len(self.ticks) > max(1, round(self.spec.burst.latency.window_s / dt_s)):
            self.ticks.popleft()

    def _count_step(self, at_s: float, arrived: float, late: float) -> None:
        """Close a step when its end is reached."""
        self.arrived += arrived
        self.late += late
        if at_s % STEP_S < 1e-6:
            self.steps.append(Step(int(self.epoch_s + at_s), self.arrived, self.late))
            self.arrived = self.late = 0.0

    def _track(
        self, track: Track, rate: float, dt_s: float, answered: dict[tuple[Track, str], float]
    ) -> tuple[float, float]:
        """(wait, refused) of one track's clients in one tick."""
        left = rate * dt_s + self.queue[track]
        capacity = 0.0
        for key, limit in self.limits.items():
            if key[0] != track:
                continue
            taken = min(left, limit / self.service_s * dt_s)
            left -= taken
            capacity += limit / self.service_s
            answered[key] = taken
            fading = self.in_use.get(key, 0.0) * math.exp(-dt_s / self.service_s)
            self.in_use[key] = max(taken / dt_s * self.service_s, fading)
        timeout_s = self.spec.routing.queue_timeout_s
        self.queue[track] = min(left, (capacity or rate) * timeout_s)
        wait_s = self.queue[track] / capacity if capacity else timeout_s if left else 0.0
        return wait_s, left - self.queue[track]

    def _count(self, answered: Mapping[tuple[Track, str], float], errors: Mapping, refused: float) -> None:
        self.refused += refused
        self.failed += sum(errors.values())
        for (track, site), count in answered.items():
            self.served[site] = self.served.get(site, 0.0) + count
            if track == "candidate":
                seen = self.sample.setdefault(site, [0.0, 0.0])
                seen[0] += count
                seen[1] += errors[track, site]

    def signals(self, dt_s: float) -> Signals:
        """What the gateway's records would say."""
        window = list(self.ticks)
        window_s = len(window) * dt_s
        recent = window[-max(1, round(RECENT_S / dt_s)) :]
        arrived = sum(tick.arrived for tick in window)
        total = sum(sum(tick.answered.values()) for tick in window)
        cloud = sum(n for tick in window for (_, site), n in tick.answered.items() if site != "private")
        use = [tick.private_in_use for tick in window if tick.private_in_use is not None]
        waits = [tick.wait_s for tick in window]
        has, any_answer = arrived > 0, total > 0
        return Signals(
            window_s=self.spec.burst.latency.window_s,
            requests=round(arrived),
            rate_rps=arrived / window_s,
            recent_rate_rps=sum(tick.arrived for tick in recent) / (len(recent) * dt_s),
            p50_s=self.service_s if has else None,
            p99_s=max(waits) + self.service_s if has else None,
            queue_p99_s=max(waits) if has else None,
            service_mean_s=self.service_s if any_answer else None,
            bytes_mean=1_000.0 if any_answer else None,
            error_share=sum(sum(t.errors.values()) for t in window) / total if any_answer else None,
            refused=round(sum(tick.refused for tick in window)),
            overflow_share=cloud / total if any_answer else None,
            private_in_use=sum(use) / len(use) if use else None,
            queued=round(sum(self.queue.values())),
            in_use=round(sum(self.in_use.values())),
            steps=tuple(self.steps),
            by_site=self._by_site(window[-max(1, round(OUTLIER_WINDOW_S / dt_s)) :]),
        )

    def _by_site(self, ticks: list[Tick]) -> dict[tuple[Track, str], TrackSignals]:
        keys = {key for tick in ticks for key in tick.answered}
        return {
            key: TrackSignals(
                round(sum(tick.answered.get(key, 0.0) for tick in ticks)),
                round(sum(tick.errors.get(key, 0.0) for tick in ticks)),
            )
            for key in sorted(keys)
        }

    def servers(self) -> list[ServerObservation]:
        """What the gateway's admin socket would say."""
        return [
            ServerObservation(self.spec.name, track, site, True, limit, round(self.in_use.get((track, site), 0.0)))
            for (track, site), limit in self.limits.items()
        ]


def _limits(routes: ServiceRoutes | None) -> dict[tuple[Track, str], int]:
    """Limit of each server, in the order in which they are filled."""
    if routes is None:
        return {}
    found: dict[tuple[Track, str], int] = {}
    for track in TRACKS:
        for server in (routes.stable if track == "stable" else routes.candidate).servers:
            found[track, server.site] = server.limit
    return found
