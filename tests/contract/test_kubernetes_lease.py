"""Who leads: one at most by anybody's account, whatever clocks, answers and pauses do."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import HcctlError, NotLeading
from serving.kubernetes_state.lease import (
    DEADLINE_S,
    DURATION_S,
    NAME,
    RENEW_EVERY_S,
    SKEW_S,
    Lease,
    leader,
)
from serving.sites.kubernetes.answers import LEASES
from tests.support.clusters import Cluster, double_cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) as found:
        yield found


class Clock:
    """One candidate's clock."""

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


def candidate(cluster: Cluster, who: str, clock: Clock) -> Lease:
    return Lease(cluster.client, cluster.namespace, "shop", who, clock=clock)


def leads(lease: Lease) -> bool:
    try:
        lease.require()
    except NotLeading:
        return False
    return True


def test_the_first_one_leads_and_the_second_waits(cluster: Cluster) -> None:
    """While the lease is renewed nobody takes it, however far apart the clocks are."""
    here, there = Clock(1_000.0), Clock(5.0)
    first, second = candidate(cluster, "a", here), candidate(cluster, "b", there)
    assert first.try_acquire()
    for _ in range(20):
        here.at_s += 2.0
        there.at_s += 2.0
        first.renew()
        assert not second.try_acquire()
    assert (leads(first), leads(second)) == (True, False)


def test_a_lease_that_stands_still_is_taken_after_its_duration(cluster: Cluster) -> None:
    """Counted by the standby's own clock from when it first saw the present version; before that the leader gave up."""
    here, there = Clock(0.0), Clock(7_000.0)
    first, second = candidate(cluster, "a", here), candidate(cluster, "b", there)
    assert first.try_acquire()
    assert not second.try_acquire()
    there.at_s += DURATION_S - 0.1
    here.at_s += DURATION_S - 0.1
    assert not second.try_acquire()
    assert not leads(first), "the leader stops before anybody may take over"
    there.at_s += 0.2
    assert second.try_acquire()
    assert leads(second)
    with pytest.raises(NotLeading, match="b has it"):
        first.renew()
    assert first.lost


def test_a_leader_that_slept_knows_before_it_asks(cluster: Cluster) -> None:
    """After a pause longer than the deadline it may not act, and may again once a renewal shows that nobody came."""
    here = Clock(0.0)
    first = candidate(cluster, "a", here)
    assert first.try_acquire()
    here.at_s += DEADLINE_S
    assert not leads(first)
    assert not first.lost
    first.renew()
    assert leads(first)


def test_a_renewal_whose_answer_was_lost_is_its_own(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands there in its name and turn is taken up, not fought."""
    here = Clock(0.0)
    first = candidate(cluster, "a", here)
    assert first.try_acquire()
    replace = cluster.client.replace

    def lost(*args: Any, **options: Any) -> Any:
        replace(*args, **options)
        raise HcctlError("the answer was lost")

    monkeypatch.setattr(cluster.client, "replace", lost)
    with pytest.raises(HcctlError):
        first.renew()
    monkeypatch.setattr(cluster.client, "replace", replace)
    first.renew()
    assert leads(first)
    assert not first.lost


def test_a_deleted_lease_ends_the_lead(cluster: Cluster) -> None:
    """Whoever deletes it asks for an election: the leader does not make it anew."""
    first = candidate(cluster, "a", Clock(0.0))
    assert first.try_acquire()
    cluster.client.delete(LEASES, cluster.namespace, NAME, timeout_s=5.0)
    with pytest.raises(NotLeading, match="deleted"):
        first.renew()
    assert first.lost


def test_letting_go_frees_it_at_once(cluster: Cluster) -> None:
    """The next one need not wait, and commands see who leads."""
    first, second = candidate(cluster, "a", Clock(0.0)), candidate(cluster, "b", Clock(0.0))
    assert first.try_acquire()
    assert leader(cluster.client, cluster.namespace, time.time()) == "a"
    assert leader(cluster.client, cluster.namespace, time.time() + 3_600.0) is None
    first.release()
    assert leader(cluster.client, cluster.namespace, time.time()) is None
    assert second.try_acquire()


@pytest.mark.parametrize("off_s", [-120.0, 120.0])
def test_a_command_with_another_clock_sees_who_leads(cluster: Cluster, off_s: float) -> None:
    """A lease that moves while it is looked at is held, whatever its time; one that stands still is not."""
    lease = candidate(cluster, "a", Clock(0.0))
    assert lease.try_acquire()
    waited: list[float] = []

    def renews(pause_s: float) -> None:
        waited.append(pause_s)
        lease.renew()

    now_s = time.time() + off_s
    assert leader(cluster.client, cluster.namespace, now_s, renews) == "a"
    assert leader(cluster.client, cluster.namespace, now_s, waited.append) is None
    assert waited == [2 * RENEW_EVERY_S] * 2
    assert leader(cluster.client, cluster.namespace, time.time() + SKEW_S, renews) is None


@pytest.mark.parametrize("seed", range(8))
def test_never_two_lead(cluster: Cluster, seed: int) -> None:
    """Three candidates with clocks of their own pace, pauses, and an API server that fails: one leads at most."""
    assert cluster.double is not None
    chance = random.Random(seed)
    clocks = [Clock(chance.uniform(0, 1e6)) for _ in range(3)]
    paces = [chance.uniform(0.97, 1.03) for _ in clocks]
    candidates = [candidate(cluster, name, clock) for name, clock in zip("abc", clocks, strict=True)]
    led: set[str] = set()
    asleep = [0.0] * 3
    for _ in range(120):
        for clock, pace in zip(clocks, paces, strict=True):
            clock.at_s += pace
        if chance.random() < 0.1:
            cluster.double.fail(chance.choice([409, 429, 500]), verb=chance.choice(["get", "update"]), plural="leases")
        for number, lease in enumerate(candidates):
            asleep[number] = chance.uniform(3, 20) if chance.random() < 0.03 else asleep[number] - 1.0
            if asleep[number] > 0:
                continue
            try:
                if lease.lost:
                    lease.try_acquire()
                else:
                    lease.renew()
            except HcctlError:
                continue
        leading = [lease.identity for lease in candidates if leads(lease)]
        assert len(leading) <= 1, f"two lead with seed {seed}"
        led |= set(leading)
    assert led
