"""How a command follows a release while the daemon comes and goes."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from autoscaler.state import Deployed, Release
from cli import intents
from serving.errors import HcctlError
from tests.support.memory_store import MemoryStore
from tests.support.world import service


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intents, "POLL_S", 0.001)


def promote(store: MemoryStore) -> None:
    """What the daemon stores at the end of release `d1`."""
    candidate = Deployed("v1", "/versions/v1", service().model, "shop-1")
    release = Release("d1", candidate, None, 1.0, phase="done", verdict="promoted")
    body = TypeAdapter(Release).dump_python(release, mode="json")
    store.put_observation("release", "d1", {"service": "shop", **body}, at_s=2.0)


def test_a_daemon_that_is_started_again_is_waited_for() -> None:
    """The daemon was killed, its supervisor starts another, and that one brings the release to its verdict."""
    store, looks = MemoryStore(), 0

    def alive() -> bool:
        nonlocal looks
        looks += 1
        if looks == 20:
            promote(store)
        return looks not in range(2, 20)

    release = intents.watch_release(store, "d1", timeout_s=20, say=lambda _: None, alive=alive)
    assert (release.verdict, looks) == ("promoted", 20)


def test_a_daemon_that_stays_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits ten minutes for a project that was stopped; the error says that the release is not lost."""
    monkeypatch.setattr(intents, "DAEMON_GRACE_S", 0.05)
    with pytest.raises(HcctlError, match="not running") as refused:
        intents.watch_release(MemoryStore(), "d1", timeout_s=20, say=lambda _: None, alive=lambda: False)
    assert "goes on" in str(refused.value)
