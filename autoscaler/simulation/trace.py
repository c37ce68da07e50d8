"""Recorded request rates: files `t_seconds,requests`, and the requests of each second drawn from them.

A file with steps of a second is taken as it is. Longer steps hide what happened inside them: the requests of
each second are then drawn by a seeded Poisson process at the step's rate.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoscaler.policy.queueing import Floats
from serving.errors import InvalidInput

MAX_TRACE_BYTES = 64 * 2**20
MAX_TRACE_ROWS = 2_000_000
MAX_TRACE_REQUESTS = 1_000_000_000
MAX_TRACE_S = 10_000_000_000
"""Seconds since the epoch are taken, too: what counts is the distance of the rows."""
MIN_TRACE_STEP_S = 0.001
MAX_SECONDS = 10_000_000


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


def per_second(curve: RateCurve, *, rate_scale: float, seed: int) -> Floats:
    """Requests in each second, at `rate_scale` times the recorded rate.

    A one-second trace at scale 1 is returned as it is. Scaled counts would make bursts of identical requests, so
    another scale thins it (each request stays by chance), or lays independent resamples over it. Of longer steps each
    second is a Poisson count; shorter ones are added up.

    Raises:
        InvalidInput: the trace is longer than can be simulated, or the scale is not a number above 0.
    """
    if not 0 < rate_scale <= 1e6:
        raise InvalidInput(
            "the rate scale is out of bounds",
            where=f"--rate-scale {rate_scale:g}",
            why="it is not above 0 and at most 1e6",
            next_step="give 1 for the recorded rate, 0.1 for a tenth of it",
        )
    if not 1 <= curve.duration_s <= MAX_SECONDS:
        longer = curve.duration_s > 1
        raise InvalidInput(
            "the trace cannot be simulated",
            where=f"it lasts {curve.duration_s:g} s",
            why=f"not between 1 and {MAX_SECONDS} s",
            next_step="simulate a part of it: --from-s and --for-s" if longer else "add the rows that follow",
        )
    rng = np.random.default_rng(seed)
    seconds = int(curve.duration_s + 1e-6)
    if curve.step_s > 1.0:
        rate = curve.rate_rps[np.minimum((np.arange(seconds) / curve.step_s).astype(int), len(curve.rate_rps) - 1)]
        return np.asarray(rng.poisson(rate * rate_scale), dtype=float)
    bins = (np.arange(len(curve.rate_rps)) * curve.step_s + 1e-9).astype(int)
    counts = np.bincount(bins, curve.rate_rps * curve.step_s, seconds)[:seconds]
    whole = int(rate_scale)
    part = rng.binomial(np.rint(counts).astype(int), rate_scale - whole) if rate_scale > whole else 0.0
    if whole == 0:
        return np.asarray(part, dtype=float)
    resampled = rng.poisson(counts * (whole - 1))  # the sum of independent resamples is one of the summed rate
    return np.asarray(counts + resampled + part, dtype=float)


def from_trace(path: Path) -> RateCurve:
    """The curve of a file `t_seconds,requests`: requests seen in [t, t + step).

    Raises:
        InvalidInput: the file is missing, malformed or too large; names file, line and column.
    """
    times: list[float] = []
    counts: list[float] = []
    try:
        if not path.is_file() and path.exists():
            raise _bad_trace(path, "", "it is no regular file")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_TRACE_BYTES:
            raise _bad_trace(path, "", f"it is larger than {MAX_TRACE_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            if next(reader, None) != ["t_seconds", "requests"]:
                why = "the header is not t_seconds,requests" if size_bytes else "the file is empty"
                raise _bad_trace(path, "line 1", why)
            for row in reader:
                where = f"line {reader.line_num}"
                if len(row) != 2:
                    raise _bad_trace(path, where, f"it has {len(row)} fields, not two")
                if len(times) >= MAX_TRACE_ROWS:
                    next_step = "cut the file, or add rows up to longer steps"
                    raise _bad_trace(path, where, f"there are more than {MAX_TRACE_ROWS} rows", next_step)
                times.append(_number(path, where, "t_seconds", row[0]))
                counts.append(_number(path, where, "requests", row[1]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_trace(path, "", str(error)[:200]) from None
    if len(times) < 2:
        raise _bad_trace(path, "", "it has fewer than two rows, so its step is not known", "add the row that follows")
    step_s = _even_step_s(path, np.asarray(times))
    return RateCurve(step_s, np.asarray(counts) / step_s)


def _even_step_s(path: Path, times: Floats) -> float:
    """Distance of the rows, which is the same for all. A gap is an error: what is missing is not zero."""
    steps = np.diff(times)
    backwards = np.flatnonzero(steps <= 0)  # first of all: a row that stands further down looks like a gap
    uneven = backwards if len(backwards) else np.flatnonzero(np.abs(steps - steps[0]) > 1e-6 * steps[0])
    if len(uneven):
        at = int(uneven[0])
        where, now_s, before_s = f"line {at + 3}, column t_seconds", times[at + 1], times[at]
        if now_s == before_s:
            raise _bad_trace(path, where, f"{now_s:g} was there before", "add the two rows up, or drop one")
        if now_s < before_s:
            raise _bad_trace(path, where, f"{now_s:g} comes after {before_s:g}", "sort the rows by t_seconds")
        why = f"{now_s:g} follows on {before_s:g}, and rows are {steps[0]:g} s apart at first"
        raise _bad_trace(path, where, why, "add the missing rows, with 0 requests where there were none")
    if steps[0] < MIN_TRACE_STEP_S:
        raise _bad_trace(path, "line 3, column t_seconds", f"steps are shorter than {MIN_TRACE_STEP_S:g} s")
    return float(steps[0])


MOST = {
    "t_seconds": (MAX_TRACE_S, "give the seconds since the first row, or since the epoch"),
    "requests": (MAX_TRACE_REQUESTS, "correct the row; a step without requests has 0"),
}
"""By column, the largest number, and what to do about another."""


def _number(path: Path, where: str, column: str, text: str) -> float:
    most, next_step = MOST[column]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= most:
        why = f"{text[:40]!r} is not a number from 0 to {most}"
        raise _bad_trace(path, f"{where}, column {column}", why, next_step)
    return value


def _bad_trace(
    path: Path, where: str, why: str, next_step: str = "give a CSV file with the columns t_seconds,requests"
) -> InvalidInput:
    return InvalidInput(
        "cannot read the trace",
        where=f"{path.name}, {where}" if where else str(path),
        why=why,
        next_step=next_step,
    )
