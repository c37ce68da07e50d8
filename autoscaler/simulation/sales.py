"""Flash sales on top of a trace: visitors that nobody announced. A pure function of the trace and a seed.

In each third of the trace one sale begins at a moment drawn by the seed. The rate rises to `SALE_FACTOR` times what it
would be within `RISE_S`, stays there for `HELD_S`, and falls back as fast. The visitors of a sale are a Poisson process
of their own beside the recorded one, so that the other requests are those of the day without sales.
"""

from __future__ import annotations

import numpy as np

from autoscaler.policy.queueing import Floats
from autoscaler.simulation.trace import RateCurve
from serving.errors import InvalidInput

SALES, SALE_FACTOR = 3, 4.0
RISE_S, HELD_S = 20, 600
SALE_S = RISE_S + HELD_S + RISE_S
_STREAM = 1
"""Sets the sales' numbers apart from those that a trace is drawn with from the same seed."""


def sale_starts_s(seconds: int, *, seed: int) -> list[int]:
    """When each sale begins; it is over within its third of the trace.

    Raises:
        InvalidInput: the trace is too short for the sales.
    """
    third_s = seconds // SALES
    if third_s < SALE_S:
        raise InvalidInput(
            "the trace is too short for flash sales",
            where=f"{seconds} s",
            why=f"{SALES} sales of {SALE_S} s do not fit",
            next_step="give a longer trace",
        )
    starts = np.random.default_rng((seed, _STREAM)).integers(0, third_s - SALE_S + 1, size=SALES)
    return [index * third_s + int(start) for index, start in enumerate(starts)]


def with_sales(arrivals: Floats, curve: RateCurve, *, rate_scale: float, seed: int) -> Floats:
    """The requests of each second, with those of the sales.

    Args:
        arrivals: as `per_second` drew them from the curve, at the same scale and seed.
        curve: the recorded rate.
        rate_scale: times the recorded rate.
        seed: of the sales' moments and visitors.
    """
    seconds = np.arange(len(arrivals))
    edges_s = curve.step_s * np.arange(len(curve.rate_rps) + 1)
    by_then = np.concatenate(([0.0], np.cumsum(curve.rate_rps) * curve.step_s))
    rate_rps = rate_scale * np.diff(np.interp(np.arange(len(arrivals) + 1), edges_s, by_then))
    extra_rps = np.zeros(len(arrivals))
    for start_s in sale_starts_s(len(arrivals), seed=seed):
        knots_s = np.cumsum([start_s, RISE_S, HELD_S, RISE_S])
        extra_rps += rate_rps * np.interp(seconds, knots_s, [0.0, SALE_FACTOR - 1.0, SALE_FACTOR - 1.0, 0.0])
    return np.asarray(arrivals + np.random.default_rng((seed, _STREAM, 1)).poisson(np.maximum(extra_rps, 0.0)))
