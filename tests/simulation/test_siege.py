"""The daemon under siege: seeds make scripts of faults; the promises of tests/support/promises.py hold in each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving import failpoints
from tests.support.promises import rested
from tests.support.siege import Siege
from tests.support.siege_script import IN_DAEMON, Happening, crash_at, script

SEEDS = 50
CAMPAIGN_SEEDS = 1_000


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


def crashed(name: str, passes: int, folder: Path) -> tuple[Siege, int]:
    """The story, with a crash at the so-manieth pass of a place; also how often it was passed."""
    siege = Siege(0, folder, list(STORY))
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


def check_crashes(name: str, folder: Path, stride: int) -> None:
    """Crash at each `stride`th pass of a place."""
    (folder / "none").mkdir()
    _, count = crashed(name, 0, folder / "none")
    assert count > 5
    for passes in range(1, count + 1, stride):
        (folder / str(passes)).mkdir()
        siege, _ = crashed(name, passes, folder / str(passes))
        assert siege.crashes == 1
        assert siege.broken == [], f"crash at pass {passes} of {name}"


@pytest.mark.parametrize("name", IN_DAEMON)
def test_a_crash_at_any_write_breaks_no_promise(name: str, tmp_path: Path) -> None:
    """kill -9 on either side of writes and calls, all over a life."""
    check_crashes(name, tmp_path, stride=13)


@pytest.mark.campaign
@pytest.mark.parametrize("name", IN_DAEMON)
def test_a_crash_at_every_write_breaks_no_promise(name: str, tmp_path: Path) -> None:
    """The same at each of them."""
    check_crashes(name, tmp_path, stride=1)


def test_a_seed_replays_identically(tmp_path: Path) -> None:
    """Two lives of one seed decide and do the same, to the letter."""
    assert besieged(7, tmp_path / "a").digest == besieged(7, tmp_path / "b").digest


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(SEEDS, int(os.environ.get("HCCTL_SIEGE_SEEDS", CAMPAIGN_SEEDS))))
def test_promises_hold_in_many_worlds(seed: int, tmp_path: Path) -> None:
    """The same, a thousand times."""
    check(seed, tmp_path)
