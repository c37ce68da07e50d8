"""The forecast is right on average, knows how sure it is, and is bounded whatever it sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoscaler.policy.forecast import Forecast, History, forecast, observe
from autoscaler.snapshot import STEP_S

HORIZONS_S = (30.0, 120.0)
_HISTORY = TypeAdapter(History)


def watched(rates_rps: np.ndarray, seed: int = 1) -> tuple[History, list[tuple[Forecast, float]]]:
    """The history of a Poisson process with this rate per step, and each forecast with what came of it."""
    counts = np.random.default_rng(seed).poisson(rates_rps * STEP_S)
    history, said, judged = History(), [], []
    ahead = int(HORIZONS_S[1] / STEP_S)
    for index, count in enumerate(counts):
        history = observe(history, (index + 1) * STEP_S, float(count), HORIZONS_S)
        found = forecast(history, HORIZONS_S[1])
        assert found is not None
        said.append(found)
        if index >= ahead:
            judged.append((said[index - ahead], float(counts[index - 2 : index + 1].mean() / STEP_S)))
    return history, judged


def errors(judged: list[tuple[Forecast, float]]) -> np.ndarray:
    """Errors in units of the spread that was foretold, without the first while."""
    return np.array([(came - found.mean_rps) / found.spread_rps for found, came in judged[200:]])


def test_nothing_is_forecast_before_anything_was_seen():
    """No history is no zero."""
    assert forecast(History(), 120.0) is None
    seen = observe(History(), 5, 10.0, HORIZONS_S)
    assert forecast(seen, 60.0) is None
    assert forecast(seen, 120.0) is not None


@pytest.mark.parametrize("rate_rps", [0.3, 8.0, 200.0])
def test_a_steady_rate_is_met_with_a_spread_near_poisson(rate_rps: float):
    """Quiet services are not given the margin of busy ones: errors are as large as foretold."""
    _, judged = watched(np.full(1_500, rate_rps))
    assert np.mean([found.mean_rps for found, _ in judged[200:]]) == pytest.approx(rate_rps, rel=0.1)
    assert 0.3 < errors(judged).std() < 1.3


def test_a_ramp_is_followed_ahead():
    """A load that grows by half each five minutes is foreseen two minutes ahead, but for a third of its growth."""
    rates = np.concatenate([np.full(400, 20.0), 20.0 * 1.5 ** (np.arange(240) / 60)])
    _, judged = watched(rates)
    last = judged[-60:]
    lag = np.mean([came - found.mean_rps for found, came in last]) / np.mean([came for _, came in last])
    assert abs(lag) < (1.5 ** (120 / 300) - 1.0) / 3


def test_in_a_restless_time_the_spread_grows():
    """Jumps of a half every few minutes are foretold as a wide spread, which narrows when they end."""
    restless = 50.0 * (1 + 0.5 * (np.arange(600) // 36 % 2))
    _, judged = watched(np.concatenate([np.full(400, 50.0), restless, np.full(2_000, 50.0)]))
    spread = [found.spread_rps for found, _ in judged]
    assert spread[900] > 3 * spread[300]
    assert spread[-1] < 0.6 * spread[900]


def test_it_is_stored_and_read_back_without_a_difference():
    """A daemon that restarts forecasts on as if nothing had been; what it remembers is small."""
    history, _ = watched(np.full(300, 12.0))
    text = _HISTORY.dump_json(history)
    assert _HISTORY.validate_json(text) == history
    assert len(text) < 8_000


def test_a_new_horizon_begins_with_what_the_nearest_has_learned():
    """A lead time that was learned anew costs nothing of what is known of the service."""
    history, _ = watched(np.full(300, 12.0))
    longer = observe(history, 301 * STEP_S, 60.0, (30.0, 200.0))
    near, far = longer.horizons
    assert near.scored == history.horizons[0].scored + 1
    assert (far.steps, far.losses, far.spread) == (40, history.horizons[1].losses, history.horizons[1].spread)
    assert len(far.mixes) == 1


def test_a_gap_is_not_bridged():
    """After hours without a look the rate is what is seen now; how sure a forecast is stays known."""
    history, _ = watched(np.full(600, 10.0))
    later = history.until_s + 8 * 3_600
    after = observe(history, later, 500.0, HORIZONS_S)
    found = forecast(after, 120.0)
    assert found is not None
    assert found.mean_rps == pytest.approx(100.0)
    assert [h.spread for h in after.horizons] == [h.spread for h in history.horizons]
    assert observe(history, history.until_s + 2 * STEP_S, 50.0, HORIZONS_S).past[:-1] == history.past[1:]


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=120))
def test_whatever_arrives_the_forecast_is_a_number(counts: list[float]):
    """Finite, not negative, with a spread above zero, from state that stays bounded."""
    history = History()
    for index, count in enumerate(counts):
        history = observe(history, (index + 1) * STEP_S, count, HORIZONS_S)
    found = forecast(history, 120.0)
    assert found is not None
    rates, weights = found.points()
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert weights.sum() == pytest.approx(1.0)
    assert found.spread_rps > 0
    assert len(history.past) <= 24
    assert all(len(horizon.mixes) <= horizon.steps for horizon in history.horizons)
