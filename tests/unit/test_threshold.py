from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.bids import PolicyState
from autoscaler.policy.threshold import Capacity, breaches, cost_view, needed_replicas, threshold
from tests.support.declared import pools, project, repriced, service
from tests.support.moments import NOW_S, asked, gateway, hurting, moment, signals, site

CALM_S, BREACH_S, WINDOW_S = 30.0, 1.0, 10.0
SETTLED = PolicyState(level=2, enough_since_s=NOW_S - 100, needs=((NOW_S - 1, 2),), needs_since_s=NOW_S - 100)


def bid(found, state=SETTLED, *, ready=2, elsewhere=0, down=None, spec=None, **fields):
    fields.setdefault("gateway", gateway(at_s=fields.get("now_s", NOW_S)))
    return threshold(asked(spec, signals=found), moment(**fields), Capacity(ready, elsewhere, down), state)


@pytest.mark.parametrize(
    ("fields", "replicas"),
    [
        ({"rate_rps": 50.0, "recent_rate_rps": 50.0}, 2),  # 50 x 0.1 = 5 slots; a replica is good for 4 x 0.7
        ({"rate_rps": 56.0, "recent_rate_rps": 56.0}, 2),  # exactly two replicas
        ({"rate_rps": 56.1, "recent_rate_rps": 56.1}, 3),
        ({"rate_rps": 50.0, "recent_rate_rps": 100.0}, 4),  # a ramp is seen in the last seconds
        ({"queued": 100}, 3),  # 100 waiting are to be gone in 5 s: 20 req/s more
        ({"service_mean_s": 1.0}, 18),
        ({"requests": 0, "rate_rps": 0.0, "recent_rate_rps": 0.0, "in_use": 0}, 0),
        ({"requests": 0, "rate_rps": 0.0, "recent_rate_rps": 0.0, "in_use": None}, 0),
        ({"requests": 0, "in_use": 3}, None),  # held and not finished: nobody knows for how long
        ({"service_mean_s": None}, None),
    ],
)
def test_need_is_sized_by_littles_law(fields: dict, replicas: int | None):
    """Slots = rate x time a slot is held; replicas = slots / (4 slots x 0.7 in use), rounded up."""
    assert needed_replicas(service(), signals(**fields)) == replicas


@given(st.floats(0, 500), st.floats(0.01, 5), st.integers(1, 16), st.floats(0.1, 1))
def test_the_need_is_enough_and_one_less_is_not(rate_rps: float, held_s: float, slots: int, use: float):
    """The sized capacity is the smallest one that keeps the use below its target."""
    spec = service(model={"slots_per_replica": slots}, burst={"target_slots_in_use": use})
    found = signals(rate_rps=rate_rps, recent_rate_rps=0.0, service_mean_s=held_s)
    need = needed_replicas(spec, found)
    assert rate_rps * held_s <= need * slots * use * (1 + 1e-6) + 1e-6
    assert need == 0 or (need - 1) * slots * use < rate_rps * held_s


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"p99_s": 0.51}, "p99 0.51 s over 0.5 s"),
        ({"queue_p99_s": 0.3}, "queue p99 0.3 s over 0.25 s"),
        ({"private_in_use": 0.95}, "private slots in use 0.95 over 0.9"),
        ({"overflow_share": 0.6}, "overflow share 0.6 over 0.5"),
        ({"refused": 10}, "refused share 0.02 over 0.01"),
    ],
)
def test_each_trigger_alone_is_a_breach_with_value_and_bound(fields: dict, text: str):
    """Latency, wait, slots, overflow, refusals: any of them, and it says by how much."""
    assert breaches(service(), signals(**fields)) == [text]


