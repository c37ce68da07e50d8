"""Local sites for real: Ray clusters, Serve's HAProxy ingress, processes that are killed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from serving.paths import ProjectPaths
from serving.project import SiteSpec
from serving.sites.local import LocalSite
from serving.sites.ports import listening_ports, recorded_ports
from serving.sites.processes import ProcessRecord, members, read_record
from serving.sites.site import Application, Endpoint, Site, SiteObservation
from tests.e2e.conftest import CLOUD, REPOSITORY, wait_for
from tests.support.load import Load, Reply, fetch
from tests.support.site_contract import SiteContract, SiteRig
from tests.support.versions import Versions

pytestmark = pytest.mark.e2e


def record_of(project: ProjectPaths, site: Site) -> ProcessRecord:
    """The first process of a site."""
    record = read_record(project.site_dir(site.name) / "process.json")
    assert record is not None
    return record


def run(site: Site, *applications: Application) -> Endpoint:
    """Apply and wait until all replicas are ready; returns the ingress."""
    site.apply(applications)
    return wait_ready(site, *applications)


def wait_ready(site: Site, *applications: Application) -> Endpoint:
    """Wait until all replicas of the applications are ready."""
    wanted = {application.name: application.replicas for application in applications}

    def ready(seen: SiteObservation) -> bool:
        found = {
            status.name: status.replicas_ready
            for status in seen.applications or ()
            if status.replicas_ready == status.replicas_target
        }
        return found == wanted

    ingress = wait_for(site, ready).ingress
    assert ingress is not None
    return ingress


def wait_count(site: Site, replicas: int) -> None:
    """Wait until the one application of the site has so many ready replicas."""
    wait_for(site, lambda seen: [status.replicas_ready for status in seen.applications or ()] == [replicas])


def post(ingress: Endpoint, path: str, body: object) -> Reply:
    """POST a JSON body."""
    return fetch(ingress, path, method="POST", body=json.dumps(body).encode())


@pytest.fixture
def rig(private_session: LocalSite, project: ProjectPaths, versions: Versions, echo_version: str) -> SiteRig:
    """The private site under the contract."""

    def application(service: str, replicas: int) -> Application:
        return versions.application(echo_version, service=service, replicas=replicas)

    def broken(service: str) -> Application:
        return versions.application(echo_version, service=service, config={"fail_load": True})

    return SiteRig(
        private_session,
        application,
        broken,
        wait=lambda condition: wait_for(private_session, condition),
        crash=lambda: os.kill(record_of(project, private_session).pid, signal.SIGKILL),
    )


class TestLocalSite(SiteContract):
    """The contract that the fake site keeps too."""

    def test_lost_and_opened_again(self, rig: SiteRig, project: ProjectPaths) -> None:
        """After SIGKILL of the first process its orphans go on; opening the site again ends them."""
        rig.open()
        record = record_of(project, rig.site)
        orphans: list[int] = []

        def crash() -> None:
            rig.crash()
            orphans.extend(members(record, record.marker))

        super().test_lost_and_opened_again(dataclasses.replace(rig, crash=crash))
        assert len(orphans) > 5
        alive = members(record_of(project, rig.site), record.marker)
        assert alive.keys().isdisjoint(orphans)


def test_two_sites_side_by_side(
    private_site: LocalSite, cloud_site: LocalSite, versions: Versions, echo_version: str
) -> None:
    """Two sites run the same application at once, each with replicas of its own, and say which version answers."""
    application = versions.application(echo_version)
    private_site.apply((application,))
    cloud_site.apply((application,))
    pids = set()
    for site in (private_site, cloud_site):
        reply = fetch(wait_ready(site, application), f"{application.route_prefix}/any/path?x=1&x=2")
        answer = json.loads(reply.body)
        assert (answer["path"], answer["query"], answer["body"]) == ("/any/path", {"x": "2"}, None)
        assert reply.headers["x-hcctl-version"] == echo_version
        pids.add(answer["pid"])
    assert len(pids) == 2


def test_strangers_are_refused(private_site: LocalSite, project: ProjectPaths) -> None:
    """Ray's interface answers nobody without the site's token, which only its owner can read."""
    ports = recorded_ports(project.ports_file, private_site.name)
    assert ports is not None
    dashboard = Endpoint("127.0.0.1", ports.dashboard)
    path = "/api/serve/applications/"
    token_file = project.site_dir(private_site.name) / "token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    token = token_file.read_text()
    assert fetch(dashboard, path).status == 401
    assert fetch(dashboard, path, method="PUT", body=b"{}").status == 401
    assert fetch(dashboard, "/api/jobs/", method="POST", body=b"{}").status == 401
    wrong = {"Authorization": f"Bearer {token[::-1]}"}
    assert fetch(dashboard, path, headers=wrong).status == 403
    assert fetch(dashboard, path, headers={"Authorization": f"Bearer {token}"}).status == 200
    assert project.ray_dir(private_site.name).stat().st_mode & 0o777 == 0o700


def test_scaling_and_neighbours_lose_no_request(private_site: LocalSite, versions: Versions, echo_version: str) -> None:
    """1 to 3 to 1 replicas under load, while another application comes and goes: every request is answered."""
    application = versions.application(echo_version, config={"sleep_s": 0.02})
    other = versions.application(echo_version, service="other")
    ingress = run(private_site, application)
    with Load(ingress, f"{application.route_prefix}/x") as load:
        scaled = dataclasses.replace(application, replicas=3)
        run(private_site, scaled, other)
        time.sleep(1)
        private_site.apply((scaled,))
        private_site.scale(application.name, 1)
        wait_count(private_site, 1)
        # The leaving replicas stay reachable for a while and then go.
        time.sleep(4)
    assert load.answered > 300
    assert load.lost == 0, load.outcomes


def test_deleted_application_finishes_its_requests(
    private_site: LocalSite, versions: Versions, echo_version: str
) -> None:
    """Requests that a replica holds when its application is taken away are answered, and then it goes."""
    application = versions.application(echo_version, config={"sleep_s": 1.0})
    ingress = run(private_site, application)
    with ThreadPoolExecutor(16) as pool:
        replies = [pool.submit(fetch, ingress, f"{application.route_prefix}/x") for _ in range(16)]
        time.sleep(0.5)
        private_site.apply(())
        started_s = time.monotonic()
        wait_for(private_site, lambda seen: seen.applications == ())
    assert [reply.result().status for reply in replies] == [200] * 16
    assert time.monotonic() - started_s < 25


def test_killed_replica_is_replaced(private_site: LocalSite, versions: Versions, echo_version: str) -> None:
    """SIGKILL of one of two replicas loses at most what it held, and another takes its place."""
    slots = 8
    application = versions.application(echo_version, replicas=2, slots_per_replica=slots, config={"sleep_s": 0.02})
    ingress = run(private_site, application)
    path = f"{application.route_prefix}/x"
    victim = json.loads(fetch(ingress, path).body)["pid"]
    with Load(ingress, path) as load:
        os.kill(victim, signal.SIGKILL)
        wait_count(private_site, 1)
        wait_ready(private_site, application)
    assert load.answered > 100
    assert load.lost <= slots, load.outcomes


def test_another_process_adopts_the_site(
    private_site: LocalSite, project: ProjectPaths, versions: Versions, echo_version: str
) -> None:
    """A site belongs to nobody's memory: a new object sees it open, with its applications, and controls it."""
    application = versions.application(echo_version)
    run(private_site, application)
    adopter = LocalSite("private", private_site._spec, project)
    before = record_of(project, adopter)
    adopter.open()
    assert record_of(project, adopter) == before
    seen = wait_for(adopter, lambda seen: seen.applications is not None)
    assert seen.applications == wait_for(private_site, lambda seen: seen.applications is not None).applications
    assert [status.name for status in seen.applications or ()] == [application.name]
    adopter.apply(())
    wait_for(private_site, lambda seen: seen.applications == ())


