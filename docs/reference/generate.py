"""Write docs/reference/spec.md from the schema: `python docs/reference/generate.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.loading import Kind, json_schema
from serving.schema_words import expected, resolve

TARGET = Path(__file__).with_name("spec.md")
FILES: tuple[tuple[Kind, str], ...] = (("HybridService", "service.yaml"), ("HybridProject", "hcctl.yaml"))
HEAD = """# Fields of service.yaml and hcctl.yaml

Made from the models in `serving/spec*.py` and `serving/project.py`; `hcctl schema` prints the same as JSON schema.
Times are in seconds (`_s`), money is in US dollars (`usd`), shares go from 0 to 1. Unknown fields are errors.
`hcctl init` writes both files with every field explained.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for kind, file in FILES:
        schema = json_schema(kind)
        parts.append(f"\n## {file}\n")
        parts += _sections(schema, schema, "")
    return "".join(parts)


def _sections(form: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """One table for the object at a path, then those of the objects in it."""
    if path:
        yield f"\n### `{path}`\n"
    if form.get("description"):
        yield f"\n{_line(form['description'])}\n"
    yield "\n| field | value | default | meaning |\n|---|---|---|---|\n"
    inner = []
    for name, field in form["properties"].items():
        value, below = _value(name, field, schema, path)
        inner += below
        default = "required" if name in form.get("required", ()) else _default(field, below)
        yield f"| `{name}` | {value} | {default} | {_line(field.get('description', ''))} |\n"
    for below_path, below_form in inner:
        yield from _sections(below_form, schema, below_path)


def _value(
    name: str, field: Mapping[str, Any], schema: Mapping[str, Any], path: str
) -> tuple[str, list[tuple[str, Mapping[str, Any]]]]:
    """What may stand there, in words, and the objects below with their paths."""
    here = f"{path}.{name}".removeprefix(".")
    form = resolve(field, schema)
    if "properties" in form:
        return f"see `{here}`", [(here, form)]
    named = next(iter(form.get("patternProperties", {}).values()), None)
    if named is not None and "properties" not in resolve(named, schema):
        return f"by name, {expected(named, schema)}", []
    if named is not None:
        return f"by name, see `{here}.NAME`", [(f"{here}.NAME", resolve(named, schema))]
    item = resolve(form.get("items", {}), schema)
    if "properties" in item:
        return f"{expected(field, schema)}, see `{here}[]`", [(f"{here}[]", item)]
    return _line(expected(field, schema)), []


def _default(field: Mapping[str, Any], below: list[tuple[str, Mapping[str, Any]]]) -> str:
    """The default as YAML; objects and computed ones are told where they are described."""
    if "default" in field:
        return "unset" if field["default"] is None else f"`{json.dumps(field['default'])}`"
    return "see there" if below else "empty"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
