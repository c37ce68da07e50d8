"""How good chances of a click are. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area(chances: NDArray[np.float64], clicked: NDArray[np.bool_]) -> float:
    """Chance that a click has a higher one than what was not clicked on, equals counting half; NaN without both."""
    good, others = chances[clicked], np.sort(chances[~clicked])
    if not len(good) or not len(others):
        return float("nan")
    below = np.searchsorted(others, good, side="left") + np.searchsorted(others, good, side="right")
    return float(below.mean() / 2 / len(others))


def log_loss(chances: NDArray[np.float64], clicked: NDArray[np.bool_]) -> float:
    """Mean surprise in nats."""
    told = np.clip(np.where(clicked, chances, 1 - chances), 1e-12, 1.0)
    return float(-np.log(told).mean())
