"""The demo, as the README tells a new user to run it: on real orders where they are, else on a made-up shop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ORDERS = Path(os.environ.get("HCCTL_DATA", REPOSITORY.parent / "shared/data/online-retail"))

pytestmark = [pytest.mark.e2e, pytest.mark.alone]
SHOPS = (
    [pytest.param(["--data", str(ORDERS)], id="real orders")]
    if "HCCTL_DATA" in os.environ or ORDERS.exists()
    else [pytest.param([], id="made up")]
)


@pytest.mark.parametrize("shop", SHOPS)
def test_demo_shows_a_burst_that_comes_home(shop: list[str], tmp_path: Path) -> None:
    """From nothing to a burst that opens, an SLO that recovers, the way home, and no lost request."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "demo", *shop, "--json"],
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
    for measure in ("recall_at_10", "ndcg_at_10"):
        assert told["model"][f"model.{measure}"] > 2 * told["model"][f"popularity.{measure}"]
    assert Path(told["files"]["png"]).read_bytes().startswith(b"\x89PNG")
    assert "data:image/svg+xml" in Path(told["files"]["html"]).read_text()
