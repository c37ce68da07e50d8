"""`hcctl validate`, `schema` and `completion`."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli.main import app


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project made by `hcctl init`."""
    monkeypatch.chdir(tmp_path)
    assert hcctl("init", "--name", "shop").exit_code == 0
    return tmp_path


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_both_files_of_the_project_are_checked(project: Path) -> None:
    """Without -f the project file and the service file are checked, one line each."""
    result = hcctl("validate")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["ok", "hcctl.yaml", "HybridProject", "shop"],
        ["ok", "service.yaml", "HybridService", "shop"],
    ]
    assert result.stderr == ""


def test_json_output(project: Path) -> None:
    """`-o json` prints the same rows as JSON and nothing else on stdout."""
    rows = json.loads(hcctl("validate", "-o", "json").stdout)
    assert [row["file"] for row in rows] == ["hcctl.yaml", "service.yaml"]
    assert {row["result"] for row in rows} == {"ok"}


def test_service_is_checked_against_the_project_around(project: Path) -> None:
    """A service file alone is checked against the project of the folder."""
    service = project / "other.yaml"
    text = (project / "service.yaml").read_text()
    service.write_text(text.replace("cloud: {min_replicas: 0, max_replicas: 4}", "cloud: {max_replicas: 9}"))
    result = hcctl("validate", "-f", "other.yaml")
    assert result.exit_code == 2
    assert "other.yaml:30 sites.cloud.max_replicas" in result.stderr


def test_service_is_checked_against_the_project_given_beside_it(project: Path, tmp_path: Path) -> None:
    """A project file among the files wins over the one of the folder, wherever it stands in the list."""
    small = project / "small.yaml"
    small.write_text((project / "hcctl.yaml").read_text().replace("max_nodes: 4", "max_nodes: 1"))
    result = hcctl("validate", "-f", "service.yaml", "-f", "small.yaml")
    assert result.exit_code == 2
    assert "4 replicas do not fit 1 nodes" in result.stderr


def test_service_without_a_project_is_checked_alone(project: Path) -> None:
    """A service file without any project is checked by itself, and that is said."""
    (project / "hcctl.yaml").unlink()
    result = hcctl("validate", "-f", "service.yaml")
    assert result.exit_code == 0
    assert "without a project" in result.stderr


@pytest.mark.parametrize(
    ("args", "title"),
    [((), "HybridService"), (("service",), "HybridService"), (("project",), "HybridProject")],
)
def test_schema_is_printed(args: tuple[str, ...], title: str) -> None:
    """`hcctl schema` prints the JSON schema of a file; the service's by default."""
    assert json.loads(hcctl("schema", *args).stdout)["title"] == title


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str) -> None:
    """Each shell gets a script that asks hcctl for completions."""
    result = hcctl("completion", shell)
    assert result.exit_code == 0
    assert f"_HCCTL_COMPLETE={shell}_complete" in result.stdout


def test_completion_offers_verbs_without_loading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completing a verb lists the table; no verb's module is imported for it."""
    monkeypatch.setenv("_HCCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "hcctl ro")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setattr(type(app), "get_command", lambda *_: click.Command("not to be asked"))
    assert hcctl().stdout.split() == ["plain,rollback"]
