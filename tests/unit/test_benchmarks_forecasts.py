"""The comparison of forecasts: errors are those of what was said, and a missing library is one clear line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest

from autoscaler.policy.queueing import Floats
from benchmarks.forecasts import Said, made, scores
from serving.errors import InvalidInput


class Constant:
    """Says 8 req/s, and quantiles of 9 and 12."""

    def see(self, counts: Floats) -> None:
        assert counts.sum() == pytest.approx(150.0)

    def say(self, horizons_s: Sequence[int]) -> list[Said]:
        return [(8.0, (9.0, 12.0)) for _ in horizons_s]


def test_errors_are_those_of_what_was_said() -> None:
    """At 10 req/s: an error of 2, 0.9 of one below the first quantile, 0.01 of two above the second."""
    found = scores(np.full(10_800, 10.0), Constant(), (120,), every_s=600)[120]
    assert found.rmse_rps == pytest.approx(2.0)
    assert found.pinball == pytest.approx((0.9, 0.02))


def test_ours_meets_a_steady_rate() -> None:
    """With and without earlier days, within a tenth."""
    arrivals = np.random.default_rng(1).poisson(20.0, 10_800).astype(float)
    for name in ("ours", "ours-without-days"):
        assert scores(arrivals, made(name, arrivals, (120,)), (120,), every_s=600)[120].rmse_rps < 2.0


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an unknown name which there are."""
    monkeypatch.setitem(sys.modules, "river", None)
    monkeypatch.setitem(sys.modules, "river.time_series", None)
    with pytest.raises(InvalidInput, match="river") as caught:
        made("river", np.zeros(0), (120,))
    assert "pip install river" in caught.value.next_step
    with pytest.raises(InvalidInput, match="no such forecaster"):
        made("prophet", np.zeros(0), (120,))
