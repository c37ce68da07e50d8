"""Shows people in the cluster what the daemon wrote down: status of HybridServices, HybridReleases, Events.

It follows the store, beside the tick: what is shown may be late, and where the API server refuses or is busy it is told
later, never doubled. Nothing is read back. What is told already is not written again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.errors import HcctlError
from serving.kubernetes_state.head import labels
from serving.kubernetes_state.resources import (
    API_VERSION,
    DECISIONS_SHOWN,
    FINALIZER,
    TEXT_LIMIT,
    deleting,
    event_object,
    release_object,
    service_status,
    timestamp,
)
from serving.kubernetes_state.store import KubernetesStore, Told
from serving.sites.kubernetes.answers import (
    EVENTS,
    HYBRID_RELEASES,
    HYBRID_SERVICES,
    Conflict,
    Forbidden,
    Object,
    UnknownKind,
)
from serving.state import TROUBLE, Decision

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
EVENTS_WAITING = 200
"""Events not told yet; the oldest beyond are left out: the decision log has them all."""
DECISIONS_READ = 1_000
"""Of the log, when a term begins."""


class Teller:
    """Tells about the services of one store.

    Args:
        api: access to the cluster.
        namespace: of the state.
        project: whose state it is.
        store: the leader's.
        clock: wall-clock seconds since the epoch.
    """

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        project: str,
        store: KubernetesStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._labels = labels(project, "release")
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._latest: dict[str, Object | None] = {}
        """By service, its observation; None: gone."""
        self._refused: dict[str, str] = {}
        self._decisions: dict[str, deque[Object]] = defaultdict(lambda: deque(maxlen=DECISIONS_SHOWN))
        self._due: OrderedDict[tuple[str, str], Object | None] = OrderedDict()
        """What is to be told, by kind and name; the latest of each."""
        self._events: deque[Decision] = deque(maxlen=EVENTS_WAITING)

    def start(self) -> None:
        """Tell what the store holds, and from now on what comes in."""
        for decision in reversed(self._store.decisions(limit=DECISIONS_READ)):
            self._decisions[decision.service].appendleft(_line(decision))
        told = Told()
        for kind in ("service", "release"):
            for document in self._store.observations(kind):
                told.observations[kind, document.name] = dict(document.body)
        self.take(told)
        self._store.told = self.take
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left, once, and end."""
        self._ended = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(CALL_TIMEOUT_S)

    def take(self, told: Told) -> None:
        """Note a transaction; from any thread, at once."""
        with self._lock:
            for (kind, name), body in told.observations.items():
                if kind == "service":
                    self._latest[name] = body
                    self._refused.pop(name, None)
                if kind in ("service", "release"):
                    self._due[kind, name] = body
            for decision in told.decisions:
                if not decision.service:
                    continue
                self._decisions[decision.service].appendleft(_line(decision))
                self._events.append(decision)
                if decision.body.get("action") == "set aside":
                    self._refused[decision.service] = str(decision.body.get("reason"))
                    self._latest[decision.service] = None
                self._due["service", decision.service] = self._latest.get(decision.service)
        self._news.set()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._news.wait()
            ended = self._ended
            self._news.clear()
            failed = self._tell_all()
            if ended:
                return
            if failed:
                time.sleep(pause_s)
                self._news.set()
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s) if failed else FIRST_PAUSE_S

    def _tell_all(self) -> bool:
        """Tell what is due; whether something is left for later."""
        with self._lock:
            due, self._due = self._due, OrderedDict()
            events, self._events = list(self._events), deque(maxlen=EVENTS_WAITING)
        failed = False
        for (kind, name), body in due.items():
            if not self._told(f"{kind} {name}", lambda k=kind, n=name, b=body: self._tell(k, n, b)):  # type: ignore[misc]
                failed = True
                with self._lock:
                    self._due.setdefault((kind, name), body)
        for decision in events:
            if not self._told("event", lambda d=decision: self._tell_event(d)):  # type: ignore[misc]
                failed = True
                with self._lock:
                    self._events.appendleft(decision)
        return failed

    def _told(self, what: str, tell: Callable[[], None]) -> bool:
        """Whether it was told, or never can be."""
        try:
            tell()
        except (Forbidden, UnknownKind) as error:
            log.warning("%s is not shown: %s", what, error.one_line())
        except HcctlError as error:
            log.info("%s is shown later: %s", what, error.one_line())
            return False
        return True

    def _tell(self, kind: str, name: str, body: Object | None) -> None:
        if kind == "service":
            self._tell_service(name, body)
        elif body is None:
            self._api.delete(HYBRID_RELEASES, self._namespace, name, timeout_s=CALL_TIMEOUT_S)
        else:
            self._tell_release(name, body)

    def _tell_service(self, name: str, body: Object | None) -> None:
        found = self._store.declared.object(name)
        if found is None:
            return
        if FINALIZER not in found["metadata"].get("finalizers", ()) and not deleting(found):
            finalizers = [*found["metadata"].get("finalizers", ()), FINALIZER]
            made = found | {"metadata": found["metadata"] | {"finalizers": finalizers}}
            found = self._api.replace(HYBRID_SERVICES, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
            self._store.declared.learn(found)
        former = found.get("status") or {}
        with self._lock:
            decisions, refused = list(self._decisions[name]), self._refused.get(name, "")
        status = service_status(
            body,
            decisions,
            former,
            generation=found["metadata"]["generation"],
            refused=refused,
            at_s=self._clock(),
        )
        if status != former:
            made = found | {"status": status}
            stored = self._api.replace(
                HYBRID_SERVICES, self._namespace, made, timeout_s=CALL_TIMEOUT_S, subresource="status"
            )
            self._store.declared.learn(stored)

    def _tell_release(self, name: str, body: Object) -> None:
        wanted, status = release_object(name, body)
        found = self._api.get(HYBRID_RELEASES, self._namespace, name, timeout_s=CALL_TIMEOUT_S)
        if found is None:
            meta = {"name": name, "labels": self._labels | {"hcctl.dev/service": wanted["spec"]["service"]}}
            made = {"apiVersion": API_VERSION, "kind": "HybridRelease", "metadata": meta, "spec": wanted["spec"]}
            found = self._api.create(HYBRID_RELEASES, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
        if found.get("status") != status:
            made = found | {"status": status}
            self._api.replace(HYBRID_RELEASES, self._namespace, made, timeout_s=CALL_TIMEOUT_S, subresource="status")

    def _tell_event(self, decision: Decision) -> None:
        about = self._store.declared.object(decision.service)
        if about is None:
            return
        action = str(decision.body.get("action") or "decided")
        event = event_object(
            f"{decision.service}.{decision.number:x}",
            self._namespace,
            about,
            action,
            str(decision.body.get("reason") or ""),
            trouble=action in TROUBLE,
            at_s=decision.at_s,
        )
        try:
            self._api.create(EVENTS, self._namespace, event, timeout_s=CALL_TIMEOUT_S)
        except Conflict:
            log.debug("decision %d was told before", decision.number)


def _line(decision: Decision) -> Object:
    return {
        "number": decision.number,
        "at": timestamp(decision.at_s),
        "action": str(decision.body.get("action") or ""),
        "reason": str(decision.body.get("reason") or "")[:TEXT_LIMIT],
    }
