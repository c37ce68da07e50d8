"""The decision log: numbered lines in the store, said in the daemon's log once they are on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from autoscaler.plan import Decision, ScaleApplication, SiteAction
from autoscaler.telemetry import Telemetry
from serving.state import TROUBLE, Store

log = logging.getLogger(__name__)

MOVES = frozenset({"scale", "open site", "close site", "load"})
"""Decisions that an action on their site may follow from."""
REMEMBERED = 1_000
"""Decisions read after a restart, to know what actions follow from."""


class DecisionLog:
    """Numbers decisions and knows from which one an action follows.

    `append` belongs into the transaction of a tick; `say` comes after it; `discard` takes the place of `say` when
    the transaction failed.
    """

    def __init__(self, store: Store, telemetry: Telemetry, *, keep: int) -> None:
        self._store = store
        self._telemetry = telemetry
        self._keep = keep
        self._unsaid: list[tuple[int, Decision]] = []
        self._latest: dict[tuple[str, str], int] = {}
        """By service and site, the number of the latest move; of the latest release phase with site empty."""

    def resume(self) -> None:
        """Take up the stored log."""
        for stored in reversed(self._store.decisions(limit=REMEMBERED)):
            site = stored.body.get("site")
            action = str(stored.body.get("action", ""))
            self._note(stored.number, stored.service, action, site if isinstance(site, str) else "")

    def append(self, decisions: Sequence[Decision], *, at_s: float) -> None:
        """Store decisions."""
        lines = tuple((d.service, {"action": d.action, "reason": d.reason, **d.details}) for d in decisions)
        numbers = self._store.append_decisions(lines, at_s=at_s, keep=self._keep)
        self._unsaid += zip(numbers, decisions, strict=True)

    def say(self) -> None:
        """Log and count what is on disk now, each line with its number."""
        self._telemetry.decided([decision for _, decision in self._unsaid])
        for number, decision in self._unsaid:
            self._note(number, decision.service, decision.action, str(decision.details.get("site") or ""))
            fields = {name: decision.details.get(name) for name in ("site", "deployment")}
            level = logging.WARNING if decision.action in TROUBLE else logging.INFO
            extra = {"service": decision.service, "decision": number, **fields}
            log.log(level, "%s: %s", decision.action, decision.reason, extra=extra)
        self._unsaid = []

    def discard(self) -> None:
        """Forget what did not get onto the disk."""
        self._unsaid = []

    def cause(self, action: SiteAction) -> int | None:
        """Number of the decision that an action follows from; None if it is too old to be known."""
        service = action.application.rpartition("-")[0] if isinstance(action, ScaleApplication) else None
        numbers = [
            number
            for (owner, site), number in self._latest.items()
            if service in (None, owner) and (site == action.site or (site == "" and owner == service))
        ]
        numbers += [
            number
            for number, decision in self._unsaid
            if decision.action in MOVES
            and service in (None, decision.service)
            and decision.details.get("site") == action.site
        ]
        return max(numbers, default=None)

    def _note(self, number: int, service: str, action: str, site: str) -> None:
        if action in MOVES:
            self._latest[service, site] = number
        elif action.startswith("release "):
            self._latest[service, ""] = number
        elif action == "removed":
            self._latest = {key: known for key, known in self._latest.items() if key[0] != service}
