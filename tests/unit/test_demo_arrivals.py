"""Arrivals: a compressed day with a sale, drawn as a Poisson process, or taken from a trace."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.trace import RateCurve, from_trace
from cli.demo import arrivals
from cli.demo.arrivals import poisson_arrivals, shape
from serving.errors import InvalidInput

HOURS = [0, 0, 0, 0, 0, 0, 0, 4, 86, 218, 378, 489, 718, 638, 539, 452, 240, 130, 29, 33, 8, 0, 0, 0]
SALE = {"duration_s": 200.0, "base_rps": 20.0, "peak_rps": 120.0, "sale_at_s": 40.0, "sale_hold_s": 90.0}


def rate_at(curve: RateCurve, moment_s: float) -> float:
    return float(curve.rate_rps[int(moment_s / curve.step_s)])


def test_the_sale_multiplies_the_load_fast_and_fades() -> None:
    """Calm before it, several times the load within the ramp, calm again after the fade."""
    curve = shape(HOURS, **SALE)
    before = rate_at(curve, 39.9)
    assert before < 40
    assert rate_at(curve, 40 + arrivals.RAMP_S) > 3 * before
    assert rate_at(curve, 40 + arrivals.RAMP_S + 90 - 1) > 3 * before
    assert rate_at(curve, 40 + arrivals.RAMP_S + 90 + 5 * arrivals.DECAY_S) < 40
    assert curve.duration_s == pytest.approx(200)


def test_the_day_follows_the_shop() -> None:
    """Without a sale the rate has the mean asked for, and is highest when the shop sells most."""
    curve = shape(HOURS, **SALE | {"peak_rps": 0.0})
    assert curve.expected_requests == pytest.approx(20 * 200)
    busiest_hour = 8 + (np.argmax(curve.rate_rps) + 0.5) * curve.step_s / 200 * 10
    assert busiest_hour == pytest.approx(12.5, abs=1.0)
    assert curve.rate_rps.min() > 0.4 * 20


hours = st.lists(st.integers(0, 10**6), min_size=24, max_size=24)


@given(
    hours=hours,
    duration_s=st.floats(1, 600),
    base_rps=st.floats(0.1, 100),
    times=st.floats(2.5, 20.0),
    sale_at=st.floats(0, 0.9),
    hold_s=st.floats(0, 200),
)
def test_every_shape_peaks_where_it_should(
    hours: list[int], duration_s: float, base_rps: float, times: float, sale_at: float, hold_s: float
) -> None:
    """Whatever the shop, the curve is positive, has its length and never exceeds its peak; a sale reaches it."""
    peak_rps = base_rps * times
    curve = shape(
        hours,
        duration_s=duration_s,
        base_rps=base_rps,
        peak_rps=peak_rps,
        sale_at_s=sale_at * duration_s,
        sale_hold_s=hold_s,
    )
    assert len(curve.rate_rps) == max(1, round(duration_s / arrivals.STEP_S))
    assert (curve.rate_rps > 0).all()
    assert curve.peak_rps == pytest.approx(peak_rps)


@given(rates=st.lists(st.floats(0, 200), min_size=1, max_size=50), seed=st.integers(0, 2**32))
def test_arrivals_lie_in_busy_bins_in_order(rates: list[float], seed: int) -> None:
    """Arrivals ascend, stay within the curve, and none falls into a bin without load."""
    curve = RateCurve(0.5, np.array(rates))
    drawn = poisson_arrivals(curve, seed)
    assert (np.diff(drawn) >= 0).all()
    assert ((drawn >= 0) & (drawn < curve.duration_s)).all()
    assert (curve.rate_rps[(drawn / 0.5).astype(int)] > 0).all()
    assert np.array_equal(drawn, poisson_arrivals(curve, seed))


def test_counts_match_the_curve_and_vary_like_poisson() -> None:
    """Over many seeds the mean count of a bin is its rate, and its variance equals its mean."""
    curve = RateCurve(2.0, np.array([5.0, 40.0, 0.0, 10.0]))
    counts = np.array([np.histogram(poisson_arrivals(curve, seed), 4, (0, 8))[0] for seed in range(2_000)])
    assert counts.mean(axis=0) == pytest.approx(curve.rate_rps * 2, rel=0.03)
    assert counts.var(axis=0) == pytest.approx(curve.rate_rps * 2, rel=0.12)


def test_arrivals_are_spread_evenly_within_a_bin() -> None:
    """Within a bin every moment is as likely as any other."""
    drawn = poisson_arrivals(RateCurve(10.0, np.array([1_000.0])), 1) / 10
    assert np.histogram(drawn, 10, (0, 1))[0] == pytest.approx(1_000, rel=0.15)


def test_a_stray_order_at_night_does_not_make_it_day() -> None:
    """Hours with next to no orders are not played."""
    stray = [*HOURS]
    stray[3] = 1
    assert np.array_equal(shape(HOURS, **SALE).rate_rps, shape(stray, **SALE).rate_rps)


def test_a_replay_is_bounded() -> None:
    """A curve that means more arrivals than can be held is refused before any is drawn."""
    with pytest.raises(InvalidInput, match="too many"):
        poisson_arrivals(RateCurve(1.0, np.array([1e9])), 0)


def trace(folder: Path, text: str | bytes) -> Path:
    path = folder / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_trace_becomes_rates(tmp_path: Path) -> None:
    """Requests per step are divided by the step."""
    curve = from_trace(trace(tmp_path, "t_seconds,requests\n0,120\n60,60\n120,0\n"))
    assert curve.step_s == 60
    assert curve.rate_rps.tolist() == [2, 1, 0]


def test_a_part_of_a_trace_can_be_played_at_another_pace_and_height(tmp_path: Path) -> None:
    """The part keeps its shape; its peak and its length are the ones asked for."""
    curve = from_trace(trace(tmp_path, "t_seconds,requests\n0,1\n10,2\n20,4\n30,8\n40,16\n"))
    played = curve.part(10, 30).fitted(duration_s=6, peak_rps=40)
    assert played.rate_rps.tolist() == [10, 20, 40]
    assert played.duration_s == 6
    with pytest.raises(InvalidInput, match="50 s"):
        curve.part(50, 10)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("", "line 1", id="empty"),
        pytest.param("t,requests\n0,1\n", "line 1", id="header"),
        pytest.param("t_seconds,requests\n0,1\n", "trace.csv", id="one row"),
        pytest.param("t_seconds,requests\n0,1\n1,2,3\n", "line 3", id="three fields"),
        pytest.param("t_seconds,requests\n0,1\n\n2,3\n", "line 3", id="blank line"),
        pytest.param("t_seconds,requests\n0,x\n1,2\n", "line 2, column requests", id="no number"),
        pytest.param("t_seconds,requests\n0,nan\n1,2\n", "line 2, column requests", id="NaN"),
        pytest.param("t_seconds,requests\n0,-1\n1,2\n", "line 2, column requests", id="negative"),
        pytest.param("t_seconds,requests\n0,1\n1,1e99\n", "line 3, column requests", id="huge"),
        pytest.param("t_seconds,requests\n0,1\n1,1\n1,1\n", "line 4, column t_seconds", id="time stands still"),
        pytest.param("t_seconds,requests\n0,1\n1,1\n3,1\n", "line 4, column t_seconds", id="uneven"),
        pytest.param("t_seconds,requests\n5,1\n0,1\n", "line 3, column t_seconds", id="backwards"),
        pytest.param("t_seconds,requests\n0,1\n5e-324,1\n", "line 3, column t_seconds", id="no step"),
        pytest.param(b"t_seconds,requests\n\xff,1\n", "trace.csv", id="not UTF-8"),
    ],
)
def test_a_bad_trace_is_named_by_line_and_column(tmp_path: Path, text: str | bytes, where: str) -> None:
    """The error says where the trace is wrong."""
    with pytest.raises(InvalidInput) as caught:
        from_trace(trace(tmp_path, text))
    assert where in caught.value.where


def test_a_missing_trace_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    """The path that was looked for is in the error."""
    with pytest.raises(InvalidInput, match=r"gone\.csv"):
        from_trace(tmp_path / "gone.csv")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["worldcup98_0608_0704_1min", "azure_llm_code_1s", "online_retail_lines_1min"])
def test_recorded_traces_are_read(name: str) -> None:
    """The maintainers' traces are read, and can be played in three minutes."""
    beside = Path(__file__).parents[3] / "shared" / "data" / "online-retail"
    folder = Path(os.environ.get("HCCTL_DATA", beside)).parent / "traces"
    played = from_trace(folder / f"{name}.csv").part(0, 86_400).fitted(duration_s=180, peak_rps=100)
    assert played.peak_rps == pytest.approx(100)
    assert len(poisson_arrivals(played, 1)) == pytest.approx(played.expected_requests, rel=0.2)
