"""What earlier days say: the shape around this time, of days that were watched, and nothing where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.earlier import DAY_S, MOST_GROWTH, NOTHING, Earlier, Profile, earlier, window
from autoscaler.policy.forecast import SEASONAL, History, forecast, observe
from autoscaler.policy.queueing import Floats
from autoscaler.simulation.record import PastTraffic
from autoscaler.snapshot import STEP_S

NOW_S = 1_800_000_000 + 900
"""A quarter past a full hour."""
HORIZON_S = 300.0


def day(rate_rps: float, *, doubles_at_s: float | None = None, step_s: int = 10) -> Floats:
    """A window's steps: one rate, or twice that from a moment of the present day on."""
    from_s, until_s = window(NOW_S)
    at_s = np.arange(from_s, until_s, step_s)
    return np.where(at_s < (until_s if doubles_at_s is None else doubles_at_s), rate_rps, 2.0 * rate_rps)


def test_the_growth_of_a_day_does_not_depend_on_how_busy_it_was() -> None:
    """A doubling is a doubling, on a quiet day and on a busy one; smoothing spreads it over five minutes."""
    for rate_rps in (30.0, 300.0):
        found = earlier(NOW_S, {1: day(rate_rps, doubles_at_s=NOW_S + 600)}, 10).growths(NOW_S, NOW_S + 900)
        assert found == (pytest.approx(2.0, rel=0.01), None)
    flat = earlier(NOW_S, {1: day(30.0)}, 10)
    assert flat.growths(NOW_S - 900, NOW_S + 900)[0] == pytest.approx(1.0)


def test_last_week_speaks_for_itself_and_in_the_mean_of_all_days() -> None:
    """What only this weekday does is seen in one shape as it was, in the other by its share."""
    days = {ago: day(60.0, doubles_at_s=NOW_S + 600 if ago == 7 else None) for ago in range(1, 8)}
    mean, week = earlier(NOW_S, days, 10).growths(NOW_S, NOW_S + 900)
    assert week == pytest.approx(2.0, rel=0.01)
    assert mean == pytest.approx(8.0 / 7.0, rel=0.01)


def test_a_day_that_nobody_watched_says_nothing() -> None:
    """Unknown is not zero: a gap of a minute is bridged by what is known around it, one of ten leaves the day out."""
    for gap_s, known in ((60, True), (600, False)):
        steps = day(30.0)
        steps[300 : 300 + gap_s // 10] = np.nan
        mean, _ = earlier(NOW_S, {1: steps}, 10).growths(NOW_S, NOW_S + 300)
        assert (mean is not None) == known
        assert mean is None or mean == pytest.approx(1.0)
    assert earlier(NOW_S, {}, 10) == NOTHING


def test_beyond_its_reach_a_profile_says_nothing() -> None:
    """A lead time longer than an hour is forecast without earlier days."""
    known = earlier(NOW_S, {1: day(30.0)}, 10)
    assert known.growths(NOW_S, NOW_S + 3_600)[0] is not None
    assert known.growths(NOW_S, NOW_S + 3 * 3_600) == (None, None)


@given(st.lists(st.floats(0, 1e7), min_size=3, max_size=20), st.floats(-100, 2_000), st.floats(-100, 2_000))
def test_a_growth_is_bounded(rates: list[float], from_s: float, to_s: float) -> None:
    """From nothing to much is a growth of three, whatever was recorded."""
    growth = Profile(0, tuple(rates)).growth(from_s, to_s)
    assert growth is None or 1.0 / MOST_GROWTH <= growth <= MOST_GROWTH


def played(rates_rps: Floats, past: PastTraffic | None, start_s: int = 0) -> list[float]:
    """What was forecast at each step for `HORIZON_S` later, with traffic on record or without."""
    counts = np.random.default_rng(1).poisson(rates_rps * STEP_S).astype(float)
    history, said = History(), []
    for index, requests in enumerate(counts):
        end_s = start_s + (index + 1) * STEP_S
        known = past.earlier(end_s, np.empty(0)) if past else NOTHING
        history = observe(history, end_s, requests, (HORIZON_S,), known)
        found = forecast(history, HORIZON_S)
        assert found is not None
        said.append(found.mean_rps)
    return said


def test_a_ramp_that_comes_every_day_is_foreseen() -> None:
    """On the third day the error around a daily ramp is less than two thirds of that without earlier days."""
    noon_s, ahead = 2 * DAY_S + DAY_S // 2, int(HORIZON_S / STEP_S)
    at_s = np.arange(0, 3 * DAY_S)
    rates = 40.0 + 160.0 * np.exp(-((((at_s % DAY_S) - DAY_S // 2) / 1_200.0) ** 2))
    came = rates[noon_s - 7_200 : noon_s + 3_600 : STEP_S]
    errors = [
        np.array(played(came, past, noon_s - 7_200))[720:-ahead] - came[720 + ahead :]
        for past in (None, PastTraffic(rates[: 2 * DAY_S], 2.0 * DAY_S))
    ]
    assert np.sqrt(np.mean(errors[1] ** 2)) < np.sqrt(np.mean(errors[0] ** 2)) * 2 / 3


def test_days_that_mislead_lose_their_say() -> None:
    """A week that doubled and halved each hour says nothing of a steady day: the error stays as it was."""
    rates = np.full(2_880, 100.0)
    swinging = PastTraffic(np.where(np.arange(7 * DAY_S) // 1_800 % 2, 200.0, 50.0), 0.0)
    with_days, without = (np.array(played(rates, past))[720:] for past in (swinging, None))
    assert np.sqrt(np.mean((with_days - 100.0) ** 2)) < np.sqrt(np.mean((without - 100.0) ** 2)) + 3.0


def test_without_earlier_days_nothing_of_them_has_a_say() -> None:
    """A young service is forecast as if there were no such forecasters, also once days come to be known."""
    history = History()
    for index in range(400):
        history = observe(history, (index + 1) * STEP_S, 100.0, (HORIZON_S,))
    losses = history.horizons[0].losses
    levels = losses[:SEASONAL]
    assert losses[-2 * SEASONAL :] == (*levels, *levels)
    known = Earlier(Profile(0, tuple(20.0 * 2.0**minute for minute in range(60))), None)
    with_day = observe(history, 401 * STEP_S, 100.0, (HORIZON_S,), known)
    assert with_day.horizons[0].mixes[-1] > history.horizons[0].mixes[-1]


def test_state_of_another_bank_begins_anew() -> None:
    """Scores that an earlier hcctl stored for fewer forecasters are no error."""
    history = observe(History(), STEP_S, 100.0, (5.0,))
    older = History(
        until_s=history.until_s,
        averages=history.averages,
        past=history.past,
        horizons=tuple(type(h)(h.steps, (0.1,) * 11, h.spread, h.mixes, 5) for h in history.horizons),
    )
    assert len(observe(older, 2 * STEP_S, 100.0, (5.0,)).horizons[0].losses) == 11 + 2 * SEASONAL
