"""The arrival rate under overload: what has not finished counts too."""

from __future__ import annotations

from autoscaler.observing.signals import SignalWindow
from serving.gateway.gateway import GatewayObservation, RequestRecord, ServerObservation


def play(window: SignalWindow, *, finished_rps: int, queue_growth_rps: int, seconds: int) -> None:
    """Seconds in which a full site finishes some requests while the queue grows."""
    for second in range(1_000, 1_000 + seconds):
        for index in range(finished_rps):
            at_s = second + index / finished_rps - 0.1
            window.add(RequestRecord("shop", "stable", "private", 200, 0.0, 0.1, "--", 1, "id", at_s))
        server = ServerObservation("shop", "stable", "private", up=True, limit=8, in_use=8)
        queued = {"shop": queue_growth_rps * (second - 999)}
        window.observe(GatewayObservation((server,), queued, second + 0.9), "shop")


def test_growing_queue_counts_as_arrivals() -> None:
    """80 req/s finish and 60 more pile up each second: 140 req/s arrive."""
    window = SignalWindow(slo_s=0.5, window_s=5.0, cloud_sites=frozenset())
    play(window, finished_rps=80, queue_growth_rps=60, seconds=6)
    assert 135 <= window.signals(1_006.0).recent_rate_rps <= 145


def test_steady_queue_adds_nothing() -> None:
    """A queue that neither grows nor shrinks says that as many arrive as finish."""
    window = SignalWindow(slo_s=0.5, window_s=5.0, cloud_sites=frozenset())
    play(window, finished_rps=80, queue_growth_rps=0, seconds=6)
    assert 78 <= window.signals(1_006.0).recent_rate_rps <= 82
