"""Random worlds: whatever happens in them, what is promised for every moment holds."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoscaler.snapshot import Hold
from autoscaler.state import DaemonState
from autoscaler.step import step
from tests.support.declared import service
from tests.support.world import START_S, World

HOUR_S = 3_600.0
_STATE = TypeAdapter(DaemonState)


@dataclass(frozen=True)
class Happening:
    """Something that is done to the world before time passes."""

    kind: str
    number: float
    site: str
    lasts_s: float

    def befall(self, world: World) -> None:
        """Do it."""
        site = world.sites[self.site]
        if self.kind == "load":
            world.shop.rate_rps = lambda _: self.number * 3.0
        elif self.kind == "deploy":
            world.shop.deploy(f"v{int(self.number)}", deployment=f"d{world.at_s}")
        elif self.kind == "bad":
            fault = ("load", "probe", "err")[int(self.number) % 3]
            world.bad_versions["bad"] = fault
            world.shop.deploy("bad", deployment=f"d{world.at_s}")
        elif self.kind == "abort" and world.mine.release:
            world.shop.abort = world.mine.release.deployment
        elif self.kind == "lose" and site.phase == "open":
            site.lose()
        elif self.kind == "hide":
            site.in_sight = not site.in_sight
        elif self.kind == "fail":
            world.failing_sites = {} if world.failing_sites else {self.site: 1.0}
        elif self.kind == "blind":
            world.gateway_blind = not world.gateway_blind
        elif self.kind == "hold":
            world.shop.hold = Hold({self.site: int(self.number) % 4 + 1}, world.now_s + 60, "test")
        elif self.kind == "scaling":
            world.scaling = ("active", "paused", "shadow")[int(self.number) % 3]

    @staticmethod
    def end_all(world: World) -> None:
        """All faults stop."""
        world.bad_versions, world.failing_sites, world.gateway_blind = {}, {}, False
        world.scaling, world.shop.hold = "active", None
        for site in world.sites.values():
            site.in_sight = True


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        kind=st.sampled_from(
            [
                "load",
                "load",
                "load",
                "deploy",
                "deploy",
                "bad",
                "abort",
                "lose",
                "hide",
                "fail",
                "blind",
                "hold",
                "scaling",
            ]
        ),
        number=st.floats(min_value=0, max_value=100).map(lambda x: round(x, 1)),
        site=st.sampled_from(["private", "cloud"]),
        lasts_s=st.sampled_from([1.0, 4.0, 15.0, 50.0]),
    ),
    min_size=3,
    max_size=12,
)
SPECS = st.builds(
    lambda most, least, cap, slots, calm, policy: service(
        sites={"private": {"max_replicas": most}, "cloud": {"min_replicas": least}},
        budget={"usd_per_hour": cap},
        model={"slots_per_replica": slots},
        burst={"calm_s": calm, "cost": None, "policy": policy},
        release={"load_timeout_s": 30.0},
    ),
    most=st.sampled_from([1, 2, 4]),
    least=st.sampled_from([0, 0, 1]),
    cap=st.sampled_from([None, 0.05, 0.12, 0.3]),
    slots=st.sampled_from([1, 4]),
    calm=st.sampled_from([5.0, 30.0]),
    policy=st.sampled_from(["threshold", "predictive"]),
)
FEW = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a world is slow to shrink, and its story says where to look
    suppress_health_check=[HealthCheck.too_slow],
)


def lived(spec, happenings, service_s: float) -> World:
    """A world in which all that has happened; it starts a quarter of an hour before a full hour."""
    world = World(spec, rate_rps=lambda _: 20.0, service_s=service_s, tick_s=1.0, start_s=START_S + 3 * HOUR_S - 900)
    world.deploy("v1")
    world.run(40)
    for happening in happenings:
        happening.befall(world)
        world.run(happening.lasts_s)
    return world


@FEW
@given(SPECS, HAPPENINGS, st.sampled_from([0.1, 2.0]))
def test_routes_sites_and_caps_hold_in_every_moment(spec, happenings, service_s):
    """No limit beyond ready, probed slots; no site over its size; no hour over its cap."""
    world = lived(spec, happenings, service_s)
    world.run(60)
    assert world.violations == []
    for hour in range(2, 5):
        spent = world.usd_between(START_S + hour * HOUR_S, START_S + (hour + 1) * HOUR_S)
        assert spec.budget.usd_per_hour is None or spent <= spec.budget.usd_per_hour + 1e-9


@FEW
@given(SPECS, HAPPENINGS)
def test_every_release_ends_in_one_verdict_when_faults_stop(spec, happenings):
    """Each deployment that was taken up has one verdict, and all open sites run what serves."""
    world = lived(spec, happenings, 0.1)
    Happening.end_all(world)
    world.shop.rate_rps = lambda _: 4.0
    assert world.run(400, until=lambda: world.mine.release is None and world.ready("private") > 0)
    world.run(120)
    ended = [release.deployment for release in world.finished]
    assert len(ended) == len(set(ended))
    assert all(release.verdict for release in world.finished)
    serves = {world.mine.stable.version} if world.mine.stable else set()
    for site in world.sites:
        assert set(world.serving(site)) <= serves
    assert world.shop.ticks[-1].wait_s == 0.0 or not serves


@FEW
@given(SPECS, HAPPENINGS)
def test_step_is_a_function_and_its_state_survives_json(spec, happenings):
    """The same snapshot and state give equal outputs, also when the state was stored in between."""
    world = lived(spec, happenings, 0.1)
    stored = _STATE.validate_python(_STATE.dump_python(world.state, mode="json"), strict=False)
    assert stored == world.state
    once = step(world.snapshot, world.state)
    assert step(world.snapshot, world.state) == once
    assert step(world.snapshot, stored) == once


@FEW
@given(SPECS, HAPPENINGS)
def test_a_steady_world_comes_to_rest(spec, happenings):
    """When nothing happens any more, a time comes after which nothing is done any more."""
    world = lived(spec, happenings, 0.1)
    Happening.end_all(world)
    world.shop.rate_rps = lambda _: 10.0
    world.shop.spec = world.shop.spec.model_copy(update={"budget": service().budget})
    world.run(300 if spec.burst.policy == "threshold" else 1_200)  # a forecaster forgets slowly
    actions = len(world.actions)
    world.run(120)
    assert len(world.actions) == actions
