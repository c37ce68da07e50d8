"""The daemon with a provider of machines: they follow the bill through failed launches, throttles and kills."""

from __future__ import annotations

from collections import Counter

import pytest
from moto import mock_aws

from autoscaler.capacity.hands import Rented
from autoscaler.capacity.orders import LOOK_EVERY_S
from autoscaler.money.market import taken
from serving.errors import HcctlError
from serving.failpoints import arm, disarm
from serving.sites.site import NodesInUse
from tests.support.daemon_rig import DaemonRig
from tests.support.declared import pools, project
from tests.support.fake_capacity import FakeCapacity
from tests.support.moto_machines import MotoMachines

POOLS = (
    {"name": "on-demand", "kind": "on_demand", "max_nodes": 6, "price_usd_per_hour": 1.0, "lead_time_s": 20.0},
    {"name": "spot", "kind": "spot", "max_nodes": 6, "price_usd_per_hour": 0.3, "lead_time_s": 20.0},
)
RAMP = {"rate_rps": 60, "total_s": 1.0, "queue_s": 0.5}


class Killed(BaseException):
    """The process dies."""


class Rig(DaemonRig):
    """A daemon whose cloud site has machines; each replica there takes one, the oldest ones first."""

    def __init__(self) -> None:
        super().__init__(fleet=pools(project(), "cloud", *POOLS))
        self.machines = FakeCapacity(self.clock, {"spot": 6, "on-demand": 6})
        self.cluster_silent = False
        self.before: Counter[str] = Counter()
        """Nodes on the bill a tick ago."""
        self.rented = {"cloud": Rented(self.machines, self.occupied)}
        self.restart()
        self.deploy("v1")
        self.run(20)

    def occupied(self) -> NodesInUse:
        if self.cluster_silent:
            raise HcctlError("the cluster does not answer")
        statuses = self.sites["cloud"].observe().applications or ()
        oldest = sorted(self.machines.observe().machines, key=lambda machine: machine.launched_at_s)
        used = frozenset(m.node for m in oldest[: sum(s.replicas_ready for s in statuses)] if m.node)
        return NodesInUse(workers=used)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            super().run(0.5)
            if not hasattr(self, "machines"):
                continue
            for pool, asked in self.asked.items():
                there = sum(m.pool == pool and m.grouped for m in self.machines._machines)
                assert asked <= max(self.paid[pool], self.before[pool], there), "more is asked for than is paid for"
            self.before = self.paid

    @property
    def paid(self) -> Counter[str]:
        """Nodes on the bill, by pool."""
        found = taken(self.daemon.state.nodes)
        return Counter({pool: count for (site, pool), count in found.items() if site == "cloud"})

    @property
    def asked(self) -> Counter[str]:
        """Machines that the groups are asked for."""
        return Counter({pool: seen.asked for pool, seen in self.machines._pools.items()})


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_machines_follow_the_bill_up_and_down(rig: Rig) -> None:
    """A burst launches what is paid for, in the cheaper pool; after it none is left, and the journal is closed."""
    rig.load(30, **RAMP)
    assert rig.asked["spot"] == rig.paid["spot"] > 0
    rig.run(400)
    assert not rig.paid
    assert rig.machines.observe().machines == ()
    assert rig.store.open_actions() == ()
    kinds = {entry.action["kind"] for entry in rig.store.actions(limit=1_000)}
    assert {"Resize", "Remove"} <= kinds


def test_a_pool_without_machines_is_left_for_the_next(rig: Rig) -> None:
    """Spot has none: the launch failure is told, on-demand takes over, and spot is not asked again meanwhile."""
    rig.machines.lack("spot")
    rig.load(60, **RAMP)
    assert rig.asked["on-demand"] == rig.paid["on-demand"] > 0
    assert rig.asked["spot"] == rig.paid["spot"] == 0
    reasons = [str(d.body["reason"]) for d in rig.store.decisions(limit=1_000) if d.body["action"] == "reclaim"]
    assert any("pool spot failed to launch a node" in reason for reason in reasons)
    launched = [call for call in rig.machines.calls if call.startswith("resize spot")]
    rig.load(60, **RAMP)
    assert [call for call in rig.machines.calls if call.startswith("resize spot")] == launched


def test_a_quota_moves_the_launch_elsewhere(rig: Rig) -> None:
    """What the account may not have in one pool is not asked for again and again; what fits there stays."""
    rig.machines.quota = {"spot": 1}
    rig.load(90, **RAMP)
    assert rig.asked["spot"] <= 1
    assert rig.asked["on-demand"] == rig.paid["on-demand"] > 0


def test_a_throttle_is_waited_out(rig: Rig) -> None:
    """Six refusals come with growing pauses between, requests are still served, and then the machines come."""
    rig.machines.throttle(6)
    rig.load(30, **RAMP)
    assert rig.machines.throttled > 0  # six would be gone in three seconds without pauses
    rig.load(240, **RAMP)
    assert rig.machines.throttled == 0
    assert rig.asked["spot"] == rig.paid["spot"] > 0


