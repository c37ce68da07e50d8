"""Relief from the declaration to the client: real supervisor, daemon, HAProxy and relief process; no Ray."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator

import httpx
import psutil
import pytest
import yaml

from serving.sites.processes import is_alive, read_record
from tests.support.ray_free_project import RayFreeProject, ray_free_project
from tests.support.running_gateway import failures, load

SERVICE = {
    "burst": {"breach_s": 3_600.0},
    "routing": {
        "rules": [
            {"path": "/", "idempotent": True},
            {"path": "/popular", "idempotent": True, "relief": "shared"},
            {"path": "/later", "priority": "low"},
        ],
        "queue_timeout_s": 8.0,
    },
    "relief": {
        "light": {"over": 0.5, "fill_share": 1.0},
        "shed": {"low_over": 2.0},
        "leave_after_s": 1.0,
    },
}
"""One replica of 4 slots, and capacity that does not come. Expected wait: light from 0.25 s on, shed from 1 s on."""


@pytest.fixture(scope="module")
def shop() -> Iterator[RayFreeProject]:
    with ray_free_project({}, umask=0o077, gateway={}, service=SERVICE) as project:
        project.wait("relief process", lambda seen: seen["relief"]["process"] == "up", 20)
        yield project


def get(shop: RayFreeProject, path: str) -> httpx.Response:
    return httpx.get(shop.url + path, timeout=20, trust_env=False)


def changes(shop: RayFreeProject) -> list[tuple[str, str]]:
    """From and to of each decision about relief, oldest first."""
    rows = shop.must("why", "--limit", "1000", "-o", "json").json()
    return [(row["from"], row["to"]) for row in rows if row["action"] == "relief"]


def until_light(shop: RayFreeProject) -> None:
    """Ask for the popular answer until it is a kept one; the first one may have to wait for a replica."""
    answers = [get(shop, "/popular")]
    while "X-Hcctl-Relief" not in answers[-1].headers:
        assert len(answers) < 5
        answers.append(get(shop, "/popular"))
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].headers["X-Hcctl-Relief"].startswith("stale;age=")


def test_a_rush_is_answered_lightly_then_low_priority_is_refused_and_all_returns(shop: RayFreeProject) -> None:
    """Level by level, each seen in status, decisions and answers; nothing of it is left when the rush is over."""
    before = len(changes(shop))
    assert "X-Hcctl-Relief" not in get(shop, "/popular").headers
    shop.ingress.behave(delay_s=0.2)
    with load(f"{shop.url}/x", clients=12) as answers:  # 8 wait for 4 slots of 0.2 s: 0.4 s
        shop.wait("light", lambda seen: seen["relief"]["level"] == "light", 20)
        until_light(shop)
        with load(f"{shop.url}/x", clients=24) as more:
            shop.wait("shed_low", lambda seen: seen["relief"]["level"] == "shed_low", 20)
            refused = get(shop, "/later")
            assert (refused.status_code, refused.headers["X-Hcctl-Relief"]) == (429, "shed;priority=low")
            shop.wait("shed share", lambda seen: (seen["signals"]["shed_share"] or 0) > 0, 5)
            told = shop.must("status").out
            assert "relief shed low" in told
            assert "expected wait" in told
    assert failures([*answers, *more]) == []
    shop.ingress.behave(delay_s=0.0)
    shop.wait("no relief", lambda seen: seen["relief"]["level"] is None, 30)
    assert get(shop, "/later").status_code == 200
    assert "X-Hcctl-Relief" not in get(shop, "/popular").headers
    path = [("none", "light"), ("light", "shed_low"), ("shed_low", "light"), ("light", "none")]
    assert changes(shop)[before:] == path


def test_light_answers_do_not_flatter_the_promise(shop: RayFreeProject) -> None:
    """What relief answers is counted apart: p99 and the time a request holds a slot are those of replicas."""
    get(shop, "/popular")
    shop.ingress.behave(delay_s=0.3)
    with load(f"{shop.url}/x", clients=12):
        shop.wait("light", lambda seen: seen["relief"]["level"] is not None, 20)
        until_light(shop)
        with load(f"{shop.url}/popular", clients=2) as light:
            shop.wait("light answers", lambda seen: (seen["signals"]["light_share"] or 0) > 0.5, 20)
            assert shop.observed()["signals"]["p50_s"] > 0.3
    assert failures(light) == []
    shop.ingress.behave(delay_s=0.0)
    shop.wait("no relief", lambda seen: seen["relief"]["level"] is None, 30)


def test_only_this_user_reaches_it(shop: RayFreeProject) -> None:
    """No port; its two sockets are for their owner only, in a folder that is too."""
    record = read_record(shop.paths.run_dir / "relief.json")
    assert record is not None
    assert psutil.Process(record.pid).net_connections(kind="inet") == []
    for name in ("relief.sock", "again.sock"):
        assert stat.S_IMODE((shop.paths.gateway_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(shop.paths.gateway_dir.stat().st_mode) == 0o700


def test_killed_relief_process_is_started_again(shop: RayFreeProject) -> None:
    """The supervisor keeps it; meanwhile its requests are answered like others."""
    record = read_record(shop.paths.run_dir / "relief.json")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    assert get(shop, "/popular").status_code == 200

    def back(seen: dict) -> bool:
        found = read_record(shop.paths.run_dir / "relief.json")
        return found is not None and found != record and is_alive(found) and seen["relief"]["process"] == "up"

    shop.wait("another process", back, 30)


def test_a_service_that_declares_none_any_more_ends_it(shop: RayFreeProject) -> None:
    """Taking relief out of service.yaml takes effect at once: process, map and listener go. Put in again, they come."""
    declared = yaml.safe_load((shop.folder / "service.yaml").read_text())
    record = read_record(shop.paths.run_dir / "relief.json")
    assert record is not None
    plain = {**declared, "routing": {"rules": [{"path": "/", "idempotent": True}]}, "relief": None}
    shop.write("service.yaml", plain)
    shop.must("deploy", "--timeout", "60")
    shop.wait("no relief", lambda seen: seen["relief"] is None, 10)
    shop.wait("no process", lambda _: not is_alive(record), 15)
    assert not shop.paths.relief_services.exists()
    assert "relief" not in (shop.paths.gateway_dir / "haproxy.cfg").read_text()
    assert get(shop, "/popular").status_code == 200
    shop.write("service.yaml", declared)
    shop.must("deploy", "--timeout", "60")
    shop.wait("relief process", lambda seen: seen["relief"] and seen["relief"]["process"] == "up", 20)
