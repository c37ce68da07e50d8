"""How much a cluster is asked while nothing changes, and how long a pass takes: state and sites in the API double."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.campaign import keep
from tests.support.cluster_fleet import Fleet
from tests.support.clusters import Cluster, double_cluster
from tests.support.kuberay import FakeKubeRay

PASS_S, MEMORY_MIB, READS_A_SITE = 5.0, 400, 2
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) as found:
        yield found


def test_a_tick_in_which_nothing_changes_writes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """At most two reads a site and no write, but for the figures that are written every ten seconds."""
    with ExitStack() as opened:
        assert cluster.double is not None
        opened.enter_context(FakeKubeRay(cluster.double, poll_s=0.05))
        found = Fleet(cluster, tmp_path, opened, sites=2, services=3)
        found.settle(3, 30.0)
        found.asked(12, 0.1)  # what the last release leaves
        wanted = found.store.pace_s
        found.store.pace_s = 1e9  # type: ignore[misc]
        asked, _ = found.asked(10, 0.02)
        assert wanted == 10.0
        assert asked["writes"] == 0
        assert asked["reads"] <= 10 * READS_A_SITE * found.sites


@pytest.mark.campaign
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_two_hundred_services_on_four_sites() -> None:
    """A pass stays under 5 s and the process under 400 MiB, double and all; the requests of a tick are reported."""
    command = [sys.executable, "-m", "tests.support.cluster_fleet", "200", "4"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    report = [
        f"200 services, 4 sites: {found['passes']} passes until all serve, the longest {found['longest_s']:.2f} s",
        f"at rest the longest {found['longest_at_rest_s']:.2f} s, {found['reads_a_tick']:.2f} reads and "
        f"{found['writes_a_tick']:.2f} writes a tick",
        f"{found['memory_mib']:.0f} MiB with the double in the process",
    ]
    keep("services", report)
    assert max(found["longest_s"], found["longest_at_rest_s"]) < PASS_S
    assert found["memory_mib"] < MEMORY_MIB
    assert found["reads_a_tick"] <= READS_A_SITE * 4
    assert found["writes_a_tick"] <= 0.5, "figures every ten seconds, and nothing else"