def test_close_leaves_nothing(
    cloud_site: LocalSite, project: ProjectPaths, versions: Versions, echo_version: str
) -> None:
    """`close` does not wait out Ray's own 30 s, and leaves no process, no port and no temporary file."""
    run(cloud_site, versions.application(echo_version))
    folder = project.site_dir(cloud_site.name)
    record = record_of(project, cloud_site)
    assert len(members(record, record.marker)) > 5
    ports = recorded_ports(project.ports_file, cloud_site.name)
    assert ports is not None
    started_s = time.monotonic()
    cloud_site.close()
    assert time.monotonic() - started_s < 25
    assert members(record, record.marker) == {}
    assert listening_ports().isdisjoint(range(ports.base, ports.end))
    assert not folder.exists()
    assert not project.ray_dir(cloud_site.name).exists()


def test_batches_fill_while_the_model_is_busy(private_site: LocalSite, versions: Versions, echo_version: str) -> None:
    """A held device collects the next batch, holds again for the declared time, and burns nothing."""
    application = versions.application(echo_version, slots_per_replica=32, max_batch_size=4, emulated_accelerator_s=0.5)
    ingress = run(private_site, application)
    path = f"{application.route_prefix}/x"

    def ask(delay_s: float) -> dict[str, int]:
        time.sleep(delay_s)
        answer: dict[str, int] = json.loads(fetch(ingress, path).body)
        return answer

    started_s = time.monotonic()
    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(ask, [0.0] + [0.05 * (n + 1) for n in range(8)]))
    took_s = time.monotonic() - started_s
    assert sorted(answer["batch"] for answer in answers) == [1] + [4] * 8
    assert 1.5 <= took_s < 4


