"""What pods of a site, or of hcctl itself, have written, read through the API server.

Followed by asking again from the last second on: a new pod, an API server that starts anew or a dropped connection is
then nothing special. Times are the node's own, to the nanosecond, so that no line comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from serving.errors import HcctlError, InvalidInput, SiteUnreachable
from serving.sites.kubernetes.answers import PODS, AnswerTooLong, Forbidden, Object
from serving.sites.kubernetes.api import KubernetesApi

TIMEOUT_S = 10.0
POLL_BYTES = 8 << 20
"""Longest answer while a pod is followed; what is beyond it comes with the next one."""
_FEWER = 4
"""Where the last lines are too much for an answer, a quarter of them is asked for."""
_SECOND_NS = 10**9
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A container whose log can be read."""

    name: str
    """As users name it: `head`, `<pool>-<end of the pod's name>`, with `/<container>` for one that is beside Ray."""
    pool: str
    """Of a worker; `head` for the head; `daemon` or `gateway` for hcctl's own."""
    pod: str
    container: str
    phase: str
    """The pod's, in Kubernetes's words."""
    beside: bool
    """Not Ray itself, such as the autoscaler beside the head: shown only when it is named."""


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    source: Source
    at_ns: int
    """Time at the node, nanoseconds since the epoch."""
    text: str

    @property
    def at(self) -> str:
        """The same, RFC 3339 in UTC to the millisecond, as hcctl's own logs have it."""
        found = datetime.fromtimestamp(self.at_ns // 1_000_000 / 1_000, UTC)
        return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PodLogs:
    """The logs of pods that belong together; `last`, then `poll` for what comes after.

    Every method raises SiteUnreachable when the cluster does not answer, and Forbidden when a right is missing.

    Args:
        namespace: of the pods.
        selector: chooses them by their labels.
        connect: gives access to it; called when it is first needed.
    """

    def __init__(self, namespace: str, selector: str, connect: Callable[[], KubernetesApi]) -> None:
        self._namespace, self._selector = namespace, selector
        self._connect = connect
        self.unread: dict[str, str] = {}
        """By name of the source, why it could not be read at the last look: its node is gone, or it was evicted."""
        self._part = ""
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        """By pod and container: time of the last line that was given, and how many lines of that time were."""

    def sources(self) -> tuple[Source, ...]:
        """Every container there is, the head's first."""
        query = {"labelSelector": self._selector}
        return sources_of(self._api.list(PODS, self._namespace, query, timeout_s=TIMEOUT_S))

    def last(self, part: str, lines: int, since_s: int | None = None) -> list[Line]:
        """The last lines of a part over all its pods, in order of time.

        Args:
            part: name of a source, a pool, or empty for all.
            lines: how many at most.
            since_s: none that is older than so many seconds.

        Raises:
            InvalidInput: there is no such part.
        """
        self._part = part
        every = self.sources()
        if part and not any(_meant(source, part) for source in every):
            known = ", ".join(dict.fromkeys(source.name for source in every)) or "none yet"
            raise InvalidInput("there is no such pod", where=part, next_step=f"use one of: {known}")
        query = {"tailLines": str(lines)} | ({} if since_s is None else {"sinceSeconds": str(max(1, since_s))})
        return self._new(every, lambda _: query)[-lines:]

    def poll(self) -> list[Line]:
        """What was written since the last call, of pods that are new too, in order of time."""
        return self._new(self.sources(), self._after)

    def _after(self, source: Source) -> dict[str, str]:
        query = {"limitBytes": str(POLL_BYTES)}
        seen = self._seen.get((source.pod, source.container))
        if seen is None:
            return query
        since = datetime.fromtimestamp(seen[0] // _SECOND_NS, UTC).isoformat().replace("+00:00", "Z")
        return query | {"sinceTime": since}

    def _new(self, every: Iterable[Source], query_of: Callable[[Source], dict[str, str]]) -> list[Line]:
        meant = [source for source in every if _meant(source, self._part)]
        found: list[Line] = []
        self.unread = {}
        for source in meant:
            query = {"container": source.container, "timestamps": "true", **query_of(source)}
            try:
                body, shortened = self._body(source, query)
            except Forbidden:
                raise
            except HcctlError as error:
                self.unread[source.name] = error.one_line()
                if isinstance(error, SiteUnreachable) and len(self.unread) == len(meant):
                    raise
                continue
            if body is None:
                continue
            cut = "limitBytes" in query and len(body) >= POLL_BYTES
            new = self._unseen(source, body[: body.rfind(b"\n") + 1] if cut else body)
            if shortened and new:
                found.append(replace(new[0], text="hcctl left older lines out here: more than an answer may hold"))
            found += new if new or not cut else [self._passed_over(source)]
        return sorted(found, key=lambda line: line.at_ns)

    def _body(self, source: Source, query: dict[str, str]) -> tuple[bytes | None, bool]:
        """The log as it is asked for, and whether older lines were left out, for an answer could not hold them."""
        asked = query
        while True:
            try:
                return self._api.log(self._namespace, source.pod, asked, timeout_s=TIMEOUT_S), asked != query
            except AnswerTooLong:
                fewer = int(asked.get("tailLines", 0)) // _FEWER
                if not fewer:
                    raise
            asked = asked | {"tailLines": str(fewer)}

    def _unseen(self, source: Source, body: bytes) -> list[Line]:
        """The lines of an answer that were not given before; they count as given from now on."""
        key = (source.pod, source.container)
        last_ns, count = self._seen.get(key, (0, 0))
        new = []
        for line in read_lines(source, body):
            if line.at_ns > last_ns:
                new.append(line)
            elif line.at_ns == last_ns and count:
                count -= 1
            elif line.at_ns == last_ns:
                new.append(line)
        if new:
            end_ns = max(line.at_ns for line in new)
            given = sum(line.at_ns == end_ns for line in new)
            before = self._seen.get(key, (0, 0))
            self._seen[key] = (end_ns, given + (before[1] if before[0] == end_ns else 0))
        return new

    def _passed_over(self, source: Source) -> Line:
        """Go on with the next second: this one holds more than an answer may, and would come again for ever."""
        key = (source.pod, source.container)
        next_ns = (self._seen.get(key, (0, 0))[0] // _SECOND_NS + 1) * _SECOND_NS
        self._seen[key] = (next_ns, 0)
        return Line(source, next_ns, f"hcctl left lines out here: more than {POLL_BYTES >> 20} MiB in one second")

    @cached_property
    def _api(self) -> KubernetesApi:
        return self._connect()


def sources_of(pods: Iterable[Object]) -> tuple[Source, ...]:
    """The containers of pods, with names that are short and apart from each other; the head's first."""
    found = sorted(
        (source for pod in pods for source in _containers(pod)), key=lambda one: (one.pool != "head", one.pod)
    )
    names = [source.name for source in found]
    return tuple(
        source if names.count(source.name) == 1 else replace(source, name=f"{source.pod}{_suffix(source)}")
        for source in found
    )


def read_lines(source: Source, body: bytes) -> list[Line]:
    """The lines of a log with time stamps; one whose stamp cannot be read has the time of the line before."""
    found: list[Line] = []
    for raw in body.split(b"\n"):
        if not raw:
            continue
        line = raw.rstrip(b"\r").decode(errors="replace")
        stamp, _, text = line.partition(" ")
        at_ns = _moment(stamp)
        if at_ns is None:
            at_ns, text = (found[-1].at_ns if found else 0), line
        found.append(Line(source, at_ns, text))
    return found


def _containers(pod: Object) -> list[Source]:
    meta, spec, status = (pod.get(part) or {} for part in ("metadata", "spec", "status"))
    labels, name = meta.get("labels") or {}, str(meta.get("name"))
    pool = str(labels.get("ray.io/group") or labels.get("app.kubernetes.io/component") or "worker")
    if labels.get("ray.io/node-type") == "head":
        pool = "head"
    short = pool if pool == "head" else f"{pool}-{name.rpartition('-')[2]}"
    found = []
    for index, container in enumerate(spec.get("containers") or ()):
        # KubeRay takes the first container for Ray's, and puts its own behind it.
        made = Source(short, pool, name, str(container.get("name")), str(status.get("phase") or ""), index > 0)
        found.append(replace(made, name=f"{short}{_suffix(made)}"))
    return found


def _suffix(source: Source) -> str:
    return f"/{source.container}" if source.beside else ""


def _meant(source: Source, part: str) -> bool:
    if source.beside:
        return part in (source.name, f"{source.pod}/{source.container}")
    return part in ("", source.name, source.pool, source.pod)


def _moment(stamp: str) -> int | None:
    """RFC 3339 with up to nine digits of a second, as nanoseconds since the epoch; None if it is no such thing."""
    found = _STAMP.fullmatch(stamp)
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found[1] + found[3])
    except ValueError:
        return None
    return int(at.timestamp()) * _SECOND_NS + int((found[2] or "").ljust(9, "0"))
