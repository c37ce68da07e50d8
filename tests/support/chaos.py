"""A killer for a running project: every few seconds it takes something, by seed, and notes when.

What may go wrong then is known beforehand (`excused`); everything else is a broken promise.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import psutil

from serving.sites.processes import members, read_record
from tests.support.running_project import OpenLoad, RunningProject

VICTIMS = ("replica", "raylet", "controller", "gateway", "daemon", "supervisor", "cloud site", "private site")
OPENING_TAKEN = 0.25
"""How often a site that is still opening is taken: else none would ever open where that takes long."""
GATEWAY_GAP_S = 2.0
"""After a kill of the only gateway it listens again within this time."""


@dataclass(frozen=True)
class Kill:
    """One thing that was taken, at a monotonic time."""

    at_s: float
    victim: str
    detail: str


@dataclass
class Killer:
    """A thread that kills until it is stopped; a context manager."""

    shop: RunningProject
    seed: int
    every_s: float
    kills: list[Kill] = field(default_factory=list)
    failure: BaseException | None = None
    """What ended the killer before its time."""

    def __enter__(self) -> Killer:
        self._random = random.Random(self.seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the killer did not end"
        assert self.failure is None, self.failure

    def _run(self) -> None:
        try:
            self._kill_all()
        except Exception as failure:  # told by `__exit__`, in the thread of the test
            self.failure = failure

    def _kill_all(self) -> None:
        victims: list[str] = []
        while not self._stop.wait(self.every_s * self._random.uniform(0.5, 1.5)):
            if not victims:  # each once, in a new order, again and again
                victims = self._random.sample(VICTIMS, len(VICTIMS))
            for victim in victims:  # the first that is there; the others stay for later turns
                if detail := self._kill(victim):
                    self.kills.append(Kill(time.monotonic(), victim, detail))
                    victims.remove(victim)
                    if victim == "supervisor":
                        self.shop.must("up", "--no-wait")
                    break

    def _kill(self, victim: str) -> str:
        """Kill it; what exactly, empty if it was not there."""
        with contextlib.suppress(AssertionError, ProcessLookupError, psutil.Error):
            if victim in ("gateway", "daemon", "supervisor"):
                pid = self.shop.pid(victim)
                os.kill(pid, signal.SIGKILL)
                return f"pid {pid}"
            if victim.endswith(" site"):
                site = victim.partition(" ")[0]
                if self._members(site):
                    self.shop.kill_site(site)
                    return site
                return ""
            return self._kill_part(victim)
        return ""

    def _kill_part(self, victim: str) -> str:
        """One process of a random site: a replica, Serve's controller, or the raylet."""
        sign = {"replica": "ServeReplica", "controller": "ServeController", "raylet": "raylet/raylet"}[victim]
        for site in self._random.sample(["private", "cloud"], 2):
            found = [pid for pid in self._members(site) if sign in _command(pid)]
            if found:
                pid = self._random.choice(sorted(found))
                os.kill(pid, signal.SIGKILL)
                return f"{site}, pid {pid}"
        return ""

    def _members(self, site: str) -> dict[int, int]:
        """Processes of a site that may be taken."""
        folder = self.shop.project.paths.site_dir(site)
        if not (folder / "opened.json").exists() and self._random.random() > OPENING_TAKEN:
            return {}
        record = read_record(folder / "process.json")
        return {} if record is None else members(record, record.marker)


def excused(kills: list[Kill], sent_s: float, ended_s: float) -> bool:
    """Whether a request was on its way in the gap that a kill of the only gateway leaves."""
    return any(
        kill.victim == "gateway" and sent_s <= kill.at_s + GATEWAY_GAP_S and ended_s >= kill.at_s for kill in kills
    )


def lost(load: OpenLoad, kills: list[Kill]) -> list[tuple[float, str]]:
    """Requests that got neither an answer nor an honest refusal, without those in a gateway's gap."""
    return [
        (ended_s, outcome)
        for sent_s, ended_s, outcome in load.problems
        if outcome not in ("429", "503") and not excused(kills, sent_s, ended_s)
    ]


def _command(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""
