"""Knative's Pod Autoscaler on concurrency, with panic mode. Pure.

Rule: `Scale` in knative/serving 1.23, pkg/autoscaler/scaling/autoscaler.go; windows: pkg/autoscaler/aggregation/
bucketing.go; defaults: config/core/configmaps/autoscaler.yaml and
https://knative.dev/docs/serving/autoscaling/kpa-specific/ .

Concurrency is what queue proxies and the activator hold: here, what slots hold and what waits at the gateway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.policy.queueing import Floats
from autoscaler.simulation.peers.measures import recent_mean
from autoscaler.simulation.view import View


@dataclass(frozen=True)
class KpaState:
    """What the autoscaler remembers."""

    begun: bool = False
    panic_since_s: int | None = None
    """When it last was over the panic threshold; None in stable mode."""
    panic_replicas: int = 0
    """The most it wanted in this panic: panic never scales down."""


@dataclass(frozen=True)
class Kpa:
    """The rule with its parameters (keys of config-autoscaler). The default scale-down-delay is 0: there is none."""

    name: str = "kpa"
    tick_s: int = 2
    """tickInterval in pkg/autoscaler/scaling/multiscaler.go; no longer a setting."""
    target_share: float = 0.7
    """container-concurrency-target-percentage, of the slots of a replica."""
    stable_window_s: int = 60
    """stable-window."""
    panic_window_s: int = 6
    """panic-window-percentage (10) of the stable window."""
    panic_threshold: float = 2.0
    """panic-threshold-percentage: replicas the panic window asks for, over those that are ready."""
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0

    def start(self) -> KpaState:
        return KpaState()

    def decide(self, view: View, state: KpaState) -> tuple[int, KpaState]:
        """The wish of the stable window; in panic the larger of both windows, and never a fall.

        Without data nothing changes.
        """
        found = int(view.ready[-1]) if len(view.ready) else view.asked
        state = state if state.begun else _begin(found, view.now_s)
        stable = _window_average(view.ongoing, view.now_s, self.stable_window_s)
        panic = _window_average(view.ongoing, view.now_s, self.panic_window_s)
        if stable is None or panic is None:
            return max(1, view.asked), state
        ready = max(1, found)
        target = self.target_share * view.slots_per_replica
        needed_now = math.ceil(panic / target)
        calm = self._within_rates(math.ceil(stable / target), ready)
        since_s = self._panic_since(state, view.now_s, is_over=needed_now / ready >= self.panic_threshold)
        if since_s is None:
            return max(1, calm), KpaState(begun=True)
        replicas = max(calm, self._within_rates(needed_now, ready), state.panic_replicas)
        return max(1, replicas), KpaState(begun=True, panic_since_s=since_s, panic_replicas=replicas)

    def _within_rates(self, replicas: int, ready: int) -> int:
        return min(
            max(replicas, math.floor(ready / self.max_scale_down_rate)), math.ceil(self.max_scale_up_rate * ready)
        )

    def _panic_since(self, state: KpaState, now_s: int, *, is_over: bool) -> int | None:
        """Panic begins or goes on over the threshold, and ends a stable window after it was last crossed."""
        if is_over:
            return now_s
        if state.panic_since_s is None or state.panic_since_s + self.stable_window_s < now_s:
            return None
        return state.panic_since_s


def _begin(ready: int, now_s: int) -> KpaState:
    """A controller that finds more than one replica begins in panic: it has no history to scale down by."""
    return KpaState(begun=True, panic_since_s=now_s if ready > 1 else None, panic_replicas=ready)


def _window_average(ongoing: Floats, now_s: int, window_s: int) -> float | None:
    """The mean over what is known of the window, cut off after six digits; None without any data."""
    mean = recent_mean(ongoing, now_s, window_s)
    return None if mean is None else math.floor(mean * 1e6) / 1e6
