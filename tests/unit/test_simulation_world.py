"""A world run by a controller: determinism, bounds, what is seen, and the contest of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.money.cost import HOUR_S
from autoscaler.simulation import contest as contests
from autoscaler.simulation.contest import POLICIES, chosen, cloud_size, contest, controller, judge, summary
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.view import View
from autoscaler.simulation.world import Run, WorldSpec, simulate, warm_replicas
from serving.errors import InvalidInput

POOL = CloudPool("cloud", 1.0, 30.0, max_replicas=5)
WORLD = WorldSpec(private_replicas=1, slots_per_replica=2, service_s=0.4, slo_latency_s=1.0, pools=(POOL,))
RISKY = replace(
    WORLD,
    pools=(
        replace(POOL, name="spot", lead_spread=0.3, failed_launch_share=0.2, reclaims_per_hour=20.0, notice_s=20.0),
        POOL,
    ),
    signal_delay_s=3,
    signal_loss_share=0.1,
    answer_bytes=1e6,
)
RATE = np.concatenate((np.full(60, 3.0), np.full(120, 16.0), np.full(120, 3.0)))
FAST = [name for name in POLICIES if name in contests.PEERS]


@dataclass
class Fixed:
    """Wants the same always, and keeps what it was shown."""

    wanted: Sequence[int]
    tick_s: int = 5
    views: list[View] = field(default_factory=list)

    def decide(self, view: View) -> Sequence[int]:
        self.views.append(view)
        return self.wanted


def values(run: Run) -> bytes:
    """All that happened, as bytes."""
    return b"".join(a.tobytes() for a in (run.arrivals, run.private, run.ready, run.launching, run.usd))


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_is_the_same_run(name: str) -> None:
    """Every policy, in a world with everything random in it: byte by byte."""
    runs = [simulate(RATE, RISKY, controller(name, RISKY), seed=3) for _ in range(2)]
    assert values(runs[0]) == values(runs[1])
    assert (runs[0].actions, runs[0].reclaimed, runs[0].failed_launches) == (
        runs[1].actions,
        runs[1].reclaimed,
        runs[1].failed_launches,
    )


def test_another_seed_is_another_run() -> None:
    """What is random in a world hangs on the seed."""
    runs = [simulate(RATE, RISKY, Fixed([3, 2]), seed=seed) for seed in (3, 4)]
    assert values(runs[0]) != values(runs[1])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=20, max_size=150), st.sampled_from(FAST), st.integers(0, 3))
def test_no_policy_has_more_than_the_most(counts: list[int], name: str, private: int) -> None:
    """Private replicas are always all there; the cloud's stay within the pool; the bill is their paid seconds."""
    world = replace(WORLD, private_replicas=private)
    run = simulate(np.array(counts, dtype=float), world, controller(name, world), seed=0)
    assert (run.private == private).all()
    assert (run.ready >= 0).all()
    assert (run.launching >= 0).all()
    assert (run.ready + run.launching).max() <= POOL.max_replicas
    assert run.cloud_usd == pytest.approx(run.replica_s * POOL.price_usd_per_hour / HOUR_S)


def test_a_controller_sees_the_past_only() -> None:
    """At second t it is shown the seconds before t, less the delay of signals; the first time nothing at all."""
    plain, late = Fixed([1]), Fixed([1])
    simulate(RATE, WORLD, plain, seed=0)
    simulate(RATE, replace(WORLD, signal_delay_s=4), late, seed=0)
    for fixed, delay_s in ((plain, 0), (late, 4)):
        for view in fixed.views:
            known = max(0, view.now_s - delay_s)
            assert view.arrivals.tolist() == RATE[:known].tolist()
            assert len(view.ongoing) == len(view.in_slots) == len(view.ready) == known
    assert [view.now_s for view in plain.views] == list(range(0, 300, 5))


def test_what_a_controller_sees_is_the_queue() -> None:
    """Requests held follow Little's law; beyond the slots they pile up until more serve."""
    fixed = Fixed([2])
    simulate(RATE, WORLD, fixed, seed=0)
    last = fixed.views[-1]
    assert last.in_slots[50] == pytest.approx(3.0 * 0.4)  # warm: nothing waits
    assert last.in_slots[100:170].max() == pytest.approx(3 * 2)
    assert last.ongoing[179] == pytest.approx(6 + 120 * (16 - 15))
    assert last.ongoing[-1] == pytest.approx(1.2)


def test_lost_signals_are_seen_by_nobody_and_happened() -> None:
    """A controller sees fewer requests than arrived; what happened is not changed by it."""
    fixed = Fixed([0])
    run = simulate(RATE, replace(WORLD, signal_loss_share=0.5), fixed, seed=0)
    assert fixed.views[-1].arrivals.sum() < 0.6 * RATE[:295].sum()
    assert run.arrivals.tolist() == RATE.tolist()


def test_a_run_begins_warm() -> None:
    """With what serves the first minute at 70 % use, whole replicas, beside the private ones."""
    assert warm_replicas(np.full(100, 14.0), WORLD) == 3  # 14 / (5 x 0.7) = 4, one is private
    assert warm_replicas(np.full(100, 3.5), WORLD) == 0
    assert warm_replicas(np.array([]), WORLD) == 0
    run = simulate(np.full(10, 14.0), WORLD, Fixed([3]), seed=0)
    assert (run.ready[0], run.launching[0], run.actions) == (3, 0, 0)


def test_only_the_overflow_leaves_home() -> None:
    """Egress is paid for what the cloud answers, which is what the private slots cannot."""
    world = replace(WORLD, pools=(replace(POOL, egress_usd_per_gb=0.1),), answer_bytes=1e9)
    run = simulate(np.full(20, 8.0), world, Fixed([4]), seed=0)
    assert run.egress_usd == pytest.approx(20 * 3 * 0.1)
    assert run.cloud_usd == pytest.approx(run.replica_s / HOUR_S + run.egress_usd)


