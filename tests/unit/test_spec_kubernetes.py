"""Sites of kind kubernetes in hcctl.yaml: what they need, and what one error says when it is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.main import app
from serving.errors import InvalidInput
from serving.loading import load_project
from serving.project import fixed_while_up
from serving.spec_kubernetes import HeadSpec, WorkerSpec
from tests.support.broken_specs import KUBERNETES_SITE, valid_text


def project_with(tmp_path: Path, path: str, value: object) -> Path:
    """A project file with a Kubernetes site of which one field, by its dotted path, has another value."""
    data = yaml.safe_load(valid_text("HybridProject"))
    data["sites"]["cluster"] = copy.deepcopy(KUBERNETES_SITE)
    *parents, last = path.split(".")
    here: Any = data["sites"]["cluster"]
    for part in parents:
        here = here[int(part) if part.isdigit() else part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    file = tmp_path / "hcctl.yaml"
    file.write_text(json.dumps(data))
    return file


@pytest.mark.parametrize(
    ("path", "value", "where", "why", "fix"),
    [
        pytest.param("kubernetes", None, "kubernetes", "kubernetes is missing", "namespace and with which", id="none"),
        pytest.param("kubernetes.namespace", None, "namespace", "is missing", "add namespace", id="no-namespace"),
        pytest.param("kubernetes.namespace", "A", "namespace", "not a name of lower-case", "at most 63", id="upper"),
        pytest.param("kubernetes.image", "shop", "image", "names no version", "a tag other than latest", id="no-tag"),
        pytest.param("kubernetes.image", "r:5000/shop:latest", "image", "no version", "or a digest", id="latest"),
        pytest.param("kubernetes.image", "shop;rm", "image", "not an image", "registry.example.org", id="no-image"),
        pytest.param("kubernetes.pull_secrets", ["a", "a"], "kubernetes", "has a twice", "keep one", id="secret-twice"),
        pytest.param("pools.0.worker.gpu_resource", "gpu", "gpu_resource", "not the name of a", "nvidia.com", id="gpu"),
        pytest.param("kubernetes.run_as_user", 0, "run_as_user", "0 is not", "from 1 to", id="root"),
        pytest.param("kubernetes.artefacts", None, "artefacts", "is missing", "add artefacts", id="no-artefacts"),
        pytest.param("kubernetes.artefacts.mount", "/a/../b", "mount", "not a folder", "such as /var", id="dots"),
        pytest.param("kubernetes.artefacts", {}, "artefacts", "neither a claim nor", "give one of them", id="nowhere"),
        pytest.param(
            "kubernetes.artefacts.bucket", {"name": "abc"}, "artefacts", "both a claim", "give one", id="both"
        ),
        pytest.param(
            "kubernetes.artefacts",
            {"bucket": {"name": "A"}},
            "name",
            "not the name of a bucket",
            "3 to 63",
            id="bucket",
        ),
        pytest.param(
            "kubernetes.artefacts",
            {"bucket": {"name": "abc", "endpoint": "http://minio.example.org"}},
            "endpoint",
            "not an address such as https",
            "http only on 127.0.0.1",
            id="in-the-clear",
        ),
        pytest.param(
            "kubernetes.artefacts",
            {"bucket": {"name": "abc", "endpoint": "https://minio..example.org"}},
            "endpoint",
            "not an address such as https",
            "http only on 127.0.0.1",
            id="no-host",
        ),
        pytest.param(
            "kubernetes.artefacts",
            {"bucket": {"name": "abc", "prefix": "/a"}},
            "prefix",
            "not a folder",
            "without /",
            id="key",
        ),
        pytest.param(
            "kubernetes.artefacts",
            {"bucket": {"name": "abc"}, "folder": "v"},
            "folder",
            "has the claim",
            "leave",
            id="folder",
        ),
        pytest.param("kubernetes.address.host", "a.b", "host", "not an IP address", "load balancer", id="name"),
        pytest.param("kubernetes.address.host", "fe80::1%x", "host", "has a zone", "plain address", id="zone"),
        pytest.param("pools.0.worker", None, "pools", "'a10g' has no worker", "cpus and memory_gib", id="no-worker"),
        pytest.param("pools.0.worker.labels", {"a b": "c"}, "labels", "no node can have", "use letters", id="key"),
        pytest.param("pools.0.worker.labels", {"a": "-"}, "labels", "no node can have", "use letters", id="value"),
        pytest.param("pools.0.worker.cpus", 0, "cpus", "0 is not a number above 0", "set cpus", id="no-cpu"),
        pytest.param("pools.0.gpus_per_node", 0.5, "pools", "part of a GPU", "whole number", id="half-gpu"),
        pytest.param("cores", [1], "cores", "are for sites of kind local", "leave them out", id="cores"),
        pytest.param("kind", "local", "kubernetes", "is for sites of kind kubernetes", "or set the kind", id="local"),
        pytest.param("kind", "kubernets", "kind", "not one of local, kubernetes", "set kind", id="typo"),
    ],
)
def test_what_is_wrong_is_one_error(tmp_path: Path, path: str, value: object, where: str, why: str, fix: str) -> None:
    """A field that is missing or wrong is named with its line, the problem and the fix."""
    with pytest.raises(InvalidInput) as caught:
        load_project(project_with(tmp_path, path, value))
    assert caught.value.where.endswith(where) or f".{where}" in caught.value.where
    assert "hcctl.yaml:" in caught.value.where
    assert why in caught.value.why
    assert fix in caught.value.next_step


def test_a_second_cluster_needs_rented_nodes(tmp_path: Path) -> None:
    """Owned nodes have no room for the second cluster of an upgrade."""
    file = project_with(tmp_path, "role", "private")
    data = json.loads(file.read_text())
    data["sites"]["cluster"]["pools"][0] |= {"kind": "fixed", "price_usd_per_hour": 0}
    data["sites"]["private"] = data["sites"].pop("cluster")
    file.write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match="does not fit owned nodes"):
        load_project(file)


def test_a_worker_is_not_for_a_local_site(tmp_path: Path) -> None:
    """A local site has processes, no pods."""
    file = project_with(tmp_path, "kind", "local")
    data = json.loads(file.read_text())
    del data["sites"]["cluster"]["kubernetes"]
    file.write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match="pools have a worker"):
        load_project(file)


def test_validate_takes_a_kubernetes_site(tmp_path: Path) -> None:
    """`hcctl validate` finds a complete one right, and the place of what is wrong."""
    file = project_with(tmp_path, "kubernetes.upgrade", "new_cluster")
    assert CliRunner().invoke(app, ["validate", "-f", str(file)]).exit_code == 0
    wrong = project_with(tmp_path, "kubernetes.imag", "x")
    refused = CliRunner().invoke(app, ["validate", "-f", str(wrong)])
    assert refused.exit_code != 0


def test_the_example_of_the_template_is_valid(tmp_path: Path) -> None:
    """The commented site of `hcctl init` is a site, once its comment signs are gone, with the defaults it names."""
    lines = valid_text("HybridProject").splitlines()
    first = next(number for number, line in enumerate(lines) if line.strip() == "# cluster:")
    last = next(number for number in range(first, len(lines)) if not lines[number].strip())
    opened = [line.replace("# ", "", 1) for line in lines[first:last]]
    file = tmp_path / "hcctl.yaml"
    file.write_text("\n".join([*lines[:first], *opened, *lines[last:]]))
    site = load_project(file).sites["cluster"]
    assert site.kubernetes is not None
    assert site.kubernetes.head == HeadSpec()
    assert isinstance(site.pools[0].worker, WorkerSpec)


def test_where_a_site_runs_is_fixed_while_it_is_up(tmp_path: Path) -> None:
    """Another namespace would leave the former one running: it needs `hcctl down` first."""
    one = load_project(project_with(tmp_path, "kubernetes.namespace", "one"))
    two = load_project(project_with(tmp_path, "kubernetes.namespace", "two"))
    assert fixed_while_up(one, two) == ["sites.cluster.kubernetes"]


def test_the_next_image_may_be_named_while_up(tmp_path: Path) -> None:
    """Images to pull beforehand are for a change to come: naming them needs no restart of the site."""
    one = load_project(project_with(tmp_path, "kubernetes.run_as_user", 1_000))
    two = load_project(project_with(tmp_path, "kubernetes.pre_pull", ["registry.example.org/shop:1.5.0"]))
    assert one != two
    assert fixed_while_up(one, two) == []