def test_at_its_bound_a_trigger_is_not_crossed_and_few_requests_are_no_evidence():
    """Over means above; below min_requests nothing is concluded; what is unknown is not crossed."""
    at_bound = signals(p99_s=0.5, queue_p99_s=0.25, private_in_use=0.9, overflow_share=0.5, refused=5)
    assert breaches(service(), at_bound) == []
    assert breaches(service(), hurting(requests=19)) == []
    assert breaches(service(), hurting(requests=20)) != []
    unknown = signals(p99_s=None, queue_p99_s=None, private_in_use=None, overflow_share=None)
    assert breaches(service(), unknown) == []


def test_the_thresholds_of_the_card_win_over_the_slo():
    """p99_over_s and queue_p99_over_s are the user's own."""
    spec = service(burst={"latency": {"p99_over_s": 1.0, "queue_p99_over_s": 0.8}})
    assert breaches(spec, signals(p99_s=0.9, queue_p99_s=0.7)) == []
    assert len(breaches(spec, signals(p99_s=1.1, queue_p99_s=0.9))) == 2


def test_a_breach_counts_when_it_has_lasted():
    """At first it is only noted; after breach_s the need is bid for, sized, with its reason."""
    found = hurting(rate_rps=50.0, recent_rate_rps=140.0)
    first, state = bid(found)
    assert (first.kind, first.replicas) == ("keep", 2)
    assert state.breach_since_s == NOW_S
    second, state = bid(found, state, now_s=NOW_S + BREACH_S)
    assert (second.kind, second.replicas) == ("grow", 5)
    assert second.reason.startswith("p99 2 s over 0.5 s; queue p99 1.5 s over 0.25 s")
    assert second.reason.endswith("140 req/s need 5 replicas")
    assert (state.level, state.because) == (5, second.reason)


def test_a_breach_that_ends_is_forgotten():
    """Two short breaches are not a long one."""
    _, state = bid(hurting())
    _, state = bid(signals(), state, now_s=NOW_S + 0.5)
    assert state.breach_since_s is None


def breaching(level: int = 2, enough_s: float | None = NOW_S - 100) -> PolicyState:
    return PolicyState(
        level=level,
        enough_since_s=enough_s,
        breach_since_s=NOW_S - 5,
        needs=((NOW_S - 1, 2),),
        needs_since_s=NOW_S - 100,
    )


def test_clients_that_hurt_while_the_sizing_is_content_get_one_more():
    """Little's law says 2, the queue says no: 3, once the window shows only the time with 2."""
    grown, state = bid(hurting(), breaching())
    assert (grown.kind, grown.replicas) == ("grow", 3)
    assert "the sizing says 2, the clients say more: 3 replicas" in grown.reason
    again, _ = bid(hurting(), state, ready=2, now_s=NOW_S + 1)
    assert (again.kind, again.replicas) == ("keep", 3)
    assert "1 of 3 replicas are not ready" in again.reason


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({"p99_s": 2.0, "queue_p99_s": 0.1, "private_in_use": 1.0}, True),  # late, full, and some wait
        ({"p99_s": 2.0, "queue_p99_s": 0.02, "private_in_use": 1.0}, False),  # late, full, nobody waits
        ({"p99_s": 2.0, "queue_p99_s": 0.1, "private_in_use": 0.5}, False),  # late, but there is room
        ({"p99_s": 0.5, "queue_p99_s": 0.1, "private_in_use": 1.0}, False),  # full, but in time
        ({"p99_s": None, "queue_p99_s": 0.1, "private_in_use": 1.0}, False),
        ({"p99_s": 2.0, "queue_p99_s": None, "private_in_use": 1.0}, False),
        ({"queue_p99_s": 0.26}, True),
        ({"private_in_use": 0.95, "refused": 5}, False),  # one in a hundred is allowed
        ({"refused": 6}, True),
    ],
)
def test_one_more_is_asked_for_when_it_would_help(fields: dict, more: bool):
    """When somebody waits for want of capacity, and not when the model is slow."""
    found, _ = bid(signals(**fields), breaching())
    assert found.replicas == (3 if more else 2)


