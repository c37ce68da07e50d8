"""`hcctl validate --imports`: the model is imported in a process of its own."""

import os
import time
from pathlib import Path

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


def test_model_is_imported_on_demand(project: Path) -> None:
    """--imports finds the example model beside the service file."""
    assert hcctl("validate", "--imports").exit_code == 0


def test_lighter_variant_is_imported_too(project: Path) -> None:
    """Code that only the relief process runs is found wanting before it is deployed."""
    file = project / "service.yaml"
    variant = "relief: {light: {variant: {import_path: bestsellers:Lighter}}}"
    text = (
        file.read_text()
        .replace("relief: null              #", "relief: shared #")
        .replace("\nrelief: null", f"\n{variant}")
    )
    file.write_text(text)
    assert hcctl("validate").exit_code == 0
    result = hcctl("validate", "--imports")
    assert result.exit_code == 2
    assert "relief.light.variant.import_path" in result.stderr


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
