"""`HybridService` and `HybridRelease` as objects of Kubernetes: what a command declares, what people see. Pure.

The spec of a HybridService is what `service.yaml` says, with the same names, but for `kind` and `name`, which are the
object's own; `deployment` in it is the version that `hcctl deploy` asked for. Status is made of what the daemon wrote
down elsewhere (`store.py`): nothing is ever read back from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic import JsonValue

from serving.kubernetes_state.schema import service_schema
from serving.sites.kubernetes.answers import HYBRID_SERVICES, Object
from serving.state import Body

API_VERSION = f"{HYBRID_SERVICES.group}/{HYBRID_SERVICES.version}"
FINALIZER = f"{HYBRID_SERVICES.group}/drain"
"""Keeps a service that somebody deletes until the daemon has drained it."""
AT, BEFORE = f"{HYBRID_SERVICES.group}/written-at", f"{HYBRID_SERVICES.group}/revisions-before"
"""Annotations: when hcctl wrote the spec, and the revisions of former services of the name."""
OWN_FIELDS = ("deployment", "remove")
"""Fields of the spec that service.yaml does not have."""
DECISIONS_SHOWN = 20
TEXT_LIMIT = 1_000


def service_spec(body: Body) -> Object:
    """The spec of a HybridService that says what an intent of kind `service` says."""
    declared = _mapping(body.get("spec"))
    fields = {key: value for key, value in declared.items() if key not in ("kind", "name")}
    spec: Object = without_nulls(fields, _service_schema())
    if body.get("wanted"):
        spec["deployment"] = body["wanted"]
    if body.get("remove"):
        spec["remove"] = True
    return spec


def without_nulls(value: Any, schema: Object) -> Any:
    """The value without fields that are null, which an API server may refuse; in free forms they stay."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, list):
        return [without_nulls(part, schema.get("items", {})) for part in value]
    if not isinstance(value, Mapping):
        return value
    values, properties = schema.get("additionalProperties", {}), schema.get("properties", {})
    return {k: without_nulls(part, properties.get(k, values)) for k, part in value.items() if part is not None}


@cache
def _service_schema() -> Object:
    return service_schema()


def service_body(found: Object) -> dict[str, JsonValue]:
    """The intent that a HybridService says; one that is being deleted is one to remove."""
    spec: Object = found.get("spec") or {}
    declared = {key: value for key, value in spec.items() if key not in OWN_FIELDS}
    body: dict[str, JsonValue] = {
        "spec": {"kind": "HybridService", "name": found["metadata"]["name"], **declared},
        "wanted": spec.get("deployment"),
    }
    if spec.get("remove") or deleting(found):
        body["remove"] = True
    return body


def service_revision(found: Object) -> int:
    """Grows with each change of the spec, whoever made it, also over deletion and creation by hcctl."""
    meta = found["metadata"]
    before = str((meta.get("annotations") or {}).get(BEFORE, "0"))
    return int(meta["generation"]) + (int(before) if before.isdecimal() else 0)


def service_at_s(found: Object) -> float:
    """When the spec was written by hcctl; when the object was made, if by others."""
    meta = found["metadata"]
    written = str((meta.get("annotations") or {}).get(AT, ""))
    try:
        return float(written)
    except ValueError:
        return datetime.fromisoformat(meta["creationTimestamp"]).timestamp()


def deleting(found: Object) -> bool:
    """Somebody has deleted it; a finalizer keeps it."""
    return "deletionTimestamp" in found["metadata"]


