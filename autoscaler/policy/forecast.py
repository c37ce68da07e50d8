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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress
from statistics import NormalDist

import numpy as np

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
        """The distribution as rates in requests per second, the lowest first, and their weights."""
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
    for horizon in known:
        if horizon.steps == steps:
            return horizon
    nearest = min(known, key=lambda horizon: abs(math.log(horizon.steps / steps)), default=Horizon(steps))
    return replace(nearest, steps=steps, mixes=())


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
    steps, losses, spread, scored = horizon.steps, horizon.losses, horizon.spread, horizon.scored
    said = _said(steps, averages, ahead)
    if len(losses) != len(said):
        losses = ()  # of another bank, as an earlier hcctl stored them
    if len(horizon.mixes) == steps and len(past) >= steps:
        scored += 1
        due_rps = horizon.mixes[0]
        size = _size(due_rps, steps)
        share = _share(LOSS_MEMORY_S, scored - 1)
        losses = tuple(
            loss * (1.0 - share) + share * (said_rps - observed_rps) ** 2 / size
            for loss, said_rps in zip(losses or (0.0,) * len(said), _said(steps, past[-steps], due), strict=True)
        )
        surprise = min((observed_rps - due_rps) ** 2 / size, MOST_SURPRISE * _spread(horizon))
        spread += _share(SPREAD_MEMORY_S, scored + PRIOR_STEPS) * (surprise - spread)
    mixes = (*horizon.mixes, _mix(said, losses, ahead))[-steps:]
    return Horizon(steps, losses, spread, mixes, scored)


def _said(steps: int, averages: tuple[float, ...], growths: Growths) -> list[float]:
    """What each forecaster says. Without a growth a level stays, and so is scored as a level until there is one."""
    trends = [averages[fast] + ahead * (averages[fast] - averages[slow]) for fast, slow, ahead in _trends(steps)]
    scaled = [level * (1.0 if growth is None else growth) for growth in growths for level in averages[:SEASONAL]]
    return [*averages, *(max(0.0, rate_rps) for rate_rps in trends), *scaled]


def _mix(said: Sequence[float], losses: Sequence[float], growths: Growths) -> float:
    """The mean of all that have a say, by how well they did; the plain one before any was scored."""
    scaled = [growth is not None for growth in growths for _ in range(SEASONAL)]
    speaks = [True] * (len(said) - len(scaled)) + scaled
    if not losses or min(losses) <= 0:
        say = [float(mine) for mine in speaks]
    else:
        best = min(compress(losses, speaks))
        say = [
            math.exp(-SHARPNESS * (loss / best - 1.0)) if mine else 0.0
            for loss, mine in zip(losses, speaks, strict=True)
        ]
    return sum(weight * rate_rps for weight, rate_rps in zip(say, said, strict=True)) / sum(say)


def _share(memory_s: float, counted: int) -> float:
    """Weight of a new value in an exponential average that begins as a plain one."""
    return max(1.0 - math.exp(-STEP_S / memory_s), 1.0 / (counted + 1))


def _spread(horizon: Horizon) -> float:
    """Variance of the error over the size of the forecast."""
    return max(LEAST_SPREAD, horizon.spread)


@lru_cache(maxsize=64)
def _trends(steps: int) -> tuple[tuple[int, int, float], ...]:
    """The forecasters with a trend: of two averages, the fast one and so many times its lead over the slow one."""
    # An average of time constant s follows a ramp s seconds late, so two of them tell its slope.
    return tuple(
        (fast, slow, (SPANS_S[fast] + damping * steps * STEP_S) / (SPANS_S[slow] - SPANS_S[fast]))
        for fast, slow, damping in TRENDS
    )


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
