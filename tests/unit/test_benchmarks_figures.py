"""The benchmarks' arithmetic and tables; what they measure is never asserted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import batching, gateway, reaction, tick
from benchmarks.__main__ import keep
from benchmarks.client import Load, Target, request_bytes, status_of
from benchmarks.figures import SECTIONS, Figure, Goal, Section, figure_table, goal_table, number, page, quantile, spread


def loads(rate_rps: float, p50_ms: float) -> list[Load]:
    """Two repetitions, the second one a tenth slower."""
    return [Load(100, 0, rate_rps * f, p50_ms / f, 2 * p50_ms / f) for f in (1.0, 0.9)]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_quantile_covers_its_share(values: list[float], part: float) -> None:
    """At least the asked share of the values is not above a quantile, and it is one of them."""
    ordered = sorted(values)
    found = quantile(ordered, part)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= part * len(ordered)


def test_nothing_measured_is_no_zero() -> None:
    """A quantile of nothing is an error, not 0."""
    with pytest.raises(ValueError, match="nothing"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0123456, "0.0123"), (1.0, "1.00"), (12.345, "12.3"), (2_457.4, "2,460"), (-0.239, "-0.239")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """Three significant digits, whatever the size."""
    assert number(value) == text


def test_spread_shows_median_and_range() -> None:
    """Several values show their median and range; a single one stands alone."""
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    assert spread([2.0]) == "2.00"


@pytest.mark.parametrize(
    ("side", "values", "verdict"),
    [
        ("at most", (0.2, 0.25, 9.0), "yes, and at most 0.3 ms"),
        ("at most", (0.5, 0.6, 0.1), "yes; not at most 0.3 ms"),
        ("at most", (0.8, 0.9, 0.1), "**no**"),
        ("at least", (0.8,), "yes, and at least 0.3 ms"),
    ],
)
def test_goals_are_judged_by_the_median(side: str, values: tuple[float, ...], verdict: str) -> None:
    """A goal holds by its median; what was hoped for is told apart."""
    table = goal_table([Goal("added p50", "ms", 0.7, side, values, reach=0.3)])
    assert table.splitlines()[-1].endswith(f"| {len(values)} | {verdict} |")


def test_tables_have_a_row_per_subject() -> None:
    """Figures become one row per subject and one column per measure; a missing one is empty."""
    table = figure_table([Figure("a", "x", (1.0,)), Figure("b", "y", (2.0,))])
    assert table.splitlines() == ["|  | x | y |", "| --- | --- | --- |", "| a | 1.00 |  |", "| b |  | 2.00 |"]


def test_gateway_goals_pair_repetitions() -> None:
    """The ratio and the added latency compare within one repetition, not medians of different ones."""
    names = (gateway.PEER, gateway.SITE, gateway.PRODUCT)
    many = dict(zip(names, (loads(100, 40), loads(900, 3), loads(700, 4)), strict=True))
    one = dict(zip(names, (loads(50, 9), loads(500, 0.9), loads(400, 1.0)), strict=True))
    found = {(name, gateway.MANY): many[name] for name in names} | {(name, 1): one[name] for name in names}
    ratio, added = gateway.section(found).goals
    assert ratio.values == pytest.approx((7.0, 7.0))
    assert added.values == pytest.approx((0.1, 0.1 / 0.9))


def test_batching_gain_is_against_no_batching() -> None:
    """The gain of each batch size is its rate over that of batches of one."""
    section = batching.section({1: loads(10, 1), 8: loads(40, 1)})
    gains = [figure.values for figure in section.figures if figure.measure == "times"]
    assert gains == [pytest.approx((1.0, 1.0)), pytest.approx((4.0, 4.0))]


def test_reaction_counts_ticks_of_bursts_only() -> None:
    """Times are differences of moments, and ticks outside of bursts do not count."""
    burst = reaction.Burst(step_s=10.0, late_s=11.0, decided_s=12.5, ready_s=30.0, answered_s=30.2, end_s=40.0, lost=0)
    section = reaction.section(
        [burst], [reaction.Tick(at_s, took_s, took_s) for at_s, took_s in ((9.0, 5.0), (20.0, 0.01), (41.0, 5.0))]
    )
    decided, answered, tick = (goal.values for goal in section.goals)
    assert (decided, answered, tick) == (pytest.approx((1.5,)), pytest.approx((0.2,)), pytest.approx((10.0,)))


def test_a_section_replaces_itself_only(tmp_path) -> None:
    """A benchmark run alone leaves the other sections as they were, in the order of the page."""
    help_, old, new = (
        Section(name, title, "How.", (Figure("a", "s", (1.0,)),), (Goal(title, "s", 1.0, "at most", (1.0,)),), "today")
        for name, title in (("help", "Command line"), ("gateway", "Old"), ("gateway", "New"))
    )
    for section in (help_, old, new):
        keep(section, tmp_path)
    written = (tmp_path / "benchmarks.md").read_text()
    assert "Old" not in written
    assert written.index("## New") < written.index("## Command line")
    assert list(SECTIONS.validate_python(json.loads((tmp_path / "benchmarks.json").read_text()), strict=False))


def test_page_has_all_goals_first() -> None:
    """The goals of all sections stand in one table before the sections."""
    goal = Goal("fast", "s", 1.0, "at most", (0.5,))
    written = page(
        [Section("help", "Command line", "How.", (Figure("a", "s", (0.5,)),), (goal,), "today")], "A machine."
    )
    assert written.index("A machine.") < written.index("| fast |") < written.index("## Command line")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", None),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
    ],
)
def test_an_answer_counts_when_it_is_complete(answer: bytes, status: int | None) -> None:
    """The client sends its next request only after the whole answer."""
    assert status_of(answer) == status


def test_requests_are_get_or_json() -> None:
    """A body makes it a POST with its length in bytes."""
    assert request_bytes(Target("127.0.0.1", 1, "/a")) == b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"
    posted = request_bytes(Target("127.0.0.1", 1, "/a", '"\u00e9"'))
    assert posted.startswith(b"POST ")
    assert b"Content-Length: 4\r\n" in posted


def test_a_fleet_of_the_tick_benchmark_is_a_fleet() -> None:
    """Its services are served, some burst, and each size has its time and its ratio."""
    fleet, states = tick.Fleet(8, "predictive", seed=1), []
    state = fleet.state
    for at in range(40):
        state = tick.step(fleet.look(at, state), state).state
        states.append(state)
    assert all(mine.policy.advice is not None for mine in state.services.values())
    assert any(mine.targets[tick.CLOUD] for one in states for mine in one.services.values())
    section = tick.run(sizes=(1, 2), warm=1, ticks=1, say=lambda _: None)
    subjects = [figure.subject for figure in section.figures if figure.measure == "a tick, ms"]
    assert subjects == [f"{policy}, {size} services" for policy in tick.POLICIES for size in (1, 2)]
    assert len(section.goals) == 2 * len(tick.POLICIES), "a tick's time, and its growth"
