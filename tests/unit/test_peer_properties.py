"""What holds for every peer: bounds, order, calm and purity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.simulation.peers import PEERS, Peer
from autoscaler.simulation.peers.kpa import KpaState
from autoscaler.simulation.peers.ray_serve import RayServeState
from autoscaler.simulation.peers.skyserve import SkyServeState
from autoscaler.simulation.view import View
from tests.support.views import under_constant_load, view

peers = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)

NOW_S = 600


def states(peer: Peer[Any], asked: int) -> st.SearchStrategy[Any]:
    """What a peer may remember at `NOW_S`."""
    past = st.integers(NOW_S - 400, NOW_S)
    if peer.name in {"hpa", "keda"}:
        # Above the present scale the order does not hold: see test_past_recommendation_that_was_cut_returns.
        return st.lists(st.tuples(past, st.integers(1, max(1, asked))), max_size=5).map(
            lambda found: tuple(sorted(found))
        )
    if peer.name == "kpa":
        return st.builds(KpaState, st.booleans(), st.none() | past, st.integers(0, 50))
    if peer.name == "ray-serve":
        return st.builds(RayServeState, st.integers(-5, 5), st.none() | past)
    return st.builds(SkyServeState, st.integers(0, 15), st.integers(0, 60))


def loaded(load: float, *, ready: int, asked: int, late_s: int = 0) -> View:
    """A service that holds `load` requests at 0.4 s each, as many as fit in slots."""
    in_slots = min(load, 2.0 * ready)
    return view(
        now_s=NOW_S, arrivals=load / 0.4, ongoing=load, in_slots=in_slots, ready=ready, asked=asked, late_s=late_s
    )


@peers
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_never_below_one(peer: Peer[Any], data: st.DataObject) -> None:
    """Whatever is seen and remembered, at least one replica is wanted."""
    asked = data.draw(st.integers(0, 30))
    seen = loaded(
        data.draw(st.floats(0, 100)),
        ready=data.draw(st.integers(0, asked)),
        asked=asked,
        late_s=data.draw(st.sampled_from([0, 7, 90, NOW_S])),
    )
    assert peer.decide(seen, data.draw(states(peer, asked)))[0] >= 1


@peers
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_more_load_never_wants_less(peer: Peer[Any], data: st.DataObject) -> None:
    """From the same state and replicas a larger load wants at least as many."""
    asked = data.draw(st.integers(1, 30))
    ready, state = data.draw(st.integers(0, asked)), data.draw(states(peer, asked))
    less, more = sorted(data.draw(st.tuples(st.floats(0, 100), st.floats(0, 100))))
    fewer, _ = peer.decide(loaded(less, ready=ready, asked=asked), state)
    wanted, _ = peer.decide(loaded(more, ready=ready, asked=asked), state)
    assert wanted >= fewer


@peers
@pytest.mark.parametrize("rate_rps", [0.5, 33.0, 180.0])
@pytest.mark.parametrize("replicas", [1, 60])
def test_constant_load_is_no_reason_to_oscillate(peer: Peer[Any], rate_rps: float, replicas: int) -> None:
    """Within an hour of a load without noise a peer settles, on replicas that can serve it, and stays there."""
    wanted = under_constant_load(peer, rate_rps=rate_rps, replicas=replicas, lead_s=120, seconds=4_800)
    settled = set(wanted[3_600:])
    assert len(settled) == 1
    assert settled.pop() * 5.0 >= rate_rps


@peers
def test_decides_without_a_trace(peer: Peer[Any]) -> None:
    """Before the first second has passed the replicas found are kept."""
    assert peer.decide(view(now_s=0, ready=4), peer.start())[0] == 4


@peers
def test_same_view_and_state_same_decision(peer: Peer[Any]) -> None:
    """A decision depends on nothing but its arguments, and changes none of them."""
    seen, state = loaded(12.0, ready=4, asked=5), peer.start()
    before = replace(seen, ongoing=seen.ongoing.copy(), in_slots=seen.in_slots.copy())
    assert peer.decide(seen, state) == peer.decide(seen, state)
    assert (seen.ongoing == before.ongoing).all()
    assert (seen.in_slots == before.in_slots).all()
