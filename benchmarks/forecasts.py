"""Our forecast beside a maintained library's, on a recorded rate: error and time, at the horizons that matter.

`python -m benchmarks.forecasts TRACE --with ours,ours-without-days,statsforecast,river`. All are asked at the same
moments and compared with the mean rate of the 15 s that end a horizon later. The libraries are no dependency of the
project: `pip install statsforecast river` in an environment of your own.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np

from autoscaler.policy.earlier import NOTHING
from autoscaler.policy.forecast import OBSERVED_STEPS, History, forecast, observe
from autoscaler.policy.queueing import Floats
from autoscaler.simulation.record import PastTraffic
from autoscaler.simulation.trace import from_trace, per_second
from autoscaler.snapshot import STEP_S
from serving.errors import InvalidInput

DAY_S = 86_400
BIN_S = OBSERVED_STEPS * STEP_S
QUANTILES = (0.9, 0.99)
FIT_BINS = 480
"""What a library that is fitted anew each time gets: two hours."""
WARM_S = 7_200

Said = tuple[float, tuple[float, ...] | None]
"""Mean, and the quantiles if it has them."""


class Forecaster(Protocol):
    """What is compared. It sees each 15 s as three steps of 5 s, and is asked now and then."""

    def see(self, counts: Floats) -> None:
        """Take in 15 s of requests."""

    def say(self, horizons_s: Sequence[int]) -> list[Said]:
        """The rate at each horizon from here."""


class Ours:
    """The forecast of policy `predictive`, with or without what is known of earlier days."""

    def __init__(self, arrivals: Floats, horizons_s: Sequence[int], *, days: bool) -> None:
        self._arrivals, self._horizons_s, self._days = arrivals, tuple(map(float, horizons_s)), days
        self._past = PastTraffic(np.empty(0), 0.0)
        self._history, self._now_s = History(), 0

    def see(self, counts: Floats) -> None:
        for count in counts:
            self._now_s += STEP_S
            known = self._past.earlier(self._now_s, self._arrivals[: self._now_s]) if self._days else NOTHING
            self._history = observe(self._history, self._now_s, float(count), self._horizons_s, known)

    def say(self, horizons_s: Sequence[int]) -> list[Said]:
        found = [forecast(self._history, float(horizon_s)) for horizon_s in horizons_s]
        return [
            (f.mean_rps, tuple(max(0.0, f.mean_rps + NormalDist().inv_cdf(q) * f.spread_rps) for q in QUANTILES))
            for f in found
            if f is not None
        ]


class StatsForecast:
    """`AutoETS` of statsforecast, fitted on the last two hours whenever it is asked."""

    def __init__(self) -> None:
        from statsforecast.models import AutoETS  # type: ignore[import-not-found]

        self._model: Any = AutoETS(season_length=1)
        self._rates: list[float] = []

    def see(self, counts: Floats) -> None:
        self._rates = [*self._rates, float(counts.sum()) / BIN_S][-FIT_BINS:]

    def say(self, horizons_s: Sequence[int]) -> list[Said]:
        steps = [horizon_s // BIN_S for horizon_s in horizons_s]
        levels = [round(100 * (2 * q - 1)) for q in QUANTILES]  # two-sided: the upper end of 80 % is the 0.9 quantile
        found = self._model.forecast(y=np.array(self._rates), h=max(steps), level=levels)
        return [(found["mean"][n - 1], tuple(found[f"hi-{level}"][n - 1] for level in levels)) for n in steps]


class River:
    """`HoltWinters` of river, which learns online. It tells no spread.

    Its two constants were chosen on the World Cup's first thirteen days; its `SNARIMAX` with a scaled regressor is as
    good there, and diverges with its defaults.
    """

    def __init__(self) -> None:
        from river.time_series import HoltWinters  # type: ignore[import-not-found]

        self._model: Any = HoltWinters(alpha=0.2, beta=0.01)

    def see(self, counts: Floats) -> None:
        self._model.learn_one(float(counts.sum()) / BIN_S)

    def say(self, horizons_s: Sequence[int]) -> list[Said]:
        steps = [horizon_s // BIN_S for horizon_s in horizons_s]
        found = self._model.forecast(horizon=max(steps))
        return [(max(0.0, found[n - 1]), None) for n in steps]


@dataclass(frozen=True)
class Score:
    """How one did at one horizon."""

    rmse_rps: float
    pinball: tuple[float, ...] | None
    seconds: float
    """To take in 15 s, and to answer for all horizons."""


def scores(arrivals: Floats, forecaster: Forecaster, horizons_s: Sequence[int], *, every_s: int) -> Mapping[int, Score]:
    """Let one see all arrivals (per second), and ask it each `every_s`."""
    counts = arrivals[: len(arrivals) // BIN_S * BIN_S].reshape(-1, OBSERVED_STEPS, STEP_S).sum(axis=2)
    rates = counts.sum(axis=1) / BIN_S
    errors: dict[int, list[float]] = {horizon_s: [] for horizon_s in horizons_s}
    losses: dict[int, list[tuple[float, ...]]] = {horizon_s: [] for horizon_s in horizons_s}
    seen_s: list[float] = []
    asked_s: list[float] = []
    for index, seen in enumerate(counts):
        end_s = (index + 1) * BIN_S
        began = time.perf_counter()
        forecaster.see(seen)
        seen_s.append(time.perf_counter() - began)
        if end_s < WARM_S or end_s % every_s or index + max(horizons_s) // BIN_S >= len(counts):
            continue
        began = time.perf_counter()
        said = forecaster.say(horizons_s)
        asked_s.append(time.perf_counter() - began)
        for horizon_s, (mean_rps, quantiles) in zip(horizons_s, said, strict=True):
            came = rates[index + horizon_s // BIN_S]
            errors[horizon_s].append(came - mean_rps)
            if quantiles is not None:
                over = [(q, came - at) for q, at in zip(QUANTILES, quantiles, strict=True)]
                losses[horizon_s].append(tuple(max(q * d, (q - 1) * d) for q, d in over))
    spent_s = float(np.median(seen_s) + np.median(asked_s))
    return {
        horizon_s: Score(
            math.sqrt(float(np.mean(np.square(errors[horizon_s])))),
            tuple(np.mean(losses[horizon_s], axis=0).tolist()) if losses[horizon_s] else None,
            spent_s,
        )
        for horizon_s in horizons_s
    }


def made(name: str, arrivals: Floats, horizons_s: Sequence[int]) -> Forecaster:
    """A forecaster by name.

    Raises:
        InvalidInput: there is none of that name, or its library is not installed.
    """
    try:
        if name in ("ours", "ours-without-days"):
            return Ours(arrivals, horizons_s, days=name == "ours")
        if name in ("statsforecast", "river"):
            return StatsForecast() if name == "statsforecast" else River()
    except ImportError:
        raise InvalidInput(
            "a forecasting library is missing",
            where=f"--with {name}",
            why=f"{name} is no dependency of this project, and not installed here",
            next_step=f"pip install {name} in an environment of your own, or leave it out",
        ) from None
    raise InvalidInput(
        "no such forecaster",
        where=f"--with {name[:40]}",
        next_step="choose of ours, ours-without-days, statsforecast, river",
    )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("trace", type=Path, help="CSV file t_seconds,requests")
    parser.add_argument("--days", type=int, default=13, help="so many from the trace's start")
    parser.add_argument("--rate-scale", type=float, default=0.1)
    parser.add_argument("--every-s", type=int, default=1_800)
    parser.add_argument("--with", dest="names", default="ours,ours-without-days")
    given = parser.parse_args()
    horizons_s = (120, 300)
    curve = from_trace(given.trace).part(0.0, given.days * DAY_S)
    arrivals = per_second(curve, rate_scale=given.rate_scale, seed=1)
    print("| forecaster | horizon | RMSE (req/s) | pinball 0.9 | pinball 0.99 | ms per forecast |")
    print("|---|---|---|---|---|---|")
    for name in given.names.split(","):
        try:
            forecaster = made(name, arrivals, horizons_s)
        except InvalidInput as error:
            sys.exit(error.one_line())
        for horizon_s, score in scores(arrivals, forecaster, horizons_s, every_s=given.every_s).items():
            pinball = " | ".join(f"{loss:.3f}" for loss in score.pinball) if score.pinball else "- | -"
            print(
                f"| {name} | {horizon_s} s | {score.rmse_rps:.2f} | {pinball} | {score.seconds * 1e3:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
