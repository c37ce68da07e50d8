"""When the demo's requests arrive: a compressed shop day with a flash sale. Pure: the randomness is the seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.trace import RateCurve
from serving.errors import InvalidInput

STEP_S = 0.1
"""Width of the bins of a compressed day: short against the ramp of a sale."""
RAMP_S = 3.0
DECAY_S = 5.0
"""After the hold a sale's extra load falls to 1/e in this time."""
QUIET_SHARE, BUSY_SHARE = 0.6, 1.4
"""Height of the quietest and the busiest hour: flatter than a real day, so that latency is measured all day."""

MAX_ARRIVALS = 2_000_000


def shape(
    hour_counts: Sequence[float],
    *,
    duration_s: float,
    base_rps: float,
    peak_rps: float,
    sale_at_s: float,
    sale_hold_s: float,
) -> RateCurve:
    """A shop's day played in `duration_s`, with a flash sale that multiplies the load.

    The sale multiplies the rate: it ramps up within 3 s of `sale_at_s`, holds for `sale_hold_s`,
    then fades exponentially. It is scaled so that the whole curve peaks at exactly `peak_rps`.

    Args:
        hour_counts: requests or orders seen in each of the 24 hours of the day.
        duration_s: length of the compressed day, seconds.
        base_rps: mean rate without the sale.
        peak_rps: highest rate; at least that of the day without a sale.
        sale_at_s: when the sale begins.
        sale_hold_s: how long it holds after its ramp.
    """
    bins = max(1, round(duration_s / STEP_S))
    moment_s = (np.arange(bins, dtype=np.float64) + 0.5) * STEP_S
    day = base_rps * _day_profile(np.asarray(hour_counts, dtype=np.float64), bins)
    sale = _sale_envelope(moment_s - sale_at_s, sale_hold_s)
    return RateCurve(STEP_S, day * (1.0 + _boost(day, sale, peak_rps) * sale))


def _day_profile(hour_counts: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """The busy hours of the day over `bins`, flattened, with mean 1."""
    total = hour_counts.sum()
    if total <= 0:
        return np.ones(bins)
    # Hours that see next to nothing are night: a shop day begins and ends with customers.
    busy = np.flatnonzero(hour_counts >= 0.005 * total)
    hours = hour_counts[busy[0] : busy[-1] + 1]
    moment = (np.arange(bins) + 0.5) / bins * len(hours)
    smooth = np.interp(moment, np.arange(len(hours)) + 0.5, hours)
    span = smooth.max() - smooth.min()
    unit = (smooth - smooth.min()) / span if span > 0 else np.full(bins, 0.5)
    profile = QUIET_SHARE + (BUSY_SHARE - QUIET_SHARE) * unit
    return np.asarray(profile / profile.mean())


def _sale_envelope(since_s: NDArray[np.float64], hold_s: float) -> NDArray[np.float64]:
    """0 before the sale, 1 while it holds."""
    ramp = np.clip(since_s / RAMP_S, 0.0, 1.0)
    fade = np.exp(-np.clip(since_s - RAMP_S - hold_s, 0.0, None) / DECAY_S)
    return np.asarray(ramp * fade)


def _boost(day: NDArray[np.float64], sale: NDArray[np.float64], peak_rps: float) -> float:
    """The factor of the sale with which `day * (1 + factor * sale)` peaks at `peak_rps`."""
    during = day * sale > 0
    if not during.any():
        return 0.0
    return max(0.0, float(((peak_rps / day[during] - 1.0) / sale[during]).min()))


def poisson_arrivals(curve: RateCurve, seed: int) -> NDArray[np.float64]:
    """Sorted arrival times in seconds: a Poisson process with the curve's rate.

    Exact for a rate that is constant within bins: a Poisson count per bin, placed uniformly.

    Raises:
        InvalidInput: the curve means more arrivals than a replay can hold.
    """
    if curve.expected_requests > MAX_ARRIVALS:
        raise InvalidInput(
            "too many requests for a replay",
            where=f"{curve.expected_requests:.0f} over {curve.duration_s:g} s",
            why=f"at most {MAX_ARRIVALS}",
            next_step="lower the rate or play a shorter part",
        )
    rng = np.random.default_rng(seed)
    counts = rng.poisson(curve.rate_rps * curve.step_s)
    bins = np.repeat(np.arange(len(counts)), counts)
    return np.sort((bins + rng.random(len(bins))) * curve.step_s)
