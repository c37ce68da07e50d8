"""The product's own policies in the simulated world, against what must hold for any policy and against a peer."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.simulation.contest import POLICIES, cloud_size, controller, judge
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.own import OwnController
from autoscaler.simulation.world import Run, WorldSpec, simulate


def world(arrivals: np.ndarray, private: int = 4, **fields: float) -> WorldSpec:
    """Replicas of 5 req/s, an SLO of 1 s, a cloud at a dollar per hour, ready after a minute."""
    size = cloud_size(arrivals, private_replicas=private, replica_rps=5.0)
    pool = CloudPool("cloud", 1.0, fields.pop("lead_s", 60.0), size, **fields)
    return WorldSpec(private, 2, 0.4, 1.0, (pool,))


def poisson(rates_rps: np.ndarray, seed: int = 1) -> np.ndarray:
    """Requests in each second."""
    return np.random.default_rng(seed).poisson(rates_rps).astype(float)


def evening() -> np.ndarray:
    """Two hours: 15 req/s, up to 60 in half an hour, there for half an hour, and back."""
    knots_s, rates = [0, 1_200, 3_000, 4_800, 6_000, 7_200], [15, 15, 60, 60, 15, 15]
    return poisson(np.interp(np.arange(7_200), knots_s, rates))


def late_share(run: Run, spec: WorldSpec) -> float:
    """Share of the requests that waited too long."""
    return judge(run, spec).total / float(run.arrivals.sum())


def test_an_evening_costs_less_than_with_reactive_scaling():
    """The predictive policy keeps the promise for less than Kubernetes' HPA takes, and than the threshold policy."""
    arrivals = evening()
    spec = world(arrivals)
    usd = {}
    for name in ("predictive", "threshold", "hpa"):
        run = simulate(arrivals, spec, controller(name, spec), seed=1)
        usd[name] = run.cloud_usd
        assert name != "predictive" or late_share(run, spec) < 0.001
    assert usd["predictive"] < 0.9 * usd["hpa"]
    assert usd["predictive"] < 0.9 * usd["threshold"]


def test_the_same_seed_is_the_same_run():
    """Byte by byte, with everything random switched on."""
    arrivals = evening()[:2_400]
    spec = world(arrivals, lead_spread=0.3, failed_launch_share=0.2, reclaims_per_hour=2.0)
    runs = [simulate(arrivals, spec, controller("predictive", spec), seed=5) for _ in range(2)]
    for field in ("ready", "launching", "usd"):
        assert getattr(runs[0], field).tobytes() == getattr(runs[1], field).tobytes()
    other = simulate(arrivals, spec, controller("predictive", spec), seed=6)
    assert other.usd.tobytes() != runs[0].usd.tobytes()


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_day_is_simulated_within_a_minute_of_one_core(policy: str):
    """A busy day: 90 req/s in the mean, up to 360, and never the same for long."""
    at_s = np.arange(86_400)
    rates_rps = 90.0 * (1.0 - np.cos(2.0 * np.pi * at_s / 86_400)) * (1.0 + 0.9 * np.sin(at_s / 900.0) ** 6)
    arrivals = poisson(rates_rps)
    spec = world(arrivals, private=18, lead_s=120.0)
    begun_s = time.process_time()
    run = simulate(arrivals, spec, controller(policy, spec), seed=1)
    judge(run, spec)
    assert time.process_time() - begun_s < 60.0
    assert run.ready.max() > 30


@pytest.mark.parametrize("policy", ["predictive", "threshold"])
def test_no_traffic_rents_nothing(policy: str):
    """Hours of silence cost nothing."""
    arrivals = np.zeros(7_200)
    spec = world(arrivals)
    assert simulate(arrivals, spec, controller(policy, spec), seed=1).cloud_usd == 0.0


@pytest.mark.parametrize("policy", ["predictive", "threshold"])
def test_a_load_that_the_private_site_holds_ends_at_home(policy: str):
    """Once private replicas alone keep the promise, the cloud is given back within the dwell time."""
    arrivals = poisson(np.concatenate([np.full(900, 40.0), np.full(1_800, 8.0)]))
    spec = world(arrivals)
    run = simulate(arrivals, spec, controller(policy, spec), seed=1)
    assert run.ready[700] > 0
    assert (run.ready + run.launching)[-600:].max() == 0


@pytest.mark.parametrize("policy", ["predictive", "threshold"])
def test_a_spend_cap_is_never_passed(policy: str):
    """A budget of half a dollar an hour holds, whatever the load asks for."""
    arrivals = poisson(np.full(5_400, 60.0))
    spec = world(arrivals, private=2)
    own = OwnController(spec, {"burst": {"policy": policy}, "budget": {"usd_per_hour": 0.5}})
    run = simulate(arrivals, spec, own, seed=1)
    for hour in (run.usd[:3_600], run.usd[3_600:]):
        assert hour.sum() <= 0.5 + 1e-6


def test_the_hours_of_a_budget_are_those_of_the_wall_clock():
    """Half an hour before the full hour has a whole hour's cap, what was warm included, the half after it another."""
    arrivals = poisson(np.full(3_600, 60.0))
    spec = world(arrivals, private=2)
    spec = replace(spec, start_s=spec.start_s + 1_800)
    run = simulate(arrivals, spec, OwnController(spec, {"budget": {"usd_per_hour": 5.0}}), seed=1)
    for half in (run.usd[:1_800], run.usd[1_800:]):
        assert 4.0 < half.sum() <= 5.0 + 1e-6


@pytest.mark.parametrize("policy", ["predictive", "threshold"])
def test_a_declared_cost_trigger_moves_nothing(policy: str):
    """The predictive policy takes none and runs without it; for the other one private replicas are free here."""
    arrivals = evening()[:1_800]
    spec = world(arrivals)
    declared = {"burst": {"cost": {}, "max_step": 2}}
    without = {"burst": {"max_step": 2}}
    runs = [simulate(arrivals, spec, controller(policy, spec, each), seed=1) for each in (declared, without)]
    assert runs[0].usd.tobytes() == runs[1].usd.tobytes()
    assert declared["burst"]["cost"] == {}


@settings(max_examples=5, deadline=None)
@given(st.floats(3.0, 90.0), st.integers(0, 1_000))
@example(87.1972802242445, 117)  # 10 changes where one step decides
@example(61.17609599386508, 456)  # and 10
def test_a_steady_load_does_not_flap(rate_rps: float, seed: int):
    """Three quarters of an hour of the same rate: in the last quarter few changes, each by a replica."""
    arrivals = poisson(np.full(2_700, rate_rps), seed)
    spec = world(arrivals)
    run = simulate(arrivals, spec, controller("predictive", spec), seed=seed)
    asked = (run.ready + run.launching)[1_800:]
    assert np.count_nonzero(np.diff(asked)) <= 6
    assert np.abs(np.diff(asked)).max() <= 1
