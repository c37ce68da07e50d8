"""One tick of a large fleet: the daemon's whole pure `step`, on one core, for 10, 100 and 1,000 services.

Every service has its own rate, service time and SLO, so nothing is shared by chance. A tick that a new step of arrivals
has come in is the dearest: all forecasts move on and all staffing is asked anew. Those are the ones that count.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from statistics import median

import numpy as np

from autoscaler.policy.bids import PolicyState
from autoscaler.policy.earlier import MINUTE_S, NOTHING, Earlier, Profile, window
from autoscaler.service import settle
from autoscaler.snapshot import STEP_S, ServiceSnapshot, Signals, SiteSnapshot, Snapshot, Step, Wanted
from autoscaler.state import Admission, DaemonState, Deployed, ServiceState, admission_key
from autoscaler.step import step
from benchmarks.figures import Figure, Goal, Section
from serving.application import application_name
from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.project import HybridProject
from serving.sites.site import ApplicationStatus, Endpoint, SiteObservation
from serving.spec import HybridService

PRIVATE, CLOUD, VERSION = "private", "cloud", "v1"
SIZES = (10, 100, 1_000)
POLICIES = ("predictive", "threshold")
START_S = 1_800_000_000
OWNED = 4
RENTED = (4, 8, 16, 60)
"""Replicas that services may have in the cloud: one of these."""
SLOTS = (1, 2, 4, 8, 16)
POOLS = 4
LEAD_S = 60.0
BOUND_S = 1.0
GROWTH = 12.0
"""Most that a tick of ten times the services may cost: linear, and what a larger fleet loses in caches."""

HOW = f"""\
A fleet in memory: each service has {OWNED} owned replicas and may rent {min(RENTED)} to {max(RENTED)} more, from
{POOLS} pools at different prices; slots, rates, service times and SLOs differ from service to service, every load goes
up and down, and what is rented is ready {LEAD_S:g} s later. What is timed is `step` alone, in processor time: from a
snapshot to the next state and plan, with bids, allocation, guards, routes, actions and bill of all services. Only
ticks in which a new step of arrivals has come in count, one in ten of a daemon's: all forecasts move on and all
staffing is asked anew. As in the daemon, what is in memory after the first tick is left out of later collections of
garbage. Under `predictive` the same time of earlier days is known of every service. The ratio is over a
fleet with a tenth of the services, so 10 is linear."""


class Fleet:
    """A fleet, and what a daemon would see of it."""

    def __init__(self, services: int, policy: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.project = _project(services)
        self.service_s = rng.uniform(0.02, 2.0, services)
        self._phase = rng.uniform(0.0, 2.0 * math.pi, services)
        self.specs = [
            _service(
                f"s{index:04d}",
                policy,
                slots=int(rng.choice(SLOTS)),
                slo_s=float(held_s * rng.uniform(1.5, 6.0)),
                rented=int(rng.choice(RENTED)),
            )
            for index, held_s in enumerate(self.service_s)
        ]
        self._names = [application_name(spec, VERSION) for spec in self.specs]
        self._earlier = [self._known(index) if policy == "predictive" else NOTHING for index in range(services)]

    @cached_property
    def state(self) -> DaemonState:
        """Of a daemon that has just taken all services over, each at home."""
        sites = (PRIVATE, CLOUD)
        return DaemonState(
            services={
                spec.name: ServiceState(
                    stable=Deployed(VERSION, "/nowhere", spec.model, name),
                    seen_deployment="benchmark",
                    targets={PRIVATE: OWNED, CLOUD: 0},
                    admissions={admission_key(site, name): Admission(ok=True) for site in sites},
                    home_served=True,
                    policy=PolicyState(level=OWNED),
                )
                for spec, name in zip(self.specs, self._names, strict=True)
            }
        )

    def look(self, number: int, state: DaemonState) -> Snapshot:
        """The snapshot of a tick; what changed on a site is ready after the lead time."""
        now_s = START_S + number * STEP_S
        sites, servers = {}, []
        for site, spec in self.project.sites.items():
            statuses = []
            for service, name in zip(self.specs, self._names, strict=True):
                mine = state.services[service.name]
                count = mine.targets.get(site, 0)
                ready = count if now_s - mine.last_change_s.get(site, 0.0) >= LEAD_S else 0
                if count:
                    statuses.append(ApplicationStatus(name, "running", "", ready, count))
                limit = ready * service.model.slots_per_replica
                servers.append(ServerObservation(service.name, "stable", site, True, limit, limit // 2))
            seen = SiteObservation(site, "open", tuple(statuses), Endpoint("127.0.0.1", 1), float(now_s))
            sites[site] = SiteSnapshot(spec, seen)
        services = tuple(
            ServiceSnapshot(
                spec,
                Wanted("benchmark", VERSION, "/nowhere"),
                self._signals(index, now_s),
                earlier=self._earlier[index],
            )
            for index, spec in enumerate(self.specs)
        )
        return Snapshot(float(now_s), services, sites, GatewayObservation(tuple(servers), {}, float(now_s)), 60.0)

    def _home_rps(self, index: int) -> float:
        """What the owned replicas of a service can answer."""
        return OWNED * self.specs[index].model.slots_per_replica / float(self.service_s[index])

    def _rate_rps(self, index: int, now_s: float) -> float:
        return self._home_rps(index) * (1.0 + 0.6 * math.sin(now_s / 120.0 + float(self._phase[index])))

    def _known(self, index: int) -> Earlier:
        """What earlier days were like in the hour in which the ticks are: the week's mean is flatter than one day."""
        first_s, end_s = window(START_S)
        rates = [self._rate_rps(index, at_s) for at_s in range(first_s, end_s, MINUTE_S)]
        mean = sum(rates) / len(rates)
        days = tuple((rate + mean) / 2 for rate in rates)
        return Earlier(Profile(first_s, days), Profile(first_s, tuple(rates)))

    def _signals(self, index: int, now_s: int) -> Signals:
        held_s = float(self.service_s[index])
        rate_rps = self._rate_rps(index, now_s)
        return Signals(
            window_s=10.0,
            requests=math.ceil(10.0 * rate_rps),
            rate_rps=rate_rps,
            recent_rate_rps=rate_rps,
            p50_s=held_s,
            p99_s=1.2 * held_s,
            queue_p99_s=0.2 * held_s,
            service_mean_s=held_s,
            error_share=0.0,
            private_in_use=min(1.0, rate_rps / self._home_rps(index)),
            steps=(Step(now_s, rate_rps * STEP_S),),
        )


