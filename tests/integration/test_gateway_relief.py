"""Relief at the real gateway: light answers, refusals by priority, and what happens without the relief process."""

from __future__ import annotations

import gzip
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from autoscaler.routing.relief import refuses
from serving.gateway.keys import KeyFile
from serving.gateway.routes import ReliefRoute
from serving.spec import HybridService, Priority
from serving.spec_relief import RELIEF_LEVELS, ReliefLevel
from tests.support.gateway_routes import routes, service
from tests.support.running_gateway import World, failures, load, world
from tests.support.running_relief import running_relief
from tests.support.versions import ECHO, Versions

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


def relieve(
    here: World,
    private: int = 4,
    spec: HybridService | None = None,
    version: tuple[str, str] = ("v1", "/nowhere"),
    path: str = "/shop-1",
    **queue_from: int,
) -> None:
    """Put levels in force from these queue lengths on."""
    relief = ReliefRoute(cast("dict[ReliefLevel, int]", queue_from), *version)
    here.at.gateway.assert_routes((routes(spec or declared(), here.stable(private, 0, path), relief=relief),))


def told(answers: list[httpx.Response]) -> Counter[tuple[int, str]]:
    """Status and relief of each answer."""
    return Counter((answer.status_code, answer.headers.get("X-Hcctl-Relief", "")) for answer in answers)


def test_each_level_refuses_the_priorities_that_the_decision_says(here: World) -> None:
    """What `autoscaler.routing.relief.refuses` says is what clients get: 429, Retry-After and a header."""
    paths: dict[Priority, str] = {"low": "/shop/later", "normal": "/shop/x", "high": "/shop/vital"}
    outcomes = []
    for level in (None, *RELIEF_LEVELS):
        in_force = RELIEF_LEVELS[: RELIEF_LEVELS.index(level) + 1] if level else ()
        relieve(here, **dict.fromkeys(in_force, 0))
        for priority, path in paths.items():
            answer = here.get(path)
            refused = refuses(level, priority)
            assert answer.status_code == (429 if refused else 200), (level, priority)
            assert answer.headers.get("X-Hcctl-Relief") == (f"shed;priority={priority}" if refused else None)
            assert answer.headers.get("Retry-After") == ("2" if refused else None)
            assert not refused or answer.json()["error"] == "relief"
            outcomes.append(f"shed_{priority}" if refused else "")
    assert [record.relief for record in here.at.finished(12)] == outcomes


def test_the_gateway_refuses_by_its_queue_between_two_ticks(here: World) -> None:
    """From the queue length that the daemon gave on, low priority is refused; below it, it waits."""
    here.private.behave(delay_s=0.3)
    relieve(here, private=1, shed_low=3)
    answers = here.together(4, "/shop/x")  # one is answered, three wait
    assert told(answers) == {(200, ""): 4}
    waiting = threading.Thread(target=here.together, args=(7, "/shop/x"))
    waiting.start()
    here.at.until(lambda: here.at.gateway.observe().queued["shop"] >= 4, within_s=5)
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


def test_without_the_relief_process_refusals_hold(here: World) -> None:
    """Eligible requests that nobody can answer lightly pass by neither a full queue nor the level of their priority."""
    spec = declared(max_queue=3)
    relieve(here, private=1, spec=spec, light=0, shed_low=0)
    here.at.until(lambda: here.at.gateway.observe().relief_up == {"shop": False}, within_s=6)
    refused = here.get("/shop/both/x")
    assert (refused.status_code, refused.headers["X-Hcctl-Relief"]) == (429, "shed;priority=low")
    here.private.behave(delay_s=0.3)
    assert told(here.together(12, "/shop/again/x"))[(429, "")] >= 7  # one is answered, three wait


def test_nothing_changes_for_a_service_that_declares_none(here: World) -> None:
    """No listener, no map, no server and no word of relief in the configuration."""
    here.route(private=4, cloud=4)
    text = (here.at.folder / "haproxy.cfg").read_text()
    assert "relief" not in text
    assert "again.sock" not in text
    assert not (here.at.folder / "relief.map").exists()
    answer = here.get()
    here.at.finished(1)
    assert here.at.lines[-1].split()[-1].decode() == answer.headers["X-Request-Id"]


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


@pytest.fixture
def filled(here: World) -> Iterator[World]:
    """All requests of eligible routes pass through the relief process while nobody waits."""
    with running_relief(here.at.folder) as process:
        relieve(here, spec=FILLING)
        here.at.until(lambda: process.knows("shop"), within_s=6)
        here.relief = process  # type: ignore[attr-defined]
        yield here


