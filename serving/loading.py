"""Load `service.yaml` and `hcctl.yaml`: a checked model, or one error that names line and field.

pydantic finds the problems; `explain` turns the one to mend first into plain words, with the
fix taken from the schema. The rest are only counted: one thing to do at a time.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import JsonValue, ValidationError

from serving import strict_yaml
from serving.declared import Model
from serving.errors import InvalidInput
from serving.paths import PROJECT_FILE, SERVICE_FILE
from serving.project import HybridProject, conflicts
from serving.schema_words import explain
from serving.spec import HybridService

Kind = Literal["HybridService", "HybridProject"]

_MODELS: dict[str, type[HybridService] | type[HybridProject]] = {
    "HybridService": HybridService,
    "HybridProject": HybridProject,
}
_FILES = {"HybridService": ("service", SERVICE_FILE), "HybridProject": ("project", PROJECT_FILE)}
_M = TypeVar("_M", bound=Model)
_Where = Callable[[strict_yaml.Path], str]


def load_service(path: Path, *, project: HybridProject | None = None) -> HybridService:
    """The service declared in the file, checked against `project` if given.

    Raises:
        InvalidInput: the file cannot be read or is not valid; `where` is `file:line field`.
    """
    return to_service(read(path), project=project)


def load_project(path: Path) -> HybridProject:
    """The project declared in the file.

    Raises:
        InvalidInput: the file cannot be read or is not valid; `where` is `file:line field`.
    """
    return to_project(read(path))


def parse_service(data: Mapping[str, JsonValue]) -> HybridService:
    """The service of a stored JSON body.

    Raises:
        InvalidInput: the body is not valid; `where` is the field.
    """
    return _build(HybridService, data, "the stored service", _dotted, lambda _: 0)


def read(path: Path) -> strict_yaml.Source:
    """The file's data with the line of each value; what it declares is not looked at yet.

    Raises:
        InvalidInput: the file cannot be read, or is not plain YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(strict_yaml.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            "the file cannot be read",
            where=short_path(path),
            why=(os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)),
            next_step="make one with `hcctl init`, or name another one",
        ) from None
    return strict_yaml.parse(content, name=short_path(path))


def to_service(source: strict_yaml.Source, *, project: HybridProject | None = None) -> HybridService:
    """The service that a file declares; see `load_service`."""
    _refuse_other_kind(source, "HybridService")
    service = _build(HybridService, source.data, "the service file", source.where, source.line)
    if project is not None:
        validate_pair(service, project, where=source.where)
    return service


def to_project(source: strict_yaml.Source) -> HybridProject:
    """The project that a file declares; see `load_project`."""
    _refuse_other_kind(source, "HybridProject")
    return _build(HybridProject, source.data, "the project file", source.where, source.line)


def _dotted(path: strict_yaml.Path) -> str:
    return ".".join(map(str, path))


def validate_pair(service: HybridService, project: HybridProject, *, where: _Where = _dotted) -> None:
    """Refuse a service that contradicts its project; `where` says where a field of it stands.

    Raises:
        InvalidInput: the first conflict.
    """
    found = conflicts(service, project)
    if not found:
        return
    dotted, said = found[0]
    why, _, next_step = said.partition("; ")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    field = tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
    raise InvalidInput("the service does not fit the project", where=where(field), why=why + more, next_step=next_step)


def short_path(path: Path) -> str:
    """The path as a user in the working folder would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@cache
def _schema(kind: str) -> dict[str, Any]:
    return _MODELS[kind].model_json_schema(by_alias=True)


def json_schema(kind: Kind) -> dict[str, Any]:
    """JSON schema of a file's kind, for editors and for docs/reference/spec.md."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _schema(kind)


def _refuse_other_kind(source: strict_yaml.Source, wanted: Kind) -> None:
    found = source.data.get("kind")
    if found == wanted:
        return
    role, usual = _FILES[wanted]
    if isinstance(found, str) and found in _FILES:
        other_role, other_file = _FILES[found]
        why = f"this is a {found}, the {other_role} file ({other_file}); a {wanted} is wanted"
        next_step = f"name the {role} file, usually {usual}"
    else:
        close = difflib.get_close_matches(str(found), get_args(Kind), n=1)
        why = "kind is missing" if found is None else f"there is no kind {found!r}"[:80]
        next_step = f"write `kind: {close[0] if close else wanted}` at the top"
    raise InvalidInput(f"the {role} file is not valid", where=source.where(("kind",)), why=why, next_step=next_step)


def _build(
    model: type[_M],
    data: Mapping[str, JsonValue],
    what: str,
    where: _Where,
    line: Callable[[strict_yaml.Path], int],
) -> _M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = explain(error, _schema(model.__name__), line)
        more = f" (and {problem.others} more)" if problem.others else ""
        raise InvalidInput(
            f"{what} is not valid",
            where=where(problem.path),
            why=problem.why + more,
            next_step=problem.next_step,
        ) from None
