"""Several policies in the same world, judged alike, next to the clairvoyant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoscaler.money.cost import HOUR_S
from autoscaler.policy.queueing import RATE_STEPS_PER_REPLICA, Floats, LateTable
from autoscaler.simulation.clairvoyant import TICK_S, Clairvoyant, clairvoyant
from autoscaler.simulation.controllers import PeerController
from autoscaler.simulation.lateness import Lateness, backlogs, lateness
from autoscaler.simulation.own import OwnController
from autoscaler.simulation.peers import PEERS
from autoscaler.simulation.world import Controller, Run, WorldSpec, simulate, warm_replicas
from serving.errors import InvalidInput

OWN = ("predictive", "threshold")
"""The product's own policies."""
POLICIES = (*OWN, *PEERS)
LATE_SHARE = 0.001
"""Largest share of late requests that the clairvoyant allows itself."""
MAX_CELLS = 40_000_000
"""Numbers in the largest tables of a comparison, 8 bytes each: more is refused, not swapped."""


@dataclass(frozen=True, eq=False)
class Result:
    """How one policy did on one trace."""

    policy: str
    run: Run
    lateness: Lateness
    ratio: float | None
    """Rent of the cloud, so without egress, over the clairvoyant's; None where that rents nothing."""

    @property
    def late_share(self) -> float:
        """Share of all requests that waited too long."""
        return self.lateness.total / max(1.0, float(self.run.arrivals.sum()))


@dataclass(frozen=True, eq=False)
class Contest:
    """What came of a comparison."""

    world: WorldSpec
    best: Clairvoyant
    best_price_usd_per_hour: float
    """What the clairvoyant pays for a replica."""
    best_usd: float
    results: Sequence[Result]


