"""What is simulated: the requests of each second, and the world they come to. From a file, or from a service's log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import output
from serving.errors import InvalidInput

if TYPE_CHECKING:
    from autoscaler.policy.queueing import Floats
    from autoscaler.simulation.fleet import CloudPool
    from autoscaler.simulation.gateway import Mix
    from autoscaler.simulation.trace import RateCurve
    from autoscaler.simulation.world import WorldSpec
    from serving.project import HybridProject
    from serving.spec import HybridService
    from serving.state import Store

LEAD_S, SERVICE_S, SLOTS, SLO_S, PRICE_USD = 120.0, 0.4, 2, 1.0, 1.0
"""Of a trace, where nothing is said. At one price ratios do not depend on it."""


@dataclass(frozen=True)
class Choices:
    """What the command line says; None: the default, or what the project declares and the log shows."""

    seed: int = 0
    rate_scale: float = 1.0
    from_s: float = 0.0
    for_s: float | None = None
    lead_s: float | None = None
    service_s: float | None = None
    slots: int | None = None
    slo_s: float | None = None
    private_replicas: int | None = None
    max_cloud: int | None = None
    price_usd: float | None = None
    min_billing_s: float | None = None
    relief: bool | None = None
    light_share: float | None = None
    low_share: float | None = None
    high_share: float | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything a comparison needs."""

    name: str
    """Where the requests come from, as the report says it."""
    arrivals: Floats
    """Requests in each second."""
    step_s: float
    """Of what was recorded."""
    world: WorldSpec
    declared: Mapping[str, Any] = field(default_factory=dict)
    """Sections of the service's declaration."""
    unwatched_s: float = 0.0
    """Seconds of what is simulated in which nobody looked; without requests."""
    past: Floats | None = None
    """Requests in each second before that are on record, nan where nobody looked."""


def of_trace(path: Path, choices: Choices) -> Scene:
    """The scene of a file `t_seconds,requests`.

    Raises:
        InvalidInput: the file or an option is wrong; names it and the fix.
    """
    from autoscaler.simulation.fleet import CloudPool
    from autoscaler.simulation.gateway import RELIEF
    from autoscaler.simulation.own import NO_MORE_THAN
    from autoscaler.simulation.trace import from_trace

    curve = from_trace(path)
    pool = CloudPool("cloud", PRICE_USD, LEAD_S, max_replicas=NO_MORE_THAN)
    mix = _mix(choices, relieves=bool(choices.relief))
    scene = _scene(path.name, curve, choices, (pool,), slots=SLOTS, slo_s=SLO_S, service_s=SERVICE_S)
    return replace(scene, world=replace(scene.world, mix=mix), declared=RELIEF if mix else {})


def of_log(
    project: HybridProject, store: Store, service: str | None, *, days: float, now_s: float, choices: Choices
) -> Scene:
    """The scene of a deployed service: its recorded traffic of the last days, its declaration, its project's pools.

    Raises:
        InvalidInput: the service is not deployed, has no record or no private site, or an option is wrong.
    """
    from autoscaler.observing.traffic import recorded
    from autoscaler.simulation.gateway import RELIEF
    from cli import intents
    from serving.project import on_declared_sites

    service = intents.pick_service(store, service)
    intent = intents.service_intent(store, service)
    if intent is None:
        raise InvalidInput("the service was removed just now", where=service, next_step="run the command again")
    spec, lost = on_declared_sites(intent.spec, project)
    if spec is None:
        raise InvalidInput(
            "the service has no private site",
            where=service,
            why=f"hcctl.yaml does not declare {', '.join(lost)}, or the service is not on it",
            next_step="declare the site in hcctl.yaml again, or deploy the service to those that are there",
        )
    record = recorded(store, service, since_s=now_s - days * 86_400.0, now_s=now_s)
    if record is None:
        raise InvalidInput(
            "no traffic of the service is recorded",
            where=service,
            why=f"the daemon has written nothing down in the last {days:g} days",
            next_step="let the project run (`hcctl up`), or simulate a file with --trace",
        )
    if record.service_s is None and choices.service_s is None:
        raise InvalidInput(
            "how long a request holds a slot is not known",
            where=service,
            why="no site answered a request in the recorded time",
            next_step="give --service-time-s",
        )
    mix = _mix(choices, relieves=spec.relief is not None if choices.relief is None else choices.relief)
    home = project.private_site
    scene = _scene(
        f"log of {service}",
        record.curve,
        choices,
        _pools(project, spec),
        slots=spec.model.slots_per_replica,
        slo_s=spec.slo.latency_p99_s,
        service_s=record.free_service_s or record.service_s or SERVICE_S,
        private=spec.sites[home].max_replicas,
        most=sum(share.max_replicas for name, share in spec.sites.items() if name != home),
    )
    first, steps = (round(length_s / scene.step_s) for length_s in (choices.from_s, len(scene.arrivals)))
    unwatched_s = float(record.unwatched[first : first + steps].sum()) * scene.step_s
    start_s = record.start_s + choices.from_s
    # What was measured with full slots goes with the slots and the time that were measured.
    full_s = record.full_service_s if choices.service_s is None and choices.slots is None else None
    world = replace(
        scene.world, answer_bytes=record.bytes_mean or 0.0, start_s=start_s, mix=mix, full_service_s=full_s or None
    )
    declared = spec.model_dump(mode="json", include={"burst", "budget", "events"})
    if mix is not None:
        declared |= spec.model_dump(mode="json", include=set(RELIEF)) if spec.relief is not None else RELIEF
    past = _past(store, service, start_s, choices)
    return replace(scene, world=world, declared=declared, unwatched_s=unwatched_s, past=past)


