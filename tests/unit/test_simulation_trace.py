"""Requests of each second, drawn from recorded rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.trace import RateCurve, per_second
from serving.errors import InvalidInput


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=200), st.integers(0, 99))
def test_a_trace_of_seconds_is_taken_as_it_is(counts: list[int], seed: int) -> None:
    """At scale 1 nothing is drawn, whatever the seed."""
    assert per_second(RateCurve(1.0, np.array(counts, float)), rate_scale=1.0, seed=seed).tolist() == counts


@given(st.lists(st.integers(0, 50), min_size=4, max_size=80), st.sampled_from([0.25, 0.5]))
def test_shorter_steps_are_added_up(counts: list[int], step_s: float) -> None:
    """No request is lost or made in the whole seconds there are."""
    per = round(1 / step_s)
    whole = len(counts) // per
    found = per_second(RateCurve(step_s, np.array(counts) / step_s), rate_scale=1.0, seed=0)
    assert found.tolist() == [sum(counts[second * per : (second + 1) * per]) for second in range(whole)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.floats(0.01, 0.99), st.integers(0, 99))
def test_thinning_keeps_some_and_invents_none(counts: list[int], scale: float, seed: int) -> None:
    """Below scale 1 each second has at most what was recorded, in whole requests; the same seed draws the same."""
    curve = RateCurve(1.0, np.array(counts, float))
    found = per_second(curve, rate_scale=scale, seed=seed)
    assert (found <= np.array(counts)).all()
    assert (found == np.rint(found)).all()
    assert found.tobytes() == per_second(curve, rate_scale=scale, seed=seed).tobytes()


@pytest.mark.parametrize(("step_s", "scale"), [(60.0, 1.0), (60.0, 0.1), (1.0, 0.1), (1.0, 3.5), (1.0, 1_000.0)])
def test_the_mean_is_the_recorded_rate_times_the_scale(step_s: float, scale: float) -> None:
    """Whatever is drawn, its mean over an hour is right to four standard errors."""
    curve = RateCurve(step_s, np.full(int(3_600 / step_s), 20.0))
    found = per_second(curve, rate_scale=scale, seed=1)
    assert len(found) == 3_600
    assert found.sum() == pytest.approx(20.0 * scale * 3_600, abs=4 * (20.0 * scale * 3_600) ** 0.5)


def test_minutes_become_poisson_seconds() -> None:
    """Inside a minute counts vary as a Poisson process does: variance near the mean."""
    found = per_second(RateCurve(60.0, np.full(60, 25.0)), rate_scale=1.0, seed=2)
    assert found.var() == pytest.approx(25.0, rel=0.1)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 2e6])
def test_a_senseless_scale_is_refused(scale: float) -> None:
    """By the name of the option."""
    with pytest.raises(InvalidInput, match="--rate-scale"):
        per_second(RateCurve(1.0, np.ones(3)), rate_scale=scale, seed=0)


@pytest.mark.parametrize("step_s", [0.1, 1e7])
def test_a_length_that_cannot_be_simulated_is_refused(step_s: float) -> None:
    """Under a second, or over the limit."""
    with pytest.raises(InvalidInput, match="cannot be simulated"):
        per_second(RateCurve(step_s, np.ones(2)), rate_scale=1.0, seed=0)
