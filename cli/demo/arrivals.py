"""When the demo's requests arrive: a compressed shop day with a flash sale, or a recorded trace.

A `RateCurve` says how many requests per second are expected at each moment; `poisson_arrivals`
draws the moments from it. Pure: the randomness is the seed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput

STEP_S = 0.1
"""Width of the bins of a compressed day: short against the ramp of a sale."""
RAMP_S = 3.0
DECAY_S = 5.0
"""After the hold a sale's extra load falls to 1/e in this time."""
QUIET_SHARE, BUSY_SHARE = 0.6, 1.4
"""Height of the quietest and the busiest hour: flatter than a real day, so that latency is measured all day."""

MAX_TRACE_BYTES = 64 * 2**20
MAX_TRACE_ROWS = 2_000_000
MAX_TRACE_REQUESTS = 1_000_000_000
MIN_TRACE_STEP_S = 0.001
MAX_ARRIVALS = 2_000_000


@dataclass(frozen=True, eq=False)
class RateCurve:
    """A rate that is constant within bins of equal width, from second 0 on."""

    step_s: float
    rate_rps: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        return self.step_s * len(self.rate_rps)

    @property
    def expected_requests(self) -> float:
        return float(self.rate_rps.sum() * self.step_s)

    @property
    def peak_rps(self) -> float:
        return float(self.rate_rps.max())

    def part(self, start_s: float, length_s: float) -> RateCurve:
        """The bins from `start_s` on that make up `length_s`, as a curve of its own.

        Raises:
            InvalidInput: the curve has no bins there.
        """
        first = round(start_s / self.step_s)
        chosen = self.rate_rps[first : first + max(1, round(length_s / self.step_s))]
        if first < 0 or len(chosen) == 0:
            raise InvalidInput(
                "the trace has nothing there",
                where=f"{start_s:g} s to {start_s + length_s:g} s",
                why=f"it lasts {self.duration_s:g} s",
                next_step="choose an earlier or longer part",
            )
        return RateCurve(self.step_s, chosen)

    def fitted(self, *, duration_s: float, peak_rps: float) -> RateCurve:
        """The same shape, played in `duration_s` with its highest bin at `peak_rps`.

        Only rates are scaled: arrivals drawn afterwards are as random as real ones, where
        scaled counts would make bursts of identical requests.
        """
        peak = self.peak_rps
        scale = peak_rps / peak if peak > 0 else 0.0
        return RateCurve(duration_s / len(self.rate_rps), self.rate_rps * scale)


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


def from_trace(path: Path) -> RateCurve:
    """The curve of a file `t_seconds,requests`: requests seen in [t, t + step).

    Raises:
        InvalidInput: the file is missing, malformed or too large; names file, line and column.
    """
    times: list[float] = []
    counts: list[float] = []
    try:
        if path.stat().st_size > MAX_TRACE_BYTES:
            raise _bad_trace(path, "", f"it is larger than {MAX_TRACE_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            if next(reader, None) != ["t_seconds", "requests"]:
                raise _bad_trace(path, "line 1", "the header is not t_seconds,requests")
            for row in reader:
                where = f"line {reader.line_num}"
                if len(row) != 2 or len(times) >= MAX_TRACE_ROWS:
                    raise _bad_trace(path, where, f"not two fields, or more than {MAX_TRACE_ROWS} rows")
                times.append(_number(path, f"{where}, column t_seconds", row[0]))
                counts.append(_number(path, f"{where}, column requests", row[1]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_trace(path, "", str(error)[:200]) from None
    if len(times) < 2:
        raise _bad_trace(path, "", "it needs at least two rows, which give the step")
    steps = np.diff(times)
    uneven = np.flatnonzero((steps <= 0) | (np.abs(steps - steps[0]) > 1e-6 * abs(steps[0])))
    if len(uneven):
        raise _bad_trace(path, f"line {uneven[0] + 3}, column t_seconds", "steps are not equal and upwards")
    if steps[0] < MIN_TRACE_STEP_S:
        raise _bad_trace(path, "line 3, column t_seconds", f"steps are shorter than {MIN_TRACE_STEP_S:g} s")
    return RateCurve(float(steps[0]), np.asarray(counts) / float(steps[0]))


def _number(path: Path, where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= MAX_TRACE_REQUESTS:
        raise _bad_trace(path, where, f"{text[:40]!r} is not a number from 0 to {MAX_TRACE_REQUESTS}")
    return value


def _bad_trace(path: Path, where: str, why: str) -> InvalidInput:
    return InvalidInput(
        "cannot read the trace",
        where=f"{path.name}, {where}" if where else str(path),
        why=why,
        next_step="give a CSV file with the columns t_seconds,requests",
    )
