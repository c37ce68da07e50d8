"""The objects behind the API double: revisions, field ownership, patches, finalizers, history for watches. No HTTP.

As the real API server does it, for what hcctl uses. Lists are single fields (so they are in KubeRay's CRDs).
"""

from __future__ import annotations

import base64
import copy
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.json_fields import DoesNotFitError, Object, Path, at, leaves, put, remove
from tests.support.kubernetes_admission import InvalidObjectError, admitted

NOT_OWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
SERVERS_OWN = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields")


class Refused(Exception):
    """An answer other than success, as the API server's Status has it."""

    def __init__(self, code: int, reason: str, message: str, causes: list[Object] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.causes = code, reason, message, causes or []


@dataclass(frozen=True)
class Kind:
    """A kind of object."""

    group: str
    version: str
    plural: str
    name: str
    has_status: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True)
class Event:
    """A change, as a watch tells it."""

    revision: int
    type: str
    kind: Kind
    object: Object


@dataclass
class _Stored:
    kind: Kind
    object: Object
    owners: dict[tuple[str, str, str], set[Path]] = field(default_factory=dict)
    """Fields by manager, operation (Apply or Update) and subresource."""


class Objects:
    """All objects of one cluster."""

    def __init__(self, *, history: int = 1_000) -> None:
        self.changed = threading.Condition()
        self._stored: dict[tuple[str, str, str, str], _Stored] = {}
        self._events: list[Event] = []
        self._history = history
        self._revisions = itertools.count(2)
        self.revision = 1  # as in a real cluster, never 0, which means "any" to a watch

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """The object, or Refused(404)."""
        with self.changed:
            return self._shown(self._found(kind, namespace, name))

    def list(self, kind: Kind, namespace: str) -> list[Object]:
        """All of a kind in a namespace, by name."""
        with self.changed:
            keys = sorted(key for key in self._stored if key[:3] == (kind.group, kind.plural, namespace))
            return [self._shown(self._stored[key]) for key in keys]

    def create(self, kind: Kind, namespace: str, made: Object, manager: str) -> Object:
        """A new object."""
        with self.changed:
            name = self._named(kind, namespace, made)
            if self._key(kind, namespace, name) in self._stored:
                raise Refused(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
            return self._create(kind, namespace, name, made, (manager, "Update", ""))

    def replace(
        self, kind: Kind, namespace: str, name: str, wanted: Object, manager: str, subresource: str = ""
    ) -> Object:
        """PUT: the whole object, or its status."""
        with self.changed:
            stored = self._found(kind, namespace, name)
            if kind.group == "ray.io" and not _meta(wanted).get("resourceVersion"):
                raise Refused(422, "Invalid", "metadata.resourceVersion: Invalid value: 0: must be specified")
            return self._update(kind, stored, wanted, (manager, "Update", subresource))

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        manager: str,
        subresource: str = "",
    ) -> Object:
        """Merge and JSON patch: `change` makes the new object from the old one."""
        with self.changed:
            stored = self._found(kind, namespace, name)
            try:
                wanted = change(copy.deepcopy(stored.object))
            except DoesNotFitError:  # the real server does not say more either
                text = "the server rejected our request due to an error in our request"
                raise Refused(422, "Invalid", text) from None
            return self._update(kind, stored, wanted, (manager, "Update", subresource))

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        wanted: Object,
        manager: str,
        *,
        force: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply."""
        with self.changed:
            owner = (manager, "Apply", subresource)
            if self._named(kind, namespace, wanted) != name:
                raise Refused(400, "BadRequest", "the name of the object does not match the name on the URL")
            stored = self._stored.get(self._key(kind, namespace, name))
            if stored is None:
                return self._create(kind, namespace, name, wanted, owner)
            mine = {
                path: value
                for path, value in leaves(wanted)
                if _ownable(path) and not (value == {} and isinstance(at(stored.object, path), dict))
            }
            self._refuse_conflicts(stored, mine, owner, force=force)
            result = copy.deepcopy(stored.object)
            for path in stored.owners.get(owner, set()) - set(mine):
                if not any(path in paths for other, paths in stored.owners.items() if other != owner):
                    remove(result, path)
            for path, value in mine.items():
                put(result, path, value)
            if revision := _meta(wanted).get("resourceVersion"):
                put(result, ("metadata", "resourceVersion"), revision)
            return self._update(kind, stored, result, owner, applied=set(mine))

    def delete(self, kind: Kind, namespace: str, name: str, *, version: str = "") -> Object:
        """Gone at once, or marked until nobody's finalizer is left; only at `version` if that is given."""
        with self.changed:
            stored = self._found(kind, namespace, name)
            present = _meta(stored.object)["resourceVersion"]
            if version not in ("", present):
                told = f"the ResourceVersion in the precondition ({version}) does not match that in record ({present})"
                raise Refused(409, "Conflict", f"Precondition failed: {told}")
            if _meta(stored.object).get("finalizers"):
                if "deletionTimestamp" not in _meta(stored.object):
                    put(stored.object, ("metadata", "deletionTimestamp"), "2026-01-01T00:00:00Z")
                    stored.object["metadata"]["generation"] += 1
                    self._tell("MODIFIED", kind, stored)
            else:
                self._drop(kind, stored)
            return self._shown(stored)

    def since(self, kind: Kind, namespace: str, revision: int) -> list[Event]:
        """Changes after a revision; Refused(410) where they are no longer known."""
        with self.changed:
            if self._events and revision < self._events[0].revision - 1:
                raise Refused(410, "Expired", f"too old resource version: {revision} ({self._events[0].revision})")
            return [
                event
                for event in self._events
                if event.kind == kind and event.revision > revision and _meta(event.object)["namespace"] == namespace
            ]

    def _create(self, kind: Kind, namespace: str, name: str, made: Object, owner: tuple[str, str, str]) -> Object:
        new = copy.deepcopy(made) | {"apiVersion": kind.api_version, "kind": kind.name}
        if kind.has_status:
            new.pop("status", None)
        if _meta(made).get("resourceVersion"):
            raise Refused(400 if owner[1] == "Update" else 409, "Conflict", "resourceVersion is not for new objects")
        _encode_secret(new)
        meta = {key: value for key, value in _meta(new).items() if key not in SERVERS_OWN}
        uid = f"00000000-0000-0000-0000-{self.revision + 1:012d}"
        new["metadata"] = meta | {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        new = _admitted(kind, new, None)
        stored = _Stored(kind, new, {owner: {path for path, _ in leaves(new) if _ownable(path)}})
        self._stored[self._key(kind, namespace, name)] = stored
        self._tell("ADDED", kind, stored)
        return self._shown(stored)

    def _update(
        self,
        kind: Kind,
        stored: _Stored,
        wanted: Object,
        owner: tuple[str, str, str],
        applied: set[Path] | None = None,
    ) -> Object:
        old, subresource = stored.object, owner[2]
        asked = _meta(wanted).get("resourceVersion")
        if asked and asked != _meta(old)["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on "{_meta(old)["name"]}": {message}')
        new = copy.deepcopy(wanted)
        if subresource == "status":
            new = copy.deepcopy(old) | ({"status": new["status"]} if "status" in new else {})
        elif kind.has_status:
            new.pop("status", None)
            new |= {"status": old["status"]} if "status" in old else {}
        _encode_secret(new)
        new = _admitted(kind, new, old)
        kept = {key: _meta(old)[key] for key in SERVERS_OWN if key in _meta(old)}
        kept |= {key: _meta(old)[key] for key in ("name", "namespace")}
        new["metadata"] = {key: value for key, value in _meta(new).items() if key not in SERVERS_OWN} | kept
        before, after = dict(leaves(old)), dict(leaves(new))
        touched = {path for path, value in after.items() if _ownable(path) and before.get(path, ...) != value}
        gone = set(before) - set(after)
        for paths in stored.owners.values():
            paths.difference_update(gone | touched)
        if applied is not None:
            stored.owners[owner] = applied
        else:
            stored.owners.setdefault(owner, set()).update(touched)
        stored.owners = {who: paths for who, paths in stored.owners.items() if paths}
        if new == old:
            return self._shown(stored)
        if {k: v for k, v in new.items() if k not in ("metadata", "status")} != {
            k: v for k, v in old.items() if k not in ("metadata", "status")
        }:
            new["metadata"]["generation"] += 1
        stored.object = new
        if "deletionTimestamp" in _meta(new) and not _meta(new).get("finalizers"):
            self._drop(kind, stored)
        else:
            self._tell("MODIFIED", kind, stored)
        return self._shown(stored)

    def _refuse_conflicts(
        self, stored: _Stored, mine: dict[Path, Any], owner: tuple[str, str, str], *, force: bool
    ) -> None:
        current = dict(leaves(stored.object))
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{other[0]}" using {_meta(stored.object)["name"]}',
                "field": "." + ".".join(path),
            }
            for other, paths in stored.owners.items()
            if other[0] != owner[0] or other[1] != owner[1]
            for path in sorted(paths)
            if path in mine and current.get(path, ...) != mine[path]
        ]
        if causes and not force:
            told = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
            raise Refused(409, "Conflict", f"Apply failed with {len(causes)} conflicts: {told}", causes)
        for other, paths in stored.owners.items():
            if other != owner:
                paths.difference_update(path for path in mine if current.get(path, ...) != mine[path])

    def _drop(self, kind: Kind, stored: _Stored) -> None:
        meta = _meta(stored.object)
        del self._stored[self._key(kind, meta["namespace"], meta["name"])]
        self._tell("DELETED", kind, stored)
        for other in list(self._stored.values()):  # what it owned goes with it
            if any(owner["uid"] == meta["uid"] for owner in _meta(other.object).get("ownerReferences") or ()):
                self.delete(other.kind, meta["namespace"], _meta(other.object)["name"])

    def _tell(self, type_: str, kind: Kind, stored: _Stored) -> None:
        self.revision = next(self._revisions)
        stored.object["metadata"]["resourceVersion"] = str(self.revision)
        self._events = [*self._events, Event(self.revision, type_, kind, self._shown(stored))][-self._history :]
        self.changed.notify_all()

    def _found(self, kind: Kind, namespace: str, name: str) -> _Stored:
        stored = self._stored.get(self._key(kind, namespace, name))
        if stored is None:
            group = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
            raise Refused(404, "NotFound", f'{group} "{name}" not found')
        return stored

    def _named(self, kind: Kind, namespace: str, made: Object) -> str:
        name = _meta(made).get("name")
        if not isinstance(name, str) or not name:
            raise Refused(422, "Invalid", f"{kind.name} is invalid: metadata.name: Required value: name is required")
        if _meta(made).get("namespace", namespace) != namespace:
            raise Refused(400, "BadRequest", "the namespace of the object does not match the namespace on the URL")
        return name

    def _shown(self, stored: _Stored) -> Object:
        shown = copy.deepcopy(stored.object)
        shown["metadata"]["managedFields"] = [
            {
                "manager": manager,
                "operation": operation,
                "apiVersion": shown["apiVersion"],
                "fieldsType": "FieldsV1",
                "fieldsV1": _fields(paths),
                **({"subresource": subresource} if subresource else {}),
            }
            for (manager, operation, subresource), paths in stored.owners.items()
        ]
        return shown

    @staticmethod
    def _key(kind: Kind, namespace: str, name: str) -> tuple[str, str, str, str]:
        return kind.group, kind.plural, namespace, name


def _admitted(kind: Kind, new: Object, old: Object | None) -> Object:
    try:
        return admitted(kind.plural, new, old)
    except InvalidObjectError as error:
        told = (400, "BadRequest") if error.strict else (422, "Invalid")
        raise Refused(*told, f"{kind.name} {error}") from None


def _meta(found: Object) -> Object:
    meta: Object = found.get("metadata") or {}
    return meta


def _ownable(path: Path) -> bool:
    return path not in NOT_OWNED and not (path[0] == "metadata" and path[1:2] and path[1] in SERVERS_OWN)


def _fields(paths: set[Path]) -> Object:
    """Paths in the form of managedFields."""
    found: Object = {}
    for path in sorted(paths):
        put(found, tuple(f"f:{key}" for key in path), {})
    return found


def _encode_secret(made: Object) -> None:
    """What is written as text is stored in base64."""
    if made.get("kind") == "Secret" and "stringData" in made:
        texts = made.pop("stringData")
        made["data"] = made.get("data", {}) | {
            key: base64.b64encode(text.encode()).decode() for key, text in texts.items()
        }
