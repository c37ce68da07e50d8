"""Several policies in the same world, judged alike, next to the clairvoyant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.queueing import Floats, LateTable
from autoscaler.simulation.clairvoyant import Clairvoyant, clairvoyant
from autoscaler.simulation.controllers import PeerController
from autoscaler.simulation.fleet import HOUR_S
from autoscaler.simulation.lateness import Lateness, lateness
from autoscaler.simulation.own import OwnController
from autoscaler.simulation.peers import PEERS
from autoscaler.simulation.world import Controller, Run, WorldSpec, simulate, warm_replicas
from serving.errors import InvalidInput

OWN = ("predictive", "threshold")
"""The product's own policies."""
POLICIES = (*OWN, *PEERS)
LATE_SHARE = 0.001
"""Largest share of late requests that the clairvoyant allows itself."""
MAX_REPLICAS = 5_000


@dataclass(frozen=True, eq=False)
class Result:
    """How one policy did on one trace."""

    policy: str
    run: Run
    lateness: Lateness
    ratio: float | None
    """Cloud bill over the clairvoyant's; None where that rents nothing."""

    @property
    def late_share(self) -> float:
        """Share of all requests that waited too long."""
        return self.lateness.total / max(1.0, float(self.run.arrivals.sum()))


@dataclass(frozen=True, eq=False)
class Contest:
    """What came of a comparison."""

    world: WorldSpec
    best: Clairvoyant
    best_usd: float
    results: Sequence[Result]


def contest(arrivals: Floats, world: WorldSpec, policies: Sequence[str], *, seed: int) -> Contest:
    """Run each policy in the same world, and the clairvoyant at the price of the first pool.

    Raises:
        InvalidInput: a policy is not known, or the load needs more replicas than can be simulated.
    """
    table = LateTable(
        replicas=_most_replicas(arrivals, world),
        slots_per_replica=world.slots_per_replica,
        service_s=world.service_s,
        patience_s=world.patience_s,
    )
    pool = world.pools[0]
    best = clairvoyant(
        arrivals,
        table,
        private_replicas=world.private_replicas,
        lead_s=round(pool.lead_s),
        late_share=LATE_SHARE,
        warm=warm_replicas(arrivals, world),
    )
    best_usd = best.replica_s * pool.price_usd_per_hour / HOUR_S
    results = []
    for name in policies:
        run = simulate(arrivals, world, controller(name, world), seed=seed)
        judged = judge(run, world)
        results.append(Result(name, run, judged, run.cloud_usd / best_usd if best_usd > 0 else None))
    return Contest(world, best, best_usd, results)


def judge(run: Run, world: WorldSpec) -> Lateness:
    """How many requests of a run were late."""
    slots = (run.private + run.ready) * world.slots_per_replica
    return lateness(run.arrivals, slots, service_s=world.service_s, patience_s=world.patience_s)


def controller(name: str, world: WorldSpec) -> Controller:
    """A fresh controller by the name of its policy."""
    if name in PEERS:
        return PeerController(PEERS[name], world)
    if name in OWN:
        return OwnController(world, {"burst": {"policy": name}})
    raise InvalidInput(
        "no such policy",
        where=f"--policy {name}",
        why=f"known are: {', '.join(POLICIES)}",
        next_step="give one of them, or all",
    )


def cloud_size(arrivals: Floats, *, private_replicas: int, replica_rps: float) -> int:
    """Most cloud replicas that an operator would allow: the busiest minute at 70 % use, beside the private ones."""
    minute = np.full(min(60, len(arrivals)), 1.0 / min(60, len(arrivals)))
    peak_rps = float(np.convolve(arrivals, minute, "valid").max())
    return max(1, int(np.ceil(peak_rps / (0.7 * replica_rps))) - private_replicas)


def _most_replicas(arrivals: Floats, world: WorldSpec) -> int:
    """More than any sensible schedule uses: for the busiest seconds at half use."""
    peak_rps = float(np.convolve(arrivals, np.full(5, 0.2), "same").max(initial=0.0))
    most = world.private_replicas + int(np.ceil(2.0 * peak_rps / world.replica_rps)) + 2
    if most > MAX_REPLICAS:
        raise InvalidInput(
            "the load is too large to be simulated",
            where=f"{peak_rps:.0f} requests/s at the peak",
            why=f"it needs {most} replicas, {MAX_REPLICAS} are the most",
            next_step="lower --rate-scale, or simulate larger replicas (--slots)",
        )
    return most


def summary(found: Contest) -> Mapping[str, Mapping[str, float | int | None]]:
    """The figures of each policy, as `hcctl simulate -o json` prints them."""
    return {
        result.policy: {
            "cloud_usd": result.run.cloud_usd,
            "ratio_to_clairvoyant": result.ratio,
            "late_share": result.late_share,
            "light_share": 0.0,
            "shed_share": 0.0,
            "actions": result.run.actions,
        }
        for result in found.results
    }
