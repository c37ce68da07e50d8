"""Lead times are learned from what was seen, per stage, and never from what failed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.leads import KEPT, LONGEST_S, Lead, follow
from serving.sites.site import Worker

MOMENT = st.floats(0, 3_000)


def play(*rows: tuple[float, str, int, int], lead: Lead | None = None) -> Lead:
    """A story of (now, phase, target, ready)."""
    lead = lead or Lead()
    for now_s, phase, target, ready in rows:
        lead = follow(lead, phase=phase, target=target, ready=ready, now_s=now_s)
    return lead


def test_the_declared_lead_time_holds_until_a_start_was_seen():
    """Nothing is known of a site that never opened."""
    assert Lead().expected_s(site_open=False, declared_s=90.0) == 90.0
    assert Lead(seen_s={"load": (4.0,)}).expected_s(site_open=False, declared_s=90.0) == 90.0


def test_opening_and_loading_are_told_apart():
    """A closed site takes both stages, an open one only the second."""
    lead = play((0, "closed", 1, 0), (1, "opening", 1, 0), (13, "open", 1, 0), (17, "open", 1, 1))
    assert lead.seen_s == {"open": (13.0,), "load": (4.0,)}
    assert lead.going_on is None
    assert lead.expected_s(site_open=False, declared_s=90.0) == 17.0
    assert lead.expected_s(site_open=True, declared_s=90.0) == 4.0


def test_the_longest_of_the_last_starts_is_expected():
    """One slow start counts until `KEPT` others were seen."""
    lead = Lead()
    for index, took_s in enumerate((30.0, *[5.0] * (KEPT - 1))):
        asked_s = 100.0 * index
        lead = play((asked_s, "open", 1, 0), (asked_s + took_s, "open", 1, 1), (asked_s + 50, "open", 0, 0), lead=lead)
    assert lead.expected_s(site_open=True, declared_s=1.0) == 30.0
    lead = play((1_000.0, "open", 1, 0), (1_005.0, "open", 1, 1), lead=lead)
    assert lead.expected_s(site_open=True, declared_s=1.0) == 5.0


def test_a_start_that_was_given_up_says_nothing():
    """A target that returns before anything came is no lead time."""
    assert play((0, "open", 2, 0), (3, "open", 0, 0)).seen_s == {}


def test_a_start_that_took_for_ever_says_nothing():
    """A site that could not start for hours is broken, not slow."""
    looks = [(20.0 * look, "open", 1, 0) for look in range(int(LONGEST_S / 20) + 2)]
    assert play(*looks, (looks[-1][0] + 1, "open", 1, 1)).seen_s == {}
    assert play(*looks[:100], (looks[100][0], "open", 1, 1)).seen_s == {"load": (2_000.0,)}


def test_a_replica_that_died_is_no_launch():
    """What comes back by itself took no lead time: five quick restarts would hide the long start of a node."""
    assert play((0, "open", 3, 3), (1, "open", 3, 2), (5, "open", 3, 3)).seen_s == {}


def test_a_start_whose_end_nobody_saw_says_nothing():
    """The daemon was away: the time of its absence is no lead time."""
    assert play((0, "open", 1, 0), (5, "open", 1, 0), (900, "open", 1, 1)).seen_s == {}


def test_more_that_is_asked_for_meanwhile_does_not_prolong_the_start():
    """What was waited for first has come: its time is noted, and the rest begins anew."""
    lead = play((0, "open", 1, 0), (5, "open", 3, 0), (8, "open", 3, 1))
    assert lead.seen_s == {"load": (8.0,)}
    assert lead.going_on is not None
    assert (lead.going_on.since_s, lead.going_on.replicas) == (8, 3)


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 100),
            st.sampled_from(["closed", "opening", "open", "closing", "lost"]),
            st.integers(0, 5),
            st.integers(0, 5),
            st.none() | st.lists(st.builds(Worker, MOMENT, st.none() | MOMENT, st.none() | MOMENT), max_size=3),
            st.booleans(),
        )
    )
)
def test_what_is_learned_is_bounded_and_was_seen(rows: list[tuple[float, str, int, int, list[Worker] | None, bool]]):
    """Whatever a site shows: few durations are kept, and none is longer than the story."""
    lead, now_s = Lead(), 0.0
    for step_s, phase, target, ready, workers, answered in rows:
        now_s += step_s
        lead = follow(lead, phase=phase, target=target, ready=ready, now_s=now_s, answered=answered, workers=workers)
    assert all(len(kept) <= KEPT and all(0 <= took <= now_s for took in kept) for kept in lead.seen_s.values())
    assert all(len(kept) <= KEPT and all(0 <= took <= LONGEST_S for took in kept) for kept in lead.parts_s.values())


def told(*workers: Worker, ready: int = 0, answered: bool = True) -> dict[str, Any]:
    """What an open site shows that lacks a replica and tells of its workers."""
    return {"phase": "open", "target": 1, "ready": ready, "workers": workers or None, "answered": answered}


def test_the_parts_of_a_start_are_told_apart():
    """Node and image by the site's clock, weights the rest of the start, warm-up until the first answers."""
    lead = follow(Lead(), now_s=100, **told())
    lead = follow(lead, now_s=110, **told(Worker(102)))
    lead = follow(lead, now_s=130, **told(Worker(102, 120)))
    lead = follow(lead, now_s=150, **told(Worker(102, 120, 145)))
    lead = follow(lead, now_s=160, **told(ready=1, answered=False))
    lead = follow(lead, now_s=163, **told(ready=1))
    assert lead.longest_s() == {"node": 18.0, "image": 25.0, "weights": 17.0, "warm_up": 3.0}
    assert lead.seen_s == {"load": (60.0,)}
    assert lead.warming_since_s is None


