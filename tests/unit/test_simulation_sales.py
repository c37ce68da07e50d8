"""Flash sales laid over a trace: where they are, how large, and that they change nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.sales import HELD_S, RISE_S, SALE_S, SALES, sale_starts_s, with_sales
from autoscaler.simulation.trace import RateCurve, per_second
from serving.errors import InvalidInput

DAY_S = 86_400
DAY = RateCurve(60.0, 100.0 + 50.0 * np.sin(np.linspace(0, 6, DAY_S // 60)))


def drawn(curve: RateCurve, seed: int, rate_scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Requests of each second without and with the sales."""
    plain = per_second(curve, rate_scale=rate_scale, seed=seed)
    return plain, with_sales(plain, curve, rate_scale=rate_scale, seed=seed)


@given(st.integers(SALES * SALE_S, 2 * DAY_S), st.integers(0, 999))
def test_three_sales_are_over_within_their_thirds(seconds: int, seed: int) -> None:
    """None overlaps another, or the end."""
    starts = sale_starts_s(seconds, seed=seed)
    for index, start_s in enumerate(starts):
        assert index * (seconds // SALES) <= start_s <= (index + 1) * (seconds // SALES) - SALE_S


def test_a_sale_is_four_times_the_rate_for_ten_minutes() -> None:
    """From one to four times within 20 s, held, and back; all other seconds are those of the day without sales."""
    plain, sold = drawn(DAY, seed=1)
    starts, quiet = sale_starts_s(DAY_S, seed=1), np.ones(DAY_S, dtype=bool)
    for start_s in starts:
        held = slice(start_s + RISE_S, start_s + RISE_S + HELD_S)
        rate_rps = DAY.rate_rps[np.arange(DAY_S) // 60][held].sum()
        assert sold[held].sum() == pytest.approx(4.0 * rate_rps, rel=0.02)
        quiet[start_s : start_s + SALE_S] = False
    assert (sold[quiet] == plain[quiet]).all()
    assert (sold >= plain).all()


def test_sales_hang_on_the_seed_alone() -> None:
    """The same seed gives the same requests, another one other moments."""
    assert drawn(DAY, seed=4)[1].tobytes() == drawn(DAY, seed=4)[1].tobytes()
    assert sale_starts_s(DAY_S, seed=4) != sale_starts_s(DAY_S, seed=5)


@pytest.mark.parametrize("step_s", [0.5, 1.0, 60.0, 86_400.0])
def test_any_step_of_a_trace_will_do(step_s: float) -> None:
    """The visitors of a sale are three times the recorded ones at the scale, however finely they are recorded."""
    curve = RateCurve(step_s, np.full(round(DAY_S / step_s), 200.0))
    plain, sold = drawn(curve, seed=2, rate_scale=0.5)
    assert (sold - plain).sum() == pytest.approx(3 * 3.0 * 100.0 * (HELD_S + RISE_S), rel=0.01)


def test_without_traffic_nobody_comes_to_a_sale() -> None:
    """Four times nothing is nothing."""
    assert drawn(RateCurve(60.0, np.zeros(DAY_S // 60)), seed=3)[1].sum() == 0


def test_a_trace_without_room_for_sales_is_refused() -> None:
    """Half an hour has no three sales of eleven minutes."""
    with pytest.raises(InvalidInput, match="too short for flash sales"):
        sale_starts_s(1_800, seed=1)
