"""The product's own policies in a world: the daemon's whole pure `step`, fed with what the world shows.

Nothing of the decision is written twice: bids, allocation, budgets and guards are those of the daemon. The
world stands for sites and gateway: applications always load, probes pass, an empty site is closed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from autoscaler.money.market import going, keep, staying
from autoscaler.observing.signals import RECENT_S
from autoscaler.policy.bids import PolicyState
from autoscaler.policy.earlier import NOTHING
from autoscaler.policy.forecast import History
from autoscaler.policy.predictive import LeadTimes
from autoscaler.policy.queueing import Floats, LateTable, waiting_shares
from autoscaler.simulation.controllers import fill
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.lateness import SMOOTH_S
from autoscaler.simulation.record import PastTraffic
from autoscaler.simulation.spending import Spending
from autoscaler.simulation.view import View
from autoscaler.simulation.world import WorldSpec
from autoscaler.snapshot import (
    STEP_S,
    ProbeResult,
    ServiceSnapshot,
    Signals,
    SiteSnapshot,
    Snapshot,
    Spend,
    Step,
    Wanted,
)
from autoscaler.state import Admission, DaemonState, Deployed, RentedNode, ServiceState, admission_key
from autoscaler.step import step
from serving.application import application_name
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.project import HybridProject
from serving.sites.site import ApplicationStatus, Endpoint, Notice, Phase, SiteObservation
from serving.spec import Budget, HybridService
from serving.spec_relief import ReliefLevel
from serving.state import LedgerEntry

PRIVATE, CLOUD, SERVICE, VERSION = "private", "cloud", "simulated", "v1"
NO_MORE_THAN = 10_000
"""Pools of this size are as good as endless; the project file allows no more."""


class OwnController:
    """The daemon's step as a controller."""

    def __init__(self, world: WorldSpec, declared: Mapping[str, Any], past: Floats | None = None) -> None:
        """Prepare a run.

        Args:
            world: the world it will be in.
            declared: sections of the service's declaration, e.g. `{"burst": {"policy": "threshold"}}`.
            past: requests in each second before the run, which the daemon has on record.

        Raises:
            ValueError: relief is declared, and the world does not say what it may take.
        """
        self._past = PastTraffic(np.empty(0) if past is None else past, world.start_s)
        self.tick_s = world.tick_s
        self._world = world
        self._project, self._spec = _declared(world, declared)
        if self._spec.relief is not None and world.mix is None:
            raise ValueError("relief is declared, so the world must say what of the traffic it may take (mix)")
        self.queue_from: Mapping[ReliefLevel, int] = {}
        """What the gateway was told of relief."""
        self._state: DaemonState | None = None
        self._table = LateTable(
            world.private_replicas + world.most_rented,
            world.slots_per_replica,
            world.queue_service_s,
            world.patience_s,
        )
        self._application = application_name(self._spec, VERSION)
        self._probes: tuple[ProbeResult, ...] = ()
        self._ledger: dict[tuple[str, float], LedgerEntry] = {}
        self._spending = Spending()

    @property
    def state(self) -> DaemonState:
        """What the daemon would remember now."""
        return self._state or DaemonState()

    @property
    def ledger(self) -> tuple[LedgerEntry, ...]:
        """What the daemon would have written down of its spend."""
        return tuple(self._ledger.values())

    def decide(self, view: View) -> Sequence[int]:
        state = self._state or _found(self._spec, self._world, view.asked, self._history())
        done = step(self._look(view, state), state)
        self._state = done.state
        self._probes = tuple(ProbeResult(p.site, p.application, p.requests, 0) for p in done.plan.probes)
        self._ledger |= {(entry.pool, entry.start_s): entry for entry in done.ledger}
        self._spending.book(done.ledger)
        relief = done.plan.routes[0].relief
        self.queue_from = relief.queue_from if relief else {}
        spec, nodes = self._project.sites[CLOUD], done.state.nodes.get(f"{CLOUD}/{SERVICE}", ())
        target = done.state.services[SERVICE].targets.get(CLOUD, 0)
        now_s = self._world.start_s + view.now_s
        # What its provider takes goes by itself; what is moved from is ours until its end.
        moving = [node for node in going(nodes, now_s) if not node.notice]
        held = Counter(node.pool for node in (*keep(spec, staying(nodes), target, now_s), *moving))
        return [held[pool.name] for pool in self._world.pools]

    def _history(self) -> History:
        """What the forecast has learned before the run."""
        if self._spec.burst.policy != "predictive":
            return History()
        lead_s = max(pool.lead_time_s for pool in self._project.sites[CLOUD].pools)
        return self._past.history(LeadTimes(lead_s, lead_s).horizons_s)

    def _look(self, view: View, state: DaemonState) -> Snapshot:
        now_s = self._world.start_s + view.now_s
        ready = int(view.ready[-1]) if len(view.ready) else view.asked
        counts = {PRIVATE: self._world.private_replicas, CLOUD: ready - self._world.private_replicas}
        wanted = state.services[SERVICE].targets
        slots = self._world.slots_per_replica
        ongoing = float(view.ongoing[-1]) if len(view.ongoing) else 0.0
        sites, servers = {}, []
        for site, count in counts.items():
            status = ApplicationStatus(self._application, "running", "", count, wanted.get(site, 0))
            present = (status,) if count or wanted.get(site, 0) else ()
            phase: Phase = "open" if present else "closed"
            notices = self._notices(view) if site == CLOUD else ()
            seen = SiteObservation(site, phase, present, Endpoint("127.0.0.1", 1), now_s, notices=notices)
            sites[site] = SiteSnapshot(self._project.sites[site], seen)
            held = min(ongoing, float(count * slots))
            ongoing -= held
            servers.append(ServerObservation(SERVICE, "stable", site, True, count * slots, round(held)))
        signals = signals_of(view, self._world, self._spec.burst.latency.window_s, self._table)
        earlier = self._past.earlier(now_s, view.arrivals) if self._spec.burst.policy == "predictive" else NOTHING
        service = ServiceSnapshot(self._spec, Wanted("simulation", VERSION, "/simulated"), signals, earlier=earlier)
        gateway = GatewayObservation(tuple(servers), {SERVICE: round(max(0.0, ongoing))}, now_s)
        spent = self._spending.spent(now_s) if self._spec.budget != Budget() else Spend()
        return Snapshot(
            now_s, (service,), sites, gateway, stale_after_s=60.0, spend={SERVICE: spent}, probes=self._probes
        )

    def _notices(self, view: View) -> tuple[Notice, ...]:
        return tuple(
            Notice(str(n.node), n.pool, self._world.start_s + n.ends_s, "launch_failed" if n.failed else "reclaim")
            for n in view.notices
        )


