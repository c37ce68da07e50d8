"""Commands that need the daemon wait for one that is being started, and for no other."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import intents, wiring
from serving.errors import HcctlError
from serving.paths import ProjectPaths, private_dir
from serving.sites.processes import spawn, write_record
from tests.support.declared import PROJECT


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    """Of an empty project; without a supervisor nothing is waited for."""
    monkeypatch.setattr(wiring, "UNSUPERVISED_GRACE_S", 0.0)
    (tmp_path / "hcctl.yaml").write_text(json.dumps(PROJECT))
    paths = ProjectPaths(tmp_path)
    private_dir(paths.state_dir)
    private_dir(paths.run_dir)
    return paths


@pytest.fixture
def supervisor(paths: ProjectPaths) -> Iterator[None]:
    """A process that is recorded as this project's supervisor."""
    record = spawn(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        environment=os.environ,
        marker="hcctl-test-supervisor",
        log=paths.root / "log",
        cwd=paths.root,
        at_s=time.time(),
    )
    write_record(paths.supervisor_record, record)
    yield
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)


@pytest.mark.usefixtures("supervisor")
def test_a_daemon_that_a_supervisor_is_starting_is_waited_for(paths: ProjectPaths) -> None:
    """On a busy computer its imports take seconds."""
    free, held = threading.Event(), threading.Event()

    def daemon() -> None:
        time.sleep(0.5)
        with wiring.daemon_lock(paths):
            held.set()
            free.wait(20)

    thread = threading.Thread(target=daemon)
    thread.start()
    try:
        wiring.require_daemon(paths)
        assert held.is_set()
    finally:
        free.set()
        thread.join()


@pytest.mark.usefixtures("supervisor")
def test_a_daemon_that_never_comes_is_an_error(paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that cannot start it does not hold up the command for ever."""
    monkeypatch.setattr(intents, "DAEMON_GRACE_S", 0.3)
    with pytest.raises(HcctlError, match="not running"):
        wiring.require_daemon(paths)


def test_without_a_supervisor_nothing_is_waited_for(paths: ProjectPaths) -> None:
    """A project that is down says so at once."""
    with pytest.raises(HcctlError, match="not running") as refused:
        wiring.require_daemon(paths)
    assert "hcctl up" in (refused.value.next_step or "")
