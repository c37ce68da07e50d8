"""How long capacity takes from the decision to the first request, learned per site and stage. Pure.

Two stages can be told apart from here: opening a site that is closed, and getting a replica ready on one that is
open (node, image, weights and warm-up together). What is expected is the longest of the last few starts:
capacity that comes too late costs requests, capacity that comes early costs seconds of rent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from serving.sites.site import Phase

Stage = Literal["open", "load"]
KEPT = 5
"""Starts of each stage that are remembered."""
LONGEST_BLINK_S = 30.0
"""If nobody looked for longer, the end of a start was not seen."""
LONGEST_S = 3_600.0
"""A start that takes longer has failed; it says nothing about the next one."""


@dataclass(frozen=True)
class Start:
    """A start that is going on."""

    stage: Stage
    since_s: float
    replicas: int
    """Replicas that are waited for."""


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


def follow(lead: Lead, *, phase: Phase, target: int, ready: int, now_s: float) -> Lead:
    """Take in what a site shows: a start begins, goes on, ends, or is given up.

    Args:
        lead: what was known.
        phase: the site's.
        target: replicas wanted there now.
        ready: replicas that serve there, of those wanted.
        now_s: wall clock.
    """
    start = lead.going_on
    if start is not None and (lead.at_s is None or now_s - lead.at_s > LONGEST_BLINK_S):
        start = None  # when it ended, if it did, nobody saw
    ended = start is not None and (phase == "open" if start.stage == "open" else ready >= start.replicas)
    if start is not None and ended:
        lead = _noted(lead, start, now_s)
    going_on: Start | None = None
    if target > ready and phase != "open":
        going_on = start if start is not None and start.stage == "open" else Start("open", now_s, target)
    elif target > ready and start is not None and not ended:
        going_on = replace(start, replicas=min(start.replicas, target))
    elif target > ready and (ended or target > lead.target):
        # Asked for just now. What is missing for another reason, a replica that died, is no launch.
        going_on = Start("load", now_s, target)
    return replace(lead, going_on=going_on, target=target, at_s=now_s)


def _noted(lead: Lead, start: Start, now_s: float) -> Lead:
    if not 0 <= now_s - start.since_s <= LONGEST_S:
        return lead
    kept = (*lead.seen_s.get(start.stage, ()), now_s - start.since_s)[-KEPT:]
    return replace(lead, seen_s={**lead.seen_s, start.stage: kept})
