"""A daemon behind an API server that refuses, loses and conflicts: it converges, and nothing is there twice."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from serving.errors import HcctlError
from tests.support.cluster_fleet import Fleet
from tests.support.clusters import double_cluster
from tests.support.kuberay import FakeKubeRay

SERVICES, STORM_TICKS = 3, 40


def storm(seed: int, folder: Path) -> None:
    """Refusals and restarts at random while services are deployed, then calm."""
    chance = random.Random(seed)
    with double_cluster(folder) as cluster, ExitStack() as opened:
        double = cluster.double
        assert double is not None
        operator = opened.enter_context(FakeKubeRay(double, poll_s=0.02))
        fleet = Fleet(cluster, folder, opened, sites=2, services=SERVICES)
        fleet.store.pace_s = 0.0  # type: ignore[misc]  # each tick writes
        failed = given = 0
        for _ in range(STORM_TICKS):
            for _ in range(chance.randrange(4)):
                times = chance.randrange(1, 4)
                given += times
                double.fail(
                    chance.choice([409, 429, 500, 503, 504]),
                    times=times,
                    verb=chance.choice(["", "get", "update", "create", "patch", "watch", "list"]),
                )
            if chance.random() < 0.05:
                double.restart(down_s=chance.uniform(0.0, 0.1))
            try:
                fleet.tick()
            except HcctlError:
                failed += 1  # as the loop does: logged, and tried again
            time.sleep(0.01)
        left = sum(fault.times for fault in double.faults)
        double.faults.clear()
        fleet.settle(SERVICES, 60.0)
        assert (failed > 0, given - left > 20) == (True, True), "the storm was none"
        closed = [name for _, verb, plural, name in double.agents if (verb, plural) == ("delete", "rayservices")]
        assert closed == [], "a site was closed for no reason"
        keys = [entry.key for entry in fleet.store.actions(limit=1_000)]
        assert len(keys) == len(set(keys))
        numbers = [decision.number for decision in fleet.store.decisions(limit=1_000)]
        assert numbers == list(range(len(numbers), 0, -1)), "a decision is missing or there twice"
        promoted = [d.service for d in fleet.store.decisions(limit=1_000) if "promoted" in str(d.body["reason"])]
        assert sorted(promoted) == sorted(set(promoted)), "a release ended twice"
        runs = [serve.applications for serve in operator.serves.values()]
        assert [len(applications) for applications in runs] == [SERVICES], "one cluster, each service once"
        assert [application["target"] for application in runs[0].values()] == [1] * SERVICES


@pytest.mark.parametrize("seed", range(2))
def test_a_storm_of_refusals_doubles_nothing(seed: int, tmp_path: Path) -> None:
    """Whatever is refused and whenever: each service serves once, each action and decision is there once."""
    storm(seed, tmp_path)


@pytest.mark.campaign
def test_many_storms(tmp_path: Path) -> None:
    """The same for 60 seeds."""
    for seed in range(60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        storm(1_000 + seed, folder)