FILLING = declared({**RELIEF, "light": {"slots": 8, "max_queue": 8, "fill_share": 1.0}})


def test_kept_answers_are_given_while_the_level_is_in_force(filled: World) -> None:
    """In calm an answer is passed on and kept; under relief it comes from there, says so, and no site is asked."""
    first = filled.get("/shop/again/x?q=1")
    assert first.status_code == 200
    assert first.headers["X-Hcctl-Site"] == "private"
    assert "X-Hcctl-Relief" not in first.headers
    assert "X-Hcctl-App" not in first.headers
    asked = filled.private.seen()["requests"]
    relieve(filled, spec=FILLING, light=0)
    again = filled.get("/shop/again/x?q=1")
    assert again.content == first.content
    assert again.headers["X-Hcctl-Relief"].startswith("stale;age=")
    assert "X-Hcctl-Site" not in again.headers
    assert "Server" not in again.headers
    assert filled.private.seen()["requests"] == asked
    outcomes = Counter((r.relief, r.site) for r in filled.at.finished(3))
    assert outcomes == {("passed", ""): 1, ("", "private"): 1, ("light", ""): 1}
    ids = {r.request_id for r in filled.at.records if r.site == "private"}
    assert ids == {first.headers["X-Request-Id"]}


def test_what_is_not_kept_is_answered_by_a_site_and_kept_for_the_next(filled: World) -> None:
    """Under relief a first request of its kind waits like others, and the second one has a kept answer."""
    relieve(filled, spec=FILLING, light=0)
    assert told([filled.get("/shop/again/new") for _ in range(2)]) == {(200, ""): 1, (200, "stale;age=0"): 1}


def test_nobody_gets_the_answer_of_another_caller(filled: World) -> None:
    """On a route per caller, another header is another answer; on a shared one it is the same."""
    for user in ("ann", "bob"):
        filled.get("/shop/mine", headers={"X-User": user})
        filled.get("/shop/again", headers={"X-User": user})
    relieve(filled, spec=FILLING, light=0)
    for user in ("ann", "bob"):
        mine = filled.get("/shop/mine", headers={"X-User": user})
        assert mine.headers["X-Hcctl-Relief"].startswith("stale")
        assert mine.json()["headers"]["x-user"] == user
    assert "X-Hcctl-Relief" not in filled.get("/shop/mine", headers={"X-User": "eve"}).headers
    shared = filled.get("/shop/again", headers={"X-User": "eve"})
    assert shared.json()["headers"]["x-user"] in ("ann", "bob")


def test_other_routes_and_other_methods_are_not_answered_lightly(filled: World) -> None:
    """Only what is declared, and only GET and POST with a body that can be sent again."""
    relieve(filled, spec=FILLING, light=0)
    for _ in range(2):
        answers = [
            filled.get("/shop/x"),
            filled.send("PUT", "/shop/again/p", content=b"1"),
            filled.send("POST", "/shop/again/l", content=b"1" * 20_000),
        ]
        assert told(answers) == {(200, ""): 3}
    posted = [filled.send("POST", "/shop/again/s", content=b"1" * 9_000) for _ in range(2)]
    assert [answer.headers.get("X-Hcctl-Relief") for answer in posted] == [None, "stale;age=0"]


def test_what_the_gateway_lets_through_the_relief_process_takes(filled: World) -> None:
    """Long headers, compressed and empty bodies, odd bytes and paths: each is answered, and arrives as it was sent."""
    packed = gzip.compress(b"{}" * 100)
    sent = [
        ("GET", "/shop/again/long", {"headers": {"X-Long": "a" * 12_000}}),
        ("GET", f"/shop/again/{'p' * 9_000}?q=%2F..%2f&q=%zz+", {}),
        ("POST", "/shop/again/packed", {"content": packed, "headers": {"Content-Encoding": "gzip"}}),
        ("POST", "/shop/again/empty", {}),
        ("GET", "/shop/again/bytes", {"headers": {"X-Odd": b"\xe4\xff"}}),
    ]
    for levels in ({}, {"light": 0}):
        relieve(filled, spec=FILLING, **levels)
        for method, path, options in sent:
            answer = filled.send(method, path, **options)
            assert answer.status_code == 200, path
            assert answer.json()["target"] == path.replace("/shop/", "/shop-1/")
            assert answer.json()["body_bytes"] == len(options.get("content", b""))


