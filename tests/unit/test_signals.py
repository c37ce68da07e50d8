from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.observing.signals import STEPS_KEPT, SignalWindow, bucket_edges, is_error, is_load, quantile
from autoscaler.snapshot import STEP_S, TrackSignals
from serving.gateway.gateway import GatewayObservation, RequestRecord, ServerObservation

NOW_S = 1_800_000_000.0


def record(at_s: float = NOW_S - 1, **fields: object) -> RequestRecord:
    base = RequestRecord("shop", "stable", "private", 200, 0.0, 0.1, "--", 500, "id", at_s)
    return replace(base, **fields)


def window(window_s: float = 10.0, slo_s: float = 0.5) -> SignalWindow:
    return SignalWindow(slo_s=slo_s, window_s=window_s, cloud_sites=frozenset({"cloud"}))


def seen(at_s: float, *, queued: int = 0, private: int = 0, cloud: int = 0, limit: int = 4) -> GatewayObservation:
    servers = (
        ServerObservation("shop", "stable", "private", True, limit, private),
        ServerObservation("shop", "stable", "cloud", True, 8, cloud),
    )
    return GatewayObservation(servers, {"shop": queued}, at_s)


def filled(*records: RequestRecord) -> SignalWindow:
    made = window()
    for one in sorted(records, key=lambda r: r.at_s + r.total_s):
        made.add(one)
    return made


def test_edges_rise_and_one_is_the_slo():
    """101 logarithmic edges from 1 ms to 100 s, and one more exactly at the SLO."""
    edges = bucket_edges(0.37)
    assert 0.37 in edges
    assert list(edges) == sorted(set(edges))
    assert edges[0] == 0.001
    assert edges[-1] == pytest.approx(100.0)
    assert len(edges) == 102


def test_a_quantile_at_the_slo_is_exact():
    """99 of 100 within the SLO keep it, 98 do not: no bucket straddles the promise."""
    kept = filled(*[record(total_s=0.5)] * 99, record(total_s=0.501)).signals(NOW_S)
    broken = filled(*[record(total_s=0.5)] * 98, *[record(total_s=0.501)] * 2).signals(NOW_S)
    assert kept.p99_s == 0.5
    assert broken.p99_s > 0.5


@given(st.lists(st.floats(min_value=0.001, max_value=90.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_an_upper_bound_within_one_bucket(values: list[float], q: float):
    """It is never below the true quantile, and at most 12.3 % above it."""
    edges = bucket_edges(0.5)
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[sum(edge < value for edge in edges)] += 1
    true = sorted(values)[math.ceil(q * len(values)) - 1]
    found = quantile(counts, edges, q)
    assert true <= found <= true * 1.123


def test_no_observation_is_no_quantile():
    """Empty is None, never 0."""
    assert quantile([0, 0, 0], (0.1, 0.2), 0.99) is None
    assert quantile([0, 0, 3], (0.1, 0.2), 0.99) == 0.2
    empty = window().signals(NOW_S)
    assert (empty.p99_s, empty.queue_p99_s, empty.service_mean_s, empty.error_share) == (None, None, None, None)
    assert (empty.private_in_use, empty.overflow_share, empty.in_use) == (None, None, None)
    assert (empty.requests, empty.rate_rps) == (0, 0.0)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.99])
def test_the_rate_is_that_of_the_clients_at_any_fraction_of_a_second(fraction: float):
    """A steady 20 req/s reads as 20, whenever the tick comes, in the window and in the last seconds."""
    made, now_s = window(), NOW_S + fraction
    for index in range(20 * 60):
        at_s = now_s - 60 + index / 20
        made.add(record(at_s=at_s, total_s=0.0))
    found = made.signals(now_s)
    assert found.rate_rps == pytest.approx(20, rel=0.02)
    assert found.recent_rate_rps == pytest.approx(20, rel=0.02)


def test_under_overload_the_growing_queue_counts_as_arrivals():
    """40 req/s arrive where 20 are finished: the rate is what piles up as well."""
    made = window()
    for second in range(12):
        at_s = NOW_S - 12 + second
        made.observe(seen(at_s, queued=20 * second, private=4), "shop")
        for index in range(20):
            made.add(record(at_s=at_s + index / 20, total_s=0.0))
        made.observe(seen(at_s + 0.9, queued=20 * (second + 1), private=4), "shop")
    assert made.signals(NOW_S).recent_rate_rps == pytest.approx(40)


def test_what_is_older_than_the_window_is_forgotten():
    """Ten seconds later nothing is left, and memory is bounded by the window."""
    made = filled(*[record(at_s=NOW_S - 1)] * 30)
    assert made.signals(NOW_S).requests == 30
    assert made.signals(NOW_S + 11).requests == 0
    for second in range(1_000):
        made.add(record(at_s=NOW_S + second))
    assert len(made._cells) <= 10 + STEPS_KEPT * STEP_S


def test_a_clock_that_was_set_back_does_not_blind_the_window():
    """Records from before the step lie in the future; they go, and new ones count at once."""
    made = filled(*[record(at_s=NOW_S + 3_600)] * 50)
    assert made.signals(NOW_S).requests == 0
    made.add(record(at_s=NOW_S))
    assert made.signals(NOW_S + 1).requests == 1


def test_waits_of_refused_requests_count_and_their_own_answers_do_not():
    """A request that left the queue refused waited all its time; a 429 waited none and flatters nothing."""
    refused = record(site="", status=503, queue_s=None, total_s=2.0, termination="sQ")
    turned_away = record(site="", status=429, queue_s=None, total_s=0.0, termination="PR")
    found = filled(record(), refused, turned_away).signals(NOW_S + 1.5)
    assert found.requests == 3
    assert found.refused == 2
    assert found.queue_p99_s >= 2.0
    assert found.p99_s >= 2.0
    assert found.p50_s < 0.2


def test_a_wait_that_is_not_known_is_not_the_time_of_the_answer():
    """A site answered slowly; when it was taken from the queue was not logged."""
    found = filled(record(queue_s=None, total_s=3.0)).signals(NOW_S + 3)
    assert (found.queue_p99_s, found.requests) == (None, 1)


def test_what_took_longer_than_the_last_edge_is_counted_in_it():
    """150 s read as 100 s, and are not lost."""
    found = filled(record(at_s=NOW_S - 151, total_s=150.0)).signals(NOW_S)
    assert found.p99_s == pytest.approx(100.0)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 411, 413])
