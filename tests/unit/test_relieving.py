"""Relief within a tick: from what is seen to routes, decisions and status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.threshold import breaches
from autoscaler.routing.relief import ReliefState, gateway_level
from autoscaler.routing.relieving import relief_route, relieve_service
from autoscaler.sizing.targets import demand
from autoscaler.snapshot import ServiceSnapshot, Snapshot
from autoscaler.state import DaemonState, ServiceState
from autoscaler.status import service_status
from autoscaler.step import step
from serving.gateway.routes import ReliefRoute
from serving.spec import HybridService
from serving.spec_relief import RELIEF_LEVELS, ReliefLevel
from tests.support.declared import service
from tests.support.moments import NOW_S, app, asked, deployed, gateway, moment, serving, signals, site

SPEC = service(
    relief={"light": {"over": 0.5}, "shed": {"low_over": 1.0}},
    routing={"rules": [{"path": "/", "idempotent": True, "relief": "shared"}, {"path": "/later", "priority": "low"}]},
)
"""SLO 0.5 s: light from 0.25 s of expected wait on, low priority refused from 0.5 s on."""


def scene(queued: int, spec: HybridService = SPEC, **fields: Any) -> tuple[ServiceSnapshot, Snapshot]:
    """The service with so many waiting; four servers of 4 slots, 0.1 s each: 40 requests per 0.25 s."""
    seen = replace(gateway(), queued={"shop": queued}, relief_up={"shop": True})
    here = {"private": site("private", apps=[app(deployed("v1").application, 1)]), "cloud": site("cloud", "closed")}
    shop = asked(spec, signals=signals(**fields.pop("signals", {})))
    return shop, moment(shop, gateway=seen, sites=here, **fields)


def relieved(mine: ServiceState, queued: int, **fields: Any) -> tuple[ServiceState, list[str]]:
    shop, snapshot = scene(queued, **fields)
    after, decisions = relieve_service(shop, mine, snapshot)
    return after, [f"{d.action}: {d.details['from']} to {d.details['to']}" for d in decisions]


def test_a_level_is_decided_once_from_what_the_gateway_says() -> None:
    """40 waiting for 16 slots of 0.1 s are 0.25 s: at the bound nothing; 41 are light; and it is said once."""
    assert relieved(serving(), 40)[1] == []
    mine, told = relieved(serving(targets={"private": 3}), 41)
    assert told == ["relief: none to light"]
    assert mine.relief.reason == "expected wait 0.256 s over 0.25 s: 41 wait for 16 slots, 2 replicas are starting"
    assert relieved(mine, 41)[1] == []
    assert relieved(mine, 100)[1] == ["relief: light to shed_low"]


@pytest.mark.parametrize("fields", [{"gateway": None}, {"gateway": replace(gateway(), at_s=NOW_S - 9)}])
def test_out_of_sight_the_level_stays(fields: dict[str, Any]) -> None:
    """A gateway that does not answer neither begins nor ends relief."""
    shop = asked(SPEC)
    mine = serving(relief=ReliefState("light", NOW_S - 60, calm_since_s=NOW_S - 60))
    after, decisions = relieve_service(shop, mine, moment(shop, **fields))
    assert (after.relief.level, decisions) == ("light", [])


def test_the_route_carries_levels_in_force_and_queue_lengths() -> None:
    """In force means from an empty queue on; of the others the length at which they would begin."""
    mine, _ = relieved(serving(), 41)
    shop, snapshot = scene(41)
    assert relief_route(shop, mine, snapshot) == ReliefRoute({"light": 0, "shed_low": 81}, "v1", "/versions/v1")
    calm, _ = relieved(serving(), 0)
    assert relief_route(shop, calm, snapshot) == ReliefRoute({"light": 41, "shed_low": 81}, "v1", "/versions/v1")


@given(
    st.sampled_from([None, "light", "shed_low"]),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 120),
)
def test_the_gateway_does_between_two_ticks_what_the_decision_says(
    level: ReliefLevel | None, light: int, more: int, queued: int
) -> None:
    """The lengths that HAProxy compares with its queue give the level that `gateway_level` says."""
    mine = serving(relief=ReliefState(level, queue_from={"light": light, "shed_low": light + more}))
    shop, snapshot = scene(queued)
    route = relief_route(shop, mine, snapshot)
    assert route is not None
    applied = [name for name in RELIEF_LEVELS if queued >= route.queue_from.get(name, queued + 1)]
    assert (applied[-1] if applied else None) == gateway_level(mine.relief, queued)


def test_in_shadow_it_is_decided_and_not_done() -> None:
    """`hcctl up --shadow` records what it would do; the gateway is told nothing."""
    mine, told = relieved(serving(), 41, scaling="shadow")
    assert told == ["would relieve: none to light"]
    shop, snapshot = scene(41, scaling="shadow")
    assert relief_route(shop, mine, snapshot) == ReliefRoute({}, "v1", "/versions/v1")


def test_what_is_not_declared_any_more_ends_and_leaves_nothing() -> None:
    """A deployed declaration without relief ends it at once, with a reason."""
    mine, told = relieved(serving(relief=ReliefState("light")), 41, spec=service())
    assert told == ["relief: light to none"]
    assert mine.relief.reason == "relief is not declared any more"
    assert relieved(mine, 41, spec=service())[0].relief == ReliefState()
    shop, snapshot = scene(41, spec=service())
    assert relief_route(shop, mine, snapshot) is None


def test_a_tick_carries_the_level_to_routes_and_status() -> None:
    """From the snapshot to what the gateway is told and what `hcctl status` shows."""
    shop, snapshot = scene(100, signals={"relief": {"light": 50, "shed_low": 25}})
    result = step(snapshot, DaemonState(services={"shop": serving()}))
    (route,) = result.plan.routes
    assert route.relief == ReliefRoute({"light": 0, "shed_low": 0}, "v1", "/versions/v1")
    mine = result.state.services["shop"]
    body = service_status(shop, mine, snapshot, result.plan, result.state.nodes, gateway_error="")
    relief = body["relief"]
    assert isinstance(relief, dict)
    assert (relief["level"], relief["since_s"], relief["process"]) == ("shed_low", NOW_S, "up")
    assert isinstance(body["signals"], dict)
    assert (body["signals"]["light_share"], body["signals"]["shed_share"]) == (0.1, 0.05)


def test_light_answers_ask_for_capacity() -> None:
    """Relief empties the queue, and must not end the burst by that: light answers are a breach, and sized for."""
    calm = signals(queued=0, queue_p99_s=0.0)
    assert breaches(SPEC, calm) == []
    assert breaches(SPEC, replace(calm, relief={"light": 50})) == ["light share 0.1 over 0.01"]
    shop, snapshot = scene(0, signals={"relief": {"light": 500}, "service_mean_s": None, "recent_rate_rps": 500.0})
    remembered = ReliefState("light", service_mean_s=0.1)
    mine = serving(relief=remembered, policy=replace(serving().policy, breach_since_s=NOW_S - 9))
    found, _ = demand(shop, DaemonState(services={"shop": mine}), snapshot, {"private": 4, "cloud": 6}, {})
    assert (found.bid.kind, found.bid.replicas) == ("grow", 10)
