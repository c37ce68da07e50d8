"""Which site a project gets for a kind, and that the client library waits until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import wiring
from cli.context import Project
from cli.main import app
from serving.errors import HcctlError, InvalidInput
from serving.paths import ProjectPaths
from serving.project import HybridProject
from serving.sites.kubernetes.api import connect
from serving.sites.kubernetes.site import KubernetesSite
from serving.sites.local import LocalSite
from serving.spec_artefacts import Artefacts
from serving.spec_kubernetes import KubernetesSpec
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.declared import project as project_with

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(ProjectPaths(tmp_path), mixed())


def mixed() -> HybridProject:
    """A project with a local private site and a Kubernetes one."""
    return project_with(sites={"cluster": KUBERNETES_SITE})


def spec(kubeconfig: str) -> KubernetesSpec:
    return KubernetesSpec(kubeconfig=kubeconfig, namespace="n", image="i:1", artefacts=Artefacts(claim="versions"))


def test_each_kind_has_its_site(project: Project) -> None:
    """A site is what its kind says; nothing is asked of a cluster before it is looked at."""
    sites = wiring.sites(project)
    assert {name: type(site) for name, site in sites.items()} == {
        "private": LocalSite,
        "cloud": LocalSite,
        "cluster": KubernetesSite,
    }
    assert sites["cluster"].name == "cluster"


def test_a_cluster_without_kubeconfig_is_unknown(project: Project) -> None:
    """A file that is not there leaves the site out of sight, and says which field to mend."""
    seen = wiring.sites(project)["cluster"].observe()
    assert (seen.phase, seen.applications) == ("open", None)
    assert "kubernetes.kubeconfig" in seen.message


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: b", "{", "contexts: [{name: a, context: {cluster: b}}]\nclusters: []\ncurrent-context: a"],
)
def test_a_broken_kubeconfig_is_invalid_input(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with a kubeconfig is one error that names the field."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        connect(spec("config"), tmp_path)
    assert caught.value.where == "kubernetes.kubeconfig"


@pytest.mark.parametrize(("file", "text"), [("config", "[" * 1_000), ("~nobody-of-this-name/config", "")])
def test_a_kubeconfig_that_cannot_be_found_or_ended_is_invalid_input(tmp_path: Path, file: str, text: str) -> None:
    """Too deep a file, and a home that nobody has."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidInput, match=r"kubernetes\.kubeconfig"):
        connect(spec(file), tmp_path)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra: who has no Kubernetes site needs none of it."""
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(HcctlError, match=r"hcctl\[kubernetes\]"):
        connect(spec("config"), tmp_path)


def test_the_library_is_imported_when_it_is_needed() -> None:
    """Neither the command line nor the site's module brings it along."""
    code = "import sys, cli.wiring, serving.sites.kubernetes.site; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_a_reclaim_is_not_rehearsed_on_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice that the site would never read is refused, not written."""
    monkeypatch.setattr("cli.commands.rehearse.open_running", lambda: Project(ProjectPaths(tmp_path), mixed()))
    done = CliRunner().invoke(app, ["rehearse", "reclaim", "cluster"])
    assert isinstance(done.exception, InvalidInput) or done.exit_code == 2
    assert not list(tmp_path.rglob("notices.json"))
