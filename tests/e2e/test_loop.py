"""The walking loop for real: commands, daemon, gateway and two Ray clusters, under load and under fire.

The tests share one running project and run in the order written; each leaves it calm: the private
site serving one version, the cloud closed. Two say what they leave to the next.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli import wiring
from tests.support.running_project import PROJECT, REPOSITORY, SERVICE, OpenLoad, RunningProject, until

pytestmark = pytest.mark.e2e

CALM_RPS = 20.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProject]:
    """A project with one version serving."""
    project = RunningProject(tmp_path_factory.mktemp("loop") / "shop")
    try:
        project.must("up")
        project.push("v1")
        project.must("deploy")
        yield project
    finally:
        project.must("down")


def calm(shop: RunningProject) -> None:
    """Wait until the private site serves and the cloud is closed and not wanted."""
    shop.wait(
        "calm",
        lambda s: (
            s["sites"]["cloud"]["phase"] == "closed"
            and s["sites"]["cloud"]["target"] == 0
            and s["sites"]["private"]["phase"] == "open"
            and sum(s["sites"]["private"]["ready"].values()) >= 1
            and s["release"] is None
        ),
        180.0,
    )


def test_answers_name_site_and_request(shop: RunningProject) -> None:
    """An answer says which site gave it and under which id it can be found."""
    answer = shop.ask()
    assert answer.status_code == 200
    assert answer.json()["label"] == "v1"
    assert answer.headers["X-Hcctl-Site"] == "private"
    assert answer.headers["X-Request-Id"]


def test_deploy_of_what_serves_changes_nothing(shop: RunningProject) -> None:
    """Deploying the same version again is done at once, and says so."""
    assert "already serves" in shop.must("deploy", "--dry-run").out
    shop.must("deploy")
    assert shop.must("diff").out == ""


def test_new_version_and_rollback_lose_no_request(shop: RunningProject) -> None:
    """v1 -> v2 -> back to v1 under load: every request is answered; the rollback takes under 30 s."""
    shop.push("v2")
    with OpenLoad(shop.url, CALM_RPS) as load:
        time.sleep(1)
        shop.must("deploy")
        assert shop.ask().json()["label"] == "v2"
        begun_s = time.monotonic()
        shop.must("rollback")
        took_s = time.monotonic() - begun_s
        assert shop.ask().json()["label"] == "v1"
        time.sleep(1)
    assert load.outcomes.total() == load.outcomes["200"], load.outcomes
    assert set(load.labels) == {"v1", "v2"}
    assert took_s < 30
    verdicts = [row["verdict"] for row in shop.must("history", "-o", "json").json()]
    assert verdicts[:2] == ["promoted", "promoted"]


@pytest.mark.parametrize(
    ("label", "behaviour", "told"),
    [
        ("does-not-load", {}, "cannot be loaded"),
        ("fails-probes", {"fails-probes": {"fail": True}}, "probes failed"),
        ("errs", {"errs": {"fail": True, "probes_pass": True}}, "errors of"),
    ],
)
def test_bad_version_never_takes_over(
    shop: RunningProject, label: str, behaviour: dict[str, object], told: str
) -> None:
    """A version that does not load, fails its probes or errs is rolled back with exit code 4; v1 serves on."""
    shop.push(label)
    shop.behave(behaviour)
    with OpenLoad(shop.url, CALM_RPS) as load:
        done = shop.hcctl("deploy")
        time.sleep(0.5)
    shop.behave({})
    assert done.code == 4, done.errors
    assert told in done.errors
    assert load.labels["v1"] == load.outcomes["200"]
    assert load.outcomes["200"] > 0.9 * load.outcomes.total()
    if label != "errs":
        assert load.outcomes["200"] == load.outcomes.total(), load.outcomes
    assert shop.ask().json()["label"] == "v1"


def test_killed_daemon_resumes(shop: RunningProject) -> None:
    """kill -9 of the daemon in mid-release: the release still ends in its verdict; no request is lost."""
    shop.push("v3")
    with OpenLoad(shop.url, CALM_RPS) as load:
        shop.must("deploy", "--no-wait")
        time.sleep(1.5)
        shop.kill("daemon")
        shop.wait("the verdict", lambda s: s["release"] is None and s["version"] is not None, 90)
        time.sleep(1)
    assert load.outcomes.total() == load.outcomes["200"], load.outcomes
    assert shop.ask().json()["label"] == "v3"


def test_killed_gateway_is_back_with_its_routes(shop: RunningProject) -> None:
    """kill -9 of the gateway: it listens again within 2 s with the routes it had."""
    shop.kill("gateway")
    begun_s = time.monotonic()
    while True:
        try:
            if shop.ask().status_code == 200:
                break
        except OSError:
            pass
        except Exception as error:
            if "Connect" not in type(error).__name__ and "Protocol" not in type(error).__name__:
                raise
        assert time.monotonic() - begun_s < 10
        time.sleep(0.02)
    assert time.monotonic() - begun_s < 2.0


def test_killed_replica_loses_no_idempotent_request(shop: RunningProject) -> None:
    """kill -9 of a replica under load: idempotent requests are sent again and all are answered."""
    shop.must("scale", "shop", "private=2")
    shop.wait("two replicas", lambda s: sum(s["sites"]["private"]["ready"].values()) == 2, 60)
    with OpenLoad(shop.url, CALM_RPS) as load:
        time.sleep(1)
        psutil.Process(shop.ask().json()["pid"]).kill()
        time.sleep(6)
    shop.must("scale", "shop", "--release")
    assert load.lost == 0, load.outcomes
    assert load.refused <= 0.001 * load.outcomes.total() + 1, load.outcomes


def test_private_site_that_answers_500_fast_loses_its_traffic(shop: RunningProject) -> None:
    """Its idempotent requests go to the cloud once that is open, and it returns after probes when it is well.

    The cloud is left open: the next test kills it.
    """
    with OpenLoad(shop.url, CALM_RPS) as load:
        shop.behave({"private": {"fail": True}})
        shop.wait("failover", lambda s: s["sites"]["cloud"]["limit"] > 0, 120)
        time.sleep(3)
        before = dict(load.outcomes)
        time.sleep(3)
        after = dict(load.outcomes)
        shop.behave({})
        shop.wait(
            "the return", lambda s: s["sites"]["private"]["limit"] > 0 and not s["sites"]["private"]["ejected"], 90
        )
    answered = after["200"] - before["200"]
    errors = sum(after.values()) - sum(before.values()) - answered
    assert answered > 0
    assert errors == 0, (before, after)


def test_killed_cloud_site_in_a_burst_loses_no_idempotent_request(shop: RunningProject) -> None:
    """kill -9 of everything in the cloud under load: the private site answers what the cloud held.

    But for an answer that had begun and breaks off: one for each slot of the cloud at most.
    """
    shop.must("scale", "shop", "cloud=1", "private=2")
    shop.wait("the cloud", lambda s: s["sites"]["cloud"]["limit"] > 0, 120)
    with OpenLoad(shop.url, 60.0) as load:
        time.sleep(2)
        shop.kill_site("cloud")
        time.sleep(4)
    shop.must("scale", "shop", "--release")
    assert load.lost == load.cut, load.outcomes
    assert load.cut <= SERVICE["model"]["slots_per_replica"], load.outcomes
    calm(shop)


def test_killed_private_site_fails_over_to_the_cloud(shop: RunningProject) -> None:
    """A power cut of the private site opens the cloud as failover; the private site is started again.

    The cloud goes home during the next test, which ends when it has.
    """
    with OpenLoad(shop.url, 5.0):
        shop.kill_site("private")
        shop.wait("the loss", lambda s: s["sites"]["private"]["limit"] == 0, 30)
        shop.wait("failover", lambda s: s["sites"]["cloud"]["target"] > 0, 30)
        shop.wait("an answer", lambda s: s["sites"]["cloud"]["limit"] > 0 or s["sites"]["private"]["limit"] > 0, 120)
        shop.wait("the private site", lambda s: s["sites"]["private"]["limit"] > 0, 120)
    assert shop.ask().headers["X-Hcctl-Site"] == "private"
    calm(shop)


def test_killed_supervisor_is_replaced_by_up(shop: RunningProject) -> None:
    """`hcctl up` after kill -9 of the supervisor adopts daemon and gateway as they run."""
    daemon, gateway = shop.pid("daemon"), shop.pid("gateway")
    shop.kill("supervisor")
    shop.must("up")
    assert (shop.pid("daemon"), shop.pid("gateway")) == (daemon, gateway)
    shop.kill("daemon")
    deadline_s = time.monotonic() + 10
    while shop.pid("daemon") == daemon and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert shop.pid("daemon") != daemon
    calm(shop)


def test_changed_project_file_is_put_in_force(shop: RunningProject) -> None:
    """`hcctl up` takes a new price while requests go on, and names what needs a restart; a broken file harms nobody."""
    dearer = json.loads(json.dumps(PROJECT))
    dearer["sites"]["cloud"]["pools"][0]["price_usd_per_hour"] = 2.0
    shop.write("hcctl.yaml", dearer)
    daemon, gateway = shop.pid("daemon"), shop.pid("gateway")
    with OpenLoad(shop.url, CALM_RPS) as load:
        shop.must("up")
        assert shop.pid("daemon") != daemon
        assert shop.pid("gateway") == gateway
        prices = {row["site"]: row["usd_per_node_hour"] for row in shop.must("cost", "-o", "json").json()["pools"]}
        assert prices["cloud"] == 2.0
        shop.write("hcctl.yaml", {**dearer, "gateway": {"port": 18_000}})
        refused = shop.hcctl("up")
        assert (refused.code, "gateway" in refused.errors) == (2, True)
        (shop.folder / "hcctl.yaml").write_text("sites: [")
        assert shop.hcctl("up").code == 2
        shop.kill("daemon")
        until(lambda: wiring.daemon_alive(shop.project.paths))
        time.sleep(2)
    assert load.outcomes.total() == load.outcomes["200"], load.outcomes
    shop.write("hcctl.yaml", dearer)


def test_upgrade_of_a_running_project_loses_no_request(shop: RunningProject, tmp_path: Path) -> None:
    """`hcctl up` of another hcctl replaces supervisor and daemon; gateway and sites go on, and can be scaled."""
    for package in ("autoscaler", "cli", "serving"):
        shutil.copytree(REPOSITORY / package, tmp_path / package)
    with (tmp_path / "autoscaler" / "daemon.py").open("a") as newer:
        newer.write("\n# newer\n")
    before = {part: shop.pid(part) for part in ("supervisor", "daemon", "gateway", "private")}
    shop.source = tmp_path
    with OpenLoad(shop.url, CALM_RPS) as load:
        shop.must("up")
        after = {part: shop.pid(part) for part in before}
        shop.must("scale", "shop", "private=2")
        shop.wait("two replicas", lambda s: sum(s["sites"]["private"]["ready"].values()) == 2, 60)
        shop.must("scale", "shop", "--release")
        shop.source = REPOSITORY
        shop.must("up")
    assert load.outcomes.total() == load.outcomes["200"], load.outcomes
    assert {part for part in before if before[part] != after[part]} == {"supervisor", "daemon"}
    shop.kill("daemon")
    until(lambda: wiring.daemon_alive(shop.project.paths))


def test_spend_cap_refuses_by_hand_with_exit_code_5(shop: RunningProject) -> None:
    """`hcctl scale` beyond the budget is refused before anything is rented."""
    shop.write("service.yaml", {**SERVICE, "budget": {"usd_per_hour": 0.0001}})
    shop.must("deploy")
    done = shop.hcctl("scale", "shop", "cloud=2")
    assert done.code == 5
    assert "usd_per_hour" in done.errors


def test_removed_service_leaves_nothing(shop: RunningProject) -> None:
    """`hcctl remove` finishes what is in flight, frees the replicas and forgets; a deploy brings it back."""
    shop.write("service.yaml", SERVICE)
    with OpenLoad(shop.url, CALM_RPS) as load:
        time.sleep(1)
        shop.must("remove", "shop")
    assert load.lost == load.outcomes["404"], load.outcomes
    assert shop.ask().status_code == 404
    assert shop.must("status", "-o", "json").json()["services"] == []
    assert wiring.sites(shop.project)["private"].observe().applications == ()
    shop.must("deploy")
    assert shop.ask().status_code == 200