def test_a_new_version_gets_none_of_the_former_ones_answers(filled: World) -> None:
    """What was kept is given only while its version serves; a rollback finds it again."""
    filled.get("/shop/again/x")
    relieve(filled, spec=FILLING, light=0, path="/shop-2")
    fresh = filled.get("/shop/again/x")
    assert fresh.json()["target"] == "/shop-2/again/x"
    assert "X-Hcctl-Relief" not in fresh.headers
    relieve(filled, spec=FILLING, light=0)
    assert filled.get("/shop/again/x").json()["target"] == "/shop-1/again/x"


def test_a_refused_priority_still_gets_a_kept_answer(filled: World) -> None:
    """At the level that refuses low priority, its kept answers are given, and only the rest is refused."""
    filled.get("/shop/both/known")
    relieve(filled, spec=FILLING, light=0, shed_low=0)
    known, unknown = filled.get("/shop/both/known"), filled.get("/shop/both/unknown")
    assert known.headers["X-Hcctl-Relief"].startswith("stale")
    assert (unknown.status_code, unknown.headers["X-Hcctl-Relief"]) == (429, "shed;priority=low")
    assert unknown.headers["Retry-After"] == "2"
    plain = filled.get("/shop/later")  # no light route: HAProxy itself refuses it
    for refusal in (unknown, plain):
        assert refusal.json() == {**plain.json(), "request_id": refusal.headers["X-Request-Id"]}
    assert Counter(r.relief for r in filled.at.finished(5)) == {"": 1, "passed": 1, "light": 1, "shed_low": 2}


def test_a_growing_queue_is_relieved_between_two_ticks(filled: World) -> None:
    """From the queue length that the daemon gave on, eligible requests are answered at once; the others wait."""
    filled.get("/shop/again/x")
    relieve(filled, private=1, spec=FILLING, light=3)
    filled.private.behave(delay_s=0.4)
    waiting = threading.Thread(target=filled.together, args=(7,))
    waiting.start()
    filled.at.until(lambda: filled.at.gateway.observe().queued["shop"] >= 4, within_s=5)
    began_s = time.monotonic()
    assert filled.get("/shop/again/x").headers["X-Hcctl-Relief"].startswith("stale")
    assert time.monotonic() - began_s < 0.3
    waiting.join()
    assert "X-Hcctl-Relief" not in filled.get("/shop/again/x").headers


def test_killed_relief_process_loses_no_request(filled: World) -> None:
    """SIGKILL under load at level light: what was kept is gone, every request is answered by a site."""
    relieve(filled, spec=FILLING, light=0)
    with load(f"{filled.at.url}/shop/again/x", clients=8) as answers:
        filled.at.until(lambda: len(answers) > 200, within_s=10)
        filled.relief.end(signal.SIGKILL)  # type: ignore[attr-defined]
        sofar = len(answers)
        filled.at.until(lambda: len(answers) > sofar + 200, within_s=10)
        filled.relief.start()  # type: ignore[attr-defined]
        filled.at.until(lambda: filled.at.gateway.observe().relief_up == {"shop": True}, within_s=6)
        sofar = len(answers)
        filled.at.until(lambda: len(answers) > sofar + 200, within_s=10)
    assert failures(answers) == []
    light = ["X-Hcctl-Relief" in answer.headers for answer in answers if isinstance(answer, httpx.Response)]
    assert {True, False} <= set(light)


def test_a_relief_process_that_hangs_is_left_out(filled: World) -> None:
    """It listens and answers nothing: its checks tell within seconds, and its requests go to the sites."""
    relieve(filled, spec=FILLING, light=0)
    assert filled.relief.process is not None  # type: ignore[attr-defined]
    filled.relief.process.send_signal(signal.SIGSTOP)  # type: ignore[attr-defined]
    filled.at.until(lambda: filled.at.gateway.observe().relief_up == {"shop": False}, within_s=8)
    assert told([filled.get("/shop/again/x") for _ in range(5)]) == {(200, ""): 5}
    filled.relief.process.send_signal(signal.SIGCONT)  # type: ignore[attr-defined]
    filled.at.until(lambda: filled.at.gateway.observe().relief_up == {"shop": True}, within_s=8)
    assert {answer.status_code for answer in (filled.get("/shop/again/x") for _ in range(3))} == {200}


