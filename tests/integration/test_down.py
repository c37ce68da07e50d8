"""`hcctl down` after a supervisor that was killed: what it kept alive is stopped, whatever it left written."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import app
from serving.paths import ProjectPaths, private_dir
from serving.sites.processes import is_alive, spawn, write_record


def test_a_damaged_plan_does_not_keep_a_project_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The children are found by the records that the project's own plan would name."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    paths = ProjectPaths(tmp_path.resolve())
    private_dir(paths.run_dir)
    daemon = spawn(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        environment=os.environ,
        marker=f"child-{paths.daemon_record}",
        log=paths.run_dir / "log",
        cwd=tmp_path,
        at_s=time.time(),
    )
    write_record(paths.daemon_record, daemon)
    paths.supervisor_plan.write_bytes(b'{"children": [{"name": "gate')
    result = CliRunner().invoke(app, ["down"])
    assert result.exit_code == 0, result.output
    assert "plan is damaged" in result.stderr
    assert not is_alive(daemon)
    assert not paths.run_dir.exists()
