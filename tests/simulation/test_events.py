"""Declared events: capacity is there when they start, goes when they end, and stays within every other bound."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.declared import changed, service
from tests.support.world import START_S, World

BOTH = pytest.mark.parametrize("policy", ["threshold", "predictive"])
STARTS_S, LASTS_S = 300.0, 120.0


def sale(starts_s: float = STARTS_S, **fields: object) -> dict[str, object]:
    """An event so many seconds after the world's start; 250 requests per second if nothing else is said."""
    starts = datetime.fromtimestamp(START_S + starts_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    much = {} if "rate_factor" in fields else {"expected_rps": 250.0}
    return {"name": "sale", "starts": starts, "duration_s": LASTS_S, **much, **fields}


def load(at_s: float) -> float:
    """20 requests per second, and twelve times that during the sale."""
    return 250.0 if STARTS_S <= at_s < STARTS_S + LASTS_S else 20.0


def selling(policy: str = "predictive", *, event: dict[str, object] | None = None, **fields: object) -> World:
    """A world whose service declares a sale."""
    rate_rps = fields.pop("rate_rps", load)
    spec = service(burst={"policy": policy, "calm_s": 120.0}, events=[event or sale()], **fields)
    world = World(spec, rate_rps=rate_rps)
    world.deploy("v1")
    return world


@BOTH
@pytest.mark.parametrize("much", [{"expected_rps": 250.0}, {"rate_factor": 12.5}])
def test_a_sale_finds_its_capacity_warm(policy: str, much: dict[str, float]):
    """The rate jumps twelvefold within a second, and nobody waits: nodes that take 25 s were asked for before."""
    world = selling(policy, event=sale(**much))
    world.run(200)
    assert world.targets == {"private": 1, "cloud": 0}
    world.run(100)
    assert world.ready("private") + world.ready("cloud") >= 8
    world.run(LASTS_S)
    assert max(tick.wait_s for tick in world.shop.ticks) < 0.4
    assert world.violations == []


@BOTH
def test_when_nobody_comes_what_stood_by_leaves_at_the_end(policy: str):
    """No dwell time: the first step down is in the tick after the end, and `hcctl why` says what it is."""
    world = selling(policy, rate_rps=lambda _: 20.0)
    world.run(STARTS_S + LASTS_S - 1)
    assert world.targets["cloud"] >= 4
    world.run(30)
    assert world.targets == {"private": 1, "cloud": 0}
    down = [(at_s, d.reason) for at_s, d in world.decided(STARTS_S) if d.action == "scale"]
    assert down[0][0] <= STARTS_S + LASTS_S + 1
    assert all("event sale is over; " in reason for _, reason in down)


@BOTH
def test_a_sale_that_goes_on_keeps_what_it_needs(policy: str):
    """The declared end is not the load's: capacity follows the need from there on, and none is missing."""
    world = selling(policy, rate_rps=lambda at_s: 250.0 if at_s >= STARTS_S else 20.0)
    world.run(STARTS_S + LASTS_S + 120)
    assert max(tick.wait_s for tick in world.shop.ticks) < 0.4
    assert sum(world.targets.values()) >= 8


def test_the_log_says_event_time_and_price():
    """Which event, how much, since when and until when, what is rented for it and what that costs."""
    world = selling("threshold")
    world.run(300)
    reasons = [reason for reason in world.reasons("scale") if reason.startswith("event")]
    assert reasons[0].startswith(
        "event sale: 250 req/s declared from 2027-01-15 08:05:00Z to 2027-01-15 08:07:00Z; 9 replicas, from "
        "2027-01-15 08:03:"
    )
    assert "5 of them rented: 5 usd an hour, 0.25" in reasons[0]


def test_more_than_is_allowed_is_said():
    """An event beyond the service's sites gets all of them."""
    world = selling(event=sale(expected_rps=9_000.0))
    world.run(300)
    assert world.targets == {"private": 4, "cloud": 6}
    assert any("10 replicas, all that are allowed" in reason for reason in world.reasons("scale"))


@BOTH
def test_a_cap_that_forbids_the_standby_wins_and_is_told(policy: str):
    """A budget of two nodes' minimum gives two, and one decision names cap and event."""
    world = selling(policy, budget={"usd_per_hour": 0.04}, rate_rps=lambda _: 20.0)
    world.run(STARTS_S - 40)
    assert world.targets["cloud"] == 2
    told = [reason for reason in world.reasons("scale") if "budget.usd_per_hour" in reason]
    assert any("event sale" in reason for reason in told)
    world.run(600)
    assert world.spent_usd <= 0.04


def test_without_a_rate_before_it_there_is_nothing_to_multiply():
    """A daemon that comes up during the event knows no base, and leaves the policy to it."""
    world = selling(event=sale(starts_s=0.0, rate_factor=10.0), rate_rps=lambda _: 20.0)
    world.run(60)
    assert world.targets == {"private": 1, "cloud": 0}


def test_an_event_that_is_taken_back_or_changed_counts_at_once():
    """A new declaration is the new truth, also while the old one stands by."""
    world = selling(rate_rps=lambda _: 20.0)
    world.run(STARTS_S)
    before = world.targets
    world.shop.spec = changed(world.shop.spec, events=[sale(expected_rps=60.0)])
    world.run(20)
    assert 1 < sum(world.targets.values()) < sum(before.values())
    world.shop.spec = changed(world.shop.spec, events=[])
    world.run(20)
    assert world.targets == {"private": 1, "cloud": 0}


def test_what_stands_by_survives_restarts_of_the_daemon():
    """State is stored each tick and read back: the same replicas, no flapping."""
    world = selling(rate_rps=lambda _: 20.0)
    world.restarts_each_tick = True
    world.run(STARTS_S + LASTS_S - 1)
    scales = [d for _, d in world.decided(100.0) if d.action == "scale" and d.details["site"] == "cloud"]
    counts = [d.details["to"] for d in scales]
    assert counts == sorted(counts)


@settings(max_examples=8, derandomize=True, deadline=None)
@given(
    policy=st.sampled_from(["threshold", "predictive"]),
    expected_rps=st.floats(1.0, 400.0),
    starts_s=st.integers(100, 400),
    lasts_s=st.integers(30, 200),
    before_rps=st.floats(1.0, 80.0),
    during_rps=st.floats(0.0, 300.0),
    cap_usd=st.one_of(st.none(), st.floats(0.0, 0.3)),
)
def test_the_floor_holds_while_it_may_and_no_bound_is_passed(
    policy, expected_rps, starts_s, lasts_s, before_rps, during_rps, cap_usd
):
    """From its start to its end an event has what was settled for it, unless a cap cuts it; never past max or cap."""
    event = sale(starts_s, duration_s=float(lasts_s), expected_rps=expected_rps)
    budget = {} if cap_usd is None else {"usd_per_hour": cap_usd}
    end_s = starts_s + lasts_s
    world = selling(
        policy, event=event, budget=budget, rate_rps=lambda at_s: during_rps if starts_s <= at_s < end_s else before_rps
    )
    while world.at_s < end_s + 60:
        world.tick()
        standing = [each for each in world.mine.policy.standing if each.ends_s > world.now_s]
        assert world.targets.get("private", 0) <= 4
        assert world.targets.get("cloud", 0) <= 6
        if starts_s <= world.at_s < end_s:
            assert standing, "the event was taken up before it started"
            assert cap_usd is not None or sum(world.targets.values()) >= standing[0].replicas
        if world.at_s >= end_s:
            assert not standing
    assert cap_usd is None or world.spent_usd <= cap_usd
    assert world.violations == []
