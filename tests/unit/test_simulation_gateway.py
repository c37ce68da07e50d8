"""Relief in the simulated world: what is kept from the queue, what the daemon sees of it, and what it is worth."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.queueing import Floats, LateTable
from autoscaler.routing.relief import ReliefState, gateway_level, refuses
from autoscaler.simulation.contest import POLICIES, controller, judge
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.gateway import RELIEF, Mix, kept_away
from autoscaler.simulation.own import OwnController, signals_of
from autoscaler.simulation.view import View
from autoscaler.simulation.world import Run, WorldSpec, simulate
from serving.spec import Priority
from serving.spec_relief import RELIEF_LEVELS, ReliefLevel

POOL = CloudPool("cloud", 1.0, 60.0, max_replicas=30)
WORLD = WorldSpec(private_replicas=10, slots_per_replica=2, service_s=0.4, slo_latency_s=1.0, pools=(POOL,))
"""The private replicas answer 50 requests per second; 0.6 s are left to wait."""
MIX = Mix(light_share=0.3, low_share=0.3, high_share=0.2)
LENGTHS: dict[ReliefLevel, int] = {"light": 26, "shed_low": 51, "shed_normal": 101}

mixes = st.builds(
    lambda light, low, rest, most: Mix(light, low, (1.0 - low) * rest, most),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 300),
)  # fmt: skip
lengths = st.lists(st.integers(0, 300), min_size=3, max_size=3).map(
    lambda found: dict(zip(RELIEF_LEVELS, sorted(found), strict=True))
)
"""A severer level never begins earlier."""
counts = st.floats(0, 1_000)


@dataclass
class Told:
    """Rents nothing and tells the gateway the same always."""

    queue_from: Mapping[ReliefLevel, int]
    tick_s: int = 5
    views: list[View] = field(default_factory=list)

    def decide(self, view: View) -> Sequence[int]:
        self.views.append(view)
        return [0]


def poisson(rates_rps: Floats, seed: int = 1) -> Floats:
    """Requests in each second."""
    return np.random.default_rng(seed).poisson(rates_rps).astype(float)


def rush(seconds: int = 600) -> Floats:
    """30 requests per second, 100 for two minutes."""
    at = np.arange(seconds)
    return poisson(np.where((at >= 200) & (at < 320), 100.0, 30.0))


def values(run: Run) -> bytes:
    """All that happened, as bytes."""
    return b"".join(a.tobytes() for a in (run.arrivals, run.private, run.ready, run.launching, run.usd))


@given(lengths, mixes, counts, counts, counts)
def test_no_more_is_kept_than_may_be(
    queue_from: dict[ReliefLevel, int], mix: Mix, waiting: float, arrived: float, room: float
) -> None:
    """Each request is kept once at the most; light answers are at most what the process gives."""
    kept = kept_away(queue_from, mix, waiting=waiting, arrived=arrived, room=room)
    assert min(kept.values()) >= 0
    assert sum(kept.values()) <= arrived * (1 + 1e-9)
    assert kept["light"] <= min(mix.light_share * arrived, mix.light_rps)
    assert kept["shed_low"] <= mix.low_share * arrived * (1 + 1e-9)
    assert kept["shed_low"] + kept["shed_normal"] <= (1 - mix.high_share) * arrived * (1 + 1e-9)


@given(lengths, mixes, counts, counts, counts)
def test_the_milder_level_gives_all_it_has_first(
    queue_from: dict[ReliefLevel, int], mix: Mix, waiting: float, arrived: float, room: float
) -> None:
    """Nobody is refused while light answers are left, and no normal priority while a low one is."""
    kept = kept_away(queue_from, mix, waiting=waiting, arrived=arrived, room=room)
    for milder, severer in pairwise(RELIEF_LEVELS):
        if kept[severer] > 1e-6:
            assert kept[milder] == pytest.approx(mix.may_take(milder, arrived, kept["light"]), abs=1e-6)


@given(lengths, mixes, counts, counts, counts)
def test_a_level_that_is_not_in_force_takes_what_is_beyond_its_queue(
    queue_from: dict[ReliefLevel, int], mix: Mix, waiting: float, arrived: float, room: float
) -> None:
    """It never drains the queue below its length, and leaves no more than that while it may take more."""
    queue_from = {level: length for level, length in queue_from.items() if length > 0}
    kept = kept_away(queue_from, mix, waiting=waiting, arrived=arrived, room=room)
    left = waiting + arrived - room - sum(kept.values())
    for level, length in queue_from.items():
        if kept[level] > 0:
            assert left >= min(queue_from.values()) - 1e-6
        if kept[level] < mix.may_take(level, arrived, kept["light"]) - 1e-6:
            assert left <= length + 1e-6


def test_a_level_in_force_takes_from_an_empty_queue_on() -> None:
    """At 0 all that may be taken is; a level of which nothing was told takes nothing."""
    kept = kept_away({"light": 0, "shed_low": 0}, MIX, waiting=0.0, arrived=10.0, room=50.0)
    assert kept == pytest.approx({"light": 3.0, "shed_low": 2.1, "shed_normal": 0.0})
    assert kept_away({}, MIX, waiting=500.0, arrived=10.0, room=5.0) == dict.fromkeys(RELIEF_LEVELS, 0.0)


def test_every_request_is_somewhere() -> None:
    """What arrived was answered, waits, or was kept away; and the queue stays at the length that holds it."""
    told, arrivals = Told(LENGTHS), rush()
    run = simulate(arrivals, replace(WORLD, mix=MIX), told, seed=0)
    last = told.views[-1]
    answered, waiting = last.in_slots.sum() / WORLD.service_s, last.ongoing[-1] - last.in_slots[-1]
    kept = sum(float(counts.sum()) for counts in last.kept_away.values())
    assert answered + waiting + kept == pytest.approx(arrivals[: last.now_s].sum())
    assert (last.ongoing - last.in_slots).max() <= LENGTHS["shed_normal"]
    assert run.to_replicas.sum() + (run.light_share + run.shed_share) * arrivals.sum() == pytest.approx(arrivals.sum())


@pytest.mark.parametrize("name", POLICIES)
def test_without_declared_relief_nothing_changes(name: str) -> None:
    """A world that could relieve is byte by byte the one that cannot, and its shares are a measured zero."""
    arrivals = rush(400)
    plain, able = (simulate(arrivals, w, controller(name, w), seed=3) for w in (WORLD, replace(WORLD, mix=Mix())))
    assert values(plain) == values(able)
    assert judge(plain, WORLD).late.tobytes() == judge(able, WORLD).late.tobytes()
    assert (plain.light_share, plain.shed_share) == (None, None)
    assert (able.light_share, able.shed_share) == (0.0, 0.0)


def test_relief_needs_a_mix() -> None:
    """To declare relief where nobody says what it may take is an error of the caller."""
    with pytest.raises(ValueError, match="mix"):
        OwnController(WORLD, RELIEF)


def test_lost_log_lines_are_lost_of_light_answers_too() -> None:
    """The signals show fewer of them, in proportion; what happened is not changed."""
    told = Told({"light": 0})
    run = simulate(rush(), replace(WORLD, mix=MIX, signal_loss_share=0.5, signal_delay_s=3), told, seed=0)
    last = told.views[-1]
    assert len(last.kept_away["light"]) == last.now_s - 3
    assert last.kept_away["light"] == pytest.approx(0.3 * last.arrivals)
    assert run.light_share == pytest.approx(0.3)


def test_the_daemon_sees_what_was_kept_away() -> None:
    """Counts and recent rates per level; refused ones are refusals, and none of them is in a time or late."""
    told = Told({"light": 0, "shed_low": 0})
    world = replace(WORLD, mix=MIX)
    simulate(np.full(61, 100.0), world, told, seed=0)
    table = LateTable(20, 2, 0.4, 0.6)
    seen = signals_of(told.views[-1], world, 30.0, table)
    assert (seen.requests, seen.rate_rps, seen.recent_rate_rps) == (3_000, 100.0, 100.0)
    assert seen.relief == {"light": 900, "shed_low": 630, "shed_normal": 0}
    assert seen.recent_relief_rps == pytest.approx({"light": 30.0, "shed_low": 21.0, "shed_normal": 0.0})
    assert (seen.light_share, seen.shed_share, seen.refused) == (0.3, 0.21, 630)
    assert seen.steps[0].requests == 500
    only = signals_of(replace(told.views[-1], arrivals=np.full(60, 49.0), kept_away={}), world, 30.0, table)
    assert seen.steps[0].late == pytest.approx(only.steps[0].late)
    assert seen.p99_s == pytest.approx(only.p99_s)


def test_without_an_answer_nothing_is_known_of_times() -> None:
    """All is kept away: no quantile and no service time, but load."""
    told = Told({"light": 0})
    world = replace(WORLD, mix=replace(MIX, light_share=1.0))
    simulate(np.full(61, 100.0), world, told, seed=0)
    seen = signals_of(told.views[-1], world, 30.0, LateTable(20, 2, 0.4, 0.6))
    assert (seen.requests, seen.light_share) == (3_000, 1.0)
    assert (seen.p99_s, seen.queue_p99_s, seen.service_mean_s, seen.error_share) == (None, None, None, None)


@pytest.mark.parametrize("policy", ["predictive", "threshold"])
def test_a_rush_is_bridged_until_capacity_serves(policy: str) -> None:
    """Four times the load for ten minutes, capacity after one: few are late, and relief ends by itself."""
    at = np.arange(1_500)
    arrivals = poisson(np.where((at >= 300) & (at < 900), 120.0, 30.0))
    world = replace(WORLD, mix=Mix())
    without = simulate(arrivals, WORLD, controller(policy, WORLD), seed=1)
    own = controller(policy, world, RELIEF)
    run = simulate(arrivals, world, own, seed=1)
    late, late_without = (judge(found, WORLD).total / arrivals.sum() for found in (run, without))
    assert late < 0.01
    assert late_without > 0.1
    assert run.kept_away is not None
    assert run.kept_away["light"][:300].sum() < 1
    assert run.kept_away["light"][310:330].min() > 0.75 * 90
    assert run.kept_away["light"][600:].sum() < 1, "it ended, and did not begin again"
    assert isinstance(own, OwnController)
    assert min(own.queue_from.values()) > 0


def played(arrivals: Floats, slots: int, mix: Mix, seed: int) -> tuple[Counter[str], float]:
    """Single requests before a gateway that acts on its queue's length: what became of them, and how many were late."""
    rng, state = np.random.default_rng(seed), ReliefState(queue_from=LENGTHS)
    counts = arrivals.astype(int)
    times = np.sort(np.repeat(np.arange(len(counts)), counts) + rng.uniform(size=counts.sum()))
    priorities: list[Priority] = ["low", "normal", "high"]
    drawn = rng.choice(3, len(times), p=[mix.low_share, 1 - mix.low_share - mix.high_share, mix.high_share])
    free, starts, became, late = [0.0] * slots, deque[float](), Counter[str](), 0
    for now_s, which, eligible in zip(times, drawn, rng.random(len(times)) < mix.light_share, strict=True):
        while starts and starts[0] <= now_s:
            starts.popleft()
        level = gateway_level(state, len(starts))
        if level is not None and eligible:
            became["light"] += 1
        elif refuses(level, priorities[which]):
            became["shed"] += 1
        else:
            start_s = max(now_s, heapq.heappop(free))
            heapq.heappush(free, start_s + rng.exponential(WORLD.service_s))
            starts.append(start_s)
            late += start_s - now_s > WORLD.patience_s
    return became, late / len(times)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_single_requests_agree(seed: int) -> None:
    """A rush that is held at the length of `shed_low`: of single requests as many are kept away, and as many late."""
    at = np.arange(900)
    arrivals = poisson(np.where((at >= 100) & (at < 500), 100.0, 30.0), seed)
    run = simulate(arrivals, replace(WORLD, mix=MIX), Told(LENGTHS), seed=0)
    became, late = played(arrivals, 20, MIX, seed)
    assert run.light_share == pytest.approx(became["light"] / arrivals.sum(), rel=0.05)
    assert run.shed_share == pytest.approx(became["shed"] / arrivals.sum(), rel=0.05)
    assert judge(run, WORLD).total / arrivals.sum() == pytest.approx(late, rel=0.05)