def test_a_new_level_is_judged_from_when_it_serves():
    """Also when there happens to be enough at once; a lower level has been served since long."""
    grown, state = bid(hurting(), breaching(), ready=5)
    assert (grown.replicas, state.enough_since_s) == (3, None)
    _, state = bid(hurting(), state, ready=5, now_s=NOW_S + 1)
    assert state.enough_since_s == NOW_S + 1
    calm = PolicyState(level=6, needs=((NOW_S - 29, 3),), needs_since_s=NOW_S - 60, enough_since_s=NOW_S - 100)
    left, state = bid(signals(), calm, ready=6)
    assert (left.replicas, state.enough_since_s) == (3, NOW_S - 100)


def test_old_pain_is_no_evidence_against_new_capacity():
    """While the window still shows the time before the last replica, it does not ask for another one."""
    early, _ = bid(hurting(), breaching(enough_s=NOW_S - WINDOW_S + 1))
    late, _ = bid(hurting(), breaching(enough_s=NOW_S - WINDOW_S))
    assert (early.replicas, late.replicas) == (2, 3)
    assert "the window still shows the time before the last change" in early.reason


def test_never_more_than_the_sites_may_hold():
    """4 + 6 replicas are allowed: a need of 60 is a bid of 10, and pain at 10 is no bid of 11."""
    grown, _ = bid(hurting(rate_rps=1_600.0), breaching())
    assert grown.replicas == 10
    kept, _ = bid(hurting(), breaching(level=10), ready=10)
    assert kept.replicas == 10
    assert "all 10 replicas that are allowed are asked for" in kept.reason


def test_pain_at_a_level_is_no_calm_at_it():
    """When the clients needed one more than the sizing says, that one stays for the whole dwell time."""
    _, state = bid(hurting(), breaching())
    for second in range(1, int(CALM_S) + 1):
        kept, state = bid(signals(), state, ready=3, now_s=NOW_S + second)
        assert kept.replicas == 3
    left, _ = bid(signals(), state, ready=3, now_s=NOW_S + CALM_S + 1.5)
    assert (left.kind, left.replicas) == ("shrink", 2)


def test_leaving_waits_for_the_dwell_and_goes_to_its_maximum():
    """Over 30 s at most 3 of 6 replicas were needed, though now only 1 is: 3 stay."""
    needs = ((NOW_S - 20, 3), (NOW_S - 5, 2))
    state = PolicyState(level=6, needs=needs, needs_since_s=NOW_S - CALM_S, enough_since_s=NOW_S - 100)
    found = signals(rate_rps=20.0, recent_rate_rps=20.0)
    left, after = bid(found, state, ready=6)
    assert (left.kind, left.replicas) == ("shrink", 3)
    assert left.reason == "calm: at most 3 replicas needed for 30 s; 20 req/s"
    assert after.needs == ((NOW_S - 20, 3), (NOW_S - 5, 2), (NOW_S, 1))
    early, _ = bid(found, PolicyState(level=6, needs=needs, needs_since_s=NOW_S - CALM_S + 1), ready=6)
    assert (early.kind, early.replicas) == ("keep", 6)
    assert early.reason == "calm for 29 s of 30 s"


def test_calm_is_counted_anew_after_a_gap():
    """A daemon that did not look for longer than the dwell does not know whether it was calm."""
    state = PolicyState(level=6, needs=((NOW_S - 100, 6),), needs_since_s=NOW_S - 900)
    kept, after = bid(signals(requests=0, rate_rps=0.0, recent_rate_rps=0.0, in_use=0), state, ready=6)
    assert kept.replicas == 6
    assert after.needs_since_s == NOW_S


def test_a_full_private_site_does_not_keep_what_the_load_does_not_need():
    """Private first fills it whenever there is a burst; without anybody waiting it is no pain."""
    state = PolicyState(level=6, needs=((NOW_S - 29, 4),), needs_since_s=NOW_S - 60, breach_since_s=NOW_S - 60)
    left, _ = bid(signals(private_in_use=1.0, overflow_share=0.7), state, ready=6)
    assert (left.kind, left.replicas) == ("shrink", 4)


