"""The demo's project: its folder, its trained recommender, and the requests of its customers."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cli import wiring
from cli.context import Project
from cli.demo.replay import Request
from serving.errors import HcctlError, InvalidInput
from serving.loading import load_project
from serving.paths import PROJECT_FILE, SERVICE_FILE, ProjectPaths
from serving.registry import Registry

PROJECT_NAME = "demo"
REQUESTS = 2_000
TRAIN_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Trained:
    """What the training told: the manifest's parts, and when the shop's customers buy."""

    artefact: Path
    report: dict[str, Any]

    @property
    def hour_counts(self) -> list[float]:
        """Orders per hour of the day."""
        return [float(count) for count in self.report["hour_counts"]]


def prepare(folder: Path) -> Project:
    """Write the demo's two files into `folder`; what a former demo left there is replaced.

    Raises:
        InvalidInput: the folder holds something else.
    """
    paths = ProjectPaths(folder.resolve())
    if paths.root.exists() and any(paths.root.iterdir()) and not _is_demo(paths):
        raise InvalidInput(
            "the folder is not empty and no demo's",
            where=str(paths.root),
            next_step="name another folder with `hcctl demo --dir DIR`",
        )
    if paths.state_dir.exists():
        from cli.commands.down import stop

        stop(Project(paths, load_project(paths.project_file)))
        shutil.rmtree(paths.state_dir)
    paths.root.mkdir(parents=True, exist_ok=True)
    templates = resources.files("cli") / "templates" / "demo"
    for name in (PROJECT_FILE, SERVICE_FILE):
        (paths.root / name).write_text((templates / name).read_text())
    return Project(paths, load_project(paths.project_file))


def _is_demo(paths: ProjectPaths) -> bool:
    return paths.project_file.is_file() and f"name: {PROJECT_NAME}\n" in paths.project_file.read_text()


class Training:
    """The training, in a process of its own while the private site starts."""

    def __init__(self, project: Project, data: Path | None, seed: int) -> None:
        self._artefact = project.paths.root / "artefact"
        shutil.rmtree(self._artefact, ignore_errors=True)
        self._artefact.mkdir()
        command = [sys.executable, "-m", "serving.recommender.demo", "--out", str(self._artefact), "--seed", str(seed)]
        self._process = subprocess.Popen(
            [*command, *(["--data", str(data)] if data else [])],
            env=wiring.child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> Trained:
        """Wait for it.

        Raises:
            InvalidInput: the data cannot be used.
            HcctlError: the training failed.
        """
        out, errors = self._process.communicate(timeout=TRAIN_TIMEOUT_S)
        if self._process.returncode == InvalidInput.exit_code:
            raise InvalidInput("the shop's data cannot be used", where="--data", why=errors.strip()[-500:])
        if self._process.returncode != 0:
            raise HcctlError("training the recommender failed", why=errors.strip()[-500:])
        return Trained(self._artefact, json.loads(out.splitlines()[-1]))

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def push(registry: Registry, trained: Trained, service: str) -> str:
    """Put the trained model into the registry; returns its version."""
    manifest = registry.push(
        trained.artefact,
        name=service,
        config=trained.report["config"],
        metrics=trained.report["metrics"],
        schema=trained.report["schema"],
        provenance={"created_by": "hcctl demo"},
        at_s=time.time(),
    )
    return manifest.version


def requests(trained: Trained, seed: int) -> list[Request]:
    """What customers ask: recommendations for users of the shop, drawn by seed."""
    users = json.loads((trained.artefact / "users.json").read_text())["ids"]
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    return [
        Request("/recommend", json.dumps({"user_id": rng.choice(users), "k": 10})) for _ in range(min(REQUESTS, 10_000))
    ]