def _past(store: Store, service: str, start_s: float, choices: Choices) -> Floats | None:
    """What the daemon had on record of earlier days when the simulated time began; None: nothing."""
    import numpy as np

    from autoscaler.observing.traffic import RECORD_STEP_S, recorded
    from autoscaler.policy.earlier import DAY_S, WEEK_DAYS, window
    from autoscaler.simulation.trace import per_second

    before = recorded(store, service, since_s=window(start_s)[0] - WEEK_DAYS * DAY_S, now_s=start_s)
    if before is None:
        return None
    noise = choices.seed + 1  # not the one that is to come
    known = per_second(before.curve, rate_scale=choices.rate_scale, seed=noise)
    known[np.repeat(before.unwatched, RECORD_STEP_S)] = np.nan
    return np.concatenate((known, np.full(round(start_s - before.start_s) - len(known), np.nan)))


def warn(scene: Scene) -> None:
    """Say what makes the figures mean less."""
    length_s = len(scene.arrivals)
    if scene.unwatched_s:
        output.warning(
            f"for {output.seconds(scene.unwatched_s)} of {output.seconds(length_s)} nobody looked; "
            "they are simulated without requests"
        )
    for pool in scene.world.pools:
        if pool.lead_s >= length_s:
            output.warning(
                f"pool {pool.name} starts in {output.seconds(pool.lead_s)}, the trace lasts "
                f"{output.seconds(length_s)}: nothing that is launched gets ready"
            )


def _mix(choices: Choices, *, relieves: bool) -> Mix | None:
    """What of the traffic relief may take; None: there is no relief."""
    from autoscaler.simulation.gateway import Mix

    given = {
        name: share
        for name in ("light_share", "low_share", "high_share")
        if (share := getattr(choices, name)) is not None
    }
    if not relieves:
        for name in given:
            raise InvalidInput(
                "there is no relief to take a share",
                where=f"--{name.replace('_', '-')}",
                why="the gateway is simulated without relief",
                next_step="give --relief, or leave the share out",
            )
        return None
    mix = Mix(**given)
    if mix.low_share + mix.high_share > 1.0:
        raise InvalidInput(
            "low and high priority are more than all requests",
            where=f"--low-share {mix.low_share:g}, --high-share {mix.high_share:g}",
            why="they add up to more than 1; what is left of 1 is normal priority",
            next_step="lower one of them",
        )
    return mix


