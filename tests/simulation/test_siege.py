"""The daemon under siege: seeds make scripts of faults; the promises of tests/support/promises.py hold in each."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from serving import failpoints
from tests.support.campaign import keep
from tests.support.promises import rested
from tests.support.siege import Siege
from tests.support.siege_script import IN_DAEMON, KINDS, Happening, crash_at, script

SEEDS = 50
CRASHES = 5
"""At most so many passes of each place, evenly over a life, end in a crash."""


def besieged(seed: int, folder: Path, what: list[Happening] | None = None) -> Siege:
    """A world that has lived its script and come to rest."""
    folder.mkdir(parents=True, exist_ok=True)
    siege = Siege(seed, folder, script(seed) if what is None else what)
    try:
        siege.live()
        siege.rest()
        rested(siege)
    finally:
        failpoints.disarm()
        siege.store.close()
    return siege


def shrunk(seed: int, folder: Path) -> list[Happening]:
    """The script with everything left out that is not needed to break a promise."""
    left = script(seed)
    for number, happening in enumerate(list(left)):
        fewer = [one for one in left if one is not happening]
        if besieged(seed, folder / f"try{number}", fewer).broken:
            left = fewer
    return left


def check(seed: int, folder: Path) -> None:
    """Fail with the seed, what broke, and the shortest script that breaks it."""
    siege = besieged(seed, folder / "whole")
    if siege.broken:
        story = "\n".join(map(str, shrunk(seed, folder)))
        pytest.fail(f"seed {seed} breaks {len(siege.broken)} promises:\n" + "\n".join(siege.broken) + f"\n\n{story}")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_promises_hold(seed: int, tmp_path: Path) -> None:
    """Crashes, lies, refusals, lost lines, jumps of the clock: see `tests/support/siege_script.py`."""
    check(seed, tmp_path)


STORY = (
    Happening("load", "cloud", 4, 45),  # 150 requests per second: a burst
    Happening("deploy", "cloud", 1, 20),
    Happening("load", "cloud", 1, 20),
    Happening("deploy bad", "cloud", 2, 20),
    Happening("remove", "cloud", 0, 30),
    Happening("deploy", "cloud", 2, 20),
)
"""A life with everything in it: burst, release, return, rollback, removal."""


def crashed(name: str, passes: int, folder: Path, seed: int = 0) -> tuple[Siege, int]:
    """The story, with a crash at the so-manieth pass of a place; also how often it was passed.

    An even seed lives under policy `threshold`, an odd one under `predictive`.
    """
    siege = Siege(seed, folder, list(STORY))
    passed = crash_at(name, passes)
    try:
        siege.live()
        count = passed()
        siege.rest(150.0)
        rested(siege)
    finally:
        failpoints.disarm()
        siege.store.close()
    return siege, count


@pytest.mark.parametrize("name", IN_DAEMON)
def test_a_crash_at_any_write_breaks_no_promise(name: str, tmp_path: Path) -> None:
    """kill -9 on either side of writes and calls, all over a life; at every single one in `make campaign`."""
    count = _passes(name, tmp_path)
    assert count > 5
    for passes in range(1, count + 1, -(-count // CRASHES)):
        assert _crashed(name, passes, tmp_path) == [], f"crash at pass {passes} of {name}"


def test_a_seed_replays_identically(tmp_path: Path) -> None:
    """Two lives of one seed decide and do the same, to the letter."""
    assert besieged(7, tmp_path / "a").digest == besieged(7, tmp_path / "b").digest


@pytest.mark.campaign
def test_promises_hold_in_a_thousand_worlds(tmp_path: Path) -> None:
    """Seeds up to HCCTL_SIEGE_SEEDS, on all processors."""
    seeds = range(int(os.environ.get("HCCTL_SIEGE_SEEDS", "1000")))
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(_summary, seeds, [tmp_path / str(seed) for seed in seeds], chunksize=5))
    bad = [(seed, broken) for seed, (_, broken) in zip(seeds, results, strict=True) if broken]
    totals = sum((Counter(counts) for counts, _ in results), Counter())
    lines = [
        f"{len(seeds)} seeds, {totals['seconds']:,} simulated seconds, {totals['crashes']:,} crashes of the daemon,",
        f"{totals['deployments']:,} deployments; happenings:",
        *(f"  {kind}: {count:,}" for kind, count in sorted(totals.items()) if kind in KINDS),
        f"worlds with a broken promise: {len(bad)}",
        *(f"  seed {seed}: {broken[0]}" for seed, broken in bad),
    ]
    keep("siege", lines)
    if bad:
        check(bad[0][0], tmp_path / "again")  # tells the story
    assert bad == []


@pytest.mark.campaign
def test_a_crash_at_every_write_breaks_no_promise(tmp_path: Path) -> None:
    """The life of `STORY` under both policies, with a crash at each pass of each place in the daemon."""
    cases = [
        (name, number, tmp_path, seed)
        for name in IN_DAEMON
        for seed in (0, 1)
        for number in range(1, _passes(name, tmp_path, seed) + 1)
    ]
    with ProcessPoolExecutor() as pool:
        broken = list(pool.map(_crashed, *zip(*cases, strict=True), chunksize=5))
    bad = [(name, number, seed, found) for (name, number, _, seed), found in zip(cases, broken, strict=True) if found]
    by_name = Counter(name for name, *_ in cases)
    counts = [f"  {name}: {count}" for name, count in sorted(by_name.items())]
    keep("crashes", ["crashes at every pass of", *counts, f"with a broken promise: {len(bad)}", *map(str, bad)])
    assert bad == []


def _summary(seed: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    siege = besieged(seed, folder)
    shutil.rmtree(folder)
    counts = Counter(happening.kind for happening in siege.script)
    seconds = round(siege.clock() - siege.began_s)
    return {**counts, "seconds": seconds, "crashes": siege.crashes, "deployments": siege.deployments}, siege.broken


def _passes(name: str, folder: Path, seed: int = 0) -> int:
    mine = folder / f"{name}-{seed}"
    mine.mkdir()
    return crashed(name, 0, mine, seed)[1]


def _crashed(name: str, passes: int, folder: Path, seed: int = 0) -> list[str]:
    mine = folder / f"{name}-{seed}-{passes}"
    mine.mkdir()
    siege, _ = crashed(name, passes, mine, seed)
    shutil.rmtree(mine)
    return siege.broken if siege.crashes == 1 else [f"{siege.crashes} crashes"]
