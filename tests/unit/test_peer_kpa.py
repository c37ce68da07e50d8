"""Knative's rule on the timelines of pkg/autoscaler/scaling/autoscaler_test.go (knative/serving)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from autoscaler.simulation.peers.kpa import Kpa, KpaState
from tests.support.views import view


@dataclass
class Timeline:
    """A KPA whose windows, clock and ready replicas are set by hand, as in the source's tests."""

    kpa: Kpa
    state: KpaState = field(default_factory=lambda: KpaState(begun=True))

    def scale(self, now_s: int, stable: float, panic: float, ready: int) -> int:
        """Its wish with these two means; the panic window is the end of the stable one."""
        ongoing = np.zeros(now_s)
        window_s, panic_s = self.kpa.stable_window_s, self.kpa.panic_window_s
        ongoing[-window_s:] = (stable * window_s - panic * panic_s) / (window_s - panic_s)
        ongoing[-panic_s:] = panic
        seen = replace(view(now_s=now_s, ready=ready, slots=1), ongoing=ongoing)
        wanted, self.state = self.kpa.decide(seen, self.state)
        return wanted


def with_target(target: float, *, up: float = 10.0, down: float = 10.0) -> Timeline:
    """The parameters of newTestAutoscaler: both rates 10, threshold 2, window 60 s."""
    return Timeline(Kpa(target_share=target, max_scale_up_rate=up, max_scale_down_rate=down))


def test_defaults_aim_at_70_percent_of_the_slots() -> None:
    """10 slots and 100 requests make 15 replicas: 100 / (10 x 0.7), rounded up."""
    assert Kpa().decide(view(ongoing=100.0, ready=10, slots=10), KpaState(begun=True))[0] == 15


@pytest.mark.parametrize(
    ("timeline", "stable", "panic", "ready", "wanted"),
    [
        pytest.param(with_target(10), 50, 50, 1, 5, id="StableModeNoChange"),
        pytest.param(with_target(10), 50, 50, 5, 5, id="StableModeNoChangeAlreadyScaled"),
        pytest.param(with_target(10), 50, 100, 1, 10, id="PanicModeDoublePodCount"),
        pytest.param(with_target(1, up=1.1), 3, 3.1, 2, 3, id="IncreaseWithSmallScaleUpRate"),
        pytest.param(with_target(10, down=1.1), 1, 1, 100, 90, id="DecreaseWithSmallScaleDownRate"),
        pytest.param(with_target(10), 1000, 1001, 1, 10, id="RateLimitScaleUp"),
        pytest.param(with_target(10), 1, 1, 100, 10, id="RateLimitScaleDown"),
        pytest.param(with_target(10), 1000, 888, 0, 10, id="UseOnePodAsMinimumIfEndpointsNotFound"),
        pytest.param(with_target(181), 21, 26, 1, 1, id="StableModeUnlimitedTBC"),
    ],
)
def test_one_decision(timeline: Timeline, stable: float, panic: float, ready: int, wanted: int) -> None:
    """TestAutoscalerScale, TestAutoscalerRateLimit... and TestAutoscalerUseOnePod... of the source."""
    assert timeline.scale(600, stable, panic, ready) == wanted


@pytest.mark.parametrize(("stable", "panic", "wanted"), [(50, 30, 50), (20, 30, 30)])
def test_panic_takes_the_larger_window(stable: float, panic: float, wanted: int) -> None:
    """AutoscalerPanicStableLargerThanPanic and ...LessThanPanic."""
    timeline = Timeline(with_target(1).kpa, KpaState(begun=True, panic_since_s=595, panic_replicas=5))
    assert timeline.scale(600, stable, panic, ready=5) == wanted


def test_panic_ends_a_window_after_the_surge() -> None:
    """TestAutoscalerUnpanicAfterSlowIncrease: half a window later it still is in panic, at 62 s it is not."""
    timeline = with_target(1)
    assert timeline.scale(600, 11, 25, ready=10) == 25
    assert timeline.scale(630, 30, 41, ready=40) == 41
    assert timeline.state.panic_since_s == 600
    assert timeline.scale(662, 50, 56, ready=55) == 50
    assert timeline.state.panic_since_s is None


def test_surge_extends_panic() -> None:
    """TestAutoscalerExtendPanicWindow: over the threshold again, the window begins anew."""
    timeline = with_target(1)
    assert timeline.scale(600, 11, 25, ready=10) == 25
    assert timeline.scale(630, 30, 80, ready=40) == 80
    assert timeline.state.panic_since_s == 630


def test_panic_never_scales_down() -> None:
    """TestAutoscalerPanicThenUnPanicScaleDown: 100 replicas stay for 60 s after the last of a surge."""
    timeline = with_target(10)
    assert timeline.scale(600, 100, 100, ready=1) == 10
    assert timeline.scale(602, 100, 1000, ready=10) == 100
    assert timeline.scale(632, 1, 1, ready=10) == 100
    assert timeline.scale(662, 1, 1, ready=10) == 100
    assert timeline.scale(663, 1, 1, ready=10) == 1


def test_exponential_growth_is_followed() -> None:
    """TestAutoscalerPanicModeExponentialTrackAndStabilize: 6, 36, 216, 1296 replicas, then no more."""
    timeline = with_target(1)
    for index, (load, ready) in enumerate([(6, 1), (36, 6), (216, 36), (1296, 216), (1296, 1296)]):
        assert timeline.scale(600 + index, load, load, ready) == load


@pytest.mark.parametrize(("ready", "wanted"), [(1, 1), (2, 2)])
def test_starts_in_panic_above_one_replica(ready: int, wanted: int) -> None:
    """TestStartInPanicMode: without history what was found stays for a window; 1 replica needs no such care."""
    timeline = Timeline(Kpa(), KpaState())
    assert timeline.scale(600, 0.1, 0.1, ready) == wanted
    assert (timeline.state.panic_since_s is not None) == (ready > 1)


def test_rounding_asks_for_no_replica() -> None:
    """1.4 requests at a target of 1.4 are one replica, though 60 times 1.4 sums to a little more: six digits count."""
    assert float(np.full(60, 1.4).sum()) / 60 > 1.4
    assert Kpa().decide(view(ongoing=1.4, ready=1), KpaState(begun=True))[0] == 1


def test_without_data_nothing_changes() -> None:
    """TestAutoscalerNoDataNoAutoscale: no sample in a window is no zero."""
    assert Kpa().decide(view(ongoing=50.0, ready=3, late_s=6), KpaState(begun=True))[0] == 3


def test_late_seconds_shorten_the_window() -> None:
    """With the newest 5 s missing both windows are the mean of what is there, as bucketing.go does."""
    assert Kpa().decide(view(ongoing=28.0, ready=20, late_s=5), KpaState(begun=True))[0] == 20