def test_requests_the_gateway_refuses_for_their_own_faults_are_no_load(status: int):
    """Wrong keys and too large bodies must not make anybody rent a machine."""
    own_fault = record(site="", status=status, queue_s=None, total_s=0.0, termination="PR")
    assert not is_load(own_fault)
    found = filled(*[own_fault] * 1_000, *[record()] * 10).signals(NOW_S)
    assert (found.requests, found.refused) == (10, 0)


def test_a_client_that_gave_up_waiting_is_load():
    """It left the queue before its turn, whatever status was logged."""
    assert is_load(record(site="", status=400, termination="CQ"))


@pytest.mark.parametrize(("status", "error"), [(200, False), (404, False), (499, False), (500, True), (503, True)])
def test_an_error_is_a_5xx_of_a_site(status: int, error: bool):
    """What the client did wrong is not the site's failure."""
    assert is_error(record(status=status)) is error


def test_answers_are_counted_per_track_and_site_and_only_the_latest_for_failing_fast():
    """by_site covers two seconds, the shares the whole window."""
    made = filled(
        *[record(at_s=NOW_S - 6, status=500)] * 4,
        *[record(at_s=NOW_S - 1, site="cloud")] * 3,
        *[record(at_s=NOW_S - 1, track="candidate", status=502)] * 2,
    )
    found = made.signals(NOW_S)
    assert found.by_site == {
        ("stable", "cloud"): TrackSignals(3, 0),
        ("candidate", "private"): TrackSignals(2, 2),
    }
    assert found.error_share == pytest.approx(6 / 9)
    assert found.overflow_share == pytest.approx(3 / 9)


def test_failing_fast_is_about_the_last_two_seconds():
    """At a full second these are exactly the two before it."""
    made = filled(*[record(at_s=NOW_S - age_s, total_s=0.0) for age_s in (2.1, 2.0, 1.0, 0.1)])
    assert made.signals(NOW_S).by_site == {("stable", "private"): TrackSignals(3, 0)}


def test_the_time_a_slot_is_held_leaves_the_queue_out():
    """0.9 s of which 0.6 s were waited is 0.3 s of service."""
    found = filled(record(total_s=0.9, queue_s=0.6), record(total_s=0.1)).signals(NOW_S + 1)
    assert found.service_mean_s == pytest.approx(0.2)
    assert found.bytes_mean == 500


def test_slots_in_use_are_those_of_the_private_site():
    """3 of 4 and then 1 of 4 private slots are half; cloud slots and a limit of 0 say nothing about it."""
    made = window()
    made.observe(seen(NOW_S - 2, private=3, cloud=8, queued=7), "shop")
    made.observe(seen(NOW_S - 1, private=1, cloud=2), "shop")
    made.observe(seen(NOW_S, private=0, cloud=5, limit=0), "shop")
    found = made.signals(NOW_S)
    assert found.private_in_use == pytest.approx(0.5)
    assert (found.queued, found.in_use) == (0, 5)


def test_more_in_use_than_the_limit_is_all_of_it():
    """After a limit was lowered more may be held; the share stays at 1."""
    made = window()
    made.observe(seen(NOW_S, private=9), "shop")
    assert made.signals(NOW_S).private_in_use == 1.0


