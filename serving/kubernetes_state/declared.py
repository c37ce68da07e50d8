"""Intents as objects of the cluster: a service is a HybridService, everything else a ConfigMap with a text.

Each write names the `resourceVersion` that was read, so no change is lost. A ConfigMap whose text is gone keeps the
revision of what was deleted; that of a HybridService stands in one, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from serving.bodies import decode_body, encode_body, finite, refuse_changed
from serving.errors import RevisionConflict
from serving.kubernetes_state.head import labels
from serving.kubernetes_state.resources import (
    API_VERSION,
    AT,
    BEFORE,
    FINALIZER,
    deleting,
    service_at_s,
    service_body,
    service_revision,
    service_spec,
)
from serving.kubernetes_state.watched import Watched
from serving.sites.kubernetes.answers import CONFIG_MAPS, HYBRID_SERVICES, Conflict, Object, Resource
from serving.state import Body, Document

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi

CALL_TIMEOUT_S = 5.0
SERVICE = "service"
INTENT = "intent"
"""Component of the ConfigMaps."""
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Declared:
    """The intents of one namespace.

    Args:
        api: access to the cluster.
        namespace: of the state.
        project: whose intents they are.
    """

    def __init__(self, api: KubernetesApi, namespace: str, project: str) -> None:
        self._api = api
        self._namespace = namespace
        self._labels = labels(project, INTENT)
        self._query = {"labelSelector": ",".join(f"{key}={value}" for key, value in self._labels.items())}
        self._watched: dict[Resource, Watched] = {}

    def follow(self, changed: Callable[[], None]) -> None:
        """Keep all intents in memory from now on; `changed` is called, from another thread, when one was written."""
        for resource, query in ((HYBRID_SERVICES, {}), (CONFIG_MAPS, self._query)):
            watched = Watched(self._api, resource, self._namespace, query, changed)
            watched.start()
            self._watched[resource] = watched

    def stop(self) -> None:
        """Follow no longer."""
        for watched in self._watched.values():
            watched.stop()

    def one(self, kind: str, name: str) -> Document | None:
        """An intent; None if there is none."""
        found = self._get(*_place(kind, name))
        return None if found is None else _document(kind, found)

    def all(self, kind: str) -> tuple[Document, ...]:
        """All intents of a kind, by name."""
        resource = HYBRID_SERVICES if kind == SERVICE else CONFIG_MAPS
        if resource in self._watched:
            items = self._watched[resource].items()
        else:
            query = {} if kind == SERVICE else self._query
            items = self._api.list(resource, self._namespace, query, timeout_s=CALL_TIMEOUT_S)
        found = [_document(kind, item) for item in items if kind == SERVICE or item["data"]["kind"] == kind]
        return tuple(sorted((document for document in found if document is not None), key=lambda each: each.name))

    def put(self, kind: str, name: str, body: Body, *, expected_revision: int | None, at_s: float) -> int:
        """As `Store.put_intent`."""
        text, when_s = encode_body(body, f"{kind} {name}"), finite(at_s, "at_s")
        while True:
            found = self._api.get(*_where(self._namespace, kind, name), timeout_s=CALL_TIMEOUT_S)
            present = None if found is None else _document(kind, found)
            refuse_changed(kind, name, present.revision if present else 0, expected_revision)
            if found is not None and deleting(found):
                raise RevisionConflict(
                    "it is being deleted",
                    where=f"{kind} {name}",
                    why="somebody deleted the object",
                    next_step="run the command again when it is gone",
                )
            if kind == SERVICE:
                made = self._service(name, body, found, when_s)
            else:
                made = self._text(kind, name, text, found, when_s)
            with suppress(Conflict):  # somebody was quicker, perhaps with the status alone: look again
                return self._written(kind, made)

    def delete(self, kind: str, name: str, *, expected_revision: int | None) -> None:
        """As `Store.delete_intent`."""
        while True:
            found = self._api.get(*_where(self._namespace, kind, name), timeout_s=CALL_TIMEOUT_S)
            present = None if found is None else _document(kind, found)
            if found is None or present is None:
                return
            refuse_changed(kind, name, present.revision, expected_revision)
            with suppress(Conflict):
                if kind == SERVICE:
                    self._delete_service(name, found, present)
                else:
                    self._written(kind, self._text(kind, name, None, found, present.at_s))
                return

    def check_delete(self, kind: str, name: str, *, expected_revision: int | None) -> None:
        """What `delete` would refuse now.

        Raises:
            RevisionConflict: it exists at another revision than the expected one.
        """
        present = self.one(kind, name)
        if present is not None:
            refuse_changed(kind, name, present.revision, expected_revision)

    def object(self, name: str) -> Object | None:
        """The HybridService itself, for who tells about it."""
        return self._get(HYBRID_SERVICES, name)

    def learn(self, stored: Object) -> None:
        """Take in a HybridService as it was written elsewhere in this process."""
        if HYBRID_SERVICES in self._watched:
            self._watched[HYBRID_SERVICES].put(stored)

    def _get(self, resource: Resource, name: str) -> Object | None:
        if resource in self._watched:
            return self._watched[resource].get(name)
        return self._api.get(resource, self._namespace, name, timeout_s=CALL_TIMEOUT_S)

    def _written(self, kind: str, made: Object) -> int:
        """Create or replace; returns the revision that it has then."""
        resource = HYBRID_SERVICES if kind == SERVICE else CONFIG_MAPS
        if "resourceVersion" in made["metadata"]:
            stored = self._api.replace(resource, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
        else:
            stored = self._api.create(resource, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
        if resource in self._watched:
            self._watched[resource].put(stored)
        return service_revision(stored) if kind == SERVICE else int(stored["data"]["revision"])

    def _service(self, name: str, body: Body, found: Object | None, at_s: float) -> Object:
        if found is None:
            meta: Object = {"name": name, "labels": self._labels, "finalizers": [FINALIZER]}
            meta["annotations"] = {BEFORE: str(self._former_revisions(name))}
        else:
            meta = found["metadata"]
        meta = meta | {"annotations": (meta.get("annotations") or {}) | {AT: repr(at_s)}}
        return {"apiVersion": API_VERSION, "kind": "HybridService", "metadata": meta, "spec": service_spec(body)}

    def _text(self, kind: str, name: str, text: str | None, found: Object | None, at_s: float) -> Object:
        former = int(found["data"]["revision"]) if found else 0
        data = {"kind": kind, "name": name, "revision": str(former + 1), "at_s": repr(at_s)}
        meta = {"name": _text_name(kind, name), "labels": self._labels}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": found["metadata"] if found else meta,
            "data": data | ({} if text is None else {"body": text}),
        }

    def _delete_service(self, name: str, found: Object, present: Document) -> None:
        """First the revision is kept, then the object goes, then its finalizer: each step may be done again."""
        self._keep_revisions(name, present.revision + 1)
        if not deleting(found):
            version = found["metadata"]["resourceVersion"]
            self._api.delete(HYBRID_SERVICES, self._namespace, name, timeout_s=CALL_TIMEOUT_S, version=version)
        self._let_go(name)
        if HYBRID_SERVICES in self._watched:
            self._watched[HYBRID_SERVICES].drop(name)

    def _let_go(self, name: str) -> None:
        found = self._api.get(HYBRID_SERVICES, self._namespace, name, timeout_s=CALL_TIMEOUT_S)
        if found is None or FINALIZER not in found["metadata"].get("finalizers", ()):
            return
        kept = [each for each in found["metadata"]["finalizers"] if each != FINALIZER]
        made = found | {"metadata": found["metadata"] | {"finalizers": kept}}
        self._api.replace(HYBRID_SERVICES, self._namespace, made, timeout_s=CALL_TIMEOUT_S)

    def _former_revisions(self, name: str) -> int:
        kept = self._api.get(CONFIG_MAPS, self._namespace, _text_name(SERVICE, name), timeout_s=CALL_TIMEOUT_S)
        return int(kept["data"]["revision"]) if kept else 0

    def _keep_revisions(self, name: str, revision: int) -> None:
        object_name = _text_name(SERVICE, name)
        kept = self._api.get(CONFIG_MAPS, self._namespace, object_name, timeout_s=CALL_TIMEOUT_S)
        made = self._text(SERVICE, name, None, kept, 0.0)
        made["data"]["revision"] = str(revision)
        self._written(INTENT, made)


def _document(kind: str, found: Object) -> Document | None:
    if kind == SERVICE:
        name = found["metadata"]["name"]
        return Document(kind, name, service_revision(found), service_body(found), service_at_s(found))
    data = found["data"]
    if "body" not in data:
        return None
    return Document(kind, data["name"], int(data["revision"]), decode_body(data["body"]), float(data["at_s"]))


def _place(kind: str, name: str) -> tuple[Resource, str]:
    return (HYBRID_SERVICES, name) if kind == SERVICE else (CONFIG_MAPS, _text_name(kind, name))


def _where(namespace: str, kind: str, name: str) -> tuple[Resource, str, str]:
    resource, object_name = _place(kind, name)
    return resource, namespace, object_name


def _text_name(kind: str, name: str) -> str:
    """A name that Kubernetes takes: readable where that is one, apart from all others in any case."""
    if _PLAIN.fullmatch(kind) and _PLAIN.fullmatch(name):
        return f"hcctl-{kind}-{name}"
    return f"hcctl-intent--{hashlib.sha256(f'{kind}/{name}'.encode()).hexdigest()[:24]}"
