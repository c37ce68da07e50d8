from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.routing.outlier import FORGIVE_AFTER_S, LONGEST_EJECTION_S, backoff_s, eject, ejected, fails_fast
from autoscaler.snapshot import TrackSignals
from autoscaler.state import Ejection
from tests.support.moments import NOW_S, signals

BOTH = frozenset({"private", "cloud"})


def answers(**counts: tuple[int, int]):
    return signals(by_site={("stable", name): TrackSignals(*pair) for name, pair in counts.items()})


@pytest.mark.parametrize(
    ("requests", "failed", "fast"), [(4, 4, False), (5, 2, False), (5, 3, True), (10, 5, True), (100, 49, False)]
)
def test_failing_fast_is_half_of_at_least_five(requests: int, failed: int, fast: bool):
    """Fewer answers are no evidence."""
    assert fails_fast(answers(private=(requests, failed)), "stable", "private") is fast
    assert fails_fast(answers(), "stable", "private") is False


def test_a_failing_site_is_ejected_while_another_one_serves():
    """For ten seconds at first."""
    found = eject({}, answers(private=(10, 10), cloud=(10, 0)), BOTH, NOW_S)
    assert found == {"stable/private": Ejection(NOW_S + 10, 1)}
    assert ejected(found, "stable", "private", NOW_S + 9.9)
    assert not ejected(found, "stable", "private", NOW_S + 10)
    assert not ejected(found, "candidate", "private", NOW_S), "one track's failure is not the other's"


def test_the_last_site_is_never_ejected():
    """Alone, with the other one out, or with the other one failing as well."""
    bad = answers(private=(10, 10), cloud=(10, 10))
    assert eject({}, bad, frozenset({"private"}), NOW_S) == {}
    assert eject({}, bad, BOTH, NOW_S) == {}
    out = {"stable/cloud": Ejection(NOW_S + 5, 1)}
    assert eject(out, answers(private=(10, 10)), BOTH, NOW_S) == out


def test_it_stays_out_longer_each_time_and_is_forgiven_in_the_end():
    """10, 20, 40 s, up to five minutes; after ten good minutes it starts anew."""
    bad, known, now_s = answers(private=(10, 10), cloud=(10, 0)), {}, NOW_S
    out_s = []
    for _ in range(8):
        known = eject(known, bad, BOTH, now_s)
        out_s.append(known["stable/private"].until_s - now_s)
        now_s = known["stable/private"].until_s + 1
    assert out_s == [10, 20, 40, 80, 160, 300, 300, 300]
    assert eject(known, answers(), BOTH, now_s + FORGIVE_AFTER_S - 2) == known
    assert eject(known, answers(), BOTH, now_s + FORGIVE_AFTER_S) == {}


def test_years_of_failure_do_not_overflow():
    """2 to the power of 5,000 is no float."""
    known = {"stable/private": Ejection(NOW_S - 1, 5_000)}
    found = eject(known, answers(private=(10, 10), cloud=(10, 0)), BOTH, NOW_S)
    assert found["stable/private"] == Ejection(NOW_S + LONGEST_EJECTION_S, 5_001)


@given(st.floats(0.1, 100), st.floats(1, 1_000), st.integers(0, 10**6))
def test_a_back_off_doubles_up_to_its_longest(first_s: float, longest_s: float, times: int):
    """It never shrinks with another failure, and never passes its bound."""
    now, later = backoff_s(first_s, longest_s, times), backoff_s(first_s, longest_s, times + 1)
    assert min(first_s, longest_s) <= now <= later <= longest_s
