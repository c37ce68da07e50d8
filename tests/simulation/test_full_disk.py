"""The daemon's loop on a disk that refuses: a tick is tried again, and nothing is acted on that is not stored."""

from __future__ import annotations

import gc
import logging
import resource
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from autoscaler.service import LONGEST_BACKOFF_S, Wakeup, run
from serving.sqlite_store import SqliteStore
from tests.support.daemon_rig import DaemonRig
from tests.support.processes import in_child, limit_file_size

FAILING = 7
"""Ticks that fail."""


class Nothing:
    """In place of receiver and executor: there is nothing to start or stop."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Pauses(Wakeup):
    """Pauses that pass at once; after `FAILING` of them the disk is mended, and after 100 the loop ends."""

    def __init__(self, rig: DaemonRig, mend: Any, check: Any) -> None:
        super().__init__()
        self.rig, self.mend, self.check = rig, mend, check
        self.lengths_s: list[float] = []
        self.settled: list[bool] = []

    def pause(self, least_s: float, most_s: float) -> None:
        self.lengths_s.append(most_s)
        if len(self.lengths_s) in (FAILING, FAILING + 1):  # counting them takes long where there are many
            self.settled.append(gc.get_freeze_count() > 0)
        self.rig.clock.advance(max(most_s, 0.5))
        if len(self.lengths_s) == FAILING:
            self.check()
            self.mend()
        if len(self.lengths_s) == 100:
            self.stop()


def live(folder: Path, spoil: Any, mend: Any) -> None:
    """A project that serves, a deploy that is acknowledged, then a disk that refuses for some ticks."""
    rig = DaemonRig()
    store = SqliteStore(folder / ".hcctl" / "state.db")
    rig.store = store
    rig.restart()
    rig.deploy("v1")
    rig.run(40)
    rig.deploy("v2")
    calls, routes = list(rig.sites["private"].calls), rig.gateway.routes
    asserted, decided = len(rig.gateway.asserted), store.decisions()

    def nothing_was_done() -> None:
        assert rig.sites["private"].calls == calls
        assert rig.sites["cloud"].calls == []
        assert rig.gateway.asserted[asserted:] == []
        assert rig.gateway.routes == routes

    wakeup = Pauses(rig, lambda: mend(store), nothing_was_done)
    logging.disable(logging.ERROR)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    spoil(store)
    run(rig.daemon, Nothing(), Nothing(), wakeup, tick_s=0.5)  # type: ignore[arg-type]
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), handlers, strict=True):
        signal.signal(number, handler)
    growing = [min(LONGEST_BACKOFF_S, 0.5 * 2**failures) for failures in range(1, FAILING + 1)]
    assert wakeup.lengths_s[:FAILING] == pytest.approx(growing, abs=0.4)
    assert max(wakeup.lengths_s[FAILING:]) <= 0.5
    assert wakeup.settled == [False, True], "memory is settled by the first good tick"
    assert gc.get_freeze_count() == 0
    release = store.observation("release", "deploy-v2")
    assert release is not None
    assert release.body["verdict"] == "promoted"
    assert store.decisions(limit=1_000)[-len(decided) :] == decided
    store.check()
    store.close()


def test_a_full_disk_stops_actions_not_the_daemon(tmp_path: Path) -> None:
    """While nothing can be stored no site and no route is touched; with room the acknowledged deploy is carried out."""

    def work() -> None:
        live(tmp_path, lambda _: limit_file_size(1_000), lambda _: limit_file_size(resource.RLIM_INFINITY))

    assert in_child(work) == 0


def test_a_database_that_may_only_be_read_is_the_same(tmp_path: Path) -> None:
    """A file system that turned read-only: SQLite refuses to write, the loop waits, nothing is acted on."""

    def turn(store: SqliteStore, *, to: str) -> None:
        store._file._connection.execute(f"PRAGMA query_only = {to}")

    def work() -> None:
        live(tmp_path, lambda store: turn(store, to="on"), lambda store: turn(store, to="off"))

    assert in_child(work) == 0


def test_a_database_that_another_process_holds_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is stuck in its transaction delays the daemon, which goes on when it is gone."""
    monkeypatch.setattr("serving.sqlite_file.BUSY_TIMEOUT_S", 0.01)
    others: list[sqlite3.Connection] = []

    def hold(store: SqliteStore) -> None:
        others.append(sqlite3.connect(store._file.path, isolation_level=None))
        others[0].execute("BEGIN IMMEDIATE")

    def work() -> None:
        live(tmp_path, hold, lambda _: others[0].close())

    assert in_child(work) == 0
