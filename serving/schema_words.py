"""Say in plain words what is wrong with a file: the problem from pydantic, the fix from the schema.

Pure. The schema is the JSON schema of the model, so what is advised is what editors show.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from serving.declared import ClockTime, Day, ImportPath, KubernetesName, Name, UrlPath
from serving.spec_artefacts import BucketName, KeyPrefix, KmsKey, MountFolder, StorageUrl
from serving.spec_capacity import AwsName, QueueUrl, RegionName
from serving.spec_events import Moment, ZoneName
from serving.spec_kubernetes import ImageName, LabelKey, LabelValue, ResourceName

Schema = Mapping[str, Any]
Location = tuple[str | int, ...]


def _pattern(alias: Any) -> str:
    """The pattern of an `Annotated[str, StringConstraints(pattern=...)]`."""
    return next(str(part.pattern) for part in get_args(alias) if isinstance(part, StringConstraints))


_PATTERN_WORDS = {
    _pattern(Name): "a name of lower-case letters, digits and hyphens, at most 40, starting with a letter",
    _pattern(UrlPath): "a path that starts with /, of letters, digits and . _ ~ / -",
    _pattern(ImportPath): "an import path such as package.module:Class",
    _pattern(ClockTime): 'a time of day such as "06:30", in quotes',
    _pattern(Day): 'a date such as "2026-11-22", in quotes',
    _pattern(Moment): 'a moment with its distance from UTC, such as "2026-11-27T20:00+01:00", in quotes',
    _pattern(ZoneName): "a time zone such as Europe/Berlin",
    _pattern(KubernetesName): "a name of lower-case letters, digits and hyphens, at most 63",
    _pattern(LabelKey): "the key of a label such as example.org/name",
    _pattern(ResourceName): "the name of a device such as nvidia.com/gpu",
    _pattern(LabelValue): "the value of a label, of letters, digits and . _ -, at most 63",
    _pattern(ImageName): "an image such as registry.example.org/shop:1.4.0",
    _pattern(MountFolder): "a folder such as /var/lib/hcctl/versions",
    _pattern(BucketName): "the name of a bucket: lower-case letters, digits, . and -, 3 to 63 of them",
    _pattern(KeyPrefix): "a folder in a bucket such as shop/versions, without / at its ends",
    _pattern(StorageUrl): "an address such as https://storage.example.org:9000; http only on 127.0.0.1",
    _pattern(KmsKey): "the id or ARN of a key",
    _pattern(AwsName): "a name of letters, digits, _ and -, at most 100, starting with a letter or digit",
    _pattern(RegionName): "a region such as us-east-1",
    _pattern(QueueUrl): "a URL such as https://sqs.us-east-1.amazonaws.com/123456789012/reclaims",
}
_TYPE_WORDS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping of fields",
    "null": "nothing",
}


@dataclass(frozen=True)
class Problem:
    """The one problem to mend first."""

    path: Location
    why: str
    next_step: str
    others: int
    """Further problems in the same file."""


def explain(error: ValidationError, schema: Schema, line: Callable[[Location], int]) -> Problem:
    """The problem to mend first: the first by `line`, but missing fields last.

    A misspelt field is both an unknown one and a missing one; the unknown one has the better fix.
    """
    details = error.errors(include_url=False, include_context=True)
    first = min(details, key=lambda found: (found["type"] == "missing", line(found["loc"])))
    path, why, next_step = _words(first, schema)
    return Problem(path=path, why=why, next_step=next_step, others=len(details) - 1)


def _words(found: ErrorDetails, schema: Schema) -> tuple[Location, str, str]:
    """Field, problem and fix of one of pydantic's errors."""
    kind, path = found["type"], found["loc"]
    if path and path[-1] == "[key]":
        path = path[:-1]
        return path, f"{_shown(path[-1])} is not a good name", f"use {_PATTERN_WORDS[_pattern(Name)]}"
    field = str(path[-1]) if path else "the file"
    here = _at(schema, path)
    if kind == "extra_forbidden":
        known = list(resolve(_at(schema, path[:-1]), schema).get("properties", {}))
        close = difflib.get_close_matches(field, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"known fields: {', '.join(known)}"
        return path, f"there is no field {_shown(field)} here", hint
    if kind == "missing":
        return path, f"{field} is missing", f"add {field}: {expected(here, schema)}{_described(here)}"
    if kind == "value_error":
        return _rule(found, path, schema)
    wanted = expected(here, schema)
    quoted = "text, " if isinstance(found["input"], str) and not _wants_text(here, schema) else ""
    return path, f"{_shown(found['input'])} is {quoted}not {wanted}", f"set {field} to {wanted}"


def _rule(found: ErrorDetails, path: Location, schema: Schema) -> tuple[Location, str, str]:
    """A model's own rule: its text is `problem; fix`, and may begin with the field it is about."""
    said = str(found["ctx"]["error"])
    why, _, next_step = said.partition("; ")
    word = said.split(maxsplit=1)[0].rstrip(":,")
    properties = resolve(_at(schema, path), schema).get("properties", {})
    return ((*path, word) if word in properties else path), why, next_step


def _at(schema: Schema, path: Location) -> Schema:
    """The schema of the value at a location; empty where anything is allowed."""
    here: Schema = schema
    for part in path:
        inner = resolve(here, schema)
        if isinstance(part, int):
            here = inner.get("items", {})
        else:
            named = inner.get("patternProperties", {})
            here = inner.get("properties", {}).get(part) or next(iter(named.values()), {})
    return here


def resolve(here: Schema, schema: Schema) -> Schema:
    """The form that a reference or an optional value stands for."""
    for option in here.get("anyOf", ()):
        if option.get("type") != "null":
            return resolve(option, schema)
    if "$ref" in here:
        return dict(schema["$defs"][here["$ref"].removeprefix("#/$defs/")])
    return here


def expected(here: Schema, schema: Schema) -> str:
    """What may stand there, in words: `a whole number from 1 to 64`."""
    form = resolve(here, schema)
    choices = form.get("enum") or ([form["const"]] if "const" in form else [])
    if choices:
        return f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else str(choices[0])
    if form.get("pattern") in _PATTERN_WORDS:
        return _PATTERN_WORDS[form["pattern"]]
    words = _TYPE_WORDS.get(str(form.get("type")), "a value")
    return words + _range(form)


def _range(form: Schema) -> str:
    low, above, high = (form.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    fewest = form.get("minItems", form.get("minProperties", 0))
    most = form.get("maxItems", form.get("maxProperties"))
    if above is not None and high is not None:
        return f" above {above:g} and at most {_number(high)}"
    if high is not None:
        return f" from {low} to {_number(high)}"
    if low is not None:
        return f" of {low} or more"
    return f" with {fewest} to {most} entries" if most is not None else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _wants_text(here: Schema, schema: Schema) -> bool:
    form = resolve(here, schema)
    return form.get("type") == "string" or "enum" in form or "const" in form


def _described(here: Schema) -> str:
    """What the field means: the first sentence of its description."""
    text = str(here.get("description", "")).partition(". ")[0].rstrip(".")
    return f" - {text}" if text else ""


def _shown(value: Any) -> str:
    """A wrong value as the user wrote it, shortened."""
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"{value[:60]!r}" + ("..." if len(value) > 60 else "")
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)} values"
    return str(value)[:60]
