"""Relief at the real gateway: light answers, refusals by priority, and what happens without the relief process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from serving.gateway.routes import ReliefRoute
from serving.spec import HybridService, ReliefLevel
from tests.support.gateway_routes import routes, service
from tests.support.running_gateway import World, world

RULES = [
    {"path": "/"},
    {"path": "/again", "idempotent": True, "relief": "shared"},
    {"path": "/mine", "idempotent": True, "relief": "per_caller"},
    {"path": "/later", "priority": "low"},
    {"path": "/both", "idempotent": True, "relief": "shared", "priority": "low"},
    {"path": "/vital", "priority": "high"},
]
RELIEF = {"light": {"slots": 4, "max_queue": 4, "fill_share": 0.0}, "shed": {"normal_over": 4.0}}


def declared(relief: dict[str, Any] | None = None, **routing: Any) -> HybridService:
    """The service `shop` with relief."""
    return service(relief=relief or RELIEF, rules=RULES, **routing)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


def relieve(here: World, private: int = 4, spec: HybridService | None = None, **queue_from: int) -> None:
    """Put levels in force from these queue lengths on."""
    relief = ReliefRoute(cast("dict[ReliefLevel, int]", queue_from), "v1", "/nowhere")
    here.at.gateway.assert_routes((routes(spec or declared(), here.stable(private, 0), relief=relief),))


def told(answers: list[httpx.Response]) -> Counter[tuple[int, str]]:
    """Status and relief of each answer."""
    return Counter((answer.status_code, answer.headers.get("X-Hcctl-Relief", "")) for answer in answers)


def test_low_priority_is_refused_first_then_normal_and_high_never(here: World) -> None:
    """Each level refuses what it names with 429, Retry-After and a header that says so; without a level nothing is."""
    paths = ("/shop/later", "/shop/x", "/shop/vital")
    seen = {}
    for level in (None, "shed_low", "shed_normal"):
        chain = {"shed_low": ["shed_low"], "shed_normal": ["shed_low", "shed_normal"]}.get(str(level), [])
        relieve(here, **dict.fromkeys(chain, 0))
        seen[level] = [here.get(path) for path in paths]
    assert [answer.status_code for answer in seen[None]] == [200, 200, 200]
    assert [answer.status_code for answer in seen["shed_low"]] == [429, 200, 200]
    assert [answer.status_code for answer in seen["shed_normal"]] == [429, 429, 200]
    refused = seen["shed_normal"][1]
    assert refused.headers["X-Hcctl-Relief"] == "shed;priority=normal"
    assert refused.headers["Retry-After"] == "2"
    assert refused.json()["error"] == "relief"
    outcomes = [record.relief for record in here.at.finished(9)]
    assert outcomes == ["", "", "", "shed_low", "", "", "shed_low", "shed_normal", ""]


def test_the_gateway_refuses_by_its_queue_between_two_ticks(here: World) -> None:
    """From the queue length that the daemon gave on, low priority is refused; below it, it waits."""
    here.private.behave(delay_s=0.3)
    relieve(here, private=1, shed_low=3)
    answers = here.together(4, "/shop/x")  # one is answered, three wait
    assert told(answers) == {(200, ""): 4}
    waiting = threading.Thread(target=here.together, args=(4, "/shop/x"))
    waiting.start()
    here.at.until(lambda: here.at.gateway.observe().queued["shop"] == 3, within_s=2)
    assert here.get("/shop/later").status_code == 429
    waiting.join()
    here.private.behave(delay_s=0.0)
    assert here.get("/shop/later").status_code == 200


def test_without_the_relief_process_requests_wait_like_others(here: World) -> None:
    """Level light in force and nobody there: each request of its routes is answered by a site."""
    relieve(here, light=0)
    answers = [here.get("/shop/again/x") for _ in range(10)]
    assert told(answers) == {(200, ""): 10}
    assert {record.site for record in here.at.finished(10)} == {"private"}
    here.at.until(lambda: here.at.gateway.observe().relief_up == {"shop": False}, within_s=6)


def test_nothing_changes_for_a_service_that_declares_none(here: World) -> None:
    """No listener, no map, no server and no word of relief in the configuration."""
    here.route(private=4, cloud=4)
    text = (here.at.folder / "haproxy.cfg").read_text()
    assert "relief" not in text
    assert "again.sock" not in text
    assert not (here.at.folder / "relief.map").exists()
    assert here.at.lines == [] or b"stale" not in here.at.lines[0]


def test_levels_change_without_a_reload_and_survive_a_restart(here: World) -> None:
    """Beginning and ending relief are run-time commands; a gateway that restarts comes back with its levels."""
    relieve(here)
    relieve(here, shed_low=0)
    assert here.get("/shop/later").status_code == 429
    here.at.stop()
    here.at.start()
    assert here.get("/shop/later").status_code == 429
    worker = here.at.worker()
    relieve(here)
    assert here.get("/shop/later").status_code == 200
    assert here.at.worker() == worker
