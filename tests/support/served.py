"""A project in the working folder with a deployed service and its recorded traffic; nothing runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from autoscaler.observing.traffic import Counts, TrafficLog
from cli.context import open_project
from cli.main import app
from cli.wiring import store
from serving.loading import load_service


class Served:
    """A project with a deployed service, of the starting file but for what is `declared`."""

    def __init__(self, folder: Path, **declared: Any) -> None:
        assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
        project = open_project()
        spec = load_service(folder / "service.yaml", project=project.spec)
        self.now_s = int(time.time())
        with store(project.paths) as opened:
            body = {"spec": spec.model_dump(mode="json", by_alias=True) | declared, "wanted": None}
            opened.put_intent("service", spec.name, body, expected_revision=0, at_s=self.now_s)
            self.name = spec.name
        self.spec, self.project = spec, project

    def record(
        self, hours: int, *, per_step: int, away_s: range = range(0), answer_bytes: int = 0, waited: int = 0
    ) -> None:
        """Traffic until now at 0.2 s a request; nobody looks in seconds `away_s` since its beginning.

        `waited` of each step had waited, and held their slots for half as long.
        """
        with store(self.project.paths) as opened:
            log = TrafficLog(opened)
            first_s = self.now_s // 10 * 10 - hours * 3_600
            for at_s in range(first_s, self.now_s, 10):
                if at_s - first_s in away_s:
                    log.store(at_s)
                    log = TrafficLog(opened)  # another daemon, which knows nothing of the one before
                    continue
                counts = Counts(per_step, per_step, 0.2 * per_step - 0.1 * waited, answer_bytes * per_step)
                counts.waited, counts.waited_held_s = waited, 0.1 * waited
                log.record({(self.name, at_s): counts}, [self.name], at_s + 9.0)
                if at_s % 3_600 == 3_590:
                    log.store(at_s)
            log.store(self.now_s)
