"""`hcctl key`: a secret is shown once, and nothing else on stdout."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import app


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project made by `hcctl init`."""
    monkeypatch.chdir(tmp_path)
    assert hcctl("init", "--name", "shop").exit_code == 0
    return tmp_path


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_secret_is_all_of_stdout(project: Path) -> None:
    """`hcctl key add NAME > file` writes the secret alone; on disk is its hash only."""
    result = hcctl("key", "add", "ci")
    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    assert secret.startswith("hcctl_")
    kept = "".join(path.read_text() for path in (project / ".hcctl").iterdir() if path.suffix == ".json")
    assert secret not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept


def test_secret_as_json() -> None:
    """`-o json` gives name and key."""
    made = json.loads(hcctl("key", "add", "ci", "-o", "json").stdout)
    assert made["name"] == "ci"
    assert made["key"].startswith("hcctl_")


def test_open_gateway_is_pointed_out(project: Path) -> None:
    """A key that nobody asks for is told as such."""
    assert "require_api_key" in hcctl("key", "add", "one").stderr
    file = project / "hcctl.yaml"
    file.write_text(file.read_text().replace("require_api_key: false", "require_api_key: true"))
    assert "require_api_key" not in hcctl("key", "add", "two").stderr


def test_keys_are_listed_without_secrets() -> None:
    """A listing shows names and times; an empty one is valid JSON."""
    assert json.loads(hcctl("key", "list", "-o", "json").stdout) == []
    assert "No key yet" in hcctl("key", "list").stderr
    secret = hcctl("key", "add", "ci").stdout.strip()
    listing = hcctl("key", "list", "-o", "json").stdout
    assert [set(row) for row in json.loads(listing)] == [{"name", "created_at_s"}]
    assert secret not in listing
    assert hcctl("key", "list").stdout.splitlines()[1].startswith("ci ")


def test_revoked_key_is_gone() -> None:
    """After revoke the key is not listed, and its name is free again."""
    hcctl("key", "add", "ci")
    assert hcctl("key", "revoke", "ci").exit_code == 0
    assert json.loads(hcctl("key", "list", "-o", "json").stdout) == []
    assert hcctl("key", "add", "ci").exit_code == 0


@pytest.mark.parametrize(
    "args", [("add", "Upper"), ("add", "taken"), ("revoke", "nobody"), ("add", "a b"), ("add", "x" * 500)]
)
def test_bad_names_are_refused(args: tuple[str, str]) -> None:
    """A malformed, taken or unknown name gives one error and exit 2."""
    hcctl("key", "add", "taken")
    result = hcctl("key", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("error:") == 1
