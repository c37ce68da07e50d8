"""Keeps a project's daemon and gateway alive on one computer: `python -m serving.supervisor PLAN`.

It knows nothing of what it keeps: the plan is a file of commands, written by `hcctl up`. Children
are detached and recorded, so that a supervisor that was killed is replaced by one that adopts them.
Ray clusters are not its children; the daemon finds them by their own records.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import HcctlError
from serving.files import disk_errors, write_atomic
from serving.logs import log_as_json, rotate
from serving.sites.processes import ProcessRecord, is_alive, read_record, spawn, terminate, write_record

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

    from serving.metrics.server import MetricsServer

log = logging.getLogger(__name__)

POLL_S = 0.1
SHORT_LIFE_S = 5.0
"""A child that lives shorter than this failed to start: the next start waits, longer each time."""
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
TERMINATE_GRACE_S = 5.0
ROTATE_EVERY_S = 5.0
ROTATE_RETRY_S = 60.0
"""After a rotation that failed, for want of room."""


class Child(BaseModel):
    """One process to keep alive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    command: list[str] = Field(min_length=1)
    environment: dict[str, str] = Field(description="Added to the supervisor's own, which may hold secrets.")
    cwd: Path
    log: Path
    record: Path
    stop_signal: int = Field(default=int(signal.SIGTERM), description="Asks it to finish.")
    stop_grace_s: float = Field(default=10.0, description="How long it may take to finish.")
    reads: str = Field(default="", description="Digest of what it reads at its start; another one starts it anew.")
    only_while: Path | None = Field(default=None, description="Kept alive only while this file is there.")

    @property
    def marker(self) -> str:
        """Marks it and its descendants in /proc; unique by the record's path."""
        return f"child-{self.record}"

    def same_run(self, other: Child) -> bool:
        """Whether both describe the same run. The environment does not count: it follows that of the caller."""
        return (self.name, self.command, self.reads) == (other.name, other.command, other.reads)


class Plan(BaseModel):
    """What a supervisor keeps alive, in the order of starting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    children: list[Child]
    code: str = Field(default="", description="Names the hcctl that wrote the plan, and whose supervisor keeps it.")
    metrics: str = Field(default="", description="HOST:PORT on which the supervisor tells of itself; empty: nowhere.")
    version: str = Field(default="", description="Of that hcctl, for its metrics.")

    def same_run(self, other: Plan) -> bool:
        """Whether both keep the same children, run in the same way."""
        if len(self.children) != len(other.children) or self.metrics != other.metrics:
            return False
        return all(mine.same_run(theirs) for mine, theirs in zip(self.children, other.children, strict=True))


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan for `python -m serving.supervisor`, readable by its owner only."""
    write_atomic(path, plan.model_dump_json(indent=1).encode())


def read_plan(path: Path) -> Plan:
    """The plan that `write_plan` wrote.

    Raises:
        HcctlError: the file cannot be read, or is damaged.
    """
    with disk_errors("the supervisor's plan cannot be read", path):
        content = path.read_bytes()
    try:
        return Plan.model_validate_json(content)
    except ValidationError as error:
        raise HcctlError(
            "the supervisor's plan is damaged",
            where=str(path),
            why=error.errors(include_url=False, include_input=False)[0]["msg"][:200],
            next_step="run `hcctl down`, then `hcctl up`",
        ) from None


