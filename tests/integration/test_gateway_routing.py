"""Which site and which version a request reaches: real HAProxy in front of small HTTP servers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_routes import routes, service, track
from tests.support.running_gateway import World, sites_of, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


def test_requests_fill_the_private_site_first(here: World) -> None:
    """As long as the private site has room, every request goes there."""
    here.route(private=4, cloud=4)
    assert sites_of(here.get() for _ in range(20)) == {"private": 20}


def test_only_what_the_private_site_cannot_hold_overflows(here: World) -> None:
    """Of requests at the same time the private site holds its limit, the next site the rest."""
    here.route(private=3, cloud=8)
    here.private.behave(delay_s=0.3)
    here.cloud.behave(delay_s=0.3)
    assert sites_of(here.together(8)) == {"private": 3, "cloud": 5}
    assert here.private.seen()["most_at_once"] == 3


def test_a_limit_changes_at_run_time(here: World) -> None:
    """A new limit holds from the next request on, without a reload."""
    here.private.behave(delay_s=0.2)
    here.cloud.behave(delay_s=0.2)
    here.route(private=1, cloud=8)
    worker = here.at.worker()
    for limit in (5, 2, 4):
        here.route(private=limit, cloud=8)
        assert sites_of(here.together(6)) == {"private": limit, "cloud": 6 - limit}
    assert here.at.worker() == worker


def test_a_limit_of_zero_takes_nothing_even_under_load(here: World) -> None:
    """A site with limit 0 gets no request while the other is full: the rest waits."""
    here.route(private=2, cloud=0)
    here.private.behave(delay_s=0.1)
    answers = here.together(10)
    assert sites_of(answers) == {"private": 10}
    assert (here.private.seen()["most_at_once"], here.cloud.seen()["requests"]) == (2, 0)
    assert max(record.queue_s or 0 for record in here.at.finished(10)) > 0.2


def test_the_version_replaces_the_prefix(here: World) -> None:
    """A site sees the path below the version's prefix, with the query as it was sent."""
    here.route(private=4, cloud=4)
    expected = {
        "/shop/recommend?user=a%20b&x=%22": "/shop-1/recommend?user=a%20b&x=%22",
        "/shop/a//b/": "/shop-1/a//b/",
        "/shop/": "/shop-1/",
        "/shop": "/shop-1/",
    }
    assert {path: here.get(path).json()["target"] for path in expected} == expected


def test_a_prefix_ends_at_a_segment(here: World) -> None:
    """`/shopping` is not below `/shop`; the longest prefix wins; a service at `/` gets the rest."""
    shop = routes(service(), here.stable(4, 4, "/shop-1"))
    root = routes(service("root", prefix="/"), here.stable(4, 4, "/root-1"))
    deep = routes(service("deep", prefix="/shop/deep"), here.stable(4, 4, "/deep-1"))
    here.at.gateway.assert_routes((shop, root, deep))
    expected = {"/shopping": "/root-1/shopping", "/shop/deeper": "/shop-1/deeper", "/shop/deep/x": "/deep-1/x"}
    assert {path: here.get(path).json()["target"] for path in expected} == expected


def test_the_candidate_gets_its_share_on_every_site(here: World) -> None:
    """The share is drawn per request, and the answer names the track and the site."""
    stable = here.stable(40, 40)
    here.at.gateway.assert_routes((routes(service(), stable, here.stable(40, 40, "/shop-2"), share=0.5),))
    answers = here.together(120)
    tracks = Counter(answer.headers["X-Hcctl-Track"] for answer in answers)
    assert 38 <= tracks["candidate"] <= 82
    for answer in answers:
        path = "/shop-2/x" if answer.headers["X-Hcctl-Track"] == "candidate" else "/shop-1/x"
        assert answer.json()["target"] == path


