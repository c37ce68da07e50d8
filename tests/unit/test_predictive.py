"""The predictive policy grows ahead of a ramp, keeps still on a steady load, and says why."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from autoscaler.money.market import Use, ranked
from autoscaler.policy.bids import Bid, PolicyState, Promise
from autoscaler.policy.predictive import (
    BACKLOG_S,
    STEADY_STEPS,
    LeadTimes,
    late_price_usd,
    predictive,
    supply_of,
    take_in,
)
from autoscaler.snapshot import STEP_S, ServiceSnapshot, Step
from tests.support.declared import pools, project, service
from tests.support.moments import NOW_S, asked, moment, signals

LEAD_S = 60.0
LEADS = LeadTimes(LEAD_S, LEAD_S)
SPEC = service(burst={"policy": "predictive"})
OFFERS = {"cloud": ranked(project().sites["cloud"].pools, Use())}


def ask(
    seen: ServiceSnapshot, state: PolicyState, *, now_s: float = NOW_S, leads: LeadTimes = LEADS
) -> tuple[Bid, PolicyState]:
    """One tick of the policy."""
    return predictive(seen, moment(seen, now_s=now_s), take_in(seen, state, leads), leads, OFFERS)


def play(rates_rps: np.ndarray, *, state: PolicyState | None = None, seed: int = 1) -> list[tuple[Bid, PolicyState]]:
    """Bid after each step of a Poisson process with these rates; a request holds one of 4 slots for 0.1 s."""
    state = state or PolicyState()
    counts = np.random.default_rng(seed).poisson(rates_rps * STEP_S)
    story, begun_s = [], max(state.history.until_s, int(NOW_S))
    for index, count in enumerate(counts):
        end_s = begun_s + (index + 1) * STEP_S
        seen = asked(SPEC, signals=signals(steps=(Step(end_s, float(count)),)))
        bid, state = ask(seen, state, now_s=float(end_s))
        story.append((bid, state))
    return story


def test_nothing_is_changed_before_anything_was_seen():
    """A restart keeps what there is: no data is no calm."""
    seen = asked(SPEC, signals=signals(requests=0, service_mean_s=None))
    bid, _ = ask(seen, PolicyState(level=7))
    assert (bid.replicas, bid.kind) == (7, "keep")
    assert "nothing was seen" in bid.reason


def test_a_ramp_is_met_before_it_arrives():
    """While the load doubles in five minutes, what is asked for after the first of them suffices a lead time later."""
    rates = np.concatenate([np.full(120, 60.0), np.linspace(60.0, 120.0, 60)])
    story = play(rates)
    ahead = int(LEAD_S / STEP_S)
    short = [index for index in range(134, 180 - ahead) if story[index][0].replicas * 40.0 < rates[index + ahead]]
    assert not short


def test_a_steady_load_is_left_alone():
    """Half an hour of the same load: at most two changes once it is known."""
    replicas = [bid.replicas for bid, _ in play(np.full(480, 130.0))][120:]
    assert sum(a != b for a, b in pairwise(replicas)) <= 2


def test_a_load_that_went_away_gives_back_what_it_had():
    """After a fall the bid falls, to what the rest needs."""
    story = play(np.concatenate([np.full(120, 200.0), np.full(120, 20.0)]))
    assert story[110][0].replicas >= 6
    assert story[-1][0].replicas <= 2


def test_what_waits_already_is_worked_off():
    """A queue asks for more than the rate alone, as a rate that works it off in a minute would; and is told."""
    calm = behind = play(np.full(120, 60.0))[-1][1]
    for number in range(1, STEADY_STEPS + 1):
        seen = signals(steps=(Step(calm.history.until_s + STEP_S, 60.0 * STEP_S),))
        without, calm = ask(asked(SPEC, signals=seen), calm)
        bid, behind = ask(asked(SPEC, signals=replace(seen, queued=6_000)), behind)
        assert bid.replicas > without.replicas, number
    assert bid.replicas >= without.replicas + 6_000 / BACKLOG_S / 40.0
    assert "6000 waiting now" in bid.reason


def test_it_says_forecast_lead_time_and_both_numbers():
    """`hcctl why` has what was foreseen and what it led to."""
    story = play(np.concatenate([np.full(60, 20.0), np.full(60, 200.0)]))
    grown = next(bid for bid, _ in story if bid.kind == "grow" and bid.replicas > 2)
    assert "req/s" in grown.reason
    assert "forecast in 60 s" in grown.reason
    assert "pay to launch" in grown.reason


def test_a_step_is_counted_once():
    """Ticks are faster than steps: the same step seen again changes nothing."""
    seen = asked(SPEC, signals=signals(steps=(Step(int(NOW_S), 100.0), Step(int(NOW_S) + 5, 100.0))))
    _, once = ask(seen, PolicyState())
    _, twice = ask(seen, once)
    assert twice.history == once.history
    assert twice.promise == once.promise


def test_the_price_of_a_late_request_follows_what_was_late():
    """Below the promised share it falls, above it rises steeply, and stays within bounds."""
    supply = supply_of(SPEC, moment(asked(SPEC)), 0.1, OFFERS)
    day = Promise(requests=864_000.0, seconds=86_400.0)
    prices = [late_price_usd(SPEC, supply, replace(day, late=late), 10.0) for late in (0.0, 561.6, 1_000.0, 1e6)]
    assert prices == sorted(prices)
    assert prices[0] < prices[1] < prices[2]
    assert prices[3] == pytest.approx(3.0 * prices[1])
    assert late_price_usd(SPEC, supply, Promise(), 10.0) == pytest.approx(prices[1])


@pytest.mark.parametrize("rate_rps", [0.1, 10.0, 10_000.0])
@pytest.mark.parametrize("late_share", [0.001, 0.01])
def test_what_is_promised_to_be_late_is_worth_one_replica(rate_rps: float, late_share: float):
    """Whatever the rate and the promised share, as many late requests as are promised cost what a replica does."""
    spec = service(burst={"policy": "predictive", "late_share": late_share})
    supply = supply_of(spec, moment(asked(spec)), 0.1, OFFERS)
    kept = Promise(3_600.0 * rate_rps, 0.65 * late_share * 3_600.0 * rate_rps, 3_600.0)
    hour_usd = 3_600.0 * rate_rps * late_share * late_price_usd(spec, supply, kept, rate_rps)
    assert hour_usd == pytest.approx(max(usd for _, usd in supply.prices_usd_per_hour))


def test_a_service_that_nobody_asks_has_a_price_for_late_requests():
    """No request in a day and none expected: the price is finite, so nothing is rented for nobody."""
    story = play(np.zeros(720))
    assert story[-1][0].replicas == 1


def test_every_pool_counts_with_its_price():
    """Owned nodes first, then rented pools in the order in which they are used."""
    fleet = pools(
        project(),
        "cloud",
        {"name": "spot", "kind": "spot", "max_nodes": 2, "price_usd_per_hour": 0.4},
        {"name": "g5", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 1.0},
    )
    offers = ranked(fleet.sites["cloud"].pools, Use())
    found = supply_of(SPEC, moment(asked(SPEC)), 0.1, {"cloud": offers})
    assert [count for count, _ in found.prices_usd_per_hour] == [4, 2, 4]  # the service may have 6 in the cloud
    assert [usd for _, usd in found.prices_usd_per_hour] == pytest.approx(
        [0.16, *(offer.usd_per_hour for offer in offers)]
    )
    assert found.patience_s == pytest.approx(0.4)


def test_an_answer_within_a_millisecond_is_no_division_by_zero():
    """The gateway's times are whole milliseconds: 0 is a fast model, not a reason to stop."""
    story = [ask(asked(SPEC, signals=signals(service_mean_s=0.0, steps=(Step(int(NOW_S), 500.0),))), PolicyState())]
    bid, _ = story[0]
    assert 1 <= bid.replicas <= 2


def test_a_lead_time_that_was_just_learned_does_not_forget_the_forecast():
    """Until the next step the last advice holds, with its reason."""
    _, state = play(np.full(60, 130.0))[-1]
    bid, after = ask(asked(SPEC, signals=signals()), state, leads=LeadTimes(5.0, 35.0))
    assert bid.replicas == state.level
    assert "forecast in 60 s" in bid.reason
    assert after.advice == state.advice


def test_traffic_that_cost_had_moved_is_not_left_moved():
    """A service that changes its policy takes no half of the other one along."""
    _, state = ask(asked(SPEC), PolicyState(shifted=True, cost_since_s=NOW_S - 1))
    assert (state.shifted, state.cost_since_s) == (False, None)


def test_a_failover_is_sized_by_the_level():
    """What threshold's failover finds is what was asked for last, not a need of another day."""
    _, state = ask(asked(SPEC), PolicyState(level=3, needs=((NOW_S - 5_000, 9),)))
    assert state.needs == ((NOW_S, 3),)
