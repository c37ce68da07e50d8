"""SkyServe's rule on the examples of its documentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoscaler.simulation.peers.skyserve import SkyServe, SkyServeState
from autoscaler.simulation.view import View
from tests.support.views import view

AT_ONCE = SkyServe(target_qps_per_replica=2.5, upscale_delay_s=0, downscale_delay_s=0)


@pytest.mark.parametrize(("qps", "replicas"), [(2.5, 1), (2.6, 2), (25.0, 10), (0.0, 1)])
def test_rate_over_target(qps: float, replicas: int) -> None:
    """ceil(current_qps / target_qps_per_replica), 2.5 in the documentation's example ("Enabling autoscaling")."""
    assert AT_ONCE.decide(view(arrivals=qps, ready=3), SkyServeState())[0] == replicas


def first_change(seen: View) -> int:
    """Seconds until a constant view makes the peer ask for something else."""
    peer, state, now_s = SkyServe(), SkyServe().start(), 0
    while True:
        wanted, state = peer.decide(seen, state)
        if wanted != seen.asked:
            return now_s
        now_s += peer.tick_s


@pytest.mark.parametrize(("rate_rps", "after_s"), [(70.0, 280), (7.0, 1180)])
def test_default_delays(rate_rps: float, after_s: int) -> None:
    """300 s up and 1200 s down ("Scaling delay"): 15 and 60 decisions of 20 s, the first one included."""
    assert first_change(view(arrivals=rate_rps, ready=10)) == after_s


@pytest.mark.parametrize(
    ("rate_rps", "before", "after"),
    [
        (35.0, SkyServeState(downs=59), SkyServeState()),
        (36.0, SkyServeState(downs=59), SkyServeState(ups=1)),
        (31.0, SkyServeState(ups=14), SkyServeState(downs=1)),
    ],
)
def test_counts_consecutive_decisions_only(rate_rps: float, before: SkyServeState, after: SkyServeState) -> None:
    """The target met clears both counts, and a wish one way clears the count of wishes the other way."""
    assert SkyServe().decide(view(arrivals=rate_rps, ready=10), before) == (10, after)


def test_default_target_is_70_percent_of_a_replica() -> None:
    """2 slots of 0.4 s serve 5 requests/s: 3.5 each."""
    peer = SkyServe(upscale_delay_s=0)
    assert peer.decide(view(arrivals=35.1, ready=1), SkyServeState())[0] == 11


def test_rate_is_over_the_whole_window() -> None:
    """The count of the last 60 s is divided by 60, also when the service is younger or signals are late."""
    young = replace(view(now_s=20), arrivals=np.full(20, 7.5))
    assert AT_ONCE.decide(young, SkyServeState())[0] == 1
