"""The rate of requests a lead time ahead, as a distribution. Pure.

A bank of simple forecasters looks at the same moving averages: levels that react fast or slowly, and trends
between two of them, damped. What each would have said a horizon ago is compared with what came, and
they are mixed by how well they did lately (the exponentially weighted average forecaster: Cesa-Bianchi &
Lugosi, Prediction, Learning, and Games, 2006, ch. 2). How far the mix was off, relative to the square root
of the rate, is its spread: near to Poisson for quiet services, far from it in a rush.
"""

from __future__ import annotations

import numpy as np

from autoscaler.queueing import Floats

STEP_S = 5.0
"""Seconds of requests that are counted into one observation."""
SPANS_S = (15.0, 45.0, 120.0, 360.0)
"""Time constants of the moving averages."""
TRENDS = ((0, 1, 0.5), (0, 1, 1.0), (1, 2, 0.5), (1, 2, 1.0), (2, 3, 0.5), (2, 3, 1.0))
"""(fast average, slow average, damping) of each forecaster with a trend."""
LOSS_MEMORY_S = 1_200.0
SHARPNESS = 0.5
SPREAD_MEMORIES_S = (600.0, 7_200.0)
FIRST_SPREAD = 4.0
"""Variance over mean before anything was learned; 1 would be a Poisson count of a second."""


def _experts(horizon_s: float) -> Floats:
    """Weights of the averages in each forecaster's forecast, shape (forecasters, averages)."""
    rows = [np.eye(len(SPANS_S))[index] for index in range(len(SPANS_S))]
    for fast, slow, damping in TRENDS:
        row = np.zeros(len(SPANS_S))
        # An average of time constant s lags a ramp by s, so two of them tell its slope.
        ahead = (SPANS_S[fast] + damping * horizon_s) / (SPANS_S[slow] - SPANS_S[fast])
        row[fast], row[slow] = 1.0 + ahead, -ahead
        rows.append(row)
    return np.array(rows)


EXPERTS = len(SPANS_S) + len(TRENDS)