def test_late_answers_of_an_idle_service_are_not_answered_with_replicas():
    """Nobody waits: the model is slow, and more of it would be as slow."""
    kept, _ = bid(signals(p99_s=3.0, private_in_use=0.2), breaching())
    assert (kept.kind, kept.replicas) == ("keep", 2)
    assert kept.reason == "p99 3 s over 0.5 s; 2 replicas suffice for the load"


def test_refusals_alone_say_that_capacity_is_missing():
    """Those who were turned away did not wait, so that the quantiles look well."""
    grown, _ = bid(signals(refused=100), breaching())
    assert grown.replicas == 3


def test_stale_signals_neither_add_nor_remove():
    """A silent gateway keeps the level, and breach, cost and calm are counted anew."""
    state = PolicyState(level=5, breach_since_s=NOW_S - 9, cost_since_s=NOW_S - 9, needs_since_s=NOW_S - 900)
    kept, after = bid(hurting(), state, gateway=None)
    assert (kept.kind, kept.replicas) == ("keep", 5)
    assert kept.reason == "signals are stale: the gateway has not answered yet"
    assert (after.breach_since_s, after.cost_since_s, after.needs_since_s) == (None, None, NOW_S)


def test_unknown_need_keeps_the_level():
    """Requests without one answer yet: nothing is known about their length."""
    kept, after = bid(signals(service_mean_s=None), SETTLED)
    assert kept.replicas == 2
    assert after.needs[-1] == (NOW_S, 2)


def test_a_failover_asks_for_what_was_served_before():
    """Errors come fast and look like no load: the size is that of the load last served, over the dwell."""
    state = PolicyState(level=4, needs=((NOW_S - 10, 4), (NOW_S - 1, 2)), needs_since_s=NOW_S - 100)
    found, after = bid(signals(service_mean_s=0.001), state, ready=0, down="private site private is lost")
    assert (found.replicas, found.failover) == (4, True)
    assert found.reason == "failover: private site private is lost"
    assert after.failover_s == NOW_S
    again, _ = bid(signals(service_mean_s=0.001), after, ready=0, down="x", now_s=NOW_S + 500)
    assert again.replicas == 4, "it is remembered for as long as nothing serves"


def test_a_failover_follows_the_load_once_the_cloud_serves():
    """Then the need is seen again, and the dwell applies."""
    state = PolicyState(level=6, needs=((NOW_S - CALM_S - 1, 6),), needs_since_s=NOW_S - 100, failover_s=NOW_S - 1)
    found, _ = bid(signals(), state, ready=6, elsewhere=6, down="x")
    assert found.replicas == 2


def test_the_cloud_stands_by_for_the_dwell_after_a_failover():
    """The private site is back: the bid is an ordinary one, and says that the cloud should stay for now."""
    state = PolicyState(level=2, needs=((NOW_S, 2),), needs_since_s=NOW_S, failover_s=NOW_S)
    early, after = bid(signals(), state, now_s=NOW_S + CALM_S - 1)
    assert (early.failover, early.standby) == (False, True)
    late, after = bid(signals(), after, now_s=NOW_S + CALM_S)
    assert (late.standby, after.failover_s) == (False, None)


COST = {"private_over_cloud_ratio": 1.2, "return_ratio": 1.0, "keep_private_share": 0.25, "dwell_s": 60.0}


def priced(ratio: float) -> dict:
    """Sites on which a private node costs `ratio` times a rented one."""
    fleet = repriced(project(), "private", power_kw_per_gpu=0.0, opportunity_usd_per_gpu_hour=ratio)
    return {"private": site("private", fleet=fleet), "cloud": site("cloud", "closed", fleet=fleet)}