def signals_of(view: View, world: WorldSpec, window_s: float, table: LateTable) -> Signals:
    """What the gateway's log lines of the last seconds would say.

    The wait's 99th percentile is that of the M/M/c queue at the window's rate, plus what is piled up; latency
    is that wait and the mean service time, which in seconds with full slots is that of full ones.
    """
    seconds = min(len(view.arrivals), max(1, math.ceil(window_s)))
    if seconds == 0:
        return Signals(window_s)
    arrived, through = view.arrivals[-seconds:], _through(view, -seconds, None)
    relief = {level: round(float(counts[-seconds:].sum())) for level, counts in view.kept_away.items()}
    answered = int(through.sum())
    ready = int(view.ready[-1])
    slots = ready * world.slots_per_replica
    private_slots = world.private_replicas * world.slots_per_replica
    piled = float(view.ongoing[-1] - view.in_slots[-1])
    full_s = world.queue_service_s
    wait_s = _wait_p99_s(float(through.mean()), slots, full_s) + piled * full_s / max(slots, 1)
    service_s, held = _service_s(view, world, seconds), float(view.in_slots[-seconds:].mean())
    return Signals(
        window_s=window_s,
        requests=int(arrived.sum()),
        rate_rps=float(arrived.mean()),
        recent_rate_rps=float(arrived[-RECENT_S:].mean()),
        p50_s=service_s if answered else None,
        p99_s=wait_s + service_s if answered else None,
        queue_p99_s=wait_s if answered else None,
        service_mean_s=service_s if answered else None,
        bytes_mean=world.answer_bytes if answered else None,
        error_share=0.0 if answered else None,
        refused=sum(count for level, count in relief.items() if level != "light"),
        relief=relief,
        recent_relief_rps={level: float(counts[-RECENT_S:].mean()) for level, counts in view.kept_away.items()},
        overflow_share=max(0.0, 1.0 - private_slots / held) if held > 0 else None,
        private_in_use=min(1.0, held / private_slots) if private_slots else None,
        queued=round(piled),
        in_use=round(held),
        steps=_steps(view, world, table),
    )


def _service_s(view: View, world: WorldSpec, seconds: int) -> float:
    """Mean time that requests of the last seconds held a slot."""
    if world.full_service_s is None:
        return world.service_s
    held = view.in_slots[-seconds:]
    full = held >= view.ready[-seconds:] * world.slots_per_replica
    answered = float((held / np.where(full, world.full_service_s, world.service_s)).sum())
    return float(held.sum()) / answered if answered > 0 else world.service_s


def _through(view: View, start: int, end: int | None) -> Floats:
    """Requests that came to the queue, in each second from `start` to `end`."""
    return np.asarray(view.arrivals[start:end] - sum(counts[start:end] for counts in view.kept_away.values()))


