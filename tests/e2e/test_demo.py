"""The demo on a real shop's orders, as the README tells a new user to run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ORDERS = Path(os.environ.get("HCCTL_DATA", REPOSITORY.parent / "shared/data/online-retail"))

pytestmark = [pytest.mark.e2e, pytest.mark.shared]


def test_demo_on_real_orders_shows_a_burst_that_comes_home(tmp_path: Path) -> None:
    """From nothing to a burst that opens, an SLO that recovers, the way home, and no lost request."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "demo", "--data", str(ORDERS), "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:] + done.stdout[-4_000:]
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert all(check["ok"] for check in told["checks"])
    assert told["served_by_site"]["cloud"] > 0
    assert told["summary"]["Lost"] == "0"
    assert told["model"]["model.recall_at_10"] > 2 * told["model"]["popularity.recall_at_10"]
    assert Path(told["files"]["png"]).read_bytes().startswith(b"\x89PNG")
    assert "data:image/svg+xml" in Path(told["files"]["html"]).read_text()