def service_status(
    body: Body | None, decisions: Sequence[Object], former: Object, *, generation: int, refused: str, at_s: float
) -> Object:
    """Status of a HybridService: what changes seldom. Figures that change all the time are for metrics.

    Args:
        body: the daemon's observation of the service; None if it does not run it.
        decisions: its latest ones, newest first, with number, time, action and reason.
        former: the status that stands there.
        generation: of the spec that the observation is about.
        refused: why the daemon set the declaration aside; empty if it did not.
        at_s: now, seconds since the epoch.
    """
    body = body or {}
    sites = {name: _mapping(site) for name, site in _mapping(body.get("sites")).items()}
    release = _mapping(body.get("release"))
    ready = {name: sum(int(n or 0) for n in _mapping(site.get("ready")).values()) for name, site in sites.items()}
    target = sum(int(site.get("target") or 0) for site in sites.values())
    status: Object = {
        "observedGeneration": generation,
        "version": _short(body.get("version")),
        "release": str(release.get("phase") or ""),
        "replicas": f"{sum(ready.values())}/{target}",
        "sites": {
            name: {
                "phase": str(site.get("phase") or ""),
                "target": int(site.get("target") or 0),
                "ready": ready[name],
                "limit": int(site.get("limit") or 0),
                "message": str(site.get("message") or "")[:TEXT_LIMIT],
            }
            for name, site in sites.items()
        },
        "decisions": list(decisions)[:DECISIONS_SHOWN],
    }
    serves = any(int(site.get("limit") or 0) > 0 for site in sites.values())
    home = next((site for site in sites.values() if site.get("role") == "private"), {})
    waiting = str(home.get("message") or home.get("waiting") or "no site serves it yet")
    conditions = [
        ("Accepted", not refused, "Valid" if not refused else "Refused", refused),
        ("Ready", serves, "Serving" if serves else "NotServing", "" if serves else waiting),
        ("Progressing", bool(release), _reason(release.get("phase")) or "Steady", ""),
    ]
    status["conditions"] = [
        _condition(former, *condition, generation=generation, at_s=at_s) for condition in conditions
    ]
    return status


def release_object(name: str, body: Body) -> tuple[Object, Object]:
    """Spec and status of a HybridRelease, from the daemon's observation of a release."""
    candidate, former = _mapping(body.get("candidate")), _mapping(body.get("former"))
    spec = {
        "service": str(body.get("service") or ""),
        "version": str(candidate.get("version") or ""),
        "application": str(candidate.get("application") or ""),
        "former": str(former.get("application") or ""),
        "rollback": bool(body.get("rollback")),
    }
    events = body.get("events")
    status: Object = {
        "phase": str(body.get("phase") or ""),
        "verdict": str(body.get("verdict") or ""),
        "reason": str(body.get("reason") or "")[:TEXT_LIMIT],
        "startedAt": timestamp(float(str(body.get("started_at_s") or 0.0))),
        "events": [
            {
                "at": timestamp(float(str(event.get("at_s") or 0.0))),
                "phase": str(event.get("phase") or ""),
                "text": str(event.get("text") or "")[:TEXT_LIMIT],
            }
            for event in (events if isinstance(events, list) else [])
            if isinstance(event, dict)
        ],
    }
    return {"name": name, "spec": spec}, status


def event_object(
    name: str, namespace: str, about: Object, action: str, reason: str, *, trouble: bool, at_s: float
) -> Object:
    """A Kubernetes Event that tells a decision about a HybridService."""
    meta = about["metadata"]
    when = timestamp(at_s)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "HybridService",
            "name": meta["name"],
            "namespace": namespace,
            "uid": meta["uid"],
        },
        "type": "Warning" if trouble else "Normal",
        "reason": _reason(action),
        "message": reason[:TEXT_LIMIT],
        "source": {"component": "hcctl"},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }


def timestamp(at_s: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(
    former: Object, name: str, holds: bool, reason: str, message: str, *, generation: int, at_s: float
) -> Object:
    """A condition whose time is that of its last change."""
    status = "True" if holds else "False"
    last: Object = next((one for one in former.get("conditions") or () if one.get("type") == name), {})
    since = last.get("lastTransitionTime") if last.get("status") == status else None
    return {
        "type": name,
        "status": status,
        "reason": reason,
        "message": message[:TEXT_LIMIT],
        "observedGeneration": generation,
        "lastTransitionTime": since or timestamp(at_s),
    }


def _reason(words: JsonValue | Any) -> str:
    """`making_room` and `open site` as Kubernetes writes reasons: `MakingRoom`, `OpenSite`."""
    return "".join(word.capitalize() for word in str(words or "").replace("_", " ").split())[:128]


def _short(version: JsonValue) -> str:
    """The first digits of a version, as everywhere."""
    return str(version or "")[:12]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