def test_its_slots_bound_it_and_the_rest_waits_like_others(here: World) -> None:
    """More at once than the relief process may hold and queue: each gets an answer, none an error."""
    with running_relief(here.at.folder) as process:
        relieve(here, private=8, light=0)
        here.at.until(lambda: process.knows("shop"), within_s=6)
        answers = here.together(60, "/shop/again/x")
    assert {answer.status_code for answer in answers} == {200}


def test_api_keys_are_asked_for_once_and_separate_callers(tmp_path: Path) -> None:
    """With keys, what passes through the relief process needs no second key, and each key has its own answers."""
    keys = KeyFile(tmp_path / "keys.json")
    ann, bob = (
        {"Authorization": f"Bearer {keys.create(name, at_s=0.0).get_secret_value()}"} for name in ("ann", "bob")
    )
    with (
        world(tmp_path, require_api_key=True, keys_file=tmp_path / "keys.json") as here,
        running_relief(here.at.folder) as process,
    ):
        relieve(here, spec=FILLING)
        here.at.until(lambda: process.knows("shop"), within_s=6)
        assert here.get("/shop/mine", headers=ann).status_code == 200
        relieve(here, spec=FILLING, light=0)
        assert "X-Hcctl-Relief" in here.get("/shop/mine", headers=ann).headers
        assert "X-Hcctl-Relief" not in here.get("/shop/mine", headers=bob).headers
        assert here.get("/shop/mine").status_code == 401


def varied(**config: Any) -> HybridService:
    """The service `shop` whose light answers come from a variant alone."""
    variant = {"import_path": ECHO, "config": config, "slots": 2}
    everything = [{"path": "/", "idempotent": True, "relief": "shared"}]
    return service(relief={"light": {"max_stale_s": 0.0, "variant": variant}}, rules=everything)


@pytest.fixture
def version(tmp_path: Path) -> tuple[str, str]:
    """A pushed version, and where its files are."""
    source = tmp_path / "artefact"
    source.mkdir()
    (source / "label.txt").write_text("one")
    versions = Versions(tmp_path / "registry")
    pushed = versions.push(source)
    return pushed, str(versions.registry.directory(pushed))


def test_the_lighter_variant_answers_what_is_asked_under_relief(here: World, version: tuple[str, str]) -> None:
    """Loaded from the version's files in the relief process, it sees path, query and body as a replica would."""
    relieve(here, spec=varied(), version=version, light=0)
    with running_relief(here.at.folder) as process:
        path = "/shop/it?n=1"
        here.at.until(lambda: here.send("POST", path, json=[1]).headers.get("X-Hcctl-Relief") == "light", within_s=10)
        asked = here.private.seen()["requests"]
        answer = here.send("POST", path, json=[1])
        assert process.process is not None
        assert answer.json() == {
            "path": "/it",
            "query": {"n": "1"},
            "body": [1],
            "batch": 1,
            "pid": process.process.pid,
        }
        assert here.private.seen()["requests"] == asked
        for odd in ("/shop/raise", "/shop/refuse", "/shop/status?code=404"):
            answer = here.get(odd)
            assert (answer.status_code, answer.headers["X-Hcctl-Site"]) == (200, "private")


def test_a_busy_variant_leaves_the_rest_to_the_sites(here: World, version: tuple[str, str]) -> None:
    """It holds as many as it has slots; the others are answered by a site at once."""
    relieve(here, private=8, spec=varied(sleep_s=0.3), version=version, light=0)
    with running_relief(here.at.folder):
        here.at.until(lambda: "X-Hcctl-Relief" in here.get("/shop/again/x").headers, within_s=10)
        answers = here.together(6, "/shop/again/x")
    assert told(answers) == {(200, "light"): 2, (200, ""): 4}


def test_a_variant_that_cannot_be_loaded_stops_nothing(here: World, version: tuple[str, str]) -> None:
    """Its requests wait for a replica; a mended declaration is taken up without a restart."""
    relieve(here, spec=varied(fail_load=True), version=version, light=0)
    with running_relief(here.at.folder) as process:
        here.at.until(lambda: here.at.gateway.observe().relief_up == {"shop": True}, within_s=6)
        assert told([here.get("/shop/again/x") for _ in range(3)]) == {(200, ""): 3}
        (here.at.folder / "relief.json").write_text("{")
        time.sleep(1.0)
        assert process.ask("/-/healthz") == 200
        relieve(here, spec=varied(), version=version, light=0)
        here.at.until(lambda: here.get("/shop/again/x").headers.get("X-Hcctl-Relief") == "light", within_s=10)
