"""An hour of the real processes, all but Ray: supervisor, HAProxy and daemon under traffic, bursts and releases."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.support.campaign import keep
from tests.support.ray_free_project import RayFreeProject, ray_free_project
from tests.support.running_project import OpenLoad

DURATION_S = float(os.environ.get("HCCTL_HOUR_S", "3600"))
EVERY_S = DURATION_S / 60
"""Between two samples of memory: a minute of the hour."""
ANSWER_S = 0.2
CALM_RPS, BURST_RPS = 8.0, 45.0
"""One replica of four slots answers 20 requests per second, both private ones 40."""
MOST_CREEP_KIB, MOST_GROWTH_KIB = 512, 2_048
"""In the second half: without its largest step, and in all. A leak grows all the time. What grows once is no leak:
after some forty minutes the interpreter's table of interned strings, worn out by path names that come and go, is made
anew at twice the size (0.9 MB)."""
PARTS = ("daemon", "gateway", "supervisor")


@pytest.mark.campaign
@pytest.mark.timeout(DURATION_S + 600)
def test_memory_is_flat_over_a_real_hour() -> None:
    """In the second half no process of the project grows, while releases and bursts go on as in the first."""
    with ray_free_project({}, 0o077, {}) as shop:
        shop.ingress.behave(delay_s=ANSWER_S)
        versions = [shop.push(label) for label in ("one", "two")]
        pids = {part: shop.pid(part) for part in PARTS}
        with OpenLoad(shop.url, CALM_RPS) as load:
            samples = list(_live(shop, load, versions))
        assert {part: shop.pid(part) for part in PARTS} == pids, "a process ended and was started again"
        released = len(shop.must("history", "-o", "json", "--limit", "500").json())
    later = samples[len(samples) // 2 :]
    creep = {part: _creep_kib(later, part) for part in PARTS}
    growth = {part: later[-1][part] - later[0][part] for part in PARTS}
    _report(samples, creep, growth, load, released)
    assert load.lost == 0, load.outcomes
    assert load.sites["cloud"] > 0, "there was no burst"
    assert released >= len(samples) // 5
    assert all(crept <= MOST_CREEP_KIB for crept in creep.values()), creep
    assert all(grown <= MOST_GROWTH_KIB for grown in growth.values()), growth


def _live(shop: RayFreeProject, load: OpenLoad, versions: list[str]) -> Iterator[dict[str, int]]:
    """Five periods again and again: a release in the second, a burst in the fourth; memory in KiB after each."""
    begun_s = time.monotonic()
    for number in range(60):
        if number % 5 == 1:
            shop.must("deploy", "--version", versions[(number // 5 + 1) % 2], "--no-wait")
        load.rate_rps = BURST_RPS if number % 5 == 3 else CALM_RPS
        time.sleep(max(0.0, begun_s + (number + 1) * EVERY_S - time.monotonic()))
        yield {part: _kib(shop, part) for part in PARTS}


def _kib(shop: RayFreeProject, part: str) -> int:
    """Anonymous memory of a process; of the gateway, of its master and its worker.

    Pages of files count for nobody: whether they are a process's own depends on who else runs the same program.
    """
    pid = shop.pid(part)
    pids = [pid, *(child.pid for child in psutil.Process(pid).children())] if part == "gateway" else [pid]
    statuses = (Path(f"/proc/{one}/status").read_text() for one in pids)
    return sum(int(found[1]) for status in statuses if (found := re.search(r"^RssAnon:\s+(\d+) kB$", status, re.M)))


def _creep_kib(samples: list[dict[str, int]], part: str) -> int:
    """What grew otherwise than in the largest step from one sample to the next; of a leak that is nearly all."""
    steps = [after[part] - before[part] for before, after in pairwise(samples)]
    return sum(steps) - max(steps)


def _report(
    samples: list[dict[str, int]], creep: dict[str, int], growth: dict[str, int], load: OpenLoad, released: int
) -> None:
    lines = [
        f"{DURATION_S:.0f} s; {load.outcomes.total():,} requests: {dict(load.outcomes)}, by site {dict(load.sites)};"
        f" {released} releases",
        "growth in the second half, KiB, without its largest step (in all): "
        + ", ".join(f"{part} {creep[part]:+d} ({growth[part]:+d})" for part in PARTS),
        "anonymous memory in KiB after each 60th of the time:",
        f"{'':>4}" + "".join(f"{part:>12}" for part in PARTS),
        *(
            f"{number:>4}" + "".join(f"{sample[part]:>12,}" for part in PARTS)
            for number, sample in enumerate(samples, 1)
        ),
    ]
    keep("memory", lines)
