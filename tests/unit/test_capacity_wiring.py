"""Who rents the machines of a site, as hcctl.yaml says; boto3 waits until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from autoscaler.capacity.aws import AwsCapacity
from cli import wiring
from cli.context import Project
from serving.errors import HcctlError
from serving.paths import ProjectPaths
from serving.project import HybridProject, fixed_while_up
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.declared import merged, project

ROOT = Path(__file__).parents[2]


def declared(**changes: Any) -> HybridProject:
    """A project with a cluster whose machines hcctl rents; changes are merged into that site."""
    return project(sites={"cluster": merged(KUBERNETES_SITE, changes)})


@pytest.mark.parametrize("kind", ["eks", "auto_scaling"])
def test_a_site_with_capacity_has_machines(tmp_path: Path, kind: str) -> None:
    """Only it: the others' nodes are added by others. AWS is asked nothing."""
    capacity = {"kind": kind, "cluster": "hcctl-prod" if kind == "eks" else None}
    opened = Project(ProjectPaths(tmp_path), declared(capacity=capacity))
    found = wiring.rented(opened, wiring.sites(opened))
    assert list(found) == ["cluster"]
    assert isinstance(found["cluster"].capacity, AwsCapacity)


def test_without_capacity_nobody_rents_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Karpenter or the cluster autoscaler adds nodes hcctl does not even need boto3."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    opened = Project(ProjectPaths(tmp_path), declared(capacity=None))
    assert opened.spec.sites["cluster"].capacity is None
    assert wiring.rented(opened, wiring.sites(opened)) == {}


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 is an extra: who rents nothing in AWS needs none of it."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    opened = Project(ProjectPaths(tmp_path), declared())
    with pytest.raises(HcctlError, match=r"hcctl\[aws\]"):
        wiring.rented(opened, wiring.sites(opened))


def test_the_library_is_imported_when_it_is_needed() -> None:
    """Neither the daemon nor the module that asks AWS brings it along."""
    code = "import sys, autoscaler.daemon, autoscaler.capacity.aws; print({'boto3', 'botocore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"capacity": {"cluster": None}}, "cluster is missing"),
        ({"capacity": {"kind": "auto_scaling"}}, "cluster is for kind eks"),
        ({"capacity": {"groups": {"h100": "h100"}}}, "'h100', which is no pool of the site"),
        ({"role": "private", "kubernetes": {"upgrade": "none"}}, "capacity is for cloud sites"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    """One error that names the field and the fix."""
    changed = merged(KUBERNETES_SITE, changes)
    if changed["role"] == "private":
        changed["pools"] = [{"name": "a10g", "kind": "fixed", "max_nodes": 1, "worker": {"cpus": 1, "memory_gib": 1}}]
    with pytest.raises(ValidationError, match=said):
        project(sites={"cluster": changed})


def test_two_pools_do_not_share_a_group() -> None:
    """Two writers of one number would never agree."""
    (pool,) = KUBERNETES_SITE["pools"]
    two = {"pools": [pool, {**pool, "name": "second"}], "capacity": {"groups": {"second": "a10g-group"}}}
    with pytest.raises(ValidationError, match="two pools have the same group"):
        declared(**two)


def test_who_rents_is_fixed_while_up() -> None:
    """Changing it could leave machines that nobody counts: it needs `hcctl down` first."""
    assert fixed_while_up(declared(), declared(capacity=None)) == ["sites.cluster.capacity"]
