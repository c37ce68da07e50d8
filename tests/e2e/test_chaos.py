"""Ten minutes of load with deploys and bursts, while something is killed every few seconds: `make campaign`."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from serving.sites.processes import MARKER_VARIABLE
from tests.support.campaign import keep
from tests.support.chaos import VICTIMS, Killer, lost
from tests.support.running_project import Finished, OpenLoad, RunningProject

pytestmark = [pytest.mark.e2e, pytest.mark.campaign, pytest.mark.alone]

DURATION_S = float(os.environ.get("HCCTL_CHAOS_S", "600"))
EVERY_S = 8.0
CALM_RPS, BURST_RPS = 30.0, 120.0
SEED = int(os.environ.get("HCCTL_CHAOS_SEED", "1"))
MOST_LOST = 0.001
"""Share of requests that may be lost to kills of replicas and sites (docs/architecture.md)."""


def test_promises_hold_under_a_random_killer(tmp_path: Path) -> None:
    """Requests, releases, capacity and money keep their promises; afterwards everything is as it was."""
    shop = RunningProject(tmp_path / "shop")
    try:
        shop.must("up")
        for label in ("a", "b"):
            shop.push(label)
        shop.must("deploy")
        deploys, load, killer = _besiege(shop)
        _report(deploys, load, killer)
        assert {kill.victim for kill in killer.kills} == set(VICTIMS)
        assert {deploy.code for deploy in deploys} <= {0, 4}, "a deploy ends in a verdict"
        gone = lost(load, killer.kills)
        assert len(gone) <= MOST_LOST * load.outcomes.total(), gone
        shop.must("up")
        shop.wait("rest", _at_rest, 240)
        assert shop.ask().status_code == 200
        verdicts = [row["verdict"] for row in shop.must("history", "-o", "json", "--limit", "500").json()]
        assert set(verdicts) <= {"promoted", "rolled back", "superseded", "aborted"}
        spent = sum(row["spent_usd"] for row in shop.must("cost", "-o", "json").json()["pools"])
        assert spent <= 4 * 1.0 * (DURATION_S + 400) / 3_600, "more than all machines for all the time"
    finally:
        shop.must("down")
    assert [process for process in psutil.process_iter() if _belongs(process.pid, shop)] == [], "left behind"


def _besiege(shop: RunningProject) -> tuple[list[Finished], OpenLoad, Killer]:
    """Load, bursts and deploys under the killer."""
    deploys: list[Finished] = []
    versions = [row["version"] for row in shop.must("version", "list", "-o", "json").json()]
    end_s, number = time.monotonic() + DURATION_S, 0
    with OpenLoad(shop.url, CALM_RPS) as load, Killer(shop, SEED, EVERY_S) as killer:
        while time.monotonic() < end_s:
            number += 1
            load.rate_rps = BURST_RPS if number % 2 else CALM_RPS
            deploys.append(shop.hcctl("deploy", "--version", versions[number % 2], "--timeout", "200"))
            time.sleep(15)
    return deploys, load, killer


def _at_rest(status: dict) -> bool:
    private, cloud = status["sites"]["private"], status["sites"]["cloud"]
    return status["release"] is None and private["limit"] > 0 and cloud["phase"] == "closed"


def _report(deploys: list[Finished], load: OpenLoad, killer: Killer) -> None:
    """What happened, for the campaign's output."""
    kills = Counter(kill.victim for kill in killer.kills)
    codes = Counter(deploy.code for deploy in deploys)
    gone = lost(load, killer.kills)
    refused = load.outcomes["429"] + load.outcomes["503"]
    lines = [
        f"{DURATION_S:.0f} s, seed {SEED}; kills: {dict(kills)}",
        f"requests: {load.outcomes.total()}, answered {load.outcomes['200']}, refused with Retry-After {refused}",
        f"in the gap of a killed gateway: {len(load.problems) - refused - len(gone)}; lost otherwise: {len(gone)}",
        f"outcomes: {dict(load.outcomes)}; deploys by exit code: {dict(codes)}; answers by site: {dict(load.sites)}",
    ]
    lines += [f"  a deploy ended {deploy.code}: {deploy.errors}" for deploy in deploys if deploy.code not in (0, 4)]
    for problem in gone:
        near = [
            f"{k.victim} ({k.detail}) {k.at_s - problem.sent_s:+.1f} s"
            for k in killer.kills
            if problem.sent_s - 8 < k.at_s < problem.ended_s
        ]
        took_s = problem.ended_s - problem.sent_s
        lines.append(
            f"  {problem.outcome} {problem.site} after {took_s:.1f} s; killed, from its start: {', '.join(near)}"
        )
    keep("chaos", lines)


def _belongs(pid: int, shop: RunningProject) -> bool:
    """Whether a process was started by the project, or by what it started.

    Each has a marker that names the run-time folder; workers of Ray that overwrote theirs are in the project's folder.
    """
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        folder = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    marks = (value for value in environment if value.startswith(f"{MARKER_VARIABLE}=".encode()))
    ours = str(shop.project.paths.run_dir).encode()
    return folder.is_relative_to(shop.folder) or any(ours in mark for mark in marks)