def test_the_last_worker_to_run_is_the_one_that_was_waited_for():
    """A start ends with the slowest of its workers; one that was there before is none of it."""
    lead = follow(Lead(), now_s=100, phase="open", target=2, ready=0)
    workers = (Worker(20, 90, 95), Worker(101, 111, 115), Worker(101, 121, 131), Worker(101))
    lead = follow(lead, now_s=120, phase="open", target=2, ready=0, workers=workers)
    lead = follow(lead, now_s=140, phase="open", target=2, ready=2)
    assert lead.longest_s() == {"node": 20.0, "image": 10.0, "weights": 10.0}


def test_a_worker_that_was_there_costs_no_node():
    """On a node that is still there only the weights are loaded, and nothing is said of nodes and images."""
    lead = follow(Lead(), now_s=100, **told())
    lead = follow(lead, now_s=103, **told(Worker(20, 30, 40)))
    assert follow(lead, now_s=107, **told(ready=1)).parts_s == {"weights": (7.0,)}


def test_a_site_that_does_not_tell_teaches_no_parts():
    """Without a word of its workers only the whole is known: what is not told is not nought."""
    lead = follow(follow(Lead(), now_s=100, **told()), now_s=107, **told(ready=1))
    assert (lead.seen_s, lead.parts_s) == ({"load": (7.0,)}, {})


def test_clocks_that_are_apart_make_no_negative_part():
    """Where the times of a site contradict each other or the start, what would be wrong is not learned."""
    lead = follow(follow(Lead(), now_s=100, **told()), now_s=104, **told(Worker(101, 131, 141)))
    assert follow(lead, now_s=110, **told(ready=1)).parts_s == {"node": (30.0,), "image": (10.0,)}
    lead = follow(follow(Lead(), now_s=100, **told()), now_s=104, **told(Worker(101, 99, 90)))
    assert follow(lead, now_s=110, **told(ready=1)).parts_s == {"weights": (10.0,)}


def test_a_warm_up_that_was_given_up_says_nothing():
    """A replica that leaves, or that nobody watched, before it answered has no warm-up."""
    lead = follow(follow(Lead(), now_s=0, **told()), now_s=9, **told(ready=1, answered=False))
    assert lead.warming_since_s == 9
    assert "warm_up" not in follow(lead, now_s=12, phase="open", target=0, ready=0).parts_s
    assert "warm_up" not in follow(lead, now_s=900, **told(ready=1)).parts_s