def test_clients_cannot_choose_track_site_or_id(here: World) -> None:
    """Our own headers are ours: from a client they have no effect and do not reach the site."""
    here.route(private=4, cloud=4)
    forged = {"X-Hcctl-Track": "candidate", "X-Hcctl-Site": "cloud", "X-Request-Id": "mine", "Upgrade": "websocket"}
    socket = {"Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    answer = here.get(headers=forged | socket)
    reached = answer.json()["headers"]
    assert answer.headers["X-Hcctl-Track"] == "stable"
    assert answer.headers["X-Hcctl-Site"] == "private"
    assert answer.headers["X-Request-Id"] == reached["x-request-id"] != "mine"
    assert not {"x-hcctl-track", "x-hcctl-site", "upgrade"} & reached.keys()


def test_each_request_is_logged_with_what_happened(here: World) -> None:
    """The log line of a request carries the id that its client was given, where it went, and its times."""
    here.route(private=4, cloud=4)
    here.private.behave(delay_s=0.1)
    answer = here.get("/shop/secret-path?q=secret-query", headers={"X-Secret": "secret-header"})
    (record,) = here.at.finished(1)
    assert record.request_id == answer.headers["X-Request-Id"]
    assert (record.service, record.track, record.site, record.status) == ("shop", "stable", "private", 200)
    assert record.termination == "--"
    assert record.queue_s == 0.0
    assert 0.1 <= record.total_s < 0.5
    assert record.bytes_out > len(answer.content)
    assert b"secret" not in b"".join(here.at.lines)


def test_arrival_is_that_of_the_request_not_of_the_connection(here: World) -> None:
    """On a kept connection each request has its own time of arrival."""
    here.route(private=4, cloud=4)
    here.private.behave(delay_s=0.2)
    here.twice_on_one_connection("/shop/x")
    first, second = here.at.finished(2)
    assert 0.2 <= second.at_s - first.at_s < 0.4


def test_lines_are_kept_while_the_reader_is_away(here: World) -> None:
    """HAProxy keeps the lines for a daemon that is restarted; only what was on its way to the old one is lost."""
    here.route(private=40, cloud=40)
    with here.at.reader_away():
        here.get()
        time.sleep(0.3)  # by then HAProxy has found its old connection broken
        kept = {answer.headers["X-Request-Id"] for answer in here.together(60)}
    here.at.until(lambda: kept <= {record.request_id for record in here.at.records}, within_s=4)


def test_sites_are_filled_in_the_order_given(here: World) -> None:
    """The order of the servers, not their names, decides who is filled first."""
    spec = service(sites=("cloud", "private"))
    here.at.gateway.assert_routes((routes(spec, track("/shop-1", cloud=(here.cloud, 4), private=(here.private, 4))),))
    assert sites_of(here.get() for _ in range(5)) == {"cloud": 5}


def test_high_priority_waits_in_front_of_low(here: World) -> None:
    """Of those who wait, high priority is sent first and low priority last, whoever came first."""
    rules = [{"path": f"/{level}", "priority": level} for level in ("low", "normal", "high")]
    here.route(private=1, cloud=0, rules=rules)
    here.private.behave(delay_s=0.2)
    with ThreadPoolExecutor(4) as clients:
        for waiting, path in enumerate(("/shop/x", "/shop/low", "/shop/normal", "/shop/high")):
            clients.submit(here.get, path)
            here.at.until(lambda n=waiting: here.at.held() == n + 1, within_s=1)
    assert here.private.seen()["paths"] == ["/shop-1/x", "/shop-1/high", "/shop-1/normal", "/shop-1/low"]


def test_who_leaves_the_queue_is_never_sent(here: World) -> None:
    """A client that gives up while it waits costs no site anything."""
    here.route(private=1, cloud=0)
    here.private.behave(delay_s=0.4)
    with ThreadPoolExecutor(1) as clients:
        clients.submit(here.get)
        here.at.until(lambda: here.at.held() == 1, within_s=1)
        with pytest.raises(httpx.ReadTimeout):
            here.get("/shop/again", timeout=0.1)
        here.at.until(lambda: here.at.held() == 1, within_s=1)
    assert here.get("/shop/last").status_code == 200
    assert here.private.seen()["paths"] == ["/shop-1/x", "/shop-1/last"]
