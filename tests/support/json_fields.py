"""Fields of JSON objects by path, and the two patches that Kubernetes knows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]


class DoesNotFitError(ValueError):
    """A JSON patch names what is not there, or tests for what is not so."""


def leaves(found: Object, here: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Fields that are no mappings, each with its path; an empty mapping counts as one."""
    for key, value in found.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*here, key))
        else:
            yield (*here, key), value


def at(found: Object, path: Path) -> Any:
    """The field at a path; None if there is none."""
    here: Any = found
    for key in path:
        here = here.get(key) if isinstance(here, dict) else None
    return here


def put(found: Object, path: Path, value: Any) -> None:
    """Set a field, with the mappings on the way to it."""
    for key in path[:-1]:
        inner = found.get(key)
        found[key] = inner if isinstance(inner, dict) else {}
        found = found[key]
    found[path[-1]] = copy.deepcopy(value)


def remove(found: Object, path: Path) -> None:
    """Remove a field, and the mappings that are empty without it."""
    inner = found.get(path[0])
    if len(path) == 1:
        found.pop(path[0], None)
    elif isinstance(inner, dict):
        remove(inner, path[1:])
        if not inner:
            del found[path[0]]


def merged(found: Object, change: Object) -> Object:
    """JSON merge patch (RFC 7396)."""
    result = dict(found)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            result[key] = value
    return result


def json_patched(found: Object, operations: list[Object]) -> Object:
    """JSON patch (RFC 6902): test, add, replace, remove."""
    for operation in operations:
        *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        here: Any = found
        try:
            for part in parents:
                here = here[int(part)] if isinstance(here, list) else here[part]
            key = int(last) if isinstance(here, list) and last.isdigit() else last
            _operate(here, key, operation)
        except (KeyError, IndexError, TypeError) as error:
            raise DoesNotFitError(f"{operation['path']}: {error}") from None
    return found


def _operate(here: Any, key: Any, operation: Object) -> None:
    verb, value = operation["op"], operation.get("value")
    if verb == "test":
        if here[key] != value:
            raise DoesNotFitError(f"{operation['path']} is not {value!r}")
    elif verb == "remove":
        del here[key]
    elif verb == "replace" or isinstance(here, dict):
        if verb == "replace":
            here[key]  # it must be there
        here[key] = value
    elif key == "-":
        here.append(value)
    else:
        here.insert(key, value)
