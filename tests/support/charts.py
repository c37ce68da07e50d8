"""Charts rendered by Helm's own engine, offline."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHARTS = Path(__file__).parents[2] / "charts"
PROJECT = {"kind": "HybridProject", "name": "shop", "sites": {}}
Manifest = dict[str, Any]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Values on top of values, as several -f do."""
    made: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = made.get(key)
            both = isinstance(known, dict) and isinstance(value, Mapping)
            made[key] = merged(known, value) if both and known is not None else copy.deepcopy(value)
    return made


def render(values: Mapping[str, Any], *, chart: str = "hcctl", name: str = "hcctl") -> list[Manifest]:
    """The manifests of a release, in the order of the files; the schema of the values is checked."""
    with helm_python.Chart.load(str(CHARTS / chart)) as loaded:
        loaded.validate_schema(dict(values))
        files = loaded.render(dict(values), name=name, namespace="serving")
    found = []
    for path, text in sorted(files.items()):
        if path.endswith((".yaml", ".yml")):
            found += [document for document in yaml.safe_load_all(text) if document]
    return found


def refused(values: Mapping[str, Any], *, chart: str = "hcctl") -> str:
    """What Helm says against these values; empty if nothing."""
    try:
        render(values, chart=chart)
    except helm_python.HelmError as error:
        return str(error)
    return ""


def named(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The one manifest of a kind whose name ends so."""
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(name)]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """(name, metadata, spec) of every pod and pod template."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["metadata"], manifest["spec"]
        elif "template" in manifest.get("spec", {}):
            template = manifest["spec"]["template"]
            yield manifest["metadata"]["name"], template["metadata"], template["spec"]
