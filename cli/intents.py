"""What commands write and watch: service intents and the releases that follow from them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from autoscaler.snapshot import Wanted
from autoscaler.state import DaemonState, Release, ServiceState, stored_state, words
from serving.errors import HcctlError, InvalidInput, RolledBack, WaitTimeout
from serving.spec import HybridService
from serving.state import Document, Store

POLL_S = 0.2
DAEMON_GRACE_S = 15.0
"""A daemon that was killed or is exchanged is back within seconds, on a busy machine within some more."""
_RELEASE: TypeAdapter[Release] = TypeAdapter(Release)


@dataclass(frozen=True)
class ServiceIntent:
    """What is wanted of one service, with the revision it was read at."""

    spec: HybridService
    wanted: Wanted | None
    revision: int


def service_intent(store: Store, name: str) -> ServiceIntent | None:
    """The stored intent of a service; None if it was never deployed.

    Raises:
        HcctlError: it cannot be read.
    """
    document = store.intent("service", name)
    return None if document is None else _intent(document)


def _intent(document: Document) -> ServiceIntent:
    wanted = document.body.get("wanted")
    try:
        return ServiceIntent(
            HybridService.model_validate(document.body["spec"]),
            TypeAdapter(Wanted).validate_python(wanted) if wanted else None,
            document.revision,
        )
    except (ValidationError, KeyError) as error:
        raise HcctlError(
            "what was declared of a service cannot be read",
            where=document.name,
            why=str(error).splitlines()[0][:200],
            next_step="deploy its file again, with the hcctl that runs the project",
        ) from None


def pick_service(store: Store, name: str | None) -> str:
    """The service a command is about: the one named, or the only one there is.

    Raises:
        InvalidInput: no such service, or a name is needed to choose.
    """
    names = [document.name for document in store.intents("service")]
    known = ", ".join(names)
    if name is not None and name in names:
        return name
    if name is None and len(names) == 1:
        return names[0]
    if not names:
        raise InvalidInput("no service is deployed", next_step="deploy one with `hcctl deploy -f service.yaml`")
    if name is None:
        raise InvalidInput("several services are deployed", where="SERVICE", next_step=f"name one of: {known}")
    raise InvalidInput("there is no such service", where=name, next_step=f"use one of: {known}")


def request(store: Store, spec: HybridService, wanted: Wanted, revision: int) -> None:
    """Write what is wanted of a service.

    Raises:
        RevisionConflict: somebody else wrote it since `revision` was read.
    """
    body = {"spec": spec.model_dump(mode="json", by_alias=True), "wanted": asdict(wanted)}
    store.put_intent("service", spec.name, body, expected_revision=revision, at_s=time.time())


def request_removal(store: Store, name: str) -> None:
    """Ask the daemon to drain and forget a service."""
    document = store.intent("service", name)
    if document is not None and not document.body.get("remove"):
        body = {**document.body, "remove": True}
        store.put_intent("service", name, body, expected_revision=document.revision, at_s=time.time())


def leaving(store: Store, name: str) -> bool:
    """Whether a service is still being removed."""
    document = store.intent("service", name)
    return document is not None and bool(document.body.get("remove"))


def refuse_shared_prefix(store: Store, spec: HybridService) -> None:
    """Two services cannot answer below the same path.

    Raises:
        InvalidInput: names the other service.
    """
    for document in store.intents("service"):
        other = _intent(document).spec
        if other.name != spec.name and other.routing.prefix == spec.routing.prefix:
            raise InvalidInput(
                "another service has this prefix",
                where="routing.prefix",
                why=f"{other.name} answers below {spec.routing.prefix}",
                next_step="choose another prefix",
            )


def new_deployment() -> str:
    """Identity of one deployment request."""
    return uuid.uuid4().hex[:12]


def daemon_state(store: Store) -> DaemonState:
    """What the daemon last stored; empty before its first tick."""
    return stored_state(store.observations("daemon"))


def service_state(store: Store, name: str) -> ServiceState:
    """What the daemon last decided for one service."""
    return daemon_state(store).services.get(name, ServiceState())


def releases(store: Store, service: str | None = None) -> list[tuple[str, Release]]:
    """Known releases as (service, release), oldest first."""
    found = []
    for document in store.observations("release"):
        name = str(document.body["service"])
        if service in (None, name):
            found.append((name, _release(document.body)))
    return sorted(found, key=lambda pair: pair[1].started_at_s)


def _release(body: Mapping[str, Any]) -> Release:
    try:
        return _RELEASE.validate_python({key: value for key, value in body.items() if key != "service"}, strict=False)
    except ValidationError as error:
        raise HcctlError(
            "a stored release cannot be read", where=str(body.get("deployment")), why=str(error)
        ) from error


def watch_release(
    store: Store, deployment: str, *, timeout_s: float, say: Callable[[str], None], alive: Callable[[], bool]
) -> Release:
    """Follow a release to its verdict, saying each event once.

    Raises:
        RolledBack: it ended without being promoted.
        WaitTimeout: it goes on, but `timeout_s` is over.
        HcctlError: the daemon is gone and does not come back.
    """
    seen_s = time.monotonic()
    deadline_s, told = seen_s + timeout_s, 0
    next_step = "the release goes on; see `hcctl status` and `hcctl history`"
    while True:
        document = store.observation("release", deployment)
        release = _release(document.body) if document else None
        for event in release.events[told:] if release else ():
            say(f"{words(event.phase):<12} {event.text}")
            told += 1
        if release and release.verdict == "promoted":
            return release
        if release and release.verdict:
            raise RolledBack(
                f"the release was {words(release.verdict)}",
                where=release.candidate.application,
                why=release.reason,
                next_step="what served before still serves; see `hcctl why` and `hcctl logs`",
            )
        if time.monotonic() > deadline_s:
            raise WaitTimeout("no verdict yet", where=deployment, why=f"waited {timeout_s:g} s", next_step=next_step)
        if alive():
            seen_s = time.monotonic()
        elif time.monotonic() - seen_s > DAEMON_GRACE_S:
            raise HcctlError(
                "the daemon is not running",
                where=deployment,
                why=f"it is gone for {DAEMON_GRACE_S:g} s",
                next_step="start it with `hcctl up`: the release goes on",
            )
        time.sleep(POLL_S)
