"""A project that is really up: driven through `hcctl` as a user would, in child processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from cli import wiring
from cli.context import Project
from serving.loading import load_project
from serving.paths import ProjectPaths
from serving.sites.processes import read_record
from tests.support.background import Background

REPOSITORY = Path(__file__).parents[2]

PROJECT = {
    "kind": "HybridProject",
    "name": "e2e",
    "sites": {
        "private": {"role": "private", "pools": [{"name": "owned", "kind": "fixed", "max_nodes": 3}]},
        "cloud": {
            "role": "cloud",
            "pools": [
                {
                    "name": "rented",
                    "kind": "on_demand",
                    "max_nodes": 4,
                    "price_usd_per_hour": 1.0,
                    "min_billing_s": 10.0,
                }
            ],
        },
    },
}

SERVICE = {
    "kind": "HybridService",
    "name": "shop",
    "model": {
        "import_path": "shop_model:ShopModel",
        "slots_per_replica": 4,
        "max_batch_size": 4,
        "emulated_accelerator_s": 0.05,
        "num_cpus": 0.05,
        "drain_s": 10.0,
    },
    "slo": {"latency_p99_s": 0.5},
    "sites": {"private": {"min_replicas": 1, "max_replicas": 2}, "cloud": {"max_replicas": 3}},
    "routing": {"rules": [{"path": "/", "idempotent": True}], "queue_timeout_s": 8.0, "max_queue": 2_000},
    "burst": {"latency": {"window_s": 5.0}, "calm_s": 6.0, "cooldown_s": 2.0, "breach_s": 0.5},
    "release": {"probe": {"path": "/", "body": {"probe": True}}, "judge_s": 3.0, "min_sample": 15},
}


def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Wait for a condition; fails the test when it does not come."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.1)


@dataclass
class Finished:
    """What a command did."""

    code: int
    out: str
    errors: str

    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


class RunningProject:
    """A project in a folder of its own."""

    def __init__(self, folder: Path, name: str = "e2e") -> None:
        self.folder = folder
        self.source = REPOSITORY
        """Where the hcctl that `hcctl` runs lies."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write("hcctl.yaml", {**PROJECT, "name": name})
        self.write("service.yaml", SERVICE)
        shutil.copy(REPOSITORY / "tests/support/shop_model.py", folder / "shop_model.py")
        self.behave({})
        self.project = Project(ProjectPaths(folder.resolve()), load_project(folder / "hcctl.yaml"))

    def write(self, name: str, data: object) -> None:
        """Write a YAML file of the project."""
        (self.folder / name).write_text(yaml.safe_dump(data, sort_keys=False))

    def behave(self, behaviour: dict[str, object]) -> None:
        """Tell running replicas what to do, at once."""
        draft = self.folder / "behaviour.tmp"
        draft.write_text(json.dumps(behaviour))
        draft.replace(self.folder / "behaviour.json")

    def hcctl(self, *arguments: str, timeout_s: float = 240.0) -> Finished:
        """Run one command as a user would."""
        done = subprocess.run(
            [sys.executable, "-c", "from cli.main import main; main()", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.source), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def must(self, *arguments: str, timeout_s: float = 240.0) -> Finished:
        """Run one command that has to succeed."""
        done = self.hcctl(*arguments, timeout_s=timeout_s)
        assert done.code == 0, f"hcctl {' '.join(arguments)} -> {done.code}\n{done.out}\n{done.errors}"
        return done

    def push(self, label: str) -> str:
        """Push a version that answers with `label`; returns its id."""
        folder = self.folder / f"artefact-{label}"
        folder.mkdir(exist_ok=True)
        (folder / "label.txt").write_text(label)
        found = self.must("version", "push", str(folder), "--name", "shop", "-o", "json").json()
        return str(found["version"])

    @property
    def url(self) -> str:
        """The gateway."""
        url = wiring.endpoint(self.project)
        assert url is not None
        return url

    def status(self) -> dict[str, Any]:
        """Status of the one service."""
        services = self.must("status", "-o", "json").json()["services"]
        return next(service for service in services if service["service"] == "shop")

    def observed(self) -> dict[str, Any]:
        """As `status`, straight from the database: quick enough to poll."""
        with wiring.store(self.project.paths) as store:
            document = store.observation("service", "shop")
            assert document is not None
            return dict(document.body)

    def wait(self, what: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 120.0) -> float:
        """Wait until the status fulfils a condition; returns the seconds it took."""
        begun_s = time.monotonic()
        while not condition(seen := self.observed()):
            if time.monotonic() - begun_s > timeout_s:
                why = self.hcctl("why", "--limit", "30").out
                raise AssertionError(f"{what} did not happen in {timeout_s} s; last: {json.dumps(seen)[:3000]}\n{why}")
            time.sleep(0.1)
        return time.monotonic() - begun_s

    def pid(self, part: str) -> int:
        """Process id of `daemon`, `gateway`, `supervisor` or the head of a site."""
        paths = self.project.paths
        places = {
            "supervisor": paths.supervisor_record,
            "daemon": paths.run_dir / "daemon.json",
            "gateway": paths.run_dir / "gateway.json",
        }
        record = read_record(places.get(part, paths.site_dir(part) / "process.json"))
        assert record is not None, part
        return record.pid

    def kill(self, part: str) -> None:
        """SIGKILL a part: only the process of its record, so that orphans are really left."""
        os.kill(self.pid(part), signal.SIGKILL)

    def kill_site(self, site: str) -> None:
        """SIGKILL every process of a site at once, as a power cut would."""
        from serving.sites.processes import members

        record = read_record(self.project.paths.site_dir(site) / "process.json")
        assert record is not None
        for pid in members(record, record.marker):
            os.kill(pid, signal.SIGKILL)

    def ask(self, **options: Any) -> httpx.Response:
        """One request through the gateway."""
        return httpx.post(self.url, json={}, timeout=20.0, trust_env=False, **options)

    def reread(self) -> None:
        """Take the project file as it is now."""
        self.project = Project(self.project.paths, load_project(self.folder / "hcctl.yaml"))


@dataclass(frozen=True)
class Problem:
    """A request that was not answered 200. Times are monotonic."""

    sent_s: float
    ended_s: float
    outcome: str
    site: str
    """Whose answer it was; empty: the gateway's own, or none."""


@dataclass
class OpenLoad(Background):
    """Requests at a fixed rate in a thread, whatever the answers do; a context manager."""

    url: str
    rate_rps: float
    outcomes: Counter[str] = field(default_factory=Counter)
    """By status, or by the name of the error that took the answer's place."""
    sites: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    latencies_s: list[tuple[float, float]] = field(default_factory=list)
    """(time of the answer, seconds it took), monotonic."""
    problems: list[Problem] = field(default_factory=list)
    """Each request that was not answered 200."""

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        assert self.outcomes, "no request was sent: nothing is proved"

    @property
    def lost(self) -> int:
        """Requests that got neither an answer nor an honest refusal."""
        return self.outcomes.total() - self.outcomes["200"] - self.outcomes["429"] - self.outcomes["503"]

    @property
    def cut(self) -> int:
        """Answers that broke off after they had begun: what was sent on cannot be asked for again."""
        return self.outcomes["ClientPayloadError"]

    @property
    def refused(self) -> int:
        """Requests answered with 429 or 503 and Retry-After."""
        return self.outcomes["429"] + self.outcomes["503"]

    def work(self) -> None:
        import asyncio

        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        import asyncio

        import aiohttp

        before_s, due = time.monotonic(), 0.0
        # Shorter than the gateway's, so that no connection is closed under a request.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5.0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as requests,
        ):
            while not self.stopping.is_set():
                now_s = time.monotonic()
                before_s, due = now_s, due + (now_s - before_s) * self.rate_rps
                while due >= 1:
                    requests.create_task(self._send(session))
                    due -= 1
                await asyncio.sleep(0.005)

    def _note(self, begun_s: float, outcome: str, site: str = "") -> None:
        self.outcomes[outcome] += 1
        if outcome != "200":
            self.problems.append(Problem(begun_s, time.monotonic(), outcome, site))

    async def _send(self, session: Any) -> None:
        import aiohttp

        begun_s = time.monotonic()
        try:
            async with session.post(self.url, json={}) as answer:
                body = await answer.read()
                honest = answer.status not in (429, 503) or "Retry-After" in answer.headers
                site = answer.headers.get("X-Hcctl-Site", "")
                self._note(begun_s, f"{answer.status}{'' if honest else ' without Retry-After'}", site)
                self.sites[site] += 1
                if answer.status == 200:
                    self.labels[json.loads(body).get("label", "")] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self._note(begun_s, type(error).__name__)
        self.latencies_s.append((time.monotonic(), time.monotonic() - begun_s))
