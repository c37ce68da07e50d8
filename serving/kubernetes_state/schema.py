"""The CustomResourceDefinitions, from the models that read `service.yaml`: one spec, many readers. Pure.

Kubernetes takes structural schemas only: no references, no alternatives, each value of one type. What such a schema
cannot say (names of sites, rules between fields) the daemon checks when it reads the object, and tells in the condition
`Accepted`. Defaults are not written into objects: they are those of the hcctl that reads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from serving.loading import json_schema
from serving.schema_words import resolve
from serving.sites.kubernetes.answers import HYBRID_RELEASES, HYBRID_SERVICES, Object, Resource

_KEPT: tuple[str, ...] = ("type", "description", "enum", "pattern", "required")
_KEPT += ("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties")
_ANYTHING: Object = {"x-kubernetes-preserve-unknown-fields": True}
_TEXT: Object = {"type": "string"}
_NUMBER: Object = {"type": "integer", "format": "int64"}
_TIME: Object = {"type": "string", "format": "date-time"}


def custom_resource_definitions() -> dict[str, Object]:
    """Both, by file name."""
    service = _definition(
        HYBRID_SERVICES,
        "HybridService",
        ["hsvc"],
        "One endpoint with an SLO, running one model on its sites.",
        service_schema(),
        _service_status(),
        [
            ("Version", "string", ".status.version", "Version that serves."),
            ("Replicas", "string", ".status.replicas", "Ready ones of those wanted, over all sites."),
            ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether some site serves it."),
            ("Release", "string", ".status.release", "Phase of the release that is on its way."),
        ],
    )
    release = _definition(
        HYBRID_RELEASES,
        "HybridRelease",
        ["hrel"],
        "The rollout of a version to a service, with one verdict; written by the daemon.",
        _release_spec(),
        _release_status(),
        [
            ("Service", "string", ".spec.service", "Service it is of."),
            ("Application", "string", ".spec.application", "What is rolled out."),
            ("Phase", "string", ".status.phase", "Where it stands."),
            ("Verdict", "string", ".status.verdict", "How it ended."),
        ],
    )
    return {f"{HYBRID_SERVICES.plural}.yaml": service, f"{HYBRID_RELEASES.plural}.yaml": release}


def service_schema() -> Object:
    """Of a HybridService's spec."""
    schema = json_schema("HybridService")
    spec = structural(schema, schema)
    for name in ("kind", "name"):  # the object's own
        del spec["properties"][name]
        spec["required"].remove(name)
    spec["properties"]["deployment"] = {
        "type": "object",
        "nullable": True,
        "description": "The version that `hcctl deploy` asked for.",
        "required": ["deployment", "version", "version_dir"],
        "properties": {
            "deployment": _TEXT | {"description": "Identity of the request; the same request is served once."},
            "version": _TEXT,
            "version_dir": _TEXT,
            "rollback": {"type": "boolean", "description": "Back to a version that has served before."},
        },
    }
    spec["properties"]["remove"] = {"type": "boolean", "description": "`hcctl remove` asked for it to go."}
    return spec


def structural(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Object:
    """A field of a JSON schema as Kubernetes takes it.

    Raises:
        ValueError: it allows several types.
    """
    alternatives = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    if len(alternatives) > 1:
        raise ValueError(f"a field with several types has no structural schema: {field}")
    form = dict(resolve(field, schema))
    if alternatives:
        form = {**resolve(alternatives[0], schema), **{k: v for k, v in form.items() if k == "description"}}
    if "const" in form:
        form |= {"type": "string", "enum": [form["const"]]}
    if "type" not in form:
        return {key: form[key] for key in ("description",) if key in form} | _ANYTHING
    found = copy.deepcopy({key: form[key] for key in _KEPT if key in form})  # the schema is kept by its maker
    if len(field.get("anyOf", ())) > len(alternatives):
        found["nullable"] = True
    for bound in ("Minimum", "Maximum"):
        if f"exclusive{bound}" in form:
            found |= {bound.lower(): form[f"exclusive{bound}"], f"exclusive{bound}": True}
    if "items" in form:
        found["items"] = structural(form["items"], schema)
    if "properties" in form:
        found["properties"] = {name: structural(part, schema) for name, part in form["properties"].items()}
    elif found["type"] == "object":
        values = next(iter(form.get("patternProperties", {}).values()), form.get("additionalProperties"))
        inner = structural(values, schema) if isinstance(values, Mapping) else _ANYTHING
        found |= _ANYTHING if inner == _ANYTHING else {"additionalProperties": inner}
    return found


def _definition(
    resource: Resource,
    kind: str,
    short: list[str],
    description: str,
    spec: Object,
    status: Object,
    columns: list[tuple[str, str, str, str]],
) -> Object:
    printed = [{"name": n, "type": t, "jsonPath": path, "description": said} for n, t, path, said in columns]
    printed.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    schema = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": _TEXT,
            "kind": _TEXT,
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{resource.plural}.{resource.group}",
            "labels": {"app.kubernetes.io/part-of": "hcctl"},
        },
        "spec": {
            "group": resource.group,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": resource.plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["hcctl"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": printed,
                }
            ],
        },
    }


def _object(description: str, **properties: Object) -> Object:
    return {"type": "object", "description": description, "properties": properties}


def _service_status() -> Object:
    site = _object("One site.", phase=_TEXT, target=_NUMBER, ready=_NUMBER, limit=_NUMBER, message=_TEXT)
    decision = _object("One line of the decision log.", number=_NUMBER, at=_TIME, action=_TEXT, reason=_TEXT)
    condition = _object(
        "As of all Kubernetes objects.",
        type=_TEXT,
        status={"type": "string", "enum": ["True", "False", "Unknown"]},
        reason=_TEXT,
        message=_TEXT,
        observedGeneration=_NUMBER,
        lastTransitionTime=_TIME,
    ) | {"required": ["type", "status", "reason", "message", "lastTransitionTime"]}
    return _object(
        "Written by the daemon.",
        observedGeneration=_NUMBER,
        version=_TEXT,
        release=_TEXT,
        replicas=_TEXT,
        sites={"type": "object", "additionalProperties": site},
        decisions={"type": "array", "description": "The latest ones, newest first.", "items": decision},
        conditions={
            "type": "array",
            "description": "Accepted, Ready and Progressing.",
            "items": condition,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )


def _release_spec() -> Object:
    return _object(
        "What is rolled out.",
        service=_TEXT,
        version=_TEXT,
        application=_TEXT,
        former=_TEXT | {"description": "What served before; empty for the first version."},
        rollback={"type": "boolean"},
    ) | {"required": ["service", "version"]}


def _release_status() -> Object:
    event = _object("One line of its story.", at=_TIME, phase=_TEXT, text=_TEXT)
    return _object(
        "Written by the daemon.",
        phase=_TEXT,
        verdict=_TEXT,
        reason=_TEXT,
        startedAt=_TIME,
        events={"type": "array", "items": event},
    )
