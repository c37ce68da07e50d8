"""A killer for a running project: every few seconds it takes something, by seed, and notes when.

What may go wrong then is known beforehand (`excused`); everything else is a broken promise.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass, field

import psutil

from serving.sites.processes import ProcessRecord, is_alive, members, read_record
from tests.support.background import Background
from tests.support.running_project import OpenLoad, Problem, RunningProject

SITES = ("private", "cloud")
PARTS = ("gateway", "daemon", "supervisor")
WHOLE = ("private site", "cloud site", "raylet", "opening site")
"""What ends a site; without its raylet a cluster of one node is gone."""
VICTIMS = ("replica", "controller", *PARTS, *WHOLE)
SERVES_S = 30.0
"""So long an open site is spared its end: where opening takes a minute, none would serve else."""
_SIGNS = {"replica": "ServeReplica", "controller": "ServeController", "raylet": "raylet/raylet"}
"""What stands in their names and command lines."""
GATEWAY_GAP_S = 2.0
"""After a kill of the only gateway it listens again within this time."""


@dataclass(frozen=True)
class Kill:
    """One thing that was taken, at a monotonic time."""

    at_s: float
    victim: str
    detail: str


@dataclass
class Killer(Background):
    """A thread that kills until it is stopped; a context manager."""

    shop: RunningProject
    seed: int
    every_s: float
    kills: list[Kill] = field(default_factory=list)

    ends_within_s = 120.0

    def work(self) -> None:
        self._random = random.Random(self.seed)
        victims: list[str] = []
        while not self.stopping.wait(self.every_s * self._random.uniform(0.5, 1.5)):
            if not victims:  # each once, in a new order, again and again
                victims = self._random.sample(VICTIMS, len(VICTIMS))
            for victim in victims:  # the first that is there; the others stay for later turns
                at_s = time.monotonic()
                if detail := self._kill(victim):
                    self.kills.append(Kill(at_s, victim, detail))
                    victims.remove(victim)
                    if victim == "supervisor":
                        self.shop.must("up", "--no-wait")
                    break

    def _kill(self, victim: str) -> str:
        """Kill it; what exactly, empty if it was not there."""
        with contextlib.suppress(AssertionError, ProcessLookupError, psutil.Error):
            if victim in PARTS:
                pid = self.shop.pid(victim)
                os.kill(pid, signal.SIGKILL)
                return f"pid {pid}"
            for site in self._random.sample(SITES, len(SITES)):
                if victim in ("opening site", f"{site} site") and self._may_end(site, opening="opening" in victim):
                    self.shop.kill_site(site)
                    return site
                allowed = victim in _SIGNS and (victim not in WHOLE or self._may_end(site, opening=False))
                if allowed and (detail := self._kill_part(site, _SIGNS[victim])):
                    return detail
        return ""

    def _kill_part(self, site: str, sign: str) -> str:
        """One process of a site."""
        record = self._record(site)
        found = [pid for pid in members(record, record.marker) if sign in _command(pid)] if record else []
        if not found:
            return ""
        pid = self._random.choice(sorted(found))
        os.kill(pid, signal.SIGKILL)
        return f"{site}, pid {pid}"

    def _may_end(self, site: str, *, opening: bool) -> bool:
        """Whether it is there and opens, or has been open for long enough."""
        record, opened = self._record(site), self.shop.project.paths.site_dir(site) / "opened.json"
        if record is None or not is_alive(record):
            return False
        if not opened.exists():
            return opening
        return not opening and time.time() - opened.stat().st_mtime >= SERVES_S

    def _record(self, site: str) -> ProcessRecord | None:
        return read_record(self.shop.project.paths.site_dir(site) / "process.json")


def excused(kills: list[Kill], sent_s: float, ended_s: float) -> bool:
    """Whether a request was on its way in the gap that a kill of the only gateway leaves."""
    return any(
        kill.victim == "gateway" and sent_s <= kill.at_s + GATEWAY_GAP_S and ended_s >= kill.at_s for kill in kills
    )


def lost(load: OpenLoad, kills: list[Kill]) -> list[Problem]:
    """Requests that got neither an answer nor an honest refusal, without those in a gateway's gap."""
    return [
        problem
        for problem in load.problems
        if problem.outcome not in ("429", "503") and not excused(kills, problem.sent_s, problem.ended_s)
    ]


def _command(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""