def test_a_contest_judges_all_alike() -> None:
    """The ratio is the bill over the clairvoyant's, late shares come from the same queue; watch tells what runs."""
    told: list[str] = []
    found = contest(RATE, WORLD, ["hpa", "kpa"], seed=0, watch=told.append)
    assert told == ["clairvoyant", "hpa", "kpa"]
    assert found.best_usd > 0
    for result in found.results:
        assert result.ratio == pytest.approx(result.run.cloud_usd / found.best_usd)
        assert result.late_share == pytest.approx(judge(result.run, WORLD).total / RATE.sum())
    assert set(summary(found)) == {"hpa", "kpa"}


def test_the_clairvoyant_rents_where_it_is_best() -> None:
    """Of several pools it takes the least price and the shortest lead time: none that is as punctual beats it."""
    dear, slow = replace(POOL, price_usd_per_hour=4.0), replace(POOL, name="slow", lead_s=90.0)
    alone, both = (contest(RATE, replace(WORLD, pools=p), ["hpa"], seed=0) for p in ((POOL,), (dear, slow)))
    assert both.best_usd == pytest.approx(alone.best_usd)
    assert both.best_usd == pytest.approx(both.best.replica_s * both.best_price_usd_per_hour / HOUR_S)


def test_the_ratio_is_of_rent() -> None:
    """Egress is in the bill and not in the ratio, as the clairvoyant's bill has none."""
    moving = replace(WORLD, pools=(replace(POOL, egress_usd_per_gb=0.1),), answer_bytes=1e9)
    plain, moved = (contest(RATE, world, ["hpa"], seed=0).results[0] for world in (WORLD, moving))
    assert moved.run.cloud_usd > plain.run.cloud_usd
    assert moved.ratio == pytest.approx(plain.ratio)


def test_a_declared_section_reaches_the_products_own_policy() -> None:
    """A trigger that is never crossed rents nothing, where the default one does."""
    deaf = {"burst": {"latency": {"p99_over_s": 9_999.0, "queue_p99_over_s": 9_999.0, "slots_in_use_over": 1.0,
                                  "overflow_share_over": 1.0}}}  # fmt: skip
    slow = np.concatenate((np.full(60, 1.0), np.full(120, 6.0)))
    default, declared = (contest(slow, WORLD, ["threshold"], seed=0, declared=d).results[0].run for d in (None, deaf))
    assert default.cloud_usd > 0
    assert declared.cloud_usd == 0


def test_names_of_policies() -> None:
    """`all` stands for every one, each comes once, others are refused before anything runs."""
    assert chosen(["all"]) == POLICIES
    assert chosen(["kpa", "all", "kpa"])[0] == "kpa"
    assert len(chosen(["kpa", "all"])) == len(POLICIES)
    told: list[str] = []
    with pytest.raises(InvalidInput, match="--policy guess"):
        contest(RATE, WORLD, ["hpa", "guess"], seed=0, watch=told.append)
    assert told == []


def test_the_cloud_that_an_operator_would_allow() -> None:
    """The busiest minute at 70 % use, beside the private replicas, and at least one."""
    assert cloud_size(RATE, private_replicas=1, replica_rps=5.0) == 4  # 16 / 3.5 = 4.6
    assert cloud_size(np.zeros(3), private_replicas=1, replica_rps=5.0) == 1


@pytest.mark.parametrize(
    ("peak_rps", "seconds", "says"), [(1e5, 10, "--rate-scale"), (500.0, 3_000_000, "--for-s")], ids=["much", "long"]
)
def test_what_does_not_fit_is_refused(peak_rps: float, seconds: int, says: str) -> None:
    """Tables that would fill the memory are an error with a way out, before they are made."""
    arrivals = np.zeros(seconds)
    arrivals[:9] = peak_rps
    with pytest.raises(InvalidInput, match=says):
        contest(arrivals, WORLD, ["hpa"], seed=0)


def test_a_pool_larger_than_any_need_costs_no_memory() -> None:
    """Ten thousand replicas that nobody will ask for are as good as twice what the busiest seconds need."""
    endless = replace(WORLD, pools=(replace(POOL, max_replicas=10_000), replace(POOL, name="more")))
    found = contest(RATE, endless, POLICIES, seed=0)
    assert found.world.pools[0].max_replicas == 1 + 2 * 16 / 5 // 1 + 1 + 2
    assert found.world.most_rented == found.world.pools[0].max_replicas


@pytest.mark.parametrize("name", POLICIES)
def test_a_total_over_all_pools_binds_every_policy(name: str) -> None:
    """Pools of five each with three over all: never more are rented, at the warm start neither."""
    world = replace(WORLD, pools=(POOL, replace(POOL, name="more")), max_rented=3)
    busy = np.full(300, 60.0)
    found = contest(busy, world, [name], seed=0)
    run = found.results[0].run
    assert (run.ready + run.launching).max() == 3
    assert warm_replicas(busy, world) == 3


@pytest.mark.parametrize("name", contests.OWN)
def test_a_cheaper_pool_counts_wherever_it_is_declared(name: str) -> None:
    """The first pool alone has room for all that may be rented; what is launched comes from the cheaper second one."""
    world = replace(WORLD, pools=(POOL, replace(POOL, name="cheap", price_usd_per_hour=0.25)), max_rented=5)
    run = contest(RATE, world, [name], seed=0).results[0].run
    assert run.replica_s > 0
    assert run.cloud_usd == pytest.approx(run.replica_s * 0.25 / HOUR_S)