@pytest.mark.parametrize(
    ("shifted", "ratio", "after"),
    [(False, 1.2, False), (False, 1.21, True), (True, 1.0, True), (True, 0.99, False), (True, 1.1, True)],
)
def test_cost_changes_sides_beyond_its_ratios_and_keeps_them_between(shifted: bool, ratio: float, after: bool):
    """Away above 1.2, home below 1.0, and in between things stay as they are."""
    spec = service(burst={"cost": COST})
    state = PolicyState(level=2, shifted=shifted, needs_since_s=NOW_S)
    for at_s in (NOW_S, NOW_S + 59):
        found, state = bid(signals(), state, spec=spec, sites=priced(ratio), now_s=at_s)
        assert found.shift is shifted
    found, state = bid(signals(), state, spec=spec, sites=priced(ratio), now_s=NOW_S + 60)
    assert found.shift is state.shifted is after


def test_cost_says_nothing_without_traffic_or_a_cloud():
    """No requests, or no site to move to: no view, and the dwell begins anew."""
    spec = service(burst={"cost": COST})
    assert cost_view(asked(spec, signals=signals(requests=5)), moment(), 1) is None
    home_only = service(burst={"cost": COST}, sites={"cloud": {"max_replicas": 0}})
    assert cost_view(asked(home_only), moment(), 1) is None
    assert cost_view(asked(spec), moment(), 2).ratio == pytest.approx(0.16)
    assert cost_view(asked(spec, signals=signals(requests=20)), moment(), 0).ratio == pytest.approx(0.16)
    _, state = bid(signals(requests=5), PolicyState(shifted=True, cost_since_s=1.0), spec=spec)
    assert (state.shifted, state.cost_since_s) == (True, None)


def test_answers_that_leave_the_cloud_are_part_of_its_price():
    """A megabyte each is a gigabyte per 1,000: 0.09 usd on top of the node."""
    entry = {"name": "g5", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 1.0, "egress_usd_per_gb": 0.09}
    sites = {"private": site("private"), "cloud": site("cloud", "closed", fleet=pools(project(), "cloud", entry))}
    view = cost_view(asked(signals=signals(bytes_mean=1e6)), moment(sites=sites), 2)
    assert view.cloud_usd_per_1000 == pytest.approx(2 * 1_000 / (50 * 3_600) + 0.09)
    unknown = cost_view(asked(signals=signals(bytes_mean=None)), moment(sites=sites), 2)
    assert unknown.cloud_usd_per_1000 == pytest.approx(2 * 1_000 / (50 * 3_600))


def test_a_trigger_that_was_taken_away_brings_traffic_home():
    """Without a cost section nothing stays shifted."""
    _, state = bid(signals(), PolicyState(shifted=True))
    assert state.shifted is False


@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.floats(0, 3), st.floats(0, 1), st.integers(0, 200), st.integers(0, 12)),
        min_size=1,
        max_size=40,
    )
)
def test_bids_are_bounded_and_what_is_remembered_stays_small(story):
    """Whatever the signals: 1 to 10 replicas, falling needs of the dwell time only, and a reason each time."""
    state, now_s = PolicyState(), NOW_S
    for rate, wait, use, refused, ready in story:
        now_s += 5.0
        found = signals(
            rate_rps=rate, recent_rate_rps=rate, requests=round(rate * 10), queue_p99_s=wait, p99_s=wait + 0.1,
            private_in_use=use, refused=min(refused, round(rate * 10)), queued=round(rate * wait),
        )  # fmt: skip
        result, state = bid(found, state, ready=ready, now_s=now_s)
        assert 1 <= result.replicas <= 10
        assert result.reason
        assert state.level == result.replicas
        heights = [need for _, need in state.needs]
        assert heights == sorted(set(heights), reverse=True)
        assert all(now_s - at_s <= CALM_S for at_s, _ in state.needs)
        if result.kind == "shrink":
            assert now_s - state.needs_since_s >= CALM_S
