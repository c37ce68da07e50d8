"""`hcctl site list`: every site as it is now, also one that does not answer."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import wiring
from cli.context import open_project
from cli.main import app
from tests.support.cluster_daemon import cluster_project
from tests.support.kuberay import FakeKubeRay
from tests.support.kubernetes_api import KubernetesDouble


def rows(*args: str) -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(app, ["site", "list", "-o", "json", *args])
    assert done.exit_code == 0, done.stderr
    return {row["site"]: row for row in json.loads(done.stdout)}


def test_every_site_says_how_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon runs: one site is open and empty, the other closed; then neither answers, and nothing is nought."""
    with KubernetesDouble() as double, FakeKubeRay(double):
        folder = cluster_project(tmp_path / "project", double.kubeconfig(tmp_path))
        monkeypatch.chdir(folder)
        private = wiring.sites(open_project())["private"]
        private.open()
        deadline_s = time.monotonic() + 10.0
        while private.observe().phase != "open":
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        found = rows()
        assert {name: row["phase"] for name, row in found.items()} == {"private": "open", "cloud": "closed"}
        assert (found["private"]["ready"], found["private"]["wanted"], found["private"]["max_nodes"]) == (0, 0, 4)
        assert found["cloud"]["ready"] is None
        double.denied.add(("get", "rayservices"))
        blocked = rows()["cloud"]
        assert "may not get rayservices" in str(blocked["message"])
        assert blocked["ready"] is None
