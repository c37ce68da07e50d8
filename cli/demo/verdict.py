"""Whether the demo showed what it promises: four checks, from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.demo.outcome import ReplayResult, Window

WINDOW_S = 5.0
MIN_SERVED = 20
"""Fewer served requests in a window say nothing of its p99."""


@dataclass(frozen=True)
class Sample:
    """The project at one moment of the replay."""

    t_s: float
    """Seconds since the start of the replay."""
    rate_rps: float
    p50_s: float | None
    p99_s: float | None
    queued: int
    replicas: dict[str, int]
    """Ready replicas per site."""
    limits: dict[str, int]
    """Requests each site may hold."""
    phases: dict[str, str]
    rented_usd: float


@dataclass(frozen=True)
class Check:
    """One promise and what became of it."""

    name: str
    ok: bool
    text: str


def checks(
    result: ReplayResult, samples: Sequence[Sample], *, cloud: str, slo_s: float, sale_at_s: float, sale_until_s: float
) -> list[Check]:
    """Did the burst open, the SLO recover before the sale ended, all come home, and no request get lost?"""
    open_at_s = next((s.t_s for s in samples if s.replicas.get(cloud, 0) > 0), None)
    home = bool(samples) and open_at_s is not None and samples[-1].phases.get(cloud) == "closed"
    home_at_s = next((s.t_s for s in samples if open_at_s and s.t_s > open_at_s and s.phases[cloud] == "closed"), None)
    recovered_s = recovered_at_s(result.windows(WINDOW_S), slo_s)
    lost = result.count("lost") + result.count("unsent")
    opened = "it never did" if open_at_s is None else f"{open_at_s - sale_at_s:.0f} s after the sale began"
    recovered = recovered_s is not None and recovered_s < sale_until_s
    since = "it did not" if recovered_s is None else f"{recovered_s - sale_at_s:.0f} s after the sale began"
    returned = f"the last rented node left at {home_at_s:.0f} s" if home_at_s is not None else "it did not"
    return [
        Check("the burst opened", open_at_s is not None, opened),
        Check("the SLO recovered", recovered, f"p99 within {slo_s:g} s for good, {since}"),
        Check("it came home", home, returned),
        Check("no request was lost", lost == 0, f"{lost} of {len(result.outcomes)}"),
    ]


def recovered_at_s(windows: Sequence[Window], slo_s: float) -> float | None:
    """From when on every window keeps the SLO and refuses nothing; None if the last one does not."""
    since = None
    for window in windows:
        late = window.served >= MIN_SERVED and window.p99_s is not None and window.p99_s > slo_s
        if late or window.refused:
            since = None
        elif since is None:
            since = window.t_s
    return since
