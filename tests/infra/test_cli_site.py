"""`hcctl site add`: a stack's outputs become a site of hcctl.yaml, by reference and once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from moto.ec2.models.instance_types import INSTANCE_TYPES

from cli.main import app
from infra.costs import load_prices
from serving.loading import load_project
from tests.support.stack_outputs import stack_outputs

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/hcctl-prod/hcctl/serve:1.4.0"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of `hcctl init`, and outputs beside it."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    (tmp_path / "outputs.json").write_text(json.dumps(stack_outputs()))
    return tmp_path


def add(*words: str, outputs: dict[str, Any] | None = None, answer: str | None = None) -> Result:
    """Run `hcctl site add burst` with outputs from a file."""
    if outputs is not None:
        Path("outputs.json").write_text(json.dumps(outputs))
    given = ["site", "add", "burst", "--from-outputs", "outputs.json", "--image", IMAGE, *words]
    return CliRunner().invoke(app, given, input=answer)


def test_the_outputs_become_a_site(shop: Path) -> None:
    """Access, namespace, groups, queue, pools with prices, dates and workers; nothing else in the file changes."""
    before = (shop / "hcctl.yaml").read_text()
    done = add("--yes")
    assert done.exit_code == 0, done.output
    project = load_project(shop / "hcctl.yaml")
    site = project.sites["burst"]
    assert (site.role, site.kind) == ("cloud", "kubernetes")
    assert site.kubernetes is not None
    assert (site.kubernetes.context, site.kubernetes.namespace) == ("hcctl-prod", "hcctl")
    assert (site.kubernetes.image, site.kubernetes.service_account) == (IMAGE, "hcctl-replica")
    bucket = site.kubernetes.artefacts.bucket
    assert bucket is not None
    assert (bucket.name, bucket.region) == ("hcctl-prod-models-123456789012-us-east-1", "us-east-1")
    assert site.capacity is not None
    assert site.capacity.model_dump() == {
        "kind": "eks",
        "region": "us-east-1",
        "cluster": "hcctl-prod",
        "stack": "hcctl-prod",
        "groups": {"a10g-spot": "a10g-spot", "a10g": "a10g"},
        "reclaim_queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/hcctl-prod-reclaims",
    }
    spot, fixed = site.pools
    assert (spot.name, spot.kind, spot.max_nodes, spot.price_usd_per_hour) == ("a10g-spot", "spot", 8, 1.212)
    assert (fixed.name, fixed.kind, fixed.price_usd_per_hour, fixed.lead_time_s) == ("a10g", "on_demand", 1.006, 300.0)
    assert fixed.price_as_of == load_prices().as_of
    assert fixed.worker is not None
    assert (fixed.worker.cpus, fixed.worker.memory_gib, fixed.gpus_per_node) == (3, 12, 1)
    assert fixed.worker.labels == {"hcctl.dev/pool": "a10g"}
    assert [taint.key for taint in fixed.worker.taints] == ["nvidia.com/gpu"]
    after = (shop / "hcctl.yaml").read_text()
    assert after.replace(after[after.index("\n  # from stack") : after.index("\n# The one endpoint")], "") == before
    assert "a10g-spot: no spot price is known, so it has the on-demand price" in done.stderr
    assert "as of" in done.stderr or "AWS list prices" in done.stderr


def test_the_diff_is_shown_and_a_no_changes_nothing(shop: Path) -> None:
    """The diff on stdout, the question on stderr; neither file nor kubeconfig is written."""
    before = (shop / "hcctl.yaml").read_bytes()
    done = add(answer="n\n")
    assert done.exit_code == 130
    assert "+  burst:" in done.stdout
    assert "Add site burst to hcctl.yaml?" in done.stderr
    assert (shop / "hcctl.yaml").read_bytes() == before
    assert not (shop / "burst.kubeconfig").exists()


def test_the_kubeconfig_is_a_file_of_ones_own(shop: Path) -> None:
    """It lies beside the project file, for its owner only, and the site refers to it."""
    assert add("-y").exit_code == 0
    file = shop / "burst.kubeconfig"
    assert json.loads(file.read_text())["current-context"] == "hcctl-prod"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "certificate-authority-data" not in (shop / "hcctl.yaml").read_text()


def test_nothing_is_overwritten(shop: Path) -> None:
    """Neither the site nor another kubeconfig; both errors name what is there."""
    (shop / "burst.kubeconfig").write_text("mine")
    refused = add("-y")
    assert refused.exit_code == 2
    assert "there is another kubeconfig for this site" in refused.stderr
    assert (shop / "burst.kubeconfig").read_text() == "mine"
    assert add("-y", "--kubeconfig", "burst.kubeconfig").exit_code == 0
    content = (shop / "hcctl.yaml").read_bytes()
    again = add("-y", "--kubeconfig", "burst.kubeconfig")
    assert again.exit_code == 2
    assert "there is such a site" in again.stderr
    assert (shop / "hcctl.yaml").read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pools": None}, "output pools"),
        ({"pools": []}, "the stack has no GPU pool"),
        ({"pools": [stack_outputs()["pools"][0] | {"instance_types": []}]}, "output pools.0.instance_types"),
        ({"kubeconfig": "[" * 100_000}, "the stack's kubeconfig is not used"),
        ({"name": "half \udcff"}, "is no whole character"),
        ({"format": 2}, "output format"),
        ({"region": "mars-1"}, "there are no prices of mars-1"),
        ({"kubeconfig": "{}"}, "the stack's kubeconfig is not used"),
        ({"reclaim_queue_url": "none"}, "capacity.reclaim_queue_url"),
    ],
)
def test_an_output_that_is_missing_or_wrong_is_one_error(shop: Path, changes: dict[str, Any], told: str) -> None:
    """Exit code 2, the output is named, and nothing is written."""
    outputs = stack_outputs(**changes)
    if outputs["pools"] is None:
        del outputs["pools"]
    before = (shop / "hcctl.yaml").read_bytes()
    done = add("-y", outputs=outputs)
    assert done.exit_code == 2, done.output
    assert told in done.stderr
    assert done.stderr.count("error:") == 1
    assert (shop / "hcctl.yaml").read_bytes() == before
    assert not (shop / "burst.kubeconfig").exists()


@pytest.mark.parametrize(
    ("kinds", "told"),
    [(["p9.huge"], "there is no price of p9.huge"), (["g5.xlarge", "g5.12xlarge"], "the same number of GPUs")],
)
def test_a_machine_that_is_not_known_is_not_guessed(shop: Path, kinds: list[str], told: str) -> None:
    """No price or different GPUs: the pool is named, and how to say it."""
    outputs = stack_outputs()
    outputs["pools"][1]["instance_types"] = kinds
    done = add("-y", outputs=outputs)
    assert done.exit_code == 2
    assert told in done.stderr
    assert "output pools: a10g" in done.stderr


@pytest.mark.parametrize(
    "user", [{"token": "secret"}, {"exec": {"command": "/bin/sh"}}, {"exec": {"command": "aws"}, "password": "p"}]
)
def test_a_door_is_never_written(shop: Path, user: dict[str, Any]) -> None:
    """A kubeconfig with credentials, or with another program, is refused; one of ones own is the way."""
    kubeconfig = json.dumps({"users": [{"name": "u", "user": user}]})
    done = add("-y", outputs=stack_outputs(kubeconfig=kubeconfig, on_prem_kubeconfig="door"))
    assert done.exit_code == 2
    assert "--kubeconfig" in done.stderr
    assert "secret" not in done.output
    assert add("-y", "--kubeconfig", "own.yaml").exit_code == 0
    assert "door" not in (shop / "hcctl.yaml").read_text()
    assert load_project(shop / "hcctl.yaml").sites["burst"].kubernetes.context is None  # type: ignore[union-attr]


@pytest.mark.parametrize("option", ["--image", "--claim", "--kubeconfig"])
def test_an_empty_word_is_no_choice(shop: Path, option: str) -> None:
    """A variable that was never set is refused, and not taken for an option that was left out."""
    before = (shop / "hcctl.yaml").read_bytes()
    assert add("-y", option, "").exit_code == 2
    assert (shop / "hcctl.yaml").read_bytes() == before


def test_versions_may_be_on_a_volume(shop: Path) -> None:
    """With a claim there is no bucket, and the pods need no role."""
    assert add("-y", "--claim", "versions").exit_code == 0
    found = load_project(shop / "hcctl.yaml").sites["burst"].kubernetes
    assert found is not None
    assert (found.artefacts.claim, found.artefacts.bucket, found.service_account) == ("versions", None, None)


def test_without_an_image_the_repositories_are_named(shop: Path) -> None:
    """The stack does not know what was pushed."""
    done = CliRunner().invoke(app, ["site", "add", "burst", "--from-outputs", "outputs.json"])
    assert done.exit_code == 2
    assert "hcctl-prod/hcctl/serve" in done.stderr


@pytest.mark.parametrize("words", [[], ["--from-stack", "prod", "--from-outputs", "outputs.json"]])
def test_there_is_one_source(shop: Path, words: list[str]) -> None:
    """Neither none nor two."""
    done = CliRunner().invoke(app, ["site", "add", "burst", *words])
    assert done.exit_code == 2
    assert "--from-stack" in done.stderr


@pytest.mark.parametrize("content", ["", "[]", "{", "null", pytest.param("[" * 100_000, id="deep")])
def test_a_file_without_outputs_is_named(shop: Path, content: str) -> None:
    """And the command that writes them."""
    (shop / "outputs.json").write_text(content)
    done = CliRunner().invoke(app, ["site", "add", "burst", "--from-outputs", "outputs.json"])
    assert done.exit_code == 2
    assert "outputs.json" in done.stderr
    assert "hcctl infra outputs" in done.stderr


def test_spot_prices_of_a_book_are_taken_with_their_date(shop: Path) -> None:
    """The dearest of the pool's types, as of the day on which it was read."""
    book = load_prices()
    here = book.regions["us-east-1"]
    spot = here.model_copy(update={"spot_hours": {"g5.xlarge": 0.41, "g5.2xlarge": 0.52}, "spot_as_of": "2026-11-20"})
    (shop / "prices.json").write_text(book.model_copy(update={"regions": {"us-east-1": spot}}).model_dump_json())
    done = add("-y", "--prices", "prices.json")
    assert done.exit_code == 0, done.output
    found = {pool.name: pool for pool in load_project(shop / "hcctl.yaml").sites["burst"].pools}
    assert (found["a10g-spot"].price_usd_per_hour, found["a10g-spot"].price_as_of) == (0.52, "2026-11-20")
    assert found["a10g"].price_as_of == book.as_of


