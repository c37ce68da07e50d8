"""KEDA's Prometheus scaler on the request rate, which feeds the HPA. Pure.

Scaler: https://keda.sh/docs/2.16/scalers/prometheus/ . Who polls when: "ScaledObject specification", sections
pollingInterval and cooldownPeriod, https://keda.sh/docs/2.16/reference/scaledobject-spec/ : between 1 and N
replicas the HPA asks at its own sync period, KEDA's polling interval (30 s) and cooldown (300 s) only rule the
steps to and from zero, which do not exist here. Arithmetic of an external metric with an AverageValue:
GetExternalPerPodMetricReplicas in kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.simulation.peers.hpa import Behavior, History
from autoscaler.simulation.peers.measures import recent_mean, replica_rate_rps
from autoscaler.simulation.view import View


@dataclass(frozen=True)
class Keda:
    """The rule with its parameters; state is the HPA's recommendations."""

    name: str = "keda"
    tick_s: int = 15
    """--horizontal-pod-autoscaler-sync-period."""
    threshold_rps: float | None = None
    """`threshold`, requests/s per replica: has no default; None is `target_share` of what a replica can serve."""
    target_share: float = 0.7
    window_s: int = 120
    """Range of the query: rate(...[2m]) in the scaler's documentation."""
    tolerance: float = 0.1
    """--horizontal-pod-autoscaler-tolerance."""
    behavior: Behavior = field(default_factory=Behavior)

    def start(self) -> History:
        return ()

    def decide(self, view: View, state: History) -> tuple[int, History]:
        """Replicas that bring the rate per replica to the threshold; without a rate nothing changes."""
        rate_rps = recent_mean(view.arrivals, view.now_s, self.window_s)
        if rate_rps is None or view.asked == 0:  # at zero the HPA is switched off
            return max(1, view.asked), state
        threshold_rps = self.threshold_rps or replica_rate_rps(view, self.target_share)
        needed = rate_rps / threshold_rps
        is_close = abs(1.0 - needed / view.asked) <= self.tolerance
        wanted = view.asked if is_close else math.ceil(needed)
        replicas, state = self.behavior.settle(wanted, view, state)
        return max(1, replicas), state