def _steps(view: View, world: WorldSpec, table: LateTable) -> tuple[Step, ...]:
    """The last complete step, and how many of its requests were late (as `lateness` counts them)."""
    end = len(view.arrivals) // STEP_S * STEP_S
    if end < STEP_S:
        return ()
    arrived = float(view.arrivals[end - STEP_S : end].sum())
    through = _through(view, max(0, end - SMOOTH_S), end)
    rate_rps = float(through.mean())
    ready = min(int(view.ready[end - 1]), table.replicas)
    piled = float(view.ongoing[end - 1] - view.in_slots[end - 1])
    overdue = piled > world.patience_s * ready * world.replica_rps
    late_rps = rate_rps if overdue else float(table.expected_late_rps(np.array([rate_rps]), np.ones(1))[ready])
    share = late_rps / rate_rps if rate_rps > 0 else 0.0
    return (Step(int(world.start_s) + end, arrived, share * float(through[-STEP_S:].sum())),)


def _wait_p99_s(rate_rps: float, slots: int, service_s: float) -> float:
    """99th percentile of the wait in M/M/c; a second if it is overloaded, and grows from there by what piles up."""
    spare_rps = slots / service_s - rate_rps
    if spare_rps <= 0:
        return 1.0
    waits = _waiting_share(slots, round(rate_rps * service_s, 1))
    return max(0.0, math.log(max(waits, 1e-12) / 0.01) / spare_rps)


@lru_cache(maxsize=10_000)
def _waiting_share(slots: int, offered: float) -> float:
    return float(waiting_shares(slots, np.array([offered]))[slots, 0])


def _declared(world: WorldSpec, declared: Mapping[str, Any]) -> tuple[HybridProject, HybridService]:
    """A project and a service that are this world."""
    most = {PRIVATE: world.private_replicas, CLOUD: min(NO_MORE_THAN, world.most_rented)}
    owned = {"name": "owned", "kind": "fixed", "max_nodes": max(1, world.private_replicas)}
    project = {
        "kind": "HybridProject",
        "name": "simulation",
        "sites": {
            PRIVATE: {"role": "private", "pools": [owned]},
            CLOUD: {"role": "cloud", "pools": [_pool(pool) for pool in world.pools]},
        },
    }
    burst = {"cooldown_s": 0.0, "max_step": 1_000, **declared.get("burst", {})}  # guards are for real hands
    service = {
        "kind": "HybridService",
        "name": SERVICE,
        "model": {"import_path": "simulated:Model", "slots_per_replica": world.slots_per_replica},
        "slo": {"latency_p99_s": world.slo_latency_s},
        "sites": {
            PRIVATE: {"min_replicas": most[PRIVATE], "max_replicas": most[PRIVATE]},
            CLOUD: {"max_replicas": most[CLOUD]},
        },
        **declared,
        "burst": burst,
    }
    return HybridProject.model_validate(project), HybridService.model_validate(service)


def _pool(pool: CloudPool) -> dict[str, Any]:
    reclaims = {"reclaims_per_hour": pool.reclaims_per_hour, "notice_s": pool.notice_s}
    return {
        "name": pool.name,
        "kind": "spot" if pool.reclaims_per_hour else "on_demand",
        **(reclaims if pool.reclaims_per_hour else {}),
        "max_nodes": min(NO_MORE_THAN, pool.max_replicas),
        "price_usd_per_hour": pool.price_usd_per_hour,
        "lead_time_s": pool.lead_s,
        "min_billing_s": pool.min_billing_s,
        "egress_usd_per_gb": pool.egress_usd_per_gb,
    }


def _found(spec: HybridService, world: WorldSpec, asked: int, history: History) -> DaemonState:
    """The state of a daemon that has been serving with `asked` replicas for a while."""
    name = application_name(spec, VERSION)
    rented = asked - world.private_replicas
    mine = ServiceState(
        stable=Deployed(VERSION, "/simulated", spec.model, name),
        seen_deployment="simulation",
        targets={PRIVATE: world.private_replicas, CLOUD: rented},
        admissions={admission_key(site, name): Admission(ok=True) for site in (PRIVATE, CLOUD)},
        home_served=True,
        policy=PolicyState(level=asked, history=history),
    )
    pools = [
        pool.name for pool, count in zip(world.pools, fill(world.pools, rented), strict=True) for _ in range(count)
    ]
    # Paid from the first second, as in the world; each at its own moment, as the bill tells nodes apart by it.
    nodes = tuple(RentedNode(pool, world.start_s + index * 1e-3) for index, pool in enumerate(pools))
    return DaemonState(services={SERVICE: mine}, nodes={f"{CLOUD}/{SERVICE}": nodes})
