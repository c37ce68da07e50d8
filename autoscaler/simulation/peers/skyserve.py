"""SkyServe's request-rate autoscaler. Pure.

Rule: RequestRateAutoscaler and its hysteresis in skypilot-org/skypilot, sky/serve/autoscalers.py; defaults:
sky/serve/constants.py and https://docs.skypilot.co/en/stable/serving/autoscaling.html .

The load balancer reports every 20 s, as often as the autoscaler decides; here it reports just before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.simulation.peers.measures import recent, replica_rate_rps
from autoscaler.simulation.view import View


@dataclass(frozen=True)
class SkyServeState:
    """Decisions in a row that wanted more, and less."""

    ups: int = 0
    downs: int = 0


@dataclass(frozen=True)
class SkyServe:
    """The rule with its parameters (fields of replica_policy, and constants)."""

    name: str = "skyserve"
    tick_s: int = 20
    """AUTOSCALER_DEFAULT_DECISION_INTERVAL_SECONDS."""
    target_qps_per_replica: float | None = None
    """Has no default; None is `target_share` of what a replica can serve."""
    target_share: float = 0.7
    qps_window_s: int = 60
    """AUTOSCALER_QPS_WINDOW_SIZE_SECONDS."""
    upscale_delay_s: int = 300
    downscale_delay_s: int = 1200

    def start(self) -> SkyServeState:
        return SkyServeState()

    def decide(self, view: View, state: SkyServeState) -> tuple[int, SkyServeState]:
        """Rate over target, once wanted as often in a row as its delay has ticks."""
        rate_rps = float(recent(view.arrivals, view.now_s, self.qps_window_s).sum()) / self.qps_window_s
        target_rps = self.target_qps_per_replica or replica_rate_rps(view, self.target_share)
        wanted = max(1, math.ceil(rate_rps / target_rps))
        asked = max(1, view.asked)
        if wanted == asked:
            return asked, SkyServeState()
        ups, downs = (state.ups + 1, 0) if wanted > asked else (0, state.downs + 1)
        if ups >= self.upscale_delay_s // self.tick_s or downs >= self.downscale_delay_s // self.tick_s:
            return wanted, SkyServeState()
        return asked, SkyServeState(ups, downs)
