"""A daemon that runs for long: neither its memory nor what it stores grows. Its real loop and store, on doubles."""

from __future__ import annotations

import gc
import logging
import os
import pathlib
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscaler import records
from autoscaler.observing import traffic
from serving import sqlite_store
from serving.gateway.gateway import RequestRecord
from serving.logs import JsonLines
from serving.sqlite_store import SqliteStore
from tests.support.daemon_rig import DaemonRig
from tests.support.declared import project, service

REPOSITORY = Path(__file__).parents[2]
TICK_S = 4.0
HOUR_S = 3_600
DECISIONS_KEPT = 100
CYCLE_S = 300
"""Calm, a burst that rents nodes, and a release: twelve times an hour."""
BURST_S = 80
NOISE_BYTES = 16_384
"""What free lists and half-filled windows hold varies by so much; the whole heap is about 130 kB."""


class LongRun:
    """Hours of calm, bursts and releases, a third of which fail their probes."""

    def __init__(self, folder: Path) -> None:
        self.rig = DaemonRig(fleet=project(daemon={"decisions_kept": DECISIONS_KEPT}), spec=service())
        self.store = SqliteStore(folder / ".hcctl" / "state.db")
        self.rig.store = self.store
        self.rig.restart()
        self.releases = 0

    def run(self, seconds: int) -> None:
        """Let time pass."""
        for _ in range(int(seconds / TICK_S)):
            at_s = self.rig.clock() % CYCLE_S
            if at_s < TICK_S:
                self._release()
            self._serve(busy=120 <= at_s < 120 + BURST_S)
            self.rig.clock.advance(TICK_S)
            self.rig.last = self.rig.daemon.tick()
            del self.rig.gateway.asserted[:-1]
            for site in self.rig.sites.values():
                site.calls.clear()

    def _release(self) -> None:
        if self.releases % 3 == 2:
            running = self.rig.daemon.state.services["shop"].stable
            self.rig.failing_probes = set() if running is None else _Others(running.application)
        else:
            self.rig.failing_probes = set()
        self.rig.deploy(f"v{self.releases}")
        self.releases += 1

    def _serve(self, *, busy: bool) -> None:
        total_s = 0.9 if busy else 0.1
        self.rig.gateway.in_use = {("shop", "stable", "private"): 4 if busy else 1}
        for number in range(12 if busy else 4):
            track = "candidate" if number % 4 == 3 else "stable"
            at_s = self.rig.clock() - total_s
            self.rig.requests.add(
                RequestRecord("shop", track, "private", 200, total_s - 0.1, total_s, "--", 100, "id", at_s)
            )

    def memory_bytes(self) -> int:
        """What lives on the heap, without what the doubles and this test hold."""
        gc.collect()
        # The interpreter's table of interned strings doubles when it is full: 2 MB at once, told as pathlib's.
        others = ("*/tests/*", tracemalloc.__file__, pathlib.__file__)
        snapshot = tracemalloc.take_snapshot()
        ours = snapshot.filter_traces([tracemalloc.Filter(False, pattern) for pattern in others])
        return sum(trace.size for trace in ours.traces)


class _Others(set[str]):
    """All applications but one."""

    def __init__(self, spared: str) -> None:
        super().__init__()
        self._spared = spared

    def __contains__(self, application: object) -> bool:
        return application != self._spared


@contextmanager
def logging_to_nowhere() -> Iterator[None]:
    """The daemon logs as in production, to a file that keeps nothing: pytest would keep every record."""
    root = logging.getLogger()
    former, level = root.handlers, root.level
    with Path(os.devnull).open("w") as nowhere:
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(JsonLines())
        root.handlers = [handler]
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.handlers = former
            root.setLevel(level)


def check_flat(run: LongRun, first_s: int, last_s: int) -> None:
    """Memory and stored state at both times are alike, and the run was no idle one."""
    with logging_to_nowhere():
        run.run(first_s)
        early, early_bytes = run.memory_bytes(), stored_bytes(run.store)
        run.run(last_s - first_s)
        late, late_bytes = run.memory_bytes(), stored_bytes(run.store)
    assert late <= 1.1 * early + NOISE_BYTES, f"{early:,} bytes after {first_s} s, {late:,} after {last_s} s"
    assert late_bytes <= 1.1 * early_bytes, f"{early_bytes:,} bytes stored after {first_s} s, {late_bytes:,}"
    decisions = run.store.decisions(limit=10_000)
    assert len(decisions) == DECISIONS_KEPT
    assert decisions[0].number > DECISIONS_KEPT
    assert len(run.store.ledger()) <= 6 + 6  # up to a site's nodes since the last sweep
    assert len(run.store.observations("release")) <= 3 + 1
    assert {"promoted", "rolled_back"} == {document.body["verdict"] for document in run.store.observations("release")}
    run.store.check()


def stored_bytes(store: SqliteStore) -> int:
    """Size of the database without its log and free pages."""
    with store._file.writing() as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def live(first_s: int, last_s: int, folder: str) -> None:
    """The whole of a test, with bounds so small that it reaches them before memory is first looked at."""
    sqlite_store.COMPLETED_ACTIONS_KEPT, records.LEDGER_KEPT, records.RELEASES_KEPT = 30, 6, 3
    records.SWEEP_EVERY_S, traffic.HOURS_KEPT = 600.0, 2
    tracemalloc.start()
    run = LongRun(Path(folder))
    check_flat(run, first_s, last_s)
    run.store.close()


def live_alone(first_s: int, last_s: int, folder: Path) -> None:
    """In a process of its own: what other tests and their tools keep is not counted."""
    code = f"from tests.simulation.test_long_run import live; live({first_s}, {last_s}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_memory_and_state_are_flat_over_an_hour(tmp_path: Path) -> None:
    """After half an hour of traffic, bursts and releases, another half leaves neither more memory nor more on disk."""
    live_alone(HOUR_S // 2, HOUR_S, tmp_path)


@pytest.mark.campaign
def test_memory_and_state_are_flat_over_a_day(tmp_path: Path) -> None:
    """Memory after 2 and after 24 simulated hours differs by less than a tenth, and so does what is stored."""
    live_alone(2 * HOUR_S, 24 * HOUR_S, tmp_path)
