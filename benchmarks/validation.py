"""The simulator against the real thing: a run of `hcctl demo`, and the same traffic in a simulated world.

The world is told what a declaration does not say and the run showed: how long a request held a slot, how long
capacity took to come and to go. It is not told when: decisions are the policy's own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from autoscaler.money.cost import HOUR_S
from autoscaler.simulation.contest import controller
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.lateness import backlogs, wait_quantile
from autoscaler.simulation.world import WorldSpec, simulate
from benchmarks.figures import Figure, Goal, Section

if TYPE_CHECKING:
    from cli.demo.run import Demo
    from serving.state import LedgerEntry

AFTER_S = 120
"""The world goes on without requests for so long: the way home."""
OWNED_USD = 1e-9
"""A pool has a price; this one is not seen in any sum."""
P99_WITHIN, REPLICA_S_WITHIN = 0.25, 0.15

HOW = f"""\
One run of `hcctl demo`: two Ray clusters, HAProxy, the daemon, and a shop's day with a flash sale. Its requests of each
second are then played in the simulated world under the same policy and declaration, a decision a second. Taken from
the run: the mean time a request held a slot, of those that found one free and of those that had waited for it, the time
from a decision to the replica that served (at home and in the cloud), and the time from a decision to the node that was
gone. The further replicas at home are a pool without a price there. p99 is that of the requests answered during the
sale; replica-seconds are those of rented nodes, from the ledger.
The goals are those of the simulator: p99 within {P99_WITHIN:.0%}, replica-seconds within {REPLICA_S_WITHIN:.0%}."""


@dataclass(frozen=True)
class Seen:
    """What came of it, really or in the simulated world."""

    p99_s: float
    """Of the requests answered during the sale."""
    queued: float
    """Most requests that waited at the gateway."""
    replica_s: float
    """Paid for rented replicas."""


@dataclass(frozen=True)
class Recording:
    """What a run showed. Times in seconds since its first request was due."""

    arrivals: tuple[float, ...]
    """Requests of each second."""
    service_s: float
    """Mean time a request held a slot that it found free."""
    slots: int
    slo_s: float
    queue_timeout_s: float
    owned: tuple[int, int]
    """Replicas at home at the beginning, and at most."""
    owned_lead_s: float
    rented: CloudPool
    """With the lead time and the way home that were seen."""
    declared: dict[str, Any]
    sale: tuple[int, int]
    seen: Seen
    full_service_s: float | None = None
    """The same of requests that had waited for a slot; None: nobody counted them apart."""


RECORDING = TypeAdapter(Recording)
"""A recording as it can be kept."""


def run(say: Callable[[str], None]) -> Section:
    """One demo, and its simulation."""
    from autoscaler.observing.traffic import recorded
    from cli import wiring
    from cli.demo.run import run as run_demo

    with tempfile.TemporaryDirectory() as folder:
        say("a demo runs; this takes some minutes")
        demo = run_demo(Path(folder), data=None, seed=0, keep=False, watch=lambda *_: None)
        with wiring.store(demo.project.paths) as store:
            now_s = time.time()
            known = recorded(store, demo.service.name, since_s=now_s - HOUR_S, now_s=now_s)
            ledger = store.ledger()
    if known is None or known.free_service_s is None:
        raise RuntimeError("the demo left no record of its traffic")
    return section(recording(demo, ledger, known.free_service_s, known.full_service_s))


def section(real: Recording) -> Section:
    """The run beside its simulation."""
    told = (
        ("p99 over the sale, s", real.seen.p99_s, (found := simulated(real)).p99_s),
        ("longest queue at the gateway", real.seen.queued, found.queued),
        ("replica-seconds rented", real.seen.replica_s, found.replica_s),
    )
    figures = [
        Figure(what, measure, (value,))
        for what, was, is_simulated in told
        for measure, value in (("real", was), ("simulated", is_simulated), ("simulated over real", is_simulated / was))
    ]
    full_s = () if real.full_service_s is None else (real.full_service_s,)
    full = [Figure("a request that had waited for a slot held it, mean, s", "real", (value,)) for value in full_s]
    figures += [
        Figure("a request that found a slot free held it, mean, s", "real", (real.service_s,)),
        *full,
        Figure("from the decision to the cloud replica ready, s", "real", (real.rented.lead_s,)),
        Figure("from the decision to the replica at home ready, s", "real", (real.owned_lead_s,)),
    ]
    off = {what: abs(is_simulated / was - 1.0) for what, was, is_simulated in told}
    goals = (
        Goal("simulator: p99 of a demo, off by", "", P99_WITHIN, "at most", (off["p99 over the sale, s"],)),
        Goal("simulator: replica-seconds, off by", "", REPLICA_S_WITHIN, "at most", (off["replica-seconds rented"],)),
    )
    return Section("validation", "The simulator against a real run", HOW, tuple(figures), goals)


def simulated(real: Recording) -> Seen:
    """The same traffic in the simulated world."""
    least, most = real.owned
    further = CloudPool("owned", OWNED_USD, real.owned_lead_s, max_replicas=most - least)
    world = WorldSpec(
        private_replicas=least,
        slots_per_replica=real.slots,
        service_s=real.service_s,
        slo_latency_s=real.slo_s,
        pools=(further, real.rented),
        queue_timeout_s=real.queue_timeout_s,
        tick_s=1,
        full_service_s=real.full_service_s,
    )
    arrivals = np.concatenate((np.array(real.arrivals), np.zeros(AFTER_S)))
    policy = controller(real.declared["burst"]["policy"], world, real.declared)
    done = simulate(arrivals, world, policy, seed=0, warm=0)
    slots, full_s, timeout_s = (done.private + done.ready) * real.slots, world.queue_service_s, real.queue_timeout_s
    wait_s = wait_quantile(arrivals, slots, 0.99, slice(*real.sale), service_s=full_s, longest_wait_s=timeout_s)
    return Seen(
        p99_s=wait_s + full_s,
        queued=float(backlogs(arrivals, slots, full_s, timeout_s).max()),
        replica_s=done.cloud_usd / real.rented.price_usd_per_hour * HOUR_S,
    )


def recording(demo: Demo, ledger: Sequence[LedgerEntry], service_s: float, full_service_s: float | None) -> Recording:
    """What a demo's run showed, with the times that its requests held a slot.

    Raises:
        RuntimeError: the burst did not open, so there is nothing to compare.
    """
    from cli.demo.run import CLOUD, SALE_AT_S, SALE_HOLD_S

    spec, result, service = demo.project.spec, demo.result, demo.service
    home = next(site for site in service.sites if site != CLOUD)
    pool = spec.sites[CLOUD].pools[0]
    seconds = [int(outcome.intended_s) for outcome in result.outcomes]
    sale = (int(SALE_AT_S), int(SALE_AT_S + SALE_HOLD_S))
    p99_s = result.latency_s(0.99, from_s=sale[0], until_s=sale[1])
    lead_s, owned_lead_s = _lead_s(demo, CLOUD), _lead_s(demo, home)
    if p99_s is None or lead_s is None or not ledger:
        raise RuntimeError("the demo's burst did not open: there is nothing to compare")
    given_back_s = max(at_s for at_s, _, to in _changes(demo, CLOUD) if to == 0)
    rented = CloudPool(
        pool.name,
        pool.price_usd_per_hour,
        lead_s,
        max_replicas=service.sites[CLOUD].max_replicas,
        min_billing_s=pool.min_billing_s,
        leave_s=max(0.0, max(entry.end_s for entry in ledger) - result.started_at_s - given_back_s),
    )
    return Recording(
        arrivals=tuple(np.bincount(seconds).astype(float).tolist()),
        service_s=service_s,
        full_service_s=full_service_s,
        slots=service.model.slots_per_replica,
        slo_s=service.slo.latency_p99_s,
        queue_timeout_s=service.routing.queue_timeout_s,
        owned=(demo.samples[0].replicas[home], service.sites[home].max_replicas),
        owned_lead_s=owned_lead_s if owned_lead_s is not None else lead_s,
        rented=rented,
        declared=service.model_dump(mode="json", include={"burst", "budget"}),
        sale=sale,
        seen=Seen(
            p99_s=p99_s,
            queued=float(max(sample.queued for sample in demo.samples)),
            replica_s=sum(entry.node_seconds for entry in ledger),
        ),
    )


def _changes(demo: Demo, site: str) -> list[tuple[float, int, int]]:
    """When the replicas of a site were decided anew, from and to how many."""
    found = [d for d in demo.decisions if d.body.get("action") == "scale" and d.body.get("site") == site]
    return [(d.at_s - demo.result.started_at_s, int(str(d.body["from"])), int(str(d.body["to"]))) for d in found]


def _lead_s(demo: Demo, site: str) -> float | None:
    """From the first decision to grow a site during the replay until more replicas served there."""
    for at_s, before, after in _changes(demo, site):
        if at_s > 0 and after > before:
            ready = (s.t_s for s in demo.samples if s.t_s > at_s and s.replicas.get(site, 0) > before)
            served_s = next(ready, None)
            return None if served_s is None else served_s - at_s
    return None