@given(
    st.lists(
        st.tuples(
            st.floats(min_value=-30, max_value=30),
            st.sampled_from(["", "private", "cloud"]),
            st.sampled_from([200, 400, 429, 500, 503]),
            st.floats(min_value=0, max_value=20),
        ),
        max_size=60,
    ),
    st.floats(min_value=-5, max_value=5),
)
def test_any_order_of_lines_gives_sane_signals(lines, late_s: float):
    """Late, early and odd lines: shares stay shares, counts stay counts, nothing is raised."""
    made = window()
    for offset_s, name, status, total_s in lines:
        made.add(record(at_s=NOW_S + offset_s, site=name, status=status, total_s=total_s))
    found = made.signals(NOW_S + late_s)
    assert 0 <= found.refused <= found.requests <= len(lines)
    assert found.rate_rps >= 0 <= found.recent_rate_rps
    assert found.overflow_share is None or 0 <= found.overflow_share <= 1
    assert found.error_share is None or 0 <= found.error_share <= 1
    assert all(0 <= s.errors <= s.requests for s in found.by_site.values())


def watched(seconds: int, per_second: int, *, queued: int = 0, grows: int = 0) -> SignalWindow:
    """A window that saw so many seconds up to now, the gateway looked at in each."""
    made = window()
    for back in range(seconds, 0, -1):
        for _ in range(per_second):
            made.add(record(at_s=NOW_S - back, total_s=0.1))
        made.observe(seen(NOW_S - back + 0.5, queued=queued + grows * (seconds - back)), "shop")
    return made


def test_steps_are_complete_and_on_the_grid():
    """A forecast gets whole steps only: none that has just begun, none that was watched in part."""
    steps = watched(23, 2).signals(NOW_S + 1).steps
    assert [step.end_s - NOW_S for step in steps] == [-15, -10, -5, 0]
    assert {step.requests for step in steps} == {10.0}


def test_what_waits_has_arrived_too():
    """Under overload no more ends than can; the growing queue tells of the rest."""
    steps = watched(23, 2, queued=7, grows=3).signals(NOW_S + 1).steps
    assert {step.requests for step in steps} == {2 * 5 + 3 * 5}


def test_a_step_in_which_nobody_looked_is_unknown():
    """The gateway was away for half a minute: that is no fall of the load to nothing."""
    made = watched(23, 2)
    assert made.signals(NOW_S + 30).steps == made.signals(NOW_S + 6).steps[-1:]
    made.observe(seen(NOW_S + 29), "shop")
    assert [step.end_s - NOW_S for step in made.signals(NOW_S + 31.5).steps][-1] == 30


def test_silence_that_was_watched_is_a_step_of_nothing():
    """No request is known when the gateway was looked at: zero is then a value."""
    assert [step.requests for step in watched(12, 0).signals(NOW_S + 1).steps] == [0.0, 0.0]
    assert window().signals(NOW_S).steps == ()


def test_what_relief_did_is_counted_and_flatters_nothing():
    """Light answers and refusals are requests; no quantile, service time, error or share of a site has them."""
    plain = [record(NOW_S - 2, total_s=0.4) for _ in range(10)]
    light = [record(NOW_S - 2, site="", total_s=0.001, queue_s=0.0, bytes_out=9, relief="light") for _ in range(30)]
    shed = [record(NOW_S - 2, site="", status=429, queue_s=None, total_s=0.0, relief="shed_low") for _ in range(10)]
    passed = [record(NOW_S - 2, site="", total_s=0.5, relief="passed") for _ in range(5)]
    without, seen = (filled(*records).signals(NOW_S) for records in (plain, [*plain, *light, *shed, *passed]))
    same = ("p50_s", "p99_s", "queue_p99_s", "service_mean_s", "bytes_mean", "error_share", "overflow_share", "by_site")
    assert {name: getattr(seen, name) for name in same} == {name: getattr(without, name) for name in same}
    assert (seen.requests, seen.refused, dict(seen.relief)) == (50, 10, {"light": 30, "shed_low": 10})
    assert (seen.light_share, seen.shed_share) == (0.6, 0.2)
    assert seen.recent_relief_rps == {"light": 10.0, "shed_low": pytest.approx(10 / 3)}
    assert seen.recent_rate_rps == pytest.approx(50 / 3)
    assert (window().signals(NOW_S).light_share, without.shed_share) == (None, 0.0)


@pytest.mark.parametrize(
    ("fields", "late"),
    [
        pytest.param({"total_s": 0.6, "queue_s": 0.3}, 5.0, id="it waited"),
        pytest.param({"total_s": 0.6, "queue_s": 0.0}, 0.0, id="the model is slow"),
        pytest.param({"total_s": 0.4, "queue_s": 0.3}, 0.0, id="in time"),
        pytest.param({"site": "", "status": 503, "queue_s": None}, 5.0, id="no room"),
        pytest.param({"site": "", "status": 429, "queue_s": None, "relief": "shed_low"}, 0.0, id="refused by priority"),
    ],
)
def test_late_is_what_more_capacity_would_have_mended(fields: dict[str, object], late: float):
    """A wait that broke the SLO or a refusal is counted; a slow model and a declared refusal are not."""
    made = window()
    for back in range(12, 0, -1):
        made.observe(seen(NOW_S - back), "shop")
        total_s = float(str(fields.get("total_s", 0.0)))
        made.add(record(at_s=NOW_S - back - total_s + 0.1, **{"total_s": total_s, **fields}))
    assert made.signals(NOW_S + 1).steps[-1].late == late
