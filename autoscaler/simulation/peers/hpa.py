"""Kubernetes' Horizontal Pod Autoscaler (autoscaling/v2) on the utilisation of slots. Pure.

Rule: "Horizontal Pod Autoscaling", sections "Algorithm details" and "Configurable scaling behavior",
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ ; arithmetic and order of steps:
kubernetes/kubernetes, pkg/controller/podautoscaler/{replica_calculator,horizontal}.go.

A slot in use is to a replica what a busy core is to a pod: a metric of type Resource with a target of type
Utilization. So a full replica shows 100 %, whatever waits at the gateway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from autoscaler.simulation.peers.measures import recent
from autoscaler.simulation.view import View

History = tuple[tuple[int, int], ...]
"""Recommendations of the stabilisation window: second, replicas; oldest first."""


@dataclass(frozen=True)
class Behavior:
    """How fast a recommendation comes into force: the default of `spec.behavior` (section "Default Behavior").

    The default lets all replicas go in one period, so a fall has a window and no rate.
    """

    up_pods: int = 4
    """Replicas that one sync may add; the larger of this and `up_percent` counts."""
    up_percent: int = 100
    down_window_s: int = 300
    """A fall goes to the highest recommendation of this many seconds, and no further."""

    def settle(self, wanted: int, view: View, history: History) -> tuple[int, History]:
        """What comes into force of a recommendation, and the recommendations to remember.

        Both periods of the default (15 s) are one sync, so what earlier syncs added never counts against a rate.
        """
        history = history or ((view.now_s, view.asked),)  # a controller begins by recording the scale it found
        kept = tuple(entry for entry in history if entry[0] > view.now_s - self.down_window_s)
        settled = wanted if wanted >= view.asked else max([wanted, *(replicas for _, replicas in kept)])
        most = max(view.asked + self.up_pods, math.ceil(view.asked * (1 + self.up_percent / 100)))
        return min(settled, most), (*kept, (view.now_s, wanted))


@dataclass(frozen=True)
class Hpa:
    """The rule with its parameters; state is the recommendations it remembers."""

    name: str = "hpa"
    tick_s: int = 15
    """--horizontal-pod-autoscaler-sync-period."""
    target_percent: int = 70
    """averageUtilization: has no default in Kubernetes; 70 % is Knative's, and this simulator's for all peers."""
    tolerance: float = 0.1
    """--horizontal-pod-autoscaler-tolerance."""
    window_s: int = 15
    """Seconds a utilisation is the mean of: metrics-server's --metric-resolution, as its manifests set it."""
    behavior: Behavior = field(default_factory=Behavior)

    def start(self) -> History:
        return ()

    def decide(self, view: View, state: History) -> tuple[int, History]:
        """Recommend from utilisation, then let the behaviour settle it; without a metric nothing changes."""
        wanted = self._recommend(view)
        if wanted is None:
            return max(1, view.asked), state
        replicas, state = self.behavior.settle(wanted, view, state)
        return max(1, replicas), state

    def _recommend(self, view: View) -> int | None:
        """Replicas by utilisation; None without a metric of any ready replica.

        A replica counts as ready once it has been so for a whole window, since younger samples are set aside.
        The others count as idle when that makes a growth smaller, and not at all when it is a fall.
        """
        ready = recent(view.ready, view.now_s, self.window_s)
        measured = min(view.asked, int(ready.min())) if len(ready) else 0
        if measured == 0:
            return None
        in_slots = recent(view.in_slots, view.now_s, self.window_s)
        # What replicas that leave still hold is not in the metric: pods being deleted are not looked at.
        use = float(np.mean(np.minimum(in_slots / ready, view.slots_per_replica))) / view.slots_per_replica
        ratio = self._ratio(use)
        if ratio <= 1.0 or measured == view.asked:
            return view.asked if self._is_close(ratio) else math.ceil(ratio * measured)
        ratio = self._ratio(use * measured / view.asked)
        if ratio < 1.0 or self._is_close(ratio):
            return view.asked
        return math.ceil(ratio * view.asked)

    def _ratio(self, use: float) -> float:
        """Utilisation over target; Kubernetes has both in whole percent, the first cut off."""
        return int(100 * use + 1e-9) / self.target_percent

    def _is_close(self, ratio: float) -> bool:
        return abs(1.0 - ratio) <= self.tolerance
