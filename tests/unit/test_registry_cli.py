"""`hcctl version`: what it prints, and how it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from moto import mock_aws

from cli.main import app
from serving.artefact import verify_version
from tests.support.artefacts import make_artefact, tensor_bytes
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.model_bucket import NAME, ModelBucket


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project made by `hcctl init`, with an artefact in `model/`."""
    monkeypatch.chdir(tmp_path)
    assert hcctl("init", "--name", "shop").exit_code == 0
    make_artefact(tmp_path / "artefact")
    return tmp_path


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def pushed(*args: str) -> str:
    result = hcctl("version", "push", "artefact", *args)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_push_prints_the_id_alone() -> None:
    """On stdout there is the id and nothing else; twice the same artefact is twice the same id."""
    version = pushed()
    assert len(version) == 64
    assert pushed() == version


def test_a_version_belongs_to_the_projects_service_unless_named(project: Path) -> None:
    """Without --name it is a version of the service in service.yaml; without that file --name is asked for."""
    pushed()
    pushed("--name", "other")
    names = [row["name"] for row in json.loads(hcctl("version", "list", "-o", "json").stdout)]
    assert sorted(names) == ["other", "shop"]
    (project / "service.yaml").unlink()
    result = hcctl("version", "push", "artefact")
    assert result.exit_code == 2
    assert "--name" in result.stderr


def test_config_schema_and_metrics_reach_the_manifest(project: Path) -> None:
    """What was given at push is shown by inspect."""
    (project / "config.json").write_text('{"layers": 2}')
    (project / "schema.json").write_text('{"input": "user"}')
    version = pushed(
        "--config", "config.json", "--schema", "schema.json", "--metric", "recall=0.25", "--metric", "auc=1"
    )
    found = json.loads(hcctl("version", "inspect", version[:8], "-o", "json").stdout)
    assert (found["version"], found["config"], found["io_schema"]) == (version, {"layers": 2}, {"input": "user"})
    assert found["metrics"] == {"recall": 0.25, "auc": 1.0}
    assert found["verified"] is None


def test_the_commit_of_the_artefact_is_recorded(project: Path) -> None:
    """In a git repository the manifest holds the commit; outside of one it is null."""
    version = pushed()
    found = json.loads(hcctl("version", "inspect", version, "-o", "json").stdout)
    assert found["provenance"]["git_commit"] is None
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    version = pushed("--name", "other")
    found = json.loads(hcctl("version", "inspect", version, "-o", "json").stdout)
    assert found["provenance"]["git_commit"] == head


