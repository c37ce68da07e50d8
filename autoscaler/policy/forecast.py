"""The rate of requests some seconds ahead, as a distribution. Pure.

A bank of simple forecasters looks at the same moving averages of the rate: levels that follow fast or slowly, trends
between two of them, damped, and levels that go on as they did at this time on earlier days. What each would have said
a horizon ago is compared with what came, and they are mixed by how well they did lately (the exponentially weighted
average forecaster: Cesa-Bianchi and Lugosi, Prediction, Learning, and Games, 2006, chapter 2). How far off the mix
was, in units of what such a rate can be off by, is the spread: a count is off by the root of its mean, and a rate
drifts by a share of itself as time goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from autoscaler.policy.earlier import NOTHING, Earlier
from autoscaler.policy.queueing import Floats
from autoscaler.snapshot import STEP_S

SPANS_S = (15.0, 45.0, 120.0, 360.0, 1_200.0)
"""Time constants of the moving averages."""
TRENDS = ((0, 1, 0.5), (0, 1, 1.0), (1, 2, 0.5), (1, 2, 1.0), (2, 3, 0.5), (2, 3, 1.0))
"""(fast average, slow average, damping) of the forecasters with a trend."""
SEASONAL = 3
"""So many of the averages, the fastest, are also scaled by each of the growths of earlier days."""
SHARPNESS = 2.0
"""How fast a forecaster loses its say when it does worse than the best one."""
LOSS_MEMORY_S = 900.0
SPREAD_MEMORY_S = 14_400.0
LEAST_SPREAD = 0.08
"""The spread is at least this; the mean of a Poisson count over 15 s has 1/15."""
DRIFT_PER_S = 2.8e-4
"""How fast the share by which a rate may drift grows with the horizon (variance, per second and req/s)."""
PRIOR_STEPS = 60
"""What is believed of the spread at first weighs as much as so many forecasts that came due: one jump in the first
minutes of a service tells little of its nights."""
MOST_SURPRISE = 60.0
"""A single error counts at most so many times the variance that was expected: an event is no new normal."""
LONGEST_GAP_S = 30
"""Steps that are missing for longer are not bridged: nobody looked, or the daemon was away."""
OBSERVED_STEPS = 3
"""A forecast is compared with the mean of so many steps."""
Growths = tuple[float | None, ...]
"""By what factors the rate changed on earlier days."""


@dataclass(frozen=True)
class Horizon:
    """What was learned for one horizon."""

    steps: int
    """Steps ahead."""
    losses: tuple[float, ...] = ()
    """Mean squared error of each forecaster, in units of `_size`."""
    spread: float = LEAST_SPREAD
    """The same of the mix, over a long memory."""
    mixes: tuple[float, ...] = ()
    """What the mix said at the last steps, oldest first; the first is due next."""
    scored: int = 0
    """Forecasts that came due."""


@dataclass(frozen=True)
class History:
    """What is remembered of a service's arrivals. Plain values: it is stored."""

    until_s: int = 0
    """End of the last step that was counted, seconds since the epoch."""
    recent: tuple[float, ...] = ()
    """Rates of the last steps, in requests per second, newest last."""
    averages: tuple[float, ...] = ()
    averaged: int = 0
    """Steps in the averages, since the start or the last gap."""
    past: tuple[tuple[float, ...], ...] = ()
    """The averages at the last steps, oldest first, as far back as the longest horizon."""
    horizons: tuple[Horizon, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """A rate, some time ahead."""

    mean_rps: float
    spread_rps: float
    """Standard deviation."""

    def points(self) -> tuple[Floats, Floats]:
        """The distribution as rates in requests per second, and their weights."""
        where, weights = _points()
        return np.maximum(self.mean_rps + self.spread_rps * where, 0.0), weights


def horizon_steps(horizon_s: float) -> int:
    """Steps in a horizon, at least one."""
    return max(1, round(horizon_s / STEP_S))


def observe(
    history: History, end_s: int, requests: float, horizons_s: tuple[float, ...], earlier: Earlier = NOTHING
) -> History:
    """Count one step. A horizon that was not asked for before begins with what the nearest one has learned."""
    if end_s - history.until_s > LONGEST_GAP_S:
        history = _after_a_gap(history)
    rate_rps = requests / STEP_S
    steps = sorted({horizon_steps(horizon_s) for horizon_s in horizons_s})
    recent = (*history.recent, rate_rps)[-OBSERVED_STEPS:]
    averages = tuple(
        average + _share(span_s, history.averaged) * (rate_rps - average)
        for average, span_s in zip(history.averages or (rate_rps,) * len(SPANS_S), SPANS_S, strict=True)
    )
    observed_rps = sum(recent) / len(recent)
    scored = tuple(
        _advance(
            _horizon(history.horizons, n),
            history.past,
            averages,
            observed_rps,
            due=earlier.growths(end_s - n * STEP_S, end_s),
            ahead=earlier.growths(end_s, end_s + n * STEP_S),
        )
        for n in steps
    )
    past = (*history.past, averages)[-max(steps) :]
    averaged = history.averaged + 1
    return replace(
        history, until_s=end_s, recent=recent, averages=averages, averaged=averaged, past=past, horizons=scored
    )


def forecast(history: History, horizon_s: float) -> Forecast | None:
    """The rate `horizon_s` ahead; None before anything was observed for this horizon."""
    steps = horizon_steps(horizon_s)
    found = next((horizon for horizon in history.horizons if horizon.steps == steps), None)
    if found is None or not found.mixes:
        return None
    mean_rps = found.mixes[-1]
    return Forecast(mean_rps, math.sqrt(_spread(found) * _size(mean_rps, steps)))


def stated(rate_rps: float, horizon_s: float) -> Forecast:
    """A rate that was told beforehand: as sure as the surest forecast of it."""
    return Forecast(rate_rps, math.sqrt(LEAST_SPREAD * _size(rate_rps, horizon_steps(horizon_s))))


def _size(mean_rps: float, steps: int) -> float:
    """The unit of squared errors at a rate and a horizon: that of a count, and of a drift in proportion."""
    counted_s = OBSERVED_STEPS * STEP_S
    return (mean_rps + 1.0 / counted_s) * (1.0 + DRIFT_PER_S * steps * STEP_S * mean_rps)


def _after_a_gap(history: History) -> History:
    """How well the forecasters do is still known, but where the rate was says nothing of where it is."""
    horizons = tuple(replace(horizon, mixes=()) for horizon in history.horizons)
    return History(until_s=history.until_s, horizons=horizons)


def _horizon(known: tuple[Horizon, ...], steps: int) -> Horizon:
    """The horizon of so many steps, or a new one that begins with the scores of the nearest."""
    if not known:
        return Horizon(steps)
    nearest = min(known, key=lambda horizon: abs(math.log(horizon.steps / steps)))
    return nearest if nearest.steps == steps else replace(nearest, steps=steps, mixes=())


def _advance(
    horizon: Horizon,
    past: tuple[tuple[float, ...], ...],
    averages: tuple[float, ...],
    observed_rps: float,
    *,
    due: Growths,
    ahead: Growths,
) -> Horizon:
    """Score what is due, then say what comes next; with the growth of earlier days up to here, and from here on."""
    if len(horizon.mixes) == horizon.steps and len(past) >= horizon.steps:
        due_rps = horizon.mixes[0]
        size = _size(due_rps, horizon.steps)
        scored = horizon.scored + 1
        before = _said(horizon.steps, past[-horizon.steps], due)
        share = _share(LOSS_MEMORY_S, scored - 1)
        losses = np.array(_known_losses(horizon, len(before)) or (0.0,) * len(before)) * (1.0 - share)
        losses += share * (before - observed_rps) ** 2 / size
        surprise = min((observed_rps - due_rps) ** 2 / size, MOST_SURPRISE * _spread(horizon))
        spread = horizon.spread + _share(SPREAD_MEMORY_S, scored + PRIOR_STEPS) * (surprise - horizon.spread)
        horizon = replace(horizon, losses=tuple(losses.tolist()), spread=spread, mixes=horizon.mixes[1:], scored=scored)
    said = _said(horizon.steps, averages, ahead)
    scaled = [growth is not None for growth in ahead for _ in range(SEASONAL)]
    speaks = np.array([True] * (len(said) - len(scaled)) + scaled)
    mix_rps = float(_say(_known_losses(horizon, len(said)), speaks) @ said)
    return replace(horizon, mixes=(*horizon.mixes, mix_rps)[-horizon.steps :])


def _said(steps: int, averages: tuple[float, ...], growths: Growths) -> Floats:
    """What each forecaster says. Without a growth a level stays, and so is scored as a level until there is one."""
    scaled = [averages[index] * (1.0 if growth is None else growth) for growth in growths for index in range(SEASONAL)]
    return np.maximum(np.concatenate((_bank(steps) @ np.array(averages), scaled)), 0.0)


def _known_losses(horizon: Horizon, forecasters: int) -> tuple[float, ...]:
    """Empty also for those of another bank, as an earlier hcctl stored them."""
    return horizon.losses if len(horizon.losses) == forecasters else ()


def _say(losses: tuple[float, ...], speaks: NDArray[np.bool_]) -> Floats:
    """How much each forecaster that speaks has to say; all the same before any was scored."""
    if not losses or min(losses) <= 0:
        return np.asarray(speaks / speaks.sum())
    known = np.array(losses)
    relative = known / known[speaks].min() - 1.0
    say = np.where(speaks, np.exp(-SHARPNESS * np.maximum(relative, 0.0)), 0.0)
    return np.asarray(say / say.sum())


def _share(memory_s: float, counted: int) -> float:
    """Weight of a new value in an exponential average that begins as a plain one."""
    return max(1.0 - math.exp(-STEP_S / memory_s), 1.0 / (counted + 1))


def _spread(horizon: Horizon) -> float:
    """Variance of the error over the size of the forecast."""
    return max(LEAST_SPREAD, horizon.spread)


@lru_cache(maxsize=64)
def _bank(steps: int) -> Floats:
    """The forecasters, as weights of the averages: shape (forecasters, averages)."""
    rows = list(np.eye(len(SPANS_S)))
    for fast, slow, damping in TRENDS:
        # An average of time constant s follows a ramp s seconds late, so two of them tell its slope.
        ahead = (SPANS_S[fast] + damping * steps * STEP_S) / (SPANS_S[slow] - SPANS_S[fast])
        row = np.zeros(len(SPANS_S))
        row[fast], row[slow] = 1.0 + ahead, -ahead
        rows.append(row)
    return np.array(rows)


TAIL_SHARE, TAIL_POINTS, BODY_POINTS = 0.02, 32, 96
FREEDOM = 20.0


@lru_cache(maxsize=1)
def _points() -> tuple[Floats, Floats]:
    """Student's t with 20 degrees of freedom, of variance 1, as points and weights.

    Finer in its upper tail: there late requests are decided. Its quantiles by their expansion in those of the normal
    distribution (Abramowitz and Stegun, 26.7.5, first terms).
    """
    body = [(index + 0.5) / BODY_POINTS * (1.0 - TAIL_SHARE) for index in range(BODY_POINTS)]
    tail = [1.0 - TAIL_SHARE * (1.0 - (index + 0.5) / TAIL_POINTS) for index in range(TAIL_POINTS)]
    weights = [(1.0 - TAIL_SHARE) / BODY_POINTS] * BODY_POINTS + [TAIL_SHARE / TAIL_POINTS] * TAIL_POINTS
    normal = np.array([NormalDist().inv_cdf(share) for share in (*body, *tail)])
    points = normal + (normal**3 + normal) / (4.0 * FREEDOM)
    return points * math.sqrt((FREEDOM - 2.0) / FREEDOM), np.array(weights)