def test_errors_tell_the_caller_what_is_his(private_site: LocalSite, versions: Versions, echo_version: str) -> None:
    """400 for bad input with the reason, 500 with an id and nothing more, statuses as the model sets them."""
    application = versions.application(echo_version, slots_per_replica=32, emulated_accelerator_s=0.2)
    ingress = run(private_site, application)
    prefix = application.route_prefix
    known = {"X-Request-Id": "abc123"}
    failed = fetch(ingress, f"{prefix}/raise", headers=known)
    assert (failed.status, json.loads(failed.body)) == (500, {"error": "internal error", "request_id": "abc123"})
    assert failed.headers["x-hcctl-version"] == echo_version
    refused = fetch(ingress, f"{prefix}/refuse")
    assert refused.status == 400
    assert json.loads(refused.body)["error"] == "no such item"
    assert fetch(ingress, f"{prefix}/status?code=418").status == 418
    assert fetch(ingress, f"{prefix}/status?code=9").status == 500
    for body in (b"{", b"NaN", b"[" * 100_000, b"\xff"):
        assert fetch(ingress, f"{prefix}/x", method="POST", body=body).status == 400
    with ThreadPoolExecutor(8) as pool:
        paths = [f"{prefix}/{name}" for name in ["x", "x", "raise", "x", "refuse", "x", "x", "x"]]
        statuses = [reply.status for reply in pool.map(lambda path: fetch(ingress, path), paths)]
    assert statuses == [200, 200, 500, 200, 400, 200, 200, 200]


def test_overload_is_refused_not_queued(private_site: LocalSite, versions: Versions, echo_version: str) -> None:
    """Beyond its slots and its queue a site answers 503 at once, and never below them."""
    application = versions.application(
        echo_version, slots_per_replica=2, max_queued_requests=1, max_batch_size=2, config={"sleep_s": 0.5}
    )
    ingress = run(private_site, application)
    path = f"{application.route_prefix}/x"
    with ThreadPoolExecutor(24) as pool:
        within = [reply.status for reply in pool.map(lambda _: fetch(ingress, path), range(3))]
        beyond = list(pool.map(lambda _: fetch(ingress, path), range(24)))
    assert within == [200] * 3
    refused = [reply for reply in beyond if reply.status != 200]
    assert {reply.status for reply in refused} == {503}
    assert refused[0].headers["retry-after"] == "1"


def test_torch_module(private_site: LocalSite, versions: Versions, tmp_path: Path) -> None:
    """A plain torch module serves its safetensors weights; a wrong example is the caller's 400."""
    save_file({"weight": torch.tensor([1.0, 10.0, 100.0])}, tmp_path / "model.safetensors")
    version = versions.push(tmp_path, features=3)
    application = versions.application(version, import_path="tests.support.torch_models:Scale")
    ingress = run(private_site, application)
    reply = post(ingress, application.route_prefix, {"inputs": [[1, 2, 3], [0, 0, 1]]})
    assert (reply.status, json.loads(reply.body)) == (200, {"outputs": [[1, 20, 300], [0, 0, 100]]})
    assert post(ingress, application.route_prefix, {"inputs": [[1, 2]]}).status == 400


def test_serve_deployments(private_site: LocalSite, versions: Versions, echo_version: str) -> None:
    """A user's own deployment and a user's bound application run as they are, and scale like any other."""
    greeter = versions.application(
        echo_version, service="greeter", import_path="tests.support.serve_models:Greeter", config={"word": "hello"}
    )
    composed = versions.application(echo_version, service="composed", import_path="tests.support.serve_models:composed")
    ingress = run(private_site, greeter, composed)
    assert fetch(ingress, f"{greeter.route_prefix}/?name=you").body == b"hello you"
    assert json.loads(fetch(ingress, f"{composed.route_prefix}/?number=21").body) == {"double": 42}
    private_site.scale(composed.name, 2)
    wait_for(private_site, lambda seen: {s.replicas_ready for s in seen.applications or ()} == {1, 2})


def test_tampered_artefact_is_refused(private_site: LocalSite, versions: Versions, tmp_path: Path) -> None:
    """A version whose file was changed after the push fails, and the reason names the file."""
    (tmp_path / "words.txt").write_text("genuine")
    version = versions.push(tmp_path)
    file = versions.registry.directory(version) / "words.txt"
    file.chmod(0o600)
    file.write_text("altered")
    private_site.apply((versions.application(version),))
    seen = wait_for(private_site, lambda seen: [s.phase for s in seen.applications or ()] == ["failed"])
    assert "words.txt" in seen.applications[0].message


def test_default_ingress(
    cloud_session: LocalSite, project: ProjectPaths, versions: Versions, echo_version: str
) -> None:
    """With `ingress: default` the same application answers the same through Serve's own proxy."""
    cloud_session.close()
    site = LocalSite(
        "cloud",
        SiteSpec.model_validate({**CLOUD, "ingress": "default", "cores": [0]}),
        project,
        python_path=(REPOSITORY,),
    )
    try:
        site.open()
        wait_for(site, lambda seen: seen.phase == "open")
        application = versions.application(echo_version)
        ingress = run(site, application)
        reply = fetch(ingress, f"{application.route_prefix}/any/path?x=1")
        answer = json.loads(reply.body)
        assert (answer["path"], answer["query"]) == ("/any/path", {"x": "1"})
        assert reply.headers["x-hcctl-version"] == echo_version
        assert os.sched_getaffinity(answer["pid"]) == {0}
    finally:
        site.close()