def test_a_reclaim_drains_and_is_replaced(rig: Rig) -> None:
    """The notice becomes a decision and a node elsewhere; once it is on disk the provider may forget it."""
    rig.load(30, **RAMP)
    spot = rig.paid["spot"]
    machine = rig.machines.observe().of("spot")[0]
    rig.machines.reclaim(machine, rig.clock() + 120.0)
    rig.load(LOOK_EVERY_S * 2 + 4, **RAMP)
    assert rig.paid["on-demand"] == rig.asked["on-demand"] == 1
    assert rig.paid["spot"] == spot
    assert "reclaim" in rig.actions()
    assert machine.id in rig.machines.forgotten


def test_nothing_is_doubled_by_a_daemon_that_is_killed(rig: Rig) -> None:
    """Killed now and then through a burst and its end, it asks for no machine that is not paid for."""
    for _ in range(10):
        rig.load(9, **RAMP)
        rig.restart()
    assert rig.paid
    rig.run(3)
    assert rig.asked == rig.paid
    for _ in range(60):
        rig.run(9)
        rig.restart()
    assert rig.machines.observe().machines == ()
    assert rig.store.open_actions() == ()


@pytest.mark.parametrize("place", ["daemon.after-journal", "daemon.after-call"])
def test_an_order_that_was_cut_off_is_carried_out_once(rig: Rig, place: str) -> None:
    """Killed around every third call: what was journalled is closed, what is wanted is there once, then gone."""
    passes = 0

    def die() -> None:
        nonlocal passes
        passes += 1
        if passes % 3 == 0:
            raise Killed

    arm(place, die)
    try:
        for second in range(700):
            try:
                rig.load(1, **RAMP) if second < 60 else rig.run(1)
            except Killed:
                rig.restart()
    finally:
        disarm()
    assert passes >= 6
    rig.run(60)
    assert rig.machines.observe().machines == ()
    assert rig.store.open_actions() == ()


def test_no_machine_leaves_while_the_cluster_is_silent(rig: Rig) -> None:
    """Which machines are in use is unknown, so all stay; they leave once it answers."""
    rig.load(30, **RAMP)
    rig.cluster_silent = True
    rig.run(400)
    assert not rig.paid
    assert len(rig.machines.observe().machines) > 0
    rig.cluster_silent = False
    rig.run(400)
    assert rig.machines.observe().machines == ()


def test_an_orphan_is_swept(rig: Rig) -> None:
    """A machine that its group lost sight of is replaced by need, and ended after ten minutes if nothing runs on it."""
    rig.load(30, **RAMP)
    rig.machines.stray("spot")
    rig.run(1_000)
    assert rig.machines.observe().machines == ()


def test_a_shadow_orders_nothing(rig: Rig) -> None:
    """A daemon that changes nothing looks at no machines either."""
    rig.restart(shadow=True)
    calls = list(rig.machines.calls)
    rig.load(20, **RAMP)
    assert rig.machines.calls == calls


def test_questions_are_few_while_nothing_happens(rig: Rig) -> None:
    """Four looks a minute, and no order."""
    asked: list[float] = []
    answer = rig.machines.observe
    rig.machines.observe = lambda: asked.append(rig.clock()) or answer()  # type: ignore[method-assign,func-returns-value]
    rig.run(60)
    assert 3 <= len(asked) <= 5
    assert rig.machines.calls == []


def test_eks_through_a_launch_failure_a_throttle_and_a_reclaim(monkeypatch: pytest.MonkeyPatch) -> None:
    """On node groups in moto: spot has none, AWS is asked too often, a machine is taken; at the end none is left."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        rig = DaemonRig(fleet=pools(project(), "cloud", *POOLS))
        aws = MotoMachines("eks", {"spot": 6, "on-demand": 6}, rig.clock)
        rig.rented = {"cloud": Rented(aws.capacity, NodesInUse)}
        rig.restart()
        rig.deploy("v1")
        rig.run(20)
        aws.lack("spot")
        rig.load(60, **RAMP)
        seen = aws.capacity.observe()
        paid = taken(rig.daemon.state.nodes)
        assert seen.pools["spot"].asked == paid.get(("cloud", "spot"), 0) == 0
        assert seen.pools["on-demand"].asked == len(seen.of("on-demand")) == paid["cloud", "on-demand"] > 0
        aws.throttle(3)
        aws.reclaim(seen.of("on-demand")[0], rig.clock() + 120.0)
        rig.load(60, **RAMP)
        assert any("takes a node back" in str(d.body["reason"]) for d in rig.store.decisions(limit=1_000))
        assert aws.autoscaling.errors == []
        assert aws.waiting() == 0
        rig.run(400)
        assert aws.running() == set()
        assert rig.store.open_actions() == ()