class Keeper:
    """One child: started when it is not there, given up never."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._failures = 0
        self._not_before_s = 0.0
        self._started_s = 0.0
        self._record = read_record(child.record)
        self.starts = 0

    @property
    def up(self) -> bool | None:
        """Whether the child runs; None while it is not needed."""
        if self.child.only_while is not None and not self.child.only_while.exists():
            return None
        return self._record is not None and is_alive(self._record)

    def keep(self, now_s: float) -> None:
        """Start the child if it is gone and its delay is over. `now_s` is monotonic."""
        if self.child.only_while is not None and not self.child.only_while.exists():
            if self._record is not None:
                log.info("%s is stopped: it is not needed", self.child.name)
                self.stop()
                self._record, self._started_s, self._failures = None, 0.0, 0
            return
        if self._record is not None and is_alive(self._record):
            return
        if self._started_s:
            lived_s = now_s - self._started_s
            self._failures = self._failures + 1 if lived_s < SHORT_LIFE_S else 0
            delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**self._failures) if self._failures else 0.0
            log.warning("%s ended after %.1f s; starting it again in %.1f s", self.child.name, lived_s, delay_s)
            self._not_before_s, self._started_s = now_s + delay_s, 0.0
        if now_s < self._not_before_s:
            return
        terminate(self._record, self.child.marker, grace_s=0)  # what a killed parent left would hold its ports
        try:
            self._record = spawn(
                self.child.command,
                environment={**os.environ, **self.child.environment},
                marker=self.child.marker,
                log=self.child.log,
                cwd=self.child.cwd,
                at_s=time.time(),
            )
        except HcctlError as error:
            log.error("%s: %s", self.child.name, error)  # noqa: TRY400 - the text says it all
            self._failures += 1
            self._not_before_s = now_s + min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**self._failures)
            return
        self._started_s = now_s
        self.starts += 1
        write_record(self.child.record, self._record)
        log.info("%s started, pid %d", self.child.name, self._record.pid)

    def stop(self) -> None:
        """Ask the child to finish, wait, and end what is left."""
        stop_child(self.child, self._record)


def stop_child(child: Child, record: ProcessRecord | None) -> None:
    """Ask a child to finish within its grace time, then end it and all it started."""
    if record is not None and is_alive(record):
        os.kill(record.pid, child.stop_signal)
        deadline_s = time.monotonic() + child.stop_grace_s
        while is_alive(record) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
    terminate(record, child.marker, grace_s=TERMINATE_GRACE_S)
    child.record.unlink(missing_ok=True)


def run(plan_file: Path) -> None:
    """Keep the plan's children alive until SIGTERM, then stop them, the last started first.

    SIGHUP: the plan has changed. What is not in it any more, or is to run otherwise, is stopped.
    """
    stopping, changed = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    signal.signal(signal.SIGHUP, lambda *_: changed.set())
    plan = read_plan(plan_file)
    telling = Telling()
    telling.keepers = [Keeper(child) for child in plan.children]
    telling.listen(plan)
    rotate_at_s = 0.0
    while not stopping.wait(POLL_S):
        if changed.is_set():
            changed.clear()
            try:
                plan = read_plan(plan_file)
                telling.keepers = _replanned(telling.keepers, plan)
                telling.listen(plan)
            except HcctlError as error:
                log.error("the former plan stays in force: %s", error)  # noqa: TRY400 - the text says it all
        for keeper in telling.keepers:
            keeper.keep(time.monotonic())
        if time.monotonic() >= rotate_at_s:
            sound = _rotate_logs({keeper.child.log.parent for keeper in telling.keepers})
            telling.rotation_failures += not sound
            rotate_at_s = time.monotonic() + (ROTATE_EVERY_S if sound else ROTATE_RETRY_S)
    telling.close()
    for keeper in reversed(telling.keepers):
        keeper.stop()


class Telling:
    """What the supervisor tells of itself; see `serving.metrics.server.Source`."""

    def __init__(self) -> None:
        self.keepers: list[Keeper] = []
        self.rotation_failures = 0
        self._version = ""
        self._address = ""
        self._server: MetricsServer | None = None

    def listen(self, plan: Plan) -> None:
        """Serve where the plan says. What cannot be served is logged: keeping children alive matters more."""
        self._version = plan.version
        if plan.metrics == self._address:
            return
        self.close()
        if plan.metrics:
            from serving.metrics.server import Address, MetricsServer

            try:
                self._server = MetricsServer(Address.parse(plan.metrics), self)
            except HcctlError as error:
                log.error("%s", error)  # noqa: TRY400 - its text says it all
                return
        self._address = plan.metrics

    def close(self) -> None:
        """Serve no longer."""
        if self._server is not None:
            self._server.close()
        self._server, self._address = None, ""

    def families(self) -> Iterable[Family]:
        """All metrics of this moment."""
        from serving.metrics.families import Exposition

        out = Exposition("supervisor")
        out.add("hcctl_supervisor_info", 1, version=self._version)
        out.add("hcctl_supervisor_rotation_failures_total", self.rotation_failures)
        for keeper in self.keepers:
            out.add("hcctl_supervisor_child_up", keeper.up, child=keeper.child.name)
            out.add("hcctl_supervisor_child_starts_total", keeper.starts, child=keeper.child.name)
        return out.families()

    def trouble(self) -> str:
        """Children that should run and do not."""
        down = [keeper.child.name for keeper in self.keepers if keeper.up is False]
        return f"not running: {', '.join(down)}" if down else ""


def _replanned(keepers: list[Keeper], plan: Plan) -> list[Keeper]:
    """Keepers of a changed plan; who runs as it should is left alone."""
    same = {}
    for keeper in keepers:
        if any(child.same_run(keeper.child) for child in plan.children):
            same[keeper.child.name] = keeper
        else:
            log.info("%s is stopped: the plan has changed", keeper.child.name)
            keeper.stop()
    return [same.get(child.name) or Keeper(child) for child in plan.children]


def _rotate_logs(folders: set[Path]) -> bool:
    """Bound all logs beside those of the children, the sites' and this process's own among them."""
    sound = True
    for path in sorted(path for folder in folders for path in folder.glob("*.log")):
        try:
            rotate(path)
        except HcctlError as error:
            sound = False
            log.error("%s is not rotated: %s", path.name, error)  # noqa: TRY400 - the text says it all
    return sound


def main() -> None:
    """Entry of `python -m serving.supervisor PLAN`."""
    log_as_json()
    run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
