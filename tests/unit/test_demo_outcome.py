"""What an answer means, and the figures made from many."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.outcome import Kind, Outcome, ReplayResult, classify, percentile


def served(at_s: float, latency_s: float, site: str | None = "private") -> Outcome:
    return Outcome(at_s, "served", 0.001, latency_s, 200, site, "stable", None)


def other(at_s: float, kind: Kind, status: int | None, error: str | None = None) -> Outcome:
    return Outcome(at_s, kind, None if kind == "unsent" else 0.0, None, status, None, None, error)


RESULT = ReplayResult(
    started_at_s=1_000.0,
    duration_s=12.0,
    cpu_s=1.0,
    outcomes=(
        served(0.5, 0.1),
        served(1.0, 0.3),
        other(1.5, "refused", 503),
        served(4.9, 0.2, "cloud"),
        other(5.0, "lost", 500),
        other(6.0, "lost", None, "timeout"),
        other(7.0, "unsent", None, "client limit"),
        served(11.0, 0.9, None),
    ),
)


@pytest.mark.parametrize(
    ("status", "retry_after", "kind"),
    [
        (200, False, "served"),
        (204, True, "served"),
        (429, True, "refused"),
        (503, True, "refused"),
        (429, False, "rejected"),
        (503, False, "lost"),
        (500, True, "lost"),
        (504, True, "lost"),
        (502, False, "lost"),
        (302, False, "rejected"),
        (404, True, "rejected"),
        (413, False, "rejected"),
    ],
)
def test_an_answer_is_refused_only_if_it_says_when_to_return(status: int, retry_after: bool, kind: Kind) -> None:
    """A 5xx is lost unless it is a 503 with Retry-After; what was wrong with the request is apart."""
    assert classify(status, retry_after=retry_after) == kind


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_the_least_value_that_covers_the_share(values: list[float], share: float) -> None:
    """At least the share of the values does not exceed it, and no smaller value would do."""
    found = percentile(values, share)
    assert found in values
    needed = math.ceil(share * len(values))
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed


def test_no_values_have_no_percentile() -> None:
    """Missing is None, never 0."""
    assert percentile([], 0.99) is None
    assert ReplayResult(0.0, 1.0, 0.0, ()).latency_s(0.5) is None
    assert ReplayResult(0.0, 1.0, 0.0, ()).windows(1.0) == []


def test_every_request_is_counted_once() -> None:
    """The kinds add up to the requests, and reasons to the lost and unsent."""
    kinds: list[Kind] = ["served", "refused", "rejected", "lost", "unsent"]
    assert [RESULT.count(kind) for kind in kinds] == [4, 1, 0, 2, 1]
    assert RESULT.errors() == {"client limit": 1, "status 500": 1, "timeout": 1}
    assert RESULT.served_by_site() == {"cloud": 1, "private": 2, "unknown": 1}


def test_latency_is_of_served_requests_in_the_span() -> None:
    """Spans go by the time a request should have been sent; the end is not in it."""
    assert RESULT.latency_s(0.99) == 0.9
    assert RESULT.latency_s(0.5) == 0.2
    assert RESULT.latency_s(0.99, until_s=4.9) == 0.3
    assert RESULT.latency_s(0.99, from_s=5.0, until_s=11.0) is None


def test_windows_are_complete_and_hold_empty_ones() -> None:
    """The last window, which no further request ends, is left out; an empty one has no latency."""
    windows = RESULT.windows(2.5)
    assert [window.t_s for window in windows] == [0, 2.5, 5, 7.5]
    first, _, third, empty = windows
    assert (first.served, first.refused, first.p50_s, first.p99_s) == (2, 1, 0.1, 0.3)
    assert first.rate_rps == pytest.approx(3 / 2.5)
    assert first.served_by_site == {"private": 2}
    assert (third.lost, third.p99_s) == (2, None)
    assert (empty.rate_rps, empty.p50_s) == (0, None)