def _pools(project: HybridProject, spec: HybridService) -> tuple[CloudPool, ...]:
    """What the service may rent, as the project declares it; each pool is cut to the service's share of its site."""
    from autoscaler.simulation.fleet import CloudPool

    found: list[CloudPool] = []
    for site, share in spec.sites.items():
        if project.sites[site].role != "cloud":
            continue
        for pool in project.sites[site].pools:
            name = pool.name if pool.name not in {other.name for other in found} else f"pool-{len(found) + 1}"
            found.append(
                CloudPool(
                    name,
                    pool.price_usd_per_hour,
                    pool.lead_time_s,
                    max_replicas=min(pool.max_nodes, share.max_replicas),
                    min_billing_s=pool.min_billing_s,
                    egress_usd_per_gb=pool.egress_usd_per_gb,
                    reclaims_per_hour=pool.expected_reclaims_per_hour,
                    notice_s=pool.reclaim_notice_s,
                )
            )
    if not any(pool.max_replicas for pool in found):
        raise InvalidInput(
            "the service never leaves home, so there is nothing to compare",
            where=f"sites of {spec.name}",
            why="it may rent nothing on a cloud site",
            next_step="give a cloud site max_replicas in the service file, and deploy it",
        )
    return tuple(pool for pool in found if pool.max_replicas)


def _scene(
    name: str,
    curve: RateCurve,
    choices: Choices,
    pools: tuple[CloudPool, ...],
    *,
    slots: int,
    slo_s: float,
    service_s: float,
    private: int | None = None,
    most: int | None = None,
) -> Scene:
    """The scene of a curve: what is chosen wins over what is given; None: what the load needs."""
    from autoscaler.simulation.contest import cloud_size
    from autoscaler.simulation.trace import per_second
    from autoscaler.simulation.world import WorldSpec

    if choices.from_s or choices.for_s is not None:
        curve = _part(curve, choices.from_s, choices.for_s)
    arrivals = per_second(curve, rate_scale=choices.rate_scale, seed=choices.seed)
    slots, slo_s, service_s = choices.slots or slots, choices.slo_s or slo_s, choices.service_s or service_s
    if slo_s <= service_s:
        raise InvalidInput(
            "the SLO leaves no time to wait",
            where=f"--slo-latency-s {slo_s:g}",
            why=f"a request holds a slot for {service_s:g} s on average, so every one is late",
            next_step="give a larger --slo-latency-s, or a smaller --service-time-s",
        )
    if choices.private_replicas is not None:
        private = choices.private_replicas
    if private is None:
        private = max(1, math.ceil(float(arrivals.mean()) * service_s / slots))
    if choices.max_cloud is not None:
        most = choices.max_cloud if most is None else min(most, choices.max_cloud)
    elif most is None:
        most = cloud_size(arrivals, private_replicas=private, replica_rps=slots / service_s)
    pools = tuple(
        replace(
            pool,
            max_replicas=min(pool.max_replicas, most),
            price_usd_per_hour=pool.price_usd_per_hour if choices.price_usd is None else choices.price_usd,
            lead_s=pool.lead_s if choices.lead_s is None else choices.lead_s,
            min_billing_s=pool.min_billing_s if choices.min_billing_s is None else choices.min_billing_s,
        )
        for pool in pools
    )
    return Scene(name, arrivals, curve.step_s, WorldSpec(private, slots, service_s, slo_s, pools, max_rented=most))


def _part(curve: RateCurve, from_s: float, for_s: float | None) -> RateCurve:
    """The chosen part, which begins and ends between rows: a row is never cut."""
    end_s = curve.duration_s if for_s is None else from_s + for_s
    for option, value_s in (("--from-s", from_s), ("--for-s", for_s or 0.0)):
        if abs(value_s / curve.step_s - round(value_s / curve.step_s)) > 1e-6:
            raise InvalidInput(
                "a part of the trace begins and ends between two rows",
                where=f"{option} {value_s:g}",
                why=f"rows are {curve.step_s:g} s apart",
                next_step=f"give a multiple of {curve.step_s:g}",
            )
    if end_s > curve.duration_s + 1e-6:
        raise InvalidInput(
            "the trace ends before the chosen part does",
            where=f"--from-s {from_s:g} --for-s {end_s - from_s:g}",
            why=f"it lasts {curve.duration_s:g} s",
            next_step="choose an earlier or shorter part",
        )
    if from_s >= curve.duration_s:
        raise InvalidInput(
            "the trace ends before the chosen part begins",
            where=f"--from-s {from_s:g}",
            why=f"it lasts {curve.duration_s:g} s",
            next_step="choose an earlier part",
        )
    return curve.part(from_s, end_s - from_s)
