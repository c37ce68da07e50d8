"""What an API server takes into an object: numbers as Go writes them, CRD schemas, the bounds of ConfigMaps."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.support.json_fields import Object

CRDS = Path(__file__).parents[2] / "charts" / "hcctl-crds" / "crds"
CONFIG_MAP_BYTES = 1 << 20


class InvalidObjectError(Exception):
    """The object is refused; `strict` if for fields that its schema does not know."""

    def __init__(self, message: str, *, strict: bool = False) -> None:
        super().__init__(message)
        self.strict = strict


def admitted(plural: str, new: Object, old: Object | None) -> Object:
    """The object as it is stored, or InvalidObjectError."""
    new = plain_numbers(new)
    if plural == "configmaps":
        _config_map(new, old)
    schema = _schemas().get(plural)
    if schema is not None:
        _fits(new, schema)
    return new


def plain_numbers(value: Any) -> Any:
    """Go has no 10.0: a float without a fraction is a whole number when it is read again."""
    if isinstance(value, dict):
        return {key: plain_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain_numbers(part) for part in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def _config_map(new: Object, old: Object | None) -> None:
    held = [*(new.get("data") or {}).values()]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in held)
    size += sum(len(base64.b64decode(text, validate=True)) for text in (new.get("binaryData") or {}).values())
    if size > CONFIG_MAP_BYTES:
        raise InvalidObjectError(f"ConfigMap is invalid: []: Too long: may not be more than {CONFIG_MAP_BYTES} bytes")
    content = ("data", "binaryData", "immutable")
    if old is not None and old.get("immutable") and any(new.get(key) != old.get(key) for key in content):
        raise InvalidObjectError("ConfigMap is invalid: data: Forbidden: field is immutable when `immutable` is set")


def _fits(new: Object, schema: Object) -> None:
    checker = jsonschema.Draft202012Validator(schema)
    for error in sorted(checker.iter_errors(new), key=lambda found: list(map(str, found.path))):
        path = ".".join(map(str, error.path))
        if error.validator == "additionalProperties":
            raise InvalidObjectError(f'strict decoding error: unknown field at "{path}": {error.message}', strict=True)
        raise InvalidObjectError(f"is invalid: {path}: Invalid value: {error.message}")


@cache
def _schemas() -> dict[str, Object]:
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        spec = yaml.safe_load(file.read_text())["spec"]
        (version,) = spec["versions"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[spec["names"]["plural"]] = schema
    return found


def closed(form: Object) -> Object:
    """A structural schema in the words of JSON schema, with unknown fields forbidden."""
    made = {key: value for key, value in form.items() if not key.startswith("x-kubernetes") and key != "nullable"}
    for bound in ("Minimum", "Maximum"):
        if made.pop(f"exclusive{bound}", False):
            made[f"exclusive{bound}"] = made.pop(bound.lower())
    if form.get("nullable"):
        made["type"] = [form["type"], "null"]  # an enumeration refuses null all the same, as Kubernetes does
    if "properties" in form:
        made["properties"] = {name: closed(part) for name, part in form["properties"].items()}
        if not form.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    if isinstance(form.get("additionalProperties"), dict):
        made["additionalProperties"] = closed(form["additionalProperties"])
    if "items" in form:
        made["items"] = closed(form["items"])
    return made
