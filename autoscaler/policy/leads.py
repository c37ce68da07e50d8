"""How long capacity takes from the decision to the first request, learned per site and stage. Pure.

What is reckoned with are two stages: opening a site that is closed, and getting a replica ready on one that is open.
What is expected is the longest of the last few starts: capacity that comes too late costs requests, capacity that
comes early costs seconds of rent. Where a site tells how far its workers are, the parts of the second are learned, too,
and what follows it: they say where the time goes.

    node      a worker was asked for, until it has a node
    image     until it runs: volumes, the image
    weights   the rest, until the replica is ready: Ray's own pauses, fetching, checking and loading the version
    warm_up   until the application has answered its first probes; only where it was not there before
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from serving.sites.site import Phase, Worker

Stage = Literal["open", "load"]
PARTS = ("node", "image", "weights", "warm_up")
"""Of a start, in their order."""
KEPT = 5
"""Starts of each stage that are remembered."""
LONGEST_BLINK_S = 30.0
"""If nobody looked for longer, the end of a start was not seen."""
LONGEST_S = 3_600.0
"""A start that takes longer has failed; it says nothing about the next one."""
CLOCKS_APART_S = 5.0
"""So far the clock of a site may be behind: a worker that was asked for longer before a start is not of it."""


@dataclass(frozen=True)
class Start:
    """A start that is going on."""

    stage: Stage
    since_s: float
    replicas: int
    """Replicas that are waited for."""
    told: bool = False
    """Whether the site has told of its workers meanwhile."""
    node_s: float | None = None
    """How long the last of its workers to run had waited for a node; None: none of them runs, or none was needed."""
    image_s: float | None = None
    """How long it then took to run."""


@dataclass(frozen=True)
class Lead:
    """What is known about one site."""

    target: int = 0
    """Replicas that were wanted there at the last look."""
    at_s: float | None = None
    """When that was."""
    seen_s: Mapping[Stage, tuple[float, ...]] = field(default_factory=dict)
    """Durations of the last starts, oldest first."""
    going_on: Start | None = None
    parts_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Durations of the last ones of each of `PARTS`, oldest first."""
    warming_since_s: float | None = None
    """Since when a replica is ready that has answered no probe; None: there is none."""

    def expected_s(self, *, site_open: bool, declared_s: float) -> float:
        """From the decision to the first request there.

        Args:
            site_open: whether the site is open already.
            declared_s: the pool's declared lead time: it holds until a start was seen.
        """
        load = self.seen_s.get("load", ())
        opening = self.seen_s.get("open", ())
        if not load or (not site_open and not opening):
            return declared_s
        return max(load) + (0.0 if site_open else max(opening))

    def longest_s(self) -> dict[str, float]:
        """The longest of the last few of opening and of each part that is known, in their order."""
        found = {"open": self.seen_s.get("open", ()), **{part: self.parts_s.get(part, ()) for part in PARTS}}
        return {name: max(kept) for name, kept in found.items() if kept}


def follow(
    lead: Lead,
    *,
    phase: Phase,
    target: int,
    ready: int,
    now_s: float,
    answered: bool = True,
    workers: Sequence[Worker] | None = None,
) -> Lead:
    """Take in what a site shows: a start begins, goes on, ends, or is given up.

    Args:
        lead: what was known.
        phase: the site's.
        target: replicas wanted there now.
        ready: replicas that serve there, of those wanted.
        now_s: wall clock.
        answered: whether the application has answered its probes there.
        workers: as the site tells them; None if it does not.
    """
    blinked = lead.at_s is None or now_s - lead.at_s > LONGEST_BLINK_S
    start = None if blinked else lead.going_on  # when it ended, if it did, nobody saw
    if start is not None and start.stage == "load" and workers is not None:
        start = _with_workers(start, workers)
    lead = _warmed(lead, now_s, given_up=blinked or phase != "open" or not target, answered=answered)
    ended = start is not None and (phase == "open" if start.stage == "open" else ready >= start.replicas)
    if start is not None and ended:
        lead = _noted(lead, start, now_s)
        if start.stage == "load" and not answered and lead.warming_since_s is None:
            lead = replace(lead, warming_since_s=now_s)
    going_on: Start | None = None
    if target > ready and phase != "open":
        going_on = start if start is not None and start.stage == "open" else Start("open", now_s, target)
    elif target > ready and start is not None and not ended:
        going_on = replace(start, replicas=min(start.replicas, target))
    elif target > ready and (ended or target > lead.target):
        # Asked for just now. What is missing for another reason, a replica that died, is no launch.
        going_on = Start("load", now_s, target)
    return replace(lead, going_on=going_on, target=target, at_s=now_s)


def _with_workers(start: Start, workers: Sequence[Worker]) -> Start:
    """What the last of the start's workers to run took until then, by the site's clock alone."""
    known = [
        (worker.running_s, worker.node_s, worker.asked_s)
        for worker in workers
        if worker.node_s is not None
        and worker.running_s is not None
        and worker.asked_s >= start.since_s - CLOCKS_APART_S
        and worker.asked_s <= worker.node_s <= worker.running_s
    ]
    if not known:
        return replace(start, told=True)
    running_s, node_s, asked_s = max(known)
    return replace(start, told=True, node_s=node_s - asked_s, image_s=running_s - node_s)


def _warmed(lead: Lead, now_s: float, *, given_up: bool, answered: bool) -> Lead:
    """End the wait for the first answers, where there is one."""
    since_s = lead.warming_since_s
    if since_s is None or not (given_up or answered):
        return lead
    lead = replace(lead, warming_since_s=None)
    return lead if given_up else _with_parts(lead, {"warm_up": now_s - since_s})


def _noted(lead: Lead, start: Start, now_s: float) -> Lead:
    took_s = now_s - start.since_s
    if not 0 <= took_s <= LONGEST_S:
        return lead
    if start.stage == "load" and start.told:
        before = {"node": start.node_s, "image": start.image_s}
        parts_s = {name: part_s for name, part_s in before.items() if part_s is not None}
        lead = _with_parts(lead, parts_s | {"weights": took_s - sum(parts_s.values())})
    return replace(lead, seen_s={**lead.seen_s, start.stage: _kept(lead.seen_s.get(start.stage, ()), took_s)})


def _with_parts(lead: Lead, parts_s: Mapping[str, float]) -> Lead:
    """Remember parts of a start. Clocks that are apart or were set make none of them negative, nor endless."""
    sound = {name: part_s for name, part_s in parts_s.items() if 0 <= part_s <= LONGEST_S}
    return replace(
        lead,
        parts_s={**lead.parts_s, **{name: _kept(lead.parts_s.get(name, ()), took) for name, took in sound.items()}},
    )


def _kept(former_s: tuple[float, ...], took_s: float) -> tuple[float, ...]:
    return (*former_s, took_s)[-KEPT:]