def run(*, sizes: tuple[int, ...] = SIZES, warm: int, ticks: int, say: Callable[[str], None]) -> Section:
    """Time `ticks` ticks of each fleet, after `warm` others in which forecasts begin."""
    figures: list[Figure] = []
    goals: list[Goal] = []
    for policy in POLICIES:
        took: dict[int, tuple[float, ...]] = {}
        for size in sizes:
            say(f"{policy}, {size} services")
            took[size] = timed(Fleet(size, policy, seed=size), warm=warm, ticks=ticks)
        figures += [Figure(f"{policy}, {size:,} services", "a tick, ms", _ms(took[size])) for size in sizes]
        figures += [
            Figure(f"{policy}, {size:,} services", "times the fleet before", (median(took[size]) / median(took[less]),))
            for less, size in pairwise(sizes)
        ]
        what = f"a tick of {sizes[-1]:,} services x {POOLS} pools, {policy}"
        goals.append(Goal(what, "s", BOUND_S, "at most", took[sizes[-1]]))
        if len(sizes) > 1:
            growth = median(took[sizes[-1]]) / median(took[sizes[-2]])
            what = f"a tick of {sizes[-1]:,} services over one of {sizes[-2]:,}, {policy}"
            goals.append(Goal(what, "times", GROWTH, "at most", (growth,)))
    return Section("tick", "A large fleet", HOW, tuple(figures), tuple(goals))


def timed(fleet: Fleet, *, warm: int, ticks: int) -> tuple[float, ...]:
    """Processor seconds of each tick, in the memory of a daemon that has settled."""
    state, took = fleet.state, []
    try:
        for number in range(warm + ticks):
            if number == min(1, warm):
                settle()
            snapshot = fleet.look(number, state)
            begun_s = time.process_time()
            state = step(snapshot, state).state
            took.append(time.process_time() - begun_s)
    finally:
        gc.unfreeze()
    return tuple(took[warm:])


def _ms(seconds: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(1_000 * value for value in seconds)


def _project(services: int) -> HybridProject:
    most = 10_000
    rented = [
        {
            "name": f"pool-{index}",
            "kind": "on_demand",
            "max_nodes": min(most, max(RENTED) * services),
            "price_usd_per_hour": 1.0 + 0.1 * index,
            "lead_time_s": LEAD_S,
        }
        for index in range(POOLS)
    ]
    owned = [{"name": "owned", "kind": "fixed", "max_nodes": min(most, OWNED * services)}]
    sites = {PRIVATE: {"role": "private", "pools": owned}, CLOUD: {"role": "cloud", "pools": rented}}
    return HybridProject.model_validate({"kind": "HybridProject", "name": "fleet", "sites": sites})


def _service(name: str, policy: str, *, slots: int, slo_s: float, rented: int) -> HybridService:
    return HybridService.model_validate(
        {
            "kind": "HybridService",
            "name": name,
            "model": {"import_path": "fleet:Model", "slots_per_replica": slots},
            "slo": {"latency_p99_s": slo_s},
            "sites": {PRIVATE: {"min_replicas": 1, "max_replicas": OWNED}, CLOUD: {"max_replicas": rented}},
            "routing": {"prefix": f"/{name}"},
            "burst": {"policy": policy},
        }
    )
