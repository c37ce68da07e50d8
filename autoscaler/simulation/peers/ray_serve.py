"""Ray Serve's default autoscaling policy. Pure.

Rule: Ray 2.60, ray/serve/autoscaling_policy.py (`_core_replica_queue_length_policy`, `_apply_scaling_factors`,
`_apply_delay_logic`); defaults: `AutoscalingConfig` in ray/serve/config.py and
https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html ; how requests are counted:
ray/serve/_private/{router,autoscaling_state}.py. One handle, the gateway, counts what waits and what runs.

Ray decides every 0.1 s; here every second, so a decision comes up to 0.9 s later than Ray's, against delays of 30 s
and 600 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.simulation.view import View


@dataclass(frozen=True)
class RayServeState:
    """How long decisions in one direction have followed each other."""

    counter: int = 0
    """Decisions in a row: above 0 to grow, below 0 to shrink."""
    since_s: int | None = None
    """When the first of them was made."""


@dataclass(frozen=True)
class RayServe:
    """The rule with its parameters (fields of AutoscalingConfig)."""

    name: str = "ray-serve"
    tick_s: int = 1
    target_ongoing_requests: float = 2.0
    """Per replica. With 2 slots the default aims at every slot in use all the time."""
    look_back_period_s: int = 30
    metrics_interval_s: int = 10
    """The gateway pushes what it recorded to the controller this often; in between the controller sees no news."""
    record_interval_s: int = 6
    """RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR (0.2) of the look-back."""
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0

    def start(self) -> RayServeState:
        return RayServeState()

    def decide(self, view: View, state: RayServeState) -> tuple[int, RayServeState]:
        """Replicas that bring the requests per running replica to the target, once wanted for the whole delay."""
        requests = self._requests(view)
        running = int(view.ready[-1]) if len(view.ready) else 0
        if running == 0:  # from nothing it neither scales by ratio nor waits
            starting = math.ceil(self.upscaling_factor) if requests > 0 else 1
            return max(1, starting, view.asked), state
        # The ratio first and then the product, as Ray does: the last bit decides where ceil falls.
        ratio = requests / (self.target_ongoing_requests * running)
        replicas, state = self._after_delay(self._scaled(running * ratio, running), view, state)
        return max(1, replicas), state

    def _requests(self, view: View) -> float:
        """Requests waiting and running: the time-weighted mean of the samples of the last push.

        A sample holds until the next one, the last until now. A second's mean stands for the sample at its end.
        """
        pushed_s = min(len(view.ongoing), view.now_s) // self.metrics_interval_s * self.metrics_interval_s
        last_s = pushed_s // self.record_interval_s * self.record_interval_s
        oldest_s = max(0, pushed_s - self.look_back_period_s)
        first_s = (oldest_s // self.record_interval_s + 1) * self.record_interval_s
        if first_s > last_s:
            return 0.0
        samples = view.ongoing[first_s - 1 : last_s : self.record_interval_s]
        held_s = max(view.now_s - last_s, 1e-3)
        area = float(samples[:-1].sum()) * self.record_interval_s + float(samples[-1]) * held_s
        return area / (last_s - first_s + held_s)

    def _scaled(self, desired: float, running: int) -> int:
        """The factor's share of the way from what runs to what is desired, and at least one step down."""
        factor = self.upscaling_factor if desired > running else self.downscaling_factor
        scaled = math.ceil(running + factor * (desired - running))
        return scaled - 1 if math.ceil(desired) < running == scaled else scaled

    def _after_delay(self, desired: int, view: View, state: RayServeState) -> tuple[int, RayServeState]:
        """The present target until the wish has pointed one way for its delay; the other way begins anew."""
        if desired == view.asked:
            return view.asked, RayServeState()
        step = 1 if desired > view.asked else -1
        delay_s = self.upscale_delay_s if step > 0 else self.downscale_delay_s
        same_way = state.counter * step > 0
        since_s = state.since_s if same_way and state.since_s is not None else view.now_s
        if view.now_s - since_s >= delay_s:
            return desired, RayServeState()
        return view.asked, RayServeState((state.counter if same_way else 0) + step, since_s)
