"""Changes under load lose no request: real HAProxy in front of small HTTP servers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serving.errors import HcctlError, InvalidInput
from serving.gateway import config, values
from serving.gateway.admin import AdminSocket
from serving.gateway.routes import ServiceRoutes
from tests.support.gateway_routes import routes, service
from tests.support.running_gateway import World, failures, load, new_certificate, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


def versions(answers: list[httpx.Response | str]) -> set[str]:
    """Versions that answered, from the path that the site saw."""
    return {answer.json()["target"].split("/")[1] for answer in answers if isinstance(answer, httpx.Response)}


def test_a_release_loses_no_request(here: World) -> None:
    """Candidate beside stable, a growing share, promotion and clean-up, all under load."""
    old, new = here.stable(4, 8), here.stable(4, 8, "/shop-2")
    steps: list[ServiceRoutes] = [
        routes(service(), old),
        routes(service(), old, new, share=0.0),
        routes(service(), old, new, share=0.2),
        routes(service(), old, new, share=1.0),
        routes(service(), new),
    ]
    here.at.gateway.assert_routes(tuple(steps[:1]))
    with load(here.at.url + "/shop/x", clients=6) as answers:
        for step in steps:
            here.at.gateway.assert_routes((step,))
            seen = len(answers)
            here.at.until(lambda seen=seen: len(answers) >= seen + 60, within_s=10)
        settled = len(answers)
        here.at.until(lambda: len(answers) >= settled + 20, within_s=10)
    assert failures(answers) == []
    assert versions(answers[:20]) == {"shop-1"}
    assert versions(answers[-20:]) == {"shop-2"}


def test_promotion_waits_for_those_who_wait(here: World) -> None:
    """Requests that queue for the candidate when it is promoted are answered, not left to time out."""
    here.private.behave(delay_s=0.15)
    old, new = here.stable(1, 0), here.stable(1, 0, "/shop-2")
    here.at.gateway.assert_routes((routes(service(), old, new, share=1.0),))

    def drained() -> bool:
        here.at.gateway.assert_routes((routes(service(), new),))
        return here.at.server("private", "candidate").limit == 0

    with load(here.at.url + "/shop/x", clients=4) as answers:
        here.at.until(lambda: here.at.gateway.observe().queued["shop"] == 3, within_s=3)
        assert not drained()
        here.at.until(drained, within_s=2)
        here.at.until(lambda: len(answers) >= 8, within_s=5)
    assert failures(answers) == []


def test_a_rollback_takes_all_traffic_from_the_candidate(here: World) -> None:
    """After the assertion no request reaches the candidate, and none was lost."""
    old, new = here.stable(4, 8), here.stable(4, 8, "/shop-2")
    here.at.gateway.assert_routes((routes(service(), old, new, share=0.5),))
    with load(here.at.url + "/shop/x", clients=4) as answers:
        here.at.until(lambda: len(answers) > 40, within_s=5)
        here.at.gateway.assert_routes((routes(service(), old),))
        seen = len(answers)
        here.at.until(lambda: len(answers) > seen + 40, within_s=5)
    assert failures(answers) == []
    assert versions(answers[:seen]) == {"shop-1", "shop-2"}
    assert versions(answers[seen + 8 :]) == {"shop-1"}


def test_reloads_lose_no_request(here: World) -> None:
    """New and removed services reload HAProxy; clients with kept connections notice nothing."""
    shop, other = routes(service(), here.stable(4, 8)), routes(service("other"), here.stable(1, 1))
    here.at.gateway.assert_routes((shop,))
    first = here.at.worker()
    with load(here.at.url + "/shop/x", clients=6) as answers:
        for step in ((shop, other), (shop,), (shop, other)):
            here.at.gateway.assert_routes(step)
            seen = len(answers)
            here.at.until(lambda seen=seen: len(answers) > seen + 60, within_s=10)
    assert failures(answers) == []
    assert here.at.worker() != first


def test_a_graceful_stop_loses_no_request(here: World) -> None:
    """SIGUSR1 lets requests in flight finish."""
    here.route(private=4, cloud=8)
    here.private.behave(delay_s=0.5)
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(here.get) for _ in range(3)]
        here.at.until(lambda: here.at.server("private").in_use == 3, within_s=0.4)
        here.at.stop(signal.SIGUSR1)
        assert [answer.result().status_code for answer in answers] == [200, 200, 200]


def test_a_change_made_by_hand_is_corrected(here: World) -> None:
    """What HAProxy really does is compared, so the next assertion mends any drift."""
    wanted = routes(service(), here.stable(4, 8), here.stable(2, 2, "/shop-2"), share=0.1)
    here.at.gateway.assert_routes((wanted,))
    before = here.at.gateway.observe()
    by_hand = AdminSocket(here.at.folder / config.ADMIN_SOCKET)
    by_hand.run(
        [
            "set maxconn server shop.stable/private 0",
            "set maxconn server shop.candidate/private 9999999",
            "set server shop.stable/cloud state maint",
            "set server shop.candidate/cloud state drain",
            "set server shop.candidate/private addr 127.0.0.1 port 9",
            "set map share.map shop 99999",
            "set map paths.map shop.stable /evil/",
        ]
    )
    here.at.gateway.assert_routes((wanted,))
    assert here.at.gateway.observe().servers == before.servers
    assert by_hand.map(values.SHARE) == {"shop": "1000"}
    assert by_hand.map(values.PATHS) == {"shop.stable": "/shop-1/", "shop.candidate": "/shop-2/"}
    assert here.get("/shop/x").status_code == 200


def test_a_version_that_starts_afresh_is_not_held_down_for_the_former_one(here: World) -> None:
    """A site taken out for its old version is in use at once with the new one."""
    here.route(private=4, cloud=8)
    here.private.behave(status=500)
    here.at.until(lambda: here.get("/shop/again").status_code == 200 and not here.at.server("private").up, within_s=3)
    here.private.behave(status=200)
    here.at.gateway.assert_routes((routes(service(), here.stable(4, 8, "/shop-2")),))
    assert here.get().headers["X-Hcctl-Site"] == "private"


def test_capacity_that_arrives_is_given_to_those_who_wait(here: World) -> None:
    """A site that opens takes queued requests at once, whether it starts, grows or returns."""
    here.private.behave(delay_s=0.4)
    here.cloud.behave(delay_s=0.4)
    here.route(private=1, cloud=0)
    with load(here.at.url + "/shop/x", clients=8) as answers:
        for limit, queued in ((3, 4), (5, 2), (0, 7), (7, 0)):
            here.route(private=1, cloud=limit)
            here.at.until(lambda queued=queued: here.at.gateway.observe().queued["shop"] == queued, within_s=2)
            here.at.until(lambda limit=limit: here.at.server("cloud").in_use == limit, within_s=0.3 if limit else 2)
    assert failures(answers) == []


def test_a_bad_configuration_is_never_loaded(here: World) -> None:
    """Services that cannot stand beside each other are refused; files and traffic stay as they are."""
    here.route(private=4, cloud=8)
    before = contents(here.at.folder)
    twin = routes(service("twin", prefix="/shop"), here.stable(1, 1))
    with pytest.raises(InvalidInput, match="same path"):
        here.at.gateway.assert_routes((routes(service(), here.stable(4, 8)), twin))
    assert contents(here.at.folder) == before
    assert here.get().status_code == 200


def test_a_configuration_that_haproxy_refuses_is_never_loaded(tmp_path: Path) -> None:
    """A certificate gone bad is found before a reload: the former configuration stays, on disk and in force."""
    certificate = new_certificate(tmp_path / "gateway.pem")
    with world(tmp_path, tls_certificate=certificate) as here:
        here.route(private=4, cloud=8)
        before = contents(here.at.folder)
        certificate.write_text("no certificate any more")
        with pytest.raises(HcctlError, match="refuses"):
            here.at.gateway.assert_routes((routes(service("other"), here.stable(1, 1)),))
        assert {name: text for name, text in contents(here.at.folder).items() if name in before} == {
            **before,
            config.TLS_PEM: certificate.read_bytes(),
        }
        assert here.get().status_code == 200


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_settings_that_changed_while_it_was_down_start_afresh(here: World) -> None:
    """Files written for the same settings are kept at a start; those for others are replaced."""
    here.route(private=4, cloud=8)
    here.at.gateway.prepare()
    assert "shop" in (here.at.folder / values.SERVICES).read_text()
    type(here.at.gateway)(replace(here.at.listen, require_api_key=True)).prepare()
    assert (here.at.folder / values.SERVICES).read_text() == ""


def test_its_files_are_for_its_owner_only(here: World) -> None:
    """The folder has mode 0700; files and sockets in it 0600."""
    here.route(private=4, cloud=8)
    assert here.at.folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.lstat().st_mode & 0o777 for path in here.at.folder.iterdir() if not path.is_symlink()}
    assert set(modes.values()) == {0o600}, modes
    assert {config.CONFIG, config.ADMIN_SOCKET, config.MASTER_SOCKET} <= modes.keys()
