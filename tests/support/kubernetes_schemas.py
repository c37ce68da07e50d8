"""Manifests against the Kubernetes API's own schemas, of several versions, unknown fields forbidden.

The schemas are those of the package kubernetes-validate. Its own function reads 3 MB of definitions for each manifest;
here they are read once for each version.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema
import referencing
from kubernetes_validate.utils import schema_contents

VERSIONS = ("1.30", "1.37")
"""The oldest that the charts allow, and the newest that has schemas."""


def violations(manifest: dict[str, Any]) -> list[str]:
    """What a manifest has against the schemas; empty if it is valid for all versions."""
    return list(_violations(json.dumps(manifest, sort_keys=True)))


@cache
def _violations(text: str) -> tuple[str, ...]:
    """By content: most manifests are the same under most values."""
    manifest = json.loads(text)
    return tuple(
        f"{version} {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for version in VERSIONS
        for error in _validator(version, manifest["kind"], manifest["apiVersion"]).iter_errors(manifest)
    )


@cache
def _validator(version: str, kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = _contents(version, f"{kind.lower()}-{group}.json")
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> referencing.Registry[Any]:
    return referencing.Resource.from_contents(_contents(version, "_definitions.json")) @ referencing.Registry()


def _contents(version: str, name: str) -> Any:
    return schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{name}", version)
