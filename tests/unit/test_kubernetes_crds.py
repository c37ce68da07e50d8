"""The CRDs: made from the models, structural, and the same in the chart."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from serving.kubernetes_state.resources import OWN_FIELDS
from serving.kubernetes_state.schema import custom_resource_definitions, structural
from serving.spec import HybridService

SCRIPT = Path(__file__).parents[2] / "docs" / "reference" / "generate_crds.py"
DEFINITIONS = custom_resource_definitions()


def test_the_chart_has_the_crds_of_today() -> None:
    """charts/hcctl-crds/crds is what its generator writes."""
    spec = importlib.util.spec_from_file_location("generate_crds", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    wanted = generate.files()
    assert set(generate.TARGET.glob("*.yaml")) == set(wanted)
    for path, text in wanted.items():
        assert path.read_text() == text, "run `python docs/reference/generate_crds.py`"


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, part in schema.get("properties", {}).items():
        found += nodes(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += nodes(schema[key], f"{path}[]")
    return found


@pytest.mark.parametrize("file", sorted(DEFINITIONS))
def test_schemas_are_structural(file: str) -> None:
    """Each value has one type or takes anything; nothing that Kubernetes does not know; patterns that Go can read."""
    (version,) = DEFINITIONS[file]["spec"]["versions"]
    for path, node in nodes(version["schema"]["openAPIV3Schema"]):
        assert ("type" in node) or node.get("x-kubernetes-preserve-unknown-fields"), path
        assert not {"$ref", "anyOf", "oneOf", "allOf", "const", "patternProperties", "title", "default"} & set(node), (
            path
        )
        assert not ("properties" in node and isinstance(node.get("additionalProperties"), dict)), path
        assert not re.search(r"\(\?[=!<]|\\[1-9]", node.get("pattern", "")), path
        if node.get("exclusiveMinimum") is not None:
            assert (node["exclusiveMinimum"], "minimum" in node) == (True, True), path


@pytest.mark.parametrize("file", sorted(DEFINITIONS))
def test_columns_are_in_the_schema(file: str) -> None:
    """A printer column names a field that there is."""
    (version,) = DEFINITIONS[file]["spec"]["versions"]
    paths = {path for path, _ in nodes(version["schema"]["openAPIV3Schema"])}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].partition("[")[0]
        assert path in paths or path.startswith(".metadata."), column


def test_own_fields_are_not_those_of_the_file() -> None:
    """What hcctl adds to the spec of an object is never a field of service.yaml."""
    assert not set(OWN_FIELDS) & set(HybridService.model_fields)


def test_a_field_of_two_types_is_refused() -> None:
    """What Kubernetes cannot say is found when the CRDs are made, not when they are installed."""
    with pytest.raises(ValueError, match="several types"):
        structural({"anyOf": [{"type": "string"}, {"type": "number"}]}, {})
