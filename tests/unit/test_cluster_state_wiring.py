"""Which state a project has: a file here, or a namespace; and what commands do with the latter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import stores, wiring
from cli.main import app
from serving.errors import InvalidInput
from serving.kubernetes_state.lease import Lease
from serving.kubernetes_state.store import KubernetesStore
from serving.loading import to_project
from serving.paths import ProjectPaths
from serving.sqlite_store import SqliteStore
from serving.strict_yaml import parse
from tests.support.cluster_daemon import cluster_project, declaration
from tests.support.clusters import Cluster, double_cluster
from tests.support.declared import PROJECT


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) as found:
        yield found


@pytest.fixture
def paths(cluster: Cluster, tmp_path: Path) -> ProjectPaths:
    return ProjectPaths(cluster_project(tmp_path / "project", tmp_path / "kubeconfig.yaml"))


def test_state_in_a_cluster_is_declared(paths: ProjectPaths, tmp_path: Path) -> None:
    """`state` in hcctl.yaml chooses; a project without has its file, also while its project file is broken."""
    with wiring.store(paths) as opened:
        assert isinstance(opened, KubernetesStore)
    other = ProjectPaths(tmp_path / "other")
    other.root.mkdir()
    other.project_file.write_text(json.dumps(PROJECT))
    for _ in range(2):
        with wiring.store(other) as opened:
            assert isinstance(opened, SqliteStore)
        other.project_file.write_text(": {")


def test_local_sites_keep_their_state_here() -> None:
    """A daemon elsewhere would not see processes of this computer: it is refused with the way out."""
    data = declaration(Path("kubeconfig.yaml"))
    data["sites"]["private"] = {"role": "private", "pools": [{"name": "owned", "kind": "fixed", "max_nodes": 2}]}
    with pytest.raises(InvalidInput, match="leave state out"):
        to_project(parse(json.dumps(data).encode(), name="hcctl.yaml"))


def test_a_command_writes_intents_and_reads_what_the_leader_wrote(paths: ProjectPaths, cluster: Cluster) -> None:
    """`hcctl autoscaler pause` reaches the daemon, and `hcctl why` shows its decisions."""
    daemon = KubernetesStore(cluster.client, "default", "shop")
    daemon.lead("a")
    daemon.append_decisions((("shop", {"action": "scale", "reason": "for the test"}),), at_s=1.0, keep=10)
    run = CliRunner()
    project = ["--project", str(paths.root)]
    done = run.invoke(app, [*project, "autoscaler", "pause", "--reason", "tests"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    paused = daemon.intent("control", "autoscaler")
    assert paused is not None
    assert paused.body == {"paused": True, "reason": "tests"}
    done = run.invoke(app, [*project, "why", "-o", "json"], catch_exceptions=False)
    assert "for the test" in done.output


def test_a_daemon_lives_while_its_lease_is_renewed(paths: ProjectPaths, cluster: Cluster) -> None:
    """Whoever asks sees the daemon, wherever it runs."""
    assert not wiring.daemon_alive(paths)
    lease = Lease(cluster.client, "default", "shop", "a")
    assert lease.try_acquire()
    assert wiring.daemon_alive(paths)
    lease.release()
    assert not wiring.daemon_alive(paths)


@pytest.mark.parametrize("verb", ["export", "import"])
def test_an_archive_is_of_a_file(paths: ProjectPaths, verb: str) -> None:
    """`hcctl state` says what to back up instead."""
    done = CliRunner().invoke(app, ["--project", str(paths.root), "state", verb, "x.tar"])
    assert done.exit_code == 2
    assert "back up the ConfigMaps" in done.output


def test_the_store_of_a_command_leads_nobody(paths: ProjectPaths, cluster: Cluster) -> None:
    """Opening it changes nothing in the cluster."""
    assert cluster.double is not None
    with stores.store(paths) as opened:
        opened.intents("service")
        opened.observations("service")
    assert cluster.double.agents == []
