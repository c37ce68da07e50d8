"""The logs of a cluster's pods, read like those of this computer: lines of JSON, the last ones, then what comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cli.log_reader import as_object
from serving.errors import SiteUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.sites.kubernetes.pod_logs import Line, PodLogs


class PodReader:
    """The lines of a site's pods, or of one part of them.

    Args:
        logs: of the site.
        part: of it; empty for all.
        since_s: no line that is older than so many seconds; None for any.
        tell: told once when a pod cannot be read, or while the log is followed the whole cluster.
    """

    def __init__(self, logs: PodLogs, part: str, *, since_s: float | None, tell: Callable[[str], None]) -> None:
        self._logs, self._part, self._since_s, self._tell = logs, part, since_s, tell
        self._unreachable = False
        self._unread: frozenset[str] = frozenset()

    def last(self, lines: int) -> list[str]:
        """The last lines over all its pods, in order of time; `poll` goes on after them."""
        since_s = None if self._since_s is None else round(self._since_s)
        return self._shown(self._logs.last(self._part, lines, since_s))

    def poll(self) -> list[str]:
        """Lines written since the last call. Out of reach there are none; they come when the cluster answers again."""
        try:
            found = self._logs.poll()
        except SiteUnreachable as error:
            if not self._unreachable:
                self._tell(f"{error.one_line()}; trying again")
            self._unreachable = True
            return []
        self._unreachable = False
        return self._shown(found)

    def _shown(self, lines: list[Line]) -> list[str]:
        for name in sorted(self._logs.unread.keys() - self._unread):
            self._tell(f"{name} cannot be read: {self._logs.unread[name]}")
        self._unread = frozenset(self._logs.unread)
        return [_text(line) for line in lines]


def _text(line: Line) -> str:
    """A line as hcctl's own logs have it; a program may say its time, and never which pod it is."""
    pod = {"pod": line.source.name}
    return json.dumps({"time": line.at} | pod | as_object(line.text) | pod, ensure_ascii=False)
