"""Which daemon leads: a Lease of Kubernetes that one holds and the others watch.

No clock is compared with another. A standby takes the lease when it has not changed for `DURATION_S` by the standby's
own clock; the leader stops acting `DEADLINE_S` after it last began to renew it, by its own. The clock is one that runs
on while a process is stopped or the machine sleeps, so a leader that wakes knows that it was away before it acts. What
it has sent already is the head's to refuse (`head.py`): the lease says who should write, the head who may.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serving.errors import HcctlError, NotLeading
from serving.kubernetes_state.head import labels
from serving.sites.kubernetes.answers import LEASES, Conflict, Object

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi

log = logging.getLogger(__name__)

NAME = "hcctl-daemon"
DURATION_S = 8.0
"""A lease that stood still for so long is taken. Takeover takes this, one look, and the daemon's resume."""
DEADLINE_S = 5.0
"""A leader that could not renew for so long stops acting: well before anybody takes over."""
RENEW_EVERY_S = 1.5
LOOK_EVERY_S = 1.0
CALL_TIMEOUT_S = 2.0
FRESH_S = 30.0
"""For people: a lease renewed so lately is held by a daemon that runs."""
SKEW_S = 900.0
"""Where the clock of who asks differs by up to this, the lease is looked at twice: one that moves is held."""


def awake_clock() -> float:
    """Seconds that also pass while the process is stopped or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One candidate's view of the lease of a namespace.

    Args:
        api: access to the cluster.
        namespace: of the state.
        project: whose daemon it is.
        identity: names this candidate; no other one may have it.
        clock: see `awake_clock`.
    """

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        project: str,
        identity: str,
        *,
        clock: Callable[[], float] = awake_clock,
    ) -> None:
        self.identity = identity
        self._api = api
        self._namespace = namespace
        self._project = project
        self._clock = clock
        self._held: Object | None = None
        """The lease as this candidate last wrote it; None while somebody else has it."""
        self._renewed_s = float("-inf")
        self._seen: tuple[str, float] = ("", 0.0)
        """Its version as last seen, and since when."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def try_acquire(self) -> bool:
        """Take the lease if it is free, or has stood still for long enough; whether it is held now.

        Raises:
            HcctlError: the API server does not answer.
        """
        begun_s = self._clock()
        found = self._api.get(LEASES, self._namespace, NAME, timeout_s=CALL_TIMEOUT_S)
        if found is not None:
            version = found["metadata"]["resourceVersion"]
            if version != self._seen[0]:
                self._seen = (version, begun_s)
            if _holder(found) not in {"", self.identity} and begun_s - self._seen[1] < DURATION_S:
                return False
        try:
            self._write(found, begun_s, taking=True)
        except Conflict:
            return False  # another one was quicker
        log.info("leading as %s", self.identity)
        return True

    def acquire(self, stopping: Callable[[], bool]) -> bool:
        """Wait until the lease is held; False if it is time to stop before that."""
        log.info("standing by as %s", self.identity)
        while not stopping():
            try:
                if self.try_acquire():
                    return True
            except HcctlError as error:
                log.warning("lease: %s", error.one_line())
            self._ended.wait(LOOK_EVERY_S)
        return False

    def keep(self) -> None:
        """Renew it in the background until `release`."""
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Nothing, while this candidate surely leads.

        Raises:
            NotLeading: it does not, or cannot know.
        """
        away_s = self._clock() - self._renewed_s
        if self._held is None or away_s >= DEADLINE_S:
            raise NotLeading(
                "this daemon does not lead",
                where=f"lease {NAME} in namespace {self._namespace}",
                why="another one has taken it" if self._held is None else f"it was not renewed for {away_s:.1f} s",
            )

    @property
    def lost(self) -> bool:
        """Another one has it, or had it since: what this process remembers is old."""
        return self._held is None

    def release(self) -> None:
        """Stop renewing, and let the next one have it at once."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._held is not None:
            spec = self._held["spec"] | {"holderIdentity": ""}
            made, self._held = self._held | {"spec": spec}, None
            try:
                self._api.replace(LEASES, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
            except HcctlError as error:  # it ends by itself
                log.warning("lease: %s", error.one_line())

    def renew(self) -> None:
        """Write it anew. Where the answer is lost, what stands there decides the next time.

        Raises:
            NotLeading: somebody else has it.
            HcctlError: the API server does not answer.
        """
        if self._held is None:
            raise NotLeading("this daemon does not lead", where=f"lease {NAME}", why="another one has taken it")
        begun_s = self._clock()
        try:
            self._write(self._held, begun_s, taking=False)
        except Conflict:
            found = self._api.get(LEASES, self._namespace, NAME, timeout_s=CALL_TIMEOUT_S)
            mine = self._held["spec"]["leaseTransitions"]
            if found is None or _holder(found) != self.identity or found["spec"].get("leaseTransitions") != mine:
                self._held = None
                raise NotLeading(
                    "this daemon does not lead any more",
                    where=f"lease {NAME} in namespace {self._namespace}",
                    why=f"{_holder(found) or 'nobody'} has it" if found else "it was deleted",
                ) from None
            self._write(found, begun_s, taking=False)  # our own renewal whose answer was lost

    def _renew_on(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            try:
                self.renew()
            except NotLeading as error:
                log.error("%s", error.one_line())  # noqa: TRY400 - its text says it all
                return
            except HcctlError as error:
                log.warning("lease: %s", error.one_line())

    def _write(self, found: Object | None, begun_s: float, *, taking: bool) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = (found or {}).get("spec") or {}
        spec = spec | {"holderIdentity": self.identity, "leaseDurationSeconds": int(DURATION_S), "renewTime": now}
        if taking:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        if found is None:
            meta: Object = {"name": NAME, "labels": labels(self._project, "daemon")}
            made: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            held = self._api.create(LEASES, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
        else:
            held = self._api.replace(LEASES, self._namespace, found | {"spec": spec}, timeout_s=CALL_TIMEOUT_S)
        self._held, self._renewed_s = held, begun_s


def leader(
    api: KubernetesApi, namespace: str, now_s: float, pause: Callable[[float], object] = time.sleep
) -> str | None:
    """Who leads, for people and commands; None if nobody has renewed the lease lately.

    Args:
        api: access to the cluster.
        namespace: of the state.
        now_s: wall-clock seconds since the epoch.
        pause: waits so many seconds, where the time of the lease alone does not tell.
    """
    found = api.get(LEASES, namespace, NAME, timeout_s=CALL_TIMEOUT_S)
    if found is None or not _holder(found):
        return None
    renewed = datetime.fromisoformat(str(found["spec"].get("renewTime", "1970-01-01T00:00:00Z")))
    away_s = abs(now_s - renewed.timestamp())
    if FRESH_S <= away_s < SKEW_S:
        before = found["metadata"]["resourceVersion"]
        pause(2 * RENEW_EVERY_S)
        found = api.get(LEASES, namespace, NAME, timeout_s=CALL_TIMEOUT_S)
        away_s = away_s if found is None or found["metadata"]["resourceVersion"] == before else 0.0
    return (_holder(found) or None) if found is not None and away_s < FRESH_S else None


def _holder(found: Object) -> str:
    return str((found.get("spec") or {}).get("holderIdentity") or "")
