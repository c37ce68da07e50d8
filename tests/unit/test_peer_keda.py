"""KEDA's rate rule: an external metric with an average value, through the HPA."""

from __future__ import annotations

import pytest

from autoscaler.simulation.peers.keda import Keda
from autoscaler.simulation.view import View
from tests.support.views import view


def decided(keda: Keda, seen: View) -> int:
    return keda.decide(seen, keda.start())[0]


def test_average_value() -> None:
    """8.6 requests/s at 2.15 each make 4 of 3 (TestReplicaCalcScaleUpPerPodCMExternal, replica_calculator_test.go)."""
    assert decided(Keda(threshold_rps=2.15), view(arrivals=8.6, ready=3)) == 4


def test_starting_replicas_count() -> None:
    """The present replicas are those asked for, ready or not: what is on its way is not asked for twice."""
    assert decided(Keda(threshold_rps=2.15), view(arrivals=8.6, ready=1, asked=4)) == 4


@pytest.mark.parametrize(("rate_rps", "wanted"), [(35.0, 10), (38.4, 10), (38.6, 12), (31.6, 10)])
def test_default_threshold_is_70_percent_of_a_replica(rate_rps: float, wanted: int) -> None:
    """2 slots of 0.4 s serve 5 requests/s: 3.5 each, with a tenth of tolerance."""
    assert decided(Keda(), view(arrivals=rate_rps, ready=10)) == wanted


def test_growth_per_sync_is_the_hpa_s() -> None:
    """100 replicas are needed and 3 are there: at most 4 more in one sync."""
    assert decided(Keda(), view(arrivals=350.0, ready=3)) == 7


def test_fall_waits_for_the_window() -> None:
    """A fall takes 300 s, as with the HPA."""
    keda, state, replicas = Keda(), Keda().start(), []
    for now_s in range(600, 600 + 315, 15):
        wanted, state = keda.decide(view(now_s=now_s, arrivals=7.0, ready=10), state)
        replicas.append(wanted)
    assert replicas == [10] * 20 + [2]


def test_without_a_rate_nothing_changes() -> None:
    """No sample in the query's range is no zero."""
    assert decided(Keda(), view(arrivals=70.0, ready=3, late_s=120)) == 3
