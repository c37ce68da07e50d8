"""The HPA's rule on the worked examples of its documentation and of its own tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoscaler.simulation.peers.hpa import Behavior, Hpa
from autoscaler.simulation.view import View
from tests.support.views import view


def decided(hpa: Hpa, seen: View) -> int:
    return hpa.decide(seen, hpa.start())[0]


@pytest.mark.parametrize(("use", "replicas"), [(0.2, 8), (0.1, 4), (0.05, 4), (0.109, 4), (0.12, 5)])
def test_ratio_of_metric_to_target(use: float, replicas: int) -> None:
    """Twice the target doubles, half of it halves (later: stabilised), a tenth off changes nothing.

    "Algorithm details": 200m over 100m is 2.0, 50m over 100m is 0.5; tolerance 0.1 by default.
    """
    assert decided(Hpa(target_percent=10), view(in_slots=use * 4 * 2, ready=4)) == replicas


def test_halves_once_the_window_is_over() -> None:
    """A fall comes into force when no higher recommendation is younger than 300 s ("Stabilization window")."""
    hpa, state, replicas = Hpa(target_percent=10), Hpa().start(), []
    for now_s in range(600, 600 + 330, 15):
        wanted, state = hpa.decide(view(now_s=now_s, in_slots=0.05 * 4 * 2, ready=4), state)
        replicas.append(wanted)
    assert replicas == [4] * 20 + [2] * 2


def measured(uses: tuple[float, ...], *, asked: int) -> View:
    """Replicas of one slot that have been ready for long, each with its use; those asked for beyond are not ready."""
    return view(in_slots=sum(uses), ready=len(uses), asked=asked, slots=1)


@pytest.mark.parametrize(
    ("uses", "asked", "target", "wanted"),
    [
        pytest.param((0.3, 0.5, 0.7), 3, 30, 5, id="ScaleUp"),
        pytest.param((0.5, 0.7), 3, 30, 4, id="ScaleUpUnreadyLessScale"),
        pytest.param((0.4,), 3, 30, 3, id="ScaleUpUnreadyNoScale"),
    ],
)
def test_growth_counts_starting_replicas_as_idle(uses: tuple[float, ...], asked: int, target: int, wanted: int) -> None:
    """TestReplicaCalc... of kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator_test.go."""
    hpa = Hpa(target_percent=target, behavior=Behavior(down_window_s=0))
    assert decided(hpa, measured(uses, asked=asked)) == wanted


def test_fall_from_whole_percents() -> None:
    """28 % of a target of 50 % makes 3 of 5 (TestReplicaCalcScaleDown), once nothing higher is remembered."""
    hpa = Hpa(target_percent=50, behavior=Behavior(down_window_s=0))
    assert decided(hpa, measured((0.1, 0.3, 0.5, 0.25, 0.25), asked=5)) == 3


def test_fall_leaves_starting_replicas_out() -> None:
    """A fall is sized on the replicas that are measured: 2 of 5 at half the target want 1."""
    hpa = Hpa(target_percent=50, behavior=Behavior(down_window_s=0))
    assert decided(hpa, measured((0.25, 0.25), asked=5)) == 1


def test_young_replicas_are_not_measured() -> None:
    """A replica counts as starting until it was ready for a whole window: its samples are set aside."""
    grown = view(in_slots=7.0, ready=4)
    young = replace(grown, in_slots=np.full(600, 6.0), ready=np.repeat([3, 4], [570, 30]))
    assert decided(Hpa(window_s=60), grown) == 5  # 87 % of 4
    assert decided(Hpa(window_s=60), young) == 4  # 87 % of 3, with a fourth at nothing: 65 %


@pytest.mark.parametrize(("asked", "wanted"), [(1, 5), (3, 7), (4, 8), (40, 80)])
def test_growth_per_sync(asked: int, wanted: int) -> None:
    """4 replicas or 100 %, whichever is more, in 15 s ("Default Behavior")."""
    hpa = Hpa(target_percent=1)
    assert decided(hpa, view(in_slots=2.0 * asked, ready=asked)) == wanted


def test_full_replicas_show_100_percent_whatever_waits() -> None:
    """The queue is not in the metric: 10 full replicas want 15, with 1,000 waiting as with none."""
    hpa = Hpa()
    assert decided(hpa, view(in_slots=20.0, ongoing=20.0, ready=10)) == 15
    assert decided(hpa, view(in_slots=20.0, ongoing=1_020.0, ready=10)) == 15


def test_replicas_that_leave_are_not_measured() -> None:
    """4 replicas drain beside the 4 that stay: what they hold makes none of the 4 more than full."""
    assert decided(Hpa(), view(in_slots=16.0, ready=4)) == 6


@pytest.mark.parametrize("seen", [view(ready=0, asked=3), view(ready=3, in_slots=6.0, late_s=15)])
def test_without_a_metric_nothing_changes(seen: View) -> None:
    """No ready replica, or no sample in the window: the present scale stays."""
    assert decided(Hpa(), seen) == 3


def test_past_recommendation_that_was_cut_returns() -> None:
    """A fall may turn into growth: the highest recommendation counts, also where the rate had cut it.

    As the source has it: without a fall to settle the past is not looked at.
    """
    hpa, history = Hpa(target_percent=100), ((590, 20),)
    assert hpa.decide(view(in_slots=12.0, ready=8), history)[0] == 16
    assert hpa.decide(view(in_slots=16.0, ready=8), history)[0] == 8
