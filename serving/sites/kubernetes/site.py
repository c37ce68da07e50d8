"""A site in a Kubernetes cluster: one RayService of KubeRay, and nothing that KubeRay or Ray own.

Who writes what:

- **Applications**: `serveConfigV2` of the RayService is the truth, because KubeRay deploys it whenever Ray's head or
  KubeRay itself starts anew. The same document is put to Ray at once: seconds sooner, and it tells what is refused.
- **Replicas**: Serve's scale call; the count is also written into the document, for a head that starts anew.
- **Bounds of the workers**: on the RayService for clusters to come, on its present clusters for now. Both with every
  `apply` and `scale`: a cluster that KubeRay switches to has the document's counts and bounds, and where these are old
  the daemon sees another replica target and scales again.
- **The workers' count and which of them end**: Ray's autoscaler.

`observe` only reads: the RayService and Ray's answer through the API server; pods and events while something is wrong.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial

from pydantic import SecretStr

from serving.errors import HcctlError, SiteUnreachable
from serving.project import SiteSpec
from serving.sites.kubernetes.answers import (
    DAEMON_SETS,
    EVENTS,
    PODS,
    RAY_CLUSTERS,
    RAY_SERVICES,
    SECRETS,
    Conflict,
    Object,
)
from serving.sites.kubernetes.api import KubernetesApi
from serving.sites.kubernetes.images import image_puller
from serving.sites.kubernetes.manifest import (
    TOKEN_KEY,
    Identity,
    pool_bounds,
    ray_service,
    serve_document,
    token_secret,
)
from serving.sites.kubernetes.status import (
    RayClusterRef,
    RayServiceState,
    bounds_patch,
    head_address,
    nodes_in_use,
    present_workers,
    read_ray_service,
    replicas_of,
    what_blocks,
    with_replicas,
    workers_of,
)
from serving.sites.serve_api import ServeApi
from serving.sites.site import Application, ApplicationStatus, Endpoint, NodesInUse, Phase, SiteObservation, Worker
from serving.spec_kubernetes import KubernetesSpec

OBSERVE_TIMEOUT_S = 0.9
CALL_TIMEOUT_S = 10.0
SCALE_TIMEOUT_S = 5.0
DRAIN_TIMEOUT_S = 6.0
"""Longest wait of `close` for requests in flight. The gateway has withdrawn the site before."""
GONE_TIMEOUT_S = 120.0
"""Longest wait of `close` for the pods to be gone; after it the site is still closing, and is closed again."""
_SHARE_OF_RAY = 0.6
"""Of the time that `observe` has left when it asks Ray; the rest is for finding out why there is no answer."""
_POLL_S = 0.5


class KubernetesSite:
    """A site of kind `kubernetes`; see `serving.sites.site.Site`.

    Its truth is in the cluster: closed is no RayService and no Secret of its name, and a Secret without a RayService is
    a site that was lost. Any number of these objects see and control the same site.

    Args:
        identity: its names in the cluster.
        spec: its section of the project file.
        connect: gives access to the cluster; called when it is first needed.
        clock: wall-clock seconds since the epoch.
        poll_s: pause between two looks while it waits.
    """

    def __init__(
        self,
        identity: Identity,
        spec: SiteSpec,
        connect: Callable[[], KubernetesApi],
        *,
        clock: Callable[[], float] = time.time,
        poll_s: float = _POLL_S,
    ) -> None:
        if spec.kubernetes is None:
            raise ValueError("the site is not of kind kubernetes")
        self._identity = identity
        self._namespace, self._service = identity.namespace, identity.name
        self._spec = spec
        self._kubernetes: KubernetesSpec = spec.kubernetes
        self._connect = connect
        self._clock = clock
        self._poll_s = poll_s
        self._last = SiteObservation(identity.site, "open", None, None, 0.0)
        """Before it is seen for the first time it may well be open: out of sight, not closed."""
        self._token: SecretStr | None = None
        self._head: tuple[str, Endpoint] | None = None
        """The cluster that answered last, and its head's address as far as that was asked for."""
        self._images_problem = ""
        """Why images are not pulled beforehand; empty if they are, or need not be."""
        self._answered = ""
        """The cluster that answered last: it is open whatever KubeRay calls it, also while it is out of sight."""

    @property
    def name(self) -> str:
        return self._identity.site

    def observe(self) -> SiteObservation:
        try:
            self._last = self._look(time.monotonic() + OBSERVE_TIMEOUT_S)
        except HcctlError as error:
            return replace(self._last, applications=None, at_s=self._clock(), message=error.one_line())
        if self._last.applications is None:
            self._token = None  # who closed and opened the site meanwhile made another
        return self._last

    def open(self) -> None:
        state = self._state(CALL_TIMEOUT_S)
        if state is not None and state.deleting:
            raise SiteUnreachable("the site is not open", where=self.name, why="it is closing")
        if state is not None:
            return
        self._ensure_token()
        self._declare(serve_document((), self._kubernetes), {})

    def close(self) -> None:
        state = self._state(CALL_TIMEOUT_S)
        if state is not None and state.phase == "open" and not state.deleting:
            self._drain()
        deadline_s = time.monotonic() + GONE_TIMEOUT_S
        self._api.delete(RAY_SERVICES, self._namespace, self._service, timeout_s=CALL_TIMEOUT_S)
        while self._state(CALL_TIMEOUT_S) is not None or self._pods(CALL_TIMEOUT_S):
            if time.monotonic() > deadline_s:
                raise SiteUnreachable(
                    "the site is not closed yet",
                    where=self.name,
                    why=f"its RayService or pods are there after {GONE_TIMEOUT_S:g} s",
                    next_step="see what holds them: `kubectl describe rayservice` and the log of the KubeRay operator",
                )
            time.sleep(self._poll_s)
        self._api.delete(SECRETS, self._namespace, self._identity.secret, timeout_s=CALL_TIMEOUT_S)
        self._token = None

    def apply(self, applications: tuple[Application, ...]) -> None:
        state, current = self._open_state()
        document = serve_document(applications, self._kubernetes)
        self._assert(state, document)
        self._serve(current).configure(document, timeout_s=CALL_TIMEOUT_S)

    def scale(self, application: str, replicas: int) -> None:
        state, current = self._open_state()
        document = with_replicas(state.document, application, replicas)
        if document is None:
            raise HcctlError("the site refused the change", where=application, why="it runs no such application")
        self._assert(state, document)
        self._serve(current).scale(application, replicas, timeout_s=SCALE_TIMEOUT_S)

    def nodes_in_use(self) -> NodesInUse:
        """On which nodes pods of the site are.

        Raises:
            HcctlError: the cluster does not tell.
        """
        return nodes_in_use(self._pods(CALL_TIMEOUT_S))

    def _ensure_token(self) -> None:
        """Make the Secret with Ray's token; one that is there stays. Without it no pod would ever start."""
        secret = token_secret(self._identity, secrets.token_hex(32))
        try:
            self._api.create(SECRETS, self._namespace, secret, timeout_s=CALL_TIMEOUT_S)
        except Conflict:
            if self._api.get(SECRETS, self._namespace, self._identity.secret, timeout_s=CALL_TIMEOUT_S) is None:
                raise

    @cached_property
    def _api(self) -> KubernetesApi:
        return self._connect()

    def _look(self, deadline_s: float) -> SiteObservation:
        state = self._state(_left(deadline_s))
        if state is None:
            lost = self._api.get(SECRETS, self._namespace, self._identity.secret, timeout_s=_left(deadline_s))
            return self._absent("lost" if lost is not None else "closed")
        current = state.current
        if state.deleting or current is None:
            blocker, workers = self._blocker(deadline_s)
            return self._observation(state.phase, state.problem or blocker, workers=workers)
        try:
            statuses = self._statuses(current, _left(deadline_s) * _SHARE_OF_RAY)
        except SiteUnreachable as error:
            blocker, workers = self._blocker(deadline_s)
            message = state.problem or blocker or error.one_line()
            phase = "open" if current.name == self._answered else state.phase
            self._head = None  # the next one may have another address
            return self._observation(phase, message, ingress=self._last.ingress, workers=workers)
        ingress = self._ingress(current, deadline_s)
        if ingress is None and current.name != self._answered:  # Ray answers before KubeRay has told where its head is
            return self._observation(state.phase, state.problem)
        self._answered = current.name
        hungry = any(one.phase != "deleting" and one.replicas_ready < one.replicas_target for one in statuses)
        blocker, workers = self._blocker(deadline_s) if hungry else ("", None)
        message = state.problem or blocker or self._images_problem
        return self._observation("open", message, statuses, ingress, workers)

    def _absent(self, phase: Phase) -> SiteObservation:
        message = f"RayService {self._service} is gone from namespace {self._namespace}" if phase == "lost" else ""
        return self._observation(phase, message)

    def _ingress(self, cluster: RayClusterRef, deadline_s: float) -> Endpoint | None:
        """Where the gateway sends requests: as declared, or the head pod, whose address changes with it.

        The RayCluster tells the address; KubeRay copies it to the RayService only when something else changes there.
        It is asked once for each head: one that is replaced does not answer meanwhile.
        """
        declared = self._kubernetes.address
        if declared is not None:
            return Endpoint(declared.host, declared.port)
        if self._head is None or self._head[0] != cluster.name:
            found = self._api.get(RAY_CLUSTERS, self._namespace, cluster.name, timeout_s=_left(deadline_s))
            address = None if found is None else head_address(found)
            self._head = None if address is None else (cluster.name, address)
        return None if self._head is None else self._head[1]

    def _blocker(self, deadline_s: float) -> tuple[str, tuple[Worker, ...] | None]:
        """What keeps pods from running, and how far workers are; it only explains, so what cannot be told is not."""
        workers = None
        try:
            pods = self._pods(_left(deadline_s))
            workers = workers_of(pods)
            said = what_blocks(pods, ())
            if said:
                return said, workers
            events = self._api.list(
                EVENTS, self._namespace, {"fieldSelector": "type=Warning", "limit": "500"}, timeout_s=_left(deadline_s)
            )
            return what_blocks(pods, [event for event in events if self._is_mine(event)]), workers
        except HcctlError as error:
            return f"why is unknown: {error.one_line()}", workers

    def _is_mine(self, event: Object) -> bool:
        """KubeRay names clusters and pods of a RayService after it."""
        about = event.get("involvedObject")
        name = str(about.get("name")) if isinstance(about, dict) else ""
        return name == self._service or name.startswith(f"{self._service}-")

    def _pods(self, timeout_s: float) -> list[Object]:
        query = {"labelSelector": self._identity.selector}
        return self._api.list(PODS, self._namespace, query, timeout_s=timeout_s)

    def _state(self, timeout_s: float) -> RayServiceState | None:
        found = self._api.get(RAY_SERVICES, self._namespace, self._service, timeout_s=timeout_s)
        return None if found is None else read_ray_service(found)

    def _open_state(self) -> tuple[RayServiceState, RayClusterRef]:
        """The RayService and the cluster that orders go to.

        Raises:
            SiteUnreachable: the site is not open.
        """
        state = self._state(CALL_TIMEOUT_S)
        if state is None or state.deleting or state.current is None:
            why = "there is no RayService" if state is None else f"it is {state.phase}"
            raise SiteUnreachable("the site is not open", where=self.name, why=why)
        return state, state.current

    def _assert(self, state: RayServiceState, document: Object) -> None:
        """Declare the document, and bounds that fit it, on the RayService and on each of its clusters."""
        found = [
            (name, cluster)
            for name in state.clusters
            if (cluster := self._api.get(RAY_CLUSTERS, self._namespace, name, timeout_s=CALL_TIMEOUT_S)) is not None
        ]
        present: dict[str, int] = {}
        for _, cluster in found:
            for group, count in present_workers(cluster).items():
                present[group] = max(count, present.get(group, 0))
        groups = self._declare(document, present)
        for name, cluster in found:
            if operations := bounds_patch(cluster, groups):
                self._api.json_patch(RAY_CLUSTERS, self._namespace, name, operations, timeout_s=CALL_TIMEOUT_S)

    def _declare(self, document: Object, present: dict[str, int]) -> list[Object]:
        """Apply the RayService; returns its worker groups."""
        bounds = pool_bounds(self._spec.pools, replicas_of(document), present)
        manifest = ray_service(self._identity, self._spec, document, bounds)
        stored = self._api.apply(RAY_SERVICES, self._namespace, manifest, timeout_s=CALL_TIMEOUT_S)
        self._pull_images(stored)
        groups: list[Object] = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        return groups

    def _pull_images(self, ray_service: Object) -> None:
        """Keep images on the nodes, where that is declared. What is wrong with it is told, and holds nothing up."""
        if not self._kubernetes.pre_pull:
            return
        puller = image_puller(self._identity, self._spec, str(ray_service["metadata"]["uid"]))
        try:
            self._api.apply(DAEMON_SETS, self._namespace, puller, timeout_s=CALL_TIMEOUT_S)
            self._images_problem = ""
        except HcctlError as error:
            self._images_problem = f"images are not pulled beforehand: {error.one_line()}"

    def _drain(self) -> None:
        """Let requests in flight finish. What does not answer is stopped without."""
        deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
        with contextlib.suppress(HcctlError):
            _, current = self._open_state()
            self.apply(())
            while self._statuses(current, CALL_TIMEOUT_S) and time.monotonic() < deadline_s:
                time.sleep(self._poll_s)

    def _statuses(self, cluster: RayClusterRef, timeout_s: float) -> tuple[ApplicationStatus, ...]:
        return self._serve(cluster).applications(None, timeout_s=timeout_s)

    def _serve(self, cluster: RayClusterRef) -> ServeApi:
        """Serve's interface, through the API server."""
        return ServeApi(cluster.dashboard, self._ray_token(), partial(self._api.proxied, self._namespace))

    def _ray_token(self) -> SecretStr:
        """Ray's token, read once: it lives as long as the site.

        Raises:
            SiteUnreachable: there is none.
        """
        if self._token is None:
            found = self._api.get(SECRETS, self._namespace, self._identity.secret, timeout_s=CALL_TIMEOUT_S)
            try:
                self._token = SecretStr(b64decode((found or {})["data"][TOKEN_KEY], validate=True).decode("ascii"))
            except (KeyError, TypeError, ValueError):
                raise SiteUnreachable(
                    "the site has no token", where=f"secret {self._identity.secret}", why=f"it has no {TOKEN_KEY}"
                ) from None
        return self._token

    def _observation(
        self,
        phase: Phase,
        message: str = "",
        applications: tuple[ApplicationStatus, ...] | None = None,
        ingress: Endpoint | None = None,
        workers: tuple[Worker, ...] | None = None,
    ) -> SiteObservation:
        return SiteObservation(self.name, phase, applications, ingress, self._clock(), message, workers=workers)


def _left(deadline_s: float) -> float:
    """Time until the deadline; a little even after it, since a timeout of 0 means none."""
    return max(0.05, deadline_s - time.monotonic())