def test_the_engine_gives_the_outputs(shop: Path, folder: Path, engine: Path) -> None:
    """`--from-stack` asks the stack for its outputs, and changes nothing there."""
    (folder / "outputs.json").write_text(json.dumps(stack_outputs(on_prem_kubeconfig="door")))
    done = CliRunner().invoke(app, ["site", "add", "burst", "--from-stack", "prod", "--image", IMAGE, "-y"])
    assert done.exit_code == 0, done.output
    assert "burst" in load_project(shop / "hcctl.yaml").sites
    assert "door" not in (shop / "hcctl.yaml").read_text() + (shop / "burst.kubeconfig").read_text()
    assert not any(word in engine.read_text().split() for word in ("up", "destroy"))


def test_machine_sizes_are_those_of_ec2() -> None:
    """Every machine of the price book has a size, as EC2 describes it (in what moto has copied from it)."""
    book = load_prices()
    found = {
        name: (
            INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"],
            INSTANCE_TYPES[name]["MemoryInfo"]["SizeInMiB"] / 1024,
            sum(gpu["Count"] for gpu in INSTANCE_TYPES[name].get("GpuInfo", {}).get("Gpus", [])),
        )
        for name in book.machine_sizes
    }
    assert {name: (size.cpus, size.memory_gib, size.gpus) for name, size in book.machine_sizes.items()} == found
    assert set(book.regions["us-east-1"].instance_hours) == set(found)