def test_the_list_shows_short_ids_newest_first() -> None:
    """The table has one line per version; an empty registry says what to do, or is an empty JSON list."""
    assert json.loads(hcctl("version", "list", "-o", "json").stdout) == []
    assert "hcctl version push" in hcctl("version", "list").stderr
    first, second = pushed(), pushed("--name", "other", "--metric", "recall=0.5")
    lines = hcctl("version", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [second[:12], first[:12]]
    assert "recall 0.5" in lines[1]
    assert len(hcctl("version", "list", "--name", "shop").stdout.splitlines()) == 2


def test_latest_is_inspected_and_verified() -> None:
    """`latest` is the project's service's; --verify reads every file and says so."""
    version = pushed()
    pushed("--name", "other")
    result = hcctl("version", "inspect", "latest", "--verify")
    assert result.exit_code == 0
    assert version in result.stdout
    assert "model.safetensors" in result.stdout
    assert "yes" in result.stdout


def test_a_damaged_file_is_named_and_ends_with_1(project: Path) -> None:
    """`inspect --verify` of a tampered version names the file."""
    version = pushed()
    file = project / ".hcctl" / "registry" / version / "items.json"
    file.chmod(0o600)
    file.write_bytes(b"[1, 2, 3]..")
    assert hcctl("version", "inspect", version).exit_code == 0
    result = hcctl("version", "inspect", version, "--verify")
    assert result.exit_code == 1
    assert "items.json" in result.stderr
    assert result.stdout == ""


def test_a_damaged_manifest_does_not_hide_the_others(project: Path) -> None:
    """`list` shows the sound versions, tells of the damaged one, and ends with 1."""
    damaged, sound = pushed(), pushed("--name", "other")
    (project / ".hcctl" / "registry" / damaged / "manifest.json").unlink()
    result = hcctl("version", "list")
    assert result.exit_code == 1
    assert sound[:12] in result.stdout
    assert damaged[:12] in result.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["push", "missing"], "missing"),
        (["push", "artefact", "--name", "Not A Name"], "name"),
        (["push", "artefact", "--metric", "recall"], "--metric recall"),
        (["push", "artefact", "--metric", "=1"], "--metric =1"),
        (["push", "artefact", "--metric", "recall=good"], "--metric recall=good"),
        (["push", "artefact", "--metric", "recall=nan"], "metrics.recall"),
        (["push", "artefact", "--config", "missing.json"], "missing.json"),
        (["push", "artefact", "--config", "hcctl.yaml"], "hcctl.yaml"),
        (["push", "artefact", "--config", "list.json"], "list.json"),
        (["push", "artefact", "--config", "nan.json"], "finite"),
        (["push", "artefact", "--config", "deep.json"], "deep.json"),
        (["push", "bad"], "model.pkl"),
        (["inspect", "0000"], "0000"),
        (["inspect", "latest"], "registry is empty"),
        (["inspect", ""], "no such version"),
    ],
)
def test_wrong_input_is_one_clear_error(project: Path, args: list[str], told: str) -> None:
    """Each mistake ends with exit code 2, nothing on stdout, and the thing that is wrong named."""
    (project / "list.json").write_text("[]")
    (project / "nan.json").write_text('{"a": NaN}')
    (project / "deep.json").write_text("[" * 100_000)
    make_artefact(project / "bad", model__pkl=b"x")
    result = hcctl("version", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_malformed_weights_are_refused_by_name(project: Path) -> None:
    """A safetensors file that breaks the format is named at push."""
    make_artefact(project / "artefact", model__safetensors=tensor_bytes() + b"x")
    result = hcctl("version", "push", "artefact")
    assert result.exit_code == 1
    assert "model.safetensors" in result.stderr


def with_sites(project: Path, **artefacts: object) -> None:
    """Give the project Kubernetes sites, by name, with these artefacts."""
    data = yaml.safe_load((project / "hcctl.yaml").read_text())
    for name, where in artefacts.items():
        kubernetes = KUBERNETES_SITE["kubernetes"] | {"artefacts": where}
        data["sites"][name] = KUBERNETES_SITE | {"kubernetes": kubernetes}
    (project / "hcctl.yaml").write_text(json.dumps(data))


def test_a_push_reaches_every_site(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version goes to the bucket, once for two sites, and to the mounted volume; only its id is on stdout."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    bucket = {"bucket": {"name": NAME, "region": "us-east-1"}}
    with_sites(project, east=bucket, west=bucket, home={"claim": "versions", "folder": "volume"})
    (project / "volume").mkdir()
    with mock_aws():
        held = ModelBucket()
        done = hcctl("version", "push", "artefact")
        version = done.stdout.strip()
        assert done.exit_code == 0
        assert done.stderr.count(f"to s3://{NAME}/versions: copied") == 1
        assert f"versions/{version}/manifest.json" in held.objects()
        assert verify_version(project / "volume" / version).version == version
        assert hcctl("version", "replicate", version[:12]).stderr.count("it was there") == 2


def test_a_copy_that_fails_is_told_and_done_again(project: Path) -> None:
    """Without its copy a push fails with what to do; the version is in the registry, and `replicate` goes on."""
    with_sites(project, home={"claim": "versions", "folder": "volume"})
    done = hcctl("version", "push", "artefact")
    assert (done.exit_code, done.stdout) == (1, "")
    said = " ".join(done.stderr.split())
    (row,) = json.loads(hcctl("version", "list", "-o", "json").stdout)
    assert f"hcctl version replicate {row['version'][:12]}" in said
    (project / "volume").mkdir()
    assert hcctl("version", "replicate", "latest").exit_code == 0
    verify_version(project / "volume" / row["version"])


def test_what_one_site_refuses_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites that share a bucket, and not what they ask of it: in the clear is for one of them no answer."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    plain = {"name": NAME, "region": "us-east-1", "encrypted": False}
    with_sites(project, east={"bucket": plain}, west={"bucket": plain | {"encrypted": True}})
    with mock_aws():
        ModelBucket(encrypted=False)
        done = hcctl("version", "push", "artefact")
    assert (done.exit_code, "does not encrypt" in done.stderr) == (1, True)


def test_a_home_that_nobody_has_is_invalid_input(project: Path) -> None:
    """The folder of a volume may begin with ~; of a user who is not known it is no folder."""
    version = pushed()
    with_sites(project, home={"claim": "versions", "folder": "~nobody-of-this-name/volume"})
    done = hcctl("version", "replicate", version)
    assert (done.exit_code, "artefacts.folder" in done.stderr) == (2, True)


def test_without_a_copy_there_is_nothing_to_replicate(project: Path) -> None:
    """On local sites, and with a volume that somebody else fills, that is said."""
    version = pushed()
    done = hcctl("version", "replicate", version)
    assert done.exit_code == 2
    assert "artefacts.bucket or artefacts.folder" in " ".join(done.stderr.split())
