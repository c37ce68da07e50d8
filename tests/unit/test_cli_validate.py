"""`hcctl validate`, `schema` and `completion`."""

import json
import os
import time
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


def test_model_is_imported_on_demand(project: Path) -> None:
    """--imports finds the example model beside the service file."""
    assert hcctl("validate", "--imports").exit_code == 0


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("class Other: pass", "has no attribute 'Bestsellers'"),
        ("class Bestsellers(", "SyntaxError"),
        ("raise SystemExit(7)", "it ended with exit code 7"),
        ("import os; os.abort()", "it ended with exit code -6"),
    ],
)
def test_model_that_does_not_import_is_an_error_at_its_field(project: Path, code: str, why: str) -> None:
    """Whatever the model's module does, hcctl lives and says the last line it said."""
    (project / "bestsellers.py").write_text(code)
    result = hcctl("validate", "--imports")
    assert result.exit_code == 2
    assert "service.yaml:10 model.import_path" in result.stderr
    assert why in result.stderr
    assert result.stderr.count("error:") == 1


def test_import_that_hangs_is_ended_with_its_children(project: Path) -> None:
    """An import beyond its time is ended, together with what it has started."""
    (project / "bestsellers.py").write_text(
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path('child.pid').write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    result = hcctl("validate", "--imports", "--import-timeout", "3")
    assert result.exit_code == 2
    assert "it took longer than 3.0 s" in result.stderr
    assert_gone(int((project / "child.pid").read_text()))


def assert_gone(pid: int) -> None:
    """The process is dead, or becomes so within a second."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        os.sched_yield()
    pytest.fail(f"process {pid} lives on")


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
