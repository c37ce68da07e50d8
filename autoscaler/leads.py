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
    ended = start is not None and (phase == "open" if start.stage == "open" else ready >= start.replicas)
    if start is not None and ended:
        lead = _noted(lead, start, now_s)
    going_on: Start | None
    if target <= ready:  # all there is wanted for: it came, or it is no longer waited for
        going_on = None
    elif phase != "open":
        going_on = start if start is not None and start.stage == "open" else Start("open", now_s, target)
    elif start is None or ended:
        going_on = Start("load", now_s, target)
    else:
        going_on = replace(start, replicas=min(start.replicas, target))
    return replace(lead, going_on=going_on)


def _noted(lead: Lead, start: Start, now_s: float) -> Lead:
    if not 0 <= now_s - start.since_s <= LONGEST_S:
        return lead
    kept = (*lead.seen_s.get(start.stage, ()), now_s - start.since_s)[-KEPT:]
    return replace(lead, seen_s={**lead.seen_s, start.stage: kept})
