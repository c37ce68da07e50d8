"""Relief from the declaration to the client: real supervisor, daemon, HAProxy and relief process; no Ray."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator

import httpx
import psutil
import pytest

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
        "shed": {"low_over": 1.0},
        "leave_after_s": 1.0,
    },
}
"""One replica of 4 slots, and capacity that does not come. Expected wait: light from 0.25 s on, shed from 0.5 s on."""


@pytest.fixture(scope="module")
def shop() -> Iterator[RayFreeProject]:
    with ray_free_project({}, umask=0o077, gateway={}, service=SERVICE) as project:
        project.wait("relief process", lambda seen: seen["relief"]["process"] == "up", 20)
        yield project


def get(shop: RayFreeProject, path: str) -> httpx.Response:
    return httpx.get(shop.url + path, timeout=20, trust_env=False)


def test_a_rush_is_answered_lightly_then_low_priority_is_refused_and_all_returns(shop: RayFreeProject) -> None:
    """Level by level, each seen in status, decisions and answers; nothing of it is left when the rush is over."""
    assert "X-Hcctl-Relief" not in get(shop, "/popular").headers
    shop.ingress.behave(delay_s=0.2)
    with load(f"{shop.url}/x", clients=12) as answers:  # 8 wait for 4 slots of 0.2 s: 0.4 s
        shop.wait("light", lambda seen: seen["relief"]["level"] == "light", 20)
        assert get(shop, "/popular").headers["X-Hcctl-Relief"].startswith("stale;age=")
        with load(f"{shop.url}/x", clients=12) as more:
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
    changes = [(row["from"], row["to"]) for row in shop.must("why", "-o", "json").json() if row["action"] == "relief"]
    assert changes == [("none", "light"), ("light", "shed_low"), ("shed_low", "light"), ("light", "none")]


def test_light_answers_do_not_flatter_the_promise(shop: RayFreeProject) -> None:
    """What relief answers is counted apart: p99 and the time a request holds a slot are those of replicas."""
    get(shop, "/popular")
    shop.ingress.behave(delay_s=0.3)
    with load(f"{shop.url}/x", clients=12):
        shop.wait("light", lambda seen: seen["relief"]["level"] is not None, 20)
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
    """Taking relief out of service.yaml takes effect at once: process, map and listener go."""
    record = read_record(shop.paths.run_dir / "relief.json")
    assert record is not None
    from tests.support.running_project import SERVICE as PLAIN

    shop.write("service.yaml", PLAIN)
    shop.must("deploy", "--timeout", "60")
    shop.wait("no relief", lambda seen: seen["relief"] is None, 10)
    shop.wait("no process", lambda _: not is_alive(record), 15)
    assert not shop.paths.relief_services.exists()
    assert "relief" not in (shop.paths.gateway_dir / "haproxy.cfg").read_text()
    assert get(shop, "/popular").status_code == 200
