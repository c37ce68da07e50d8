"""The demo, as the README tells a new user to run it: on real orders where they are, else on a made-up shop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    """From nothing to a burst that opens, an SLO that recovers, the way home, and no lost request; all explained."""
    begun_s = time.monotonic()
    told = hcctl(tmp_path, "demo", *shop, "--json")
    took_s = time.monotonic() - begun_s
    assert told["ok"] is True
    assert all(check["ok"] for check in told["checks"])
    assert told["served_by_site"]["cloud"] > 0
    assert told["summary"]["Lost"] == "0"
    for measure in ("recall_at_10", "ndcg_at_10"):
        assert told["model"][f"model.{measure}"] > 2 * told["model"][f"popularity.{measure}"]
    assert Path(told["files"]["png"]).read_bytes().startswith(b"\x89PNG")
    assert "data:image/svg+xml" in Path(told["files"]["html"]).read_text()
    project = Path(told["files"]["png"]).parent
    reasons = [row for row in hcctl(project, "why", "-o", "json", "--limit", "500") if row["site"] == "cloud"]
    assert any(row["action"] == "scale" and row["to"] > 0 and "over" in row["reason"] for row in reasons)
    assert any(row["action"] == "close site" for row in reasons)
    pools = yaml.safe_load((project / "hcctl.yaml").read_text())["sites"]["cloud"]["pools"]
    most_usd_per_hour = sum(pool["max_nodes"] * pool["price_usd_per_hour"] for pool in pools)
    spent = [row["spent_usd"] for row in hcctl(project, "cost", "-o", "json")["pools"] if row["site"] == "cloud"]
    assert 0 < sum(spent) < most_usd_per_hour * took_s / 3_600


def hcctl(folder: Path, *arguments: str) -> Any:
    """What a command that has to succeed says as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:] + done.stdout[-4_000:]
    return json.loads(done.stdout)
