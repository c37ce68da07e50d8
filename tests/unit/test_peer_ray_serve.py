"""Ray Serve's rule, held against the functions of the Ray that is installed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ray.serve import autoscaling_policy
from ray.serve._private.metrics_utils import InMemoryMetricsStore, time_weighted_average
from ray.serve.config import AutoscalingConfig

from autoscaler.simulation.peers.ray_serve import RayServe, RayServeState
from tests.support.views import view


def test_defaults_are_those_of_the_installed_ray() -> None:
    """Every parameter but the tick is AutoscalingConfig's default."""
    ray, ours = AutoscalingConfig(), RayServe()
    assert ours.target_ongoing_requests == ray.get_target_ongoing_requests()
    assert (ours.look_back_period_s, ours.metrics_interval_s) == (ray.look_back_period_s, ray.metrics_interval_s)
    assert (ours.upscale_delay_s, ours.downscale_delay_s) == (ray.upscale_delay_s, ray.downscale_delay_s)
    assert (ours.upscaling_factor, ours.downscaling_factor) == (
        ray.get_upscaling_factor(),
        ray.get_downscaling_factor(),
    )


def counted_by_ray(ongoing: list[float], now_s: int) -> float:
    """What Ray's controller would make of these, from Ray's own store: recorded every 6 s, pushed every 10 s."""
    pushed_s = now_s // 10 * 10
    store = InMemoryMetricsStore()
    for at_s in range(6, pushed_s + 1, 6):
        store.add_metrics_point({"ongoing": ongoing[at_s - 1]}, at_s)
    store.prune_keys_and_compact_data(pushed_s - 30)
    samples = store.data.get("ongoing", [])
    if not samples:
        return 0.0
    held_s = now_s - samples[-1].timestamp
    mean = time_weighted_average(samples, last_window_s=held_s if held_s > 0 else 1e-3)
    assert mean is not None
    return mean


class Installed:
    """One deployment under Ray's own policy, told the time."""

    def __init__(self, config: AutoscalingConfig) -> None:
        self.config = config
        self.state: dict[str, object] = {}

    def decide(self, requests: float, running: int, target: int, now_s: int) -> int:
        seen = SimpleNamespace(current_num_replicas=running, config=self.config, total_num_requests=requests)
        desired, _ = autoscaling_policy._core_replica_queue_length_policy(seen)
        scaled = autoscaling_policy._apply_scaling_factors(desired, running, self.config)
        decided, self.state = autoscaling_policy._apply_delay_logic(
            max(0, scaled), target, self.config, self.state, _now=float(now_s)
        )
        return max(1, decided)


@settings(max_examples=40, deadline=None)
@example(loads=[(0, 37), (20, 35), (8, 21)], target=1.0, delays_s=(0, 0), factors=(0.3, 0.3), lead_s=0)
@given(
    loads=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), min_size=1, max_size=6),
    target=st.sampled_from([1.0, 2.0, 3.5]),
    delays_s=st.tuples(st.integers(0, 30), st.integers(0, 60)),
    factors=st.tuples(st.sampled_from([0.3, 1.0, 1.5]), st.sampled_from([0.3, 1.0, 1.5])),
    lead_s=st.integers(0, 20),
)
def test_decides_as_the_installed_ray(
    loads: list[tuple[int, int]], target: float, delays_s: tuple[int, int], factors: tuple[float, float], lead_s: int
) -> None:
    """Second by second, through steps of load, both want the same, with replicas that take `lead_s` to start."""
    parameters = {
        "target_ongoing_requests": target,
        "upscale_delay_s": float(delays_s[0]),
        "downscale_delay_s": float(delays_s[1]),
        "upscaling_factor": factors[0],
        "downscaling_factor": factors[1],
    }
    ours, state, ray = RayServe(**parameters), RayServeState(), Installed(AutoscalingConfig(**parameters))
    # In 128ths sums are exact in any order: a mean on the edge of a replica is there for both.
    ongoing = [load * (1 + (second % 7) / 128) for load, seconds in loads for second in range(seconds)]
    asked = [3] * (lead_s + 1)
    for now_s in range(1, len(ongoing)):
        running = min(asked[-1], asked[-1 - lead_s])
        seen = replace(view(now_s=now_s, ready=running, asked=asked[-1]), ongoing=np.array(ongoing[:now_s]))
        wanted, state = ours.decide(seen, state)
        assert wanted == ray.decide(counted_by_ray(ongoing, now_s), running, asked[-1], now_s)
        asked.append(wanted)


def test_grows_after_the_delay() -> None:
    """10 requests on 1 replica want 5 at a target of 2, once that held for 30 s."""
    peer, state, wanted = RayServe(), RayServeState(), {}
    for now_s in range(600, 632):
        wanted[now_s], state = peer.decide(view(now_s=now_s, ongoing=10.0), state)
        if wanted[now_s] != 1:
            break
    assert wanted[629] == 1
    assert wanted[630] == 5


def test_one_decision_the_other_way_begins_the_delay_anew() -> None:
    """29 s of too few and a second of too many: nothing of the 29 s is left."""
    peer = RayServe()
    state = RayServeState(counter=29, since_s=571)
    wanted, state = peer.decide(view(now_s=600, ongoing=1.0, ready=2), state)
    assert (wanted, state) == (2, RayServeState(counter=-1, since_s=600))


def test_starting_replicas_are_not_running() -> None:
    """The ratio is over what runs: 8 requests on 2 of 4 still want 4, no more."""
    assert RayServe(upscale_delay_s=0).decide(view(ongoing=8.0, ready=2, asked=4), RayServeState())[0] == 4


@pytest.mark.parametrize(("ongoing", "asked", "wanted"), [(0.0, 3, 3), (5.0, 0, 1), (5.0, 3, 3)])
def test_from_nothing(ongoing: float, asked: int, wanted: int) -> None:
    """Without a running replica there is no ratio: requests ask for one at once, or for what is on its way."""
    assert RayServe().decide(view(ongoing=ongoing, ready=0, asked=asked), RayServeState())[0] == wanted


def test_news_come_every_ten_seconds() -> None:
    """Between two pushes the controller sees nothing new: a step at 600 s is first seen at 610 s."""
    peer = RayServe(upscale_delay_s=0)
    ongoing = np.repeat([2.0, 200.0], [600, 20])
    flat = view(now_s=620)
    wanted = [
        peer.decide(replace(flat, now_s=now_s, ongoing=ongoing[:now_s]), RayServeState())[0]
        for now_s in (605, 609, 610)
    ]
    assert wanted[:2] == [1, 1]
    assert wanted[2] > 1
