"""What clients see when a site or the gateway fails: real HAProxy in front of small HTTP servers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_routes import routes, service
from tests.support.running_gateway import World, failures, load, sites_of, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


def fail_fast(here: World, path: str) -> tuple[float, list[httpx.Response | str]]:
    """Let the private site answer 500 under load; seconds until it lost its traffic, and the answers."""
    with load(here.at.url + path, clients=4) as answers:
        here.at.until(lambda: len(answers) > 20, within_s=5)
        here.private.behave(status=500)
        lost_after_s = here.at.until(lambda: not here.at.server("private").up, within_s=2)
        seen = here.private.seen()["requests"]
        time.sleep(0.5)
        assert here.private.seen()["requests"] - seen <= 4
    return lost_after_s, answers


def test_a_site_that_fails_fast_loses_its_traffic(here: World) -> None:
    """A site that answers 500 at once is out well within 2 s; then nothing fails any more."""
    here.route(private=4, cloud=8)
    lost_after_s, answers = fail_fast(here, "/shop/x")
    assert lost_after_s < 1
    assert 1 <= len(failures(answers)) < 0.5 * len(answers)
    assert not failures(answers[-20:])


def test_idempotent_requests_do_not_see_a_site_that_fails_fast(here: World) -> None:
    """What may be sent again is answered by the other site, and the failing one still loses its traffic."""
    here.route(private=4, cloud=8)
    lost_after_s, answers = fail_fast(here, "/shop/again/x")
    assert lost_after_s < 1
    assert failures(answers) == []


def test_a_mended_site_gets_its_traffic_back(tmp_path: Path) -> None:
    """After its time out, longer than two health checks, a site that answers well is filled first again."""
    with world(tmp_path, eject_s=3.0) as here:
        here.route(private=4, cloud=8)
        fail_fast(here, "/shop/again/x")
        here.private.behave(status=200)
        assert here.at.until(lambda: here.at.server("private").up, within_s=6) > 2.2
        assert sites_of(here.get() for _ in range(5)) == {"private": 5}


def test_bad_code_of_one_track_leaves_the_other_alone(here: World) -> None:
    """A candidate that fails is taken out on the sites where it fails; the stable track is not touched."""
    stable, candidate = here.stable(4, 8), here.stable(4, 8, "/shop-2")
    here.at.gateway.assert_routes((routes(service(), stable, candidate, share=1.0),))
    here.private.behave(status=500)
    for _ in range(6):
        here.get()
    here.at.until(lambda: not here.at.server("private", "candidate").up, within_s=2)
    assert here.at.server("private", "stable").up
    assert here.at.server("cloud", "stable").up


def test_the_last_usable_site_is_never_taken_out(here: World) -> None:
    """With nowhere else to go, a failing site keeps its requests: their own answers beat a 503."""
    here.route(private=4, cloud=0)
    here.private.behave(status=500)
    statuses = {here.get().status_code for _ in range(30)}
    time.sleep(0.3)
    assert statuses == {500}
    assert here.at.server("private").up
    here.private.behave(status=200)
    assert here.get().status_code == 200


def test_a_killed_site_loses_no_idempotent_request(here: World) -> None:
    """SIGKILL of a site under load: every idempotent request, with a 16 KiB body, is answered by the other."""
    here.route(private=4, cloud=8)
    here.private.behave(delay_s=0.02)
    here.cloud.behave(delay_s=0.02)
    with load(here.at.url + "/shop/again/x", clients=8, method="POST", body=b"x" * 16_384) as answers:
        here.at.until(lambda: len(answers) > 50, within_s=10)
        here.private.kill()
        here.at.until(lambda: not here.at.server("private").up, within_s=4)
    assert failures(answers) == []


@pytest.mark.parametrize("connections", ["kept", "new"])
def test_a_killed_cloud_loses_nothing_while_the_private_site_is_full(here: World, connections: str) -> None:
    """What overflowed there finds no free slot at home: it waits for one, and is answered."""
    here.route(private=2, cloud=8)
    here.private.behave(delay_s=0.05)
    here.cloud.behave(delay_s=0.05)
    headers = {"Connection": "close"} if connections == "new" else {}
    with load(here.at.url + "/shop/again/x", clients=10, headers=headers) as answers:
        here.at.until(lambda: len(answers) > 100, within_s=10)
        here.cloud.kill()
        here.at.until(lambda: not here.at.server("cloud").up, within_s=2)
        time.sleep(1)
    assert failures(answers) == []


def test_the_only_site_is_used_again_as_soon_as_it_listens(here: World) -> None:
    """Gone for a moment, with nowhere else to go: refusals end when it is back, not when its checks have seen it."""
    here.route(private=4, cloud=0)
    with load(here.at.url + "/shop/again/x", clients=6) as answers:
        here.at.until(lambda: len(answers) > 100, within_s=10)
        here.private.kill()
        time.sleep(0.3)
        here.private.again()
        time.sleep(0.3)
        back = len(answers)
        here.at.until(lambda: len(answers) > back + 100, within_s=10)
    assert failures(answers[back:]) == []


def test_what_was_sent_once_is_not_sent_again(here: World) -> None:
    """A site that breaks off gets a non-idempotent request once, and its client a 502."""
    here.route(private=4, cloud=8)
    here.private.behave(cut=1)
    answer = here.send("POST", "/shop/x", content=b"1")
    assert (answer.status_code, answer.json()["error"]) == (502, "bad_answer")
    assert here.cloud.seen()["requests"] == 0
    assert here.send("POST", "/shop/again", content=b"1").status_code == 200


def test_a_killed_gateway_comes_back_as_it_was(here: World) -> None:
    """SIGKILL of HAProxy's master ends its worker; a new one serves within 2 s with the same routes."""
    stable, candidate = here.stable(3, 5), here.stable(1, 0, "/shop-2")
    here.at.gateway.assert_routes((routes(service(), stable, candidate, share=0.25),))
    before, worker = here.at.gateway.observe(), int(here.at.worker().split()[1])
    here.at.stop(signal.SIGKILL)
    here.at.until(lambda: ended(worker), within_s=1)
    assert here.at.start() < 2
    after = here.at.gateway.observe()
    assert [(s.site, s.track, s.limit) for s in after.servers] == [(s.site, s.track, s.limit) for s in before.servers]
    assert here.get().status_code == 200


def test_a_killed_worker_ends_the_gateway(here: World) -> None:
    """SIGKILL of the worker ends the master, so that whoever supervises it starts it again."""
    os.kill(int(here.at.worker().split()[1]), signal.SIGKILL)
    assert here.at.process is not None
    assert here.at.process.wait(timeout=2) != 0
    assert here.at.start() < 2


def test_a_second_gateway_on_the_port_is_refused(here: World, tmp_path: Path) -> None:
    """Two gateways never share a port silently."""
    command = here.at.gateway.command()
    command[command.index("-C") + 1] = str(copy_of(here.at.folder, tmp_path / "second"))
    assert subprocess.run(command, capture_output=True, timeout=10, check=False).returncode != 0


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    return target


def ended(process: int) -> bool:
    """Gone, or a zombie that its new parent has not collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