def contest(
    arrivals: Floats,
    world: WorldSpec,
    policies: Sequence[str],
    *,
    seed: int,
    declared: Mapping[str, Any] | None = None,
    past: Floats | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> Contest:
    """Run each policy in the same world, and the clairvoyant at the least price and lead time of all pools.

    Args:
        arrivals: requests in each second.
        world: what is the same for all.
        policies: names, of `POLICIES`.
        seed: of everything random in the world.
        declared: sections of a service's declaration, for the product's own policies; defaults without.
        past: requests in each second before the trace; the product's own policies have them on record.
        watch: told the name of what runs next.

    Raises:
        InvalidInput: a policy is not known, or the load needs more replicas than can be simulated.
    """
    policies = chosen(policies)
    watch("clairvoyant")
    most = _most_replicas(arrivals, world)
    # What is larger than any need would only make tables larger.
    pools = tuple(replace(pool, max_replicas=min(pool.max_replicas, most)) for pool in world.pools)
    world = replace(world, pools=pools, max_rented=min(world.most_rented, most))
    table = LateTable(
        replicas=most,
        slots_per_replica=world.slots_per_replica,
        service_s=world.queue_service_s,
        patience_s=world.patience_s,
    )
    lead_s = min(pool.lead_s for pool in world.pools)
    price_usd = min(pool.price_usd_per_hour for pool in world.pools)
    best = clairvoyant(
        arrivals,
        table,
        private_replicas=world.private_replicas,
        lead_s=round(lead_s),
        late_share=LATE_SHARE,
        warm=warm_replicas(arrivals, world),
    )
    best_usd = best.replica_s * price_usd / HOUR_S
    results = []
    for name in policies:
        watch(name)
        results.append(compete(name, arrivals, world, best_usd=best_usd, seed=seed, declared=declared, past=past))
    return Contest(world, best, price_usd, best_usd, results)


def compete(
    policy: str,
    arrivals: Floats,
    world: WorldSpec,
    *,
    best_usd: float,
    seed: int,
    declared: Mapping[str, Any] | None = None,
    past: Floats | None = None,
) -> Result:
    """Run one policy, and judge it beside a clairvoyant that rents for `best_usd`; the rest is as for `contest`."""
    run = simulate(arrivals, world, controller(policy, world, declared, past), seed=seed)
    return Result(policy, run, judge(run, world), float(run.rent.sum()) / best_usd if best_usd > 0 else None)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The policies of these names, each once; `all` stands for every one.

    Raises:
        InvalidInput: there is no such policy.
    """
    found = dict.fromkeys(policy for name in names for policy in (POLICIES if name == "all" else (name,)))
    for name in found:
        if name not in POLICIES:
            raise InvalidInput(
                "no such policy",
                where=f"--policy {name[:40]}",
                why=f"known are: {', '.join(POLICIES)}",
                next_step="give one of them, or all",
            )
    return tuple(found)


def judge(run: Run, world: WorldSpec) -> Lateness:
    """How many requests of a run were late, of those that came to the queue."""
    slots, through = (run.private + run.ready) * world.slots_per_replica, run.to_replicas
    waiting = None
    if run.kept_away is not None:  # where relief acts it holds the queue that the world had
        before = np.concatenate(([0.0], backlogs(through, slots, world.queue_service_s, world.queue_timeout_s)[:-1]))
        waiting = np.where(through < run.arrivals, before, 0.0)
    return lateness(
        through,
        slots,
        service_s=world.queue_service_s,
        patience_s=world.patience_s,
        longest_wait_s=world.queue_timeout_s,
        waiting=waiting,
    )


def controller(
    name: str, world: WorldSpec, declared: Mapping[str, Any] | None = None, past: Floats | None = None
) -> Controller:
    """A fresh controller by the name of its policy, which is one of `POLICIES`."""
    if name in PEERS:
        return PeerController(PEERS[name], world)
    sections = dict(declared or {})
    burst = {**sections.get("burst", {}), "policy": name}
    if name == "predictive":
        burst.pop("cost", None)  # a trigger of the threshold policy; declared beside this one it is an error
    return OwnController(world, {**sections, "burst": burst}, past)


def cloud_size(arrivals: Floats, *, private_replicas: int, replica_rps: float) -> int:
    """Most cloud replicas that an operator would allow: the busiest minute at 70 % use, beside the private ones."""
    return max(1, int(np.ceil(busiest_minute_rps(arrivals) / (0.7 * replica_rps))) - private_replicas)


def busiest_minute_rps(arrivals: Floats) -> float:
    """Mean rate of the busiest minute, wherever it begins; of all there is, where that is shorter."""
    minute = np.full(min(60, len(arrivals)), 1.0 / min(60, len(arrivals)))
    return float(np.convolve(arrivals, minute, "valid").max())


def _most_replicas(arrivals: Floats, world: WorldSpec) -> int:
    """More than any sensible schedule uses: for the busiest seconds at half use."""
    peak_rps = float(np.convolve(arrivals, np.full(5, 0.2), "same").max(initial=0.0))
    most = world.private_replicas + int(np.ceil(2.0 * peak_rps / world.replica_rps)) + 2
    rates = RATE_STEPS_PER_REPLICA * most * max(most, most * world.slots_per_replica)
    if rates > MAX_CELLS:
        raise InvalidInput(
            "the load is too large to be simulated",
            where=f"{peak_rps:.0f} requests/s at the peak",
            why=f"it needs up to {most} replicas of {world.slots_per_replica} slots",
            next_step="lower --rate-scale, or simulate fewer, faster slots (--slots, --service-time-s)",
        )
    if len(arrivals) / TICK_S * most > MAX_CELLS:
        raise InvalidInput(
            "the trace is too long for so many replicas",
            where=f"{len(arrivals)} s with up to {most} replicas",
            why=f"the clairvoyant looks at {MAX_CELLS // most * TICK_S} s at most",
            next_step="simulate a part of it (--from-s, --for-s), or lower --rate-scale",
        )
    return most


def summary(found: Contest) -> Mapping[str, Mapping[str, float | int | None]]:
    """The figures of each policy, as `hcctl simulate -o json` prints them."""
    return {
        result.policy: {
            "cloud_usd": result.run.cloud_usd,
            "ratio_to_clairvoyant": result.ratio,
            "late_share": result.late_share,
            "light_share": result.run.light_share,
            "shed_share": result.run.shed_share,
            "actions": result.run.actions,
            "cloud_replica_hours": result.run.replica_s / HOUR_S,
            "most_cloud_replicas": int((result.run.ready + result.run.launching).max(initial=0)),
            "egress_usd": result.run.egress_usd,
            "reclaimed": result.run.reclaimed,
            "failed_launches": result.run.failed_launches,
        }
        for result in found.results
    }
