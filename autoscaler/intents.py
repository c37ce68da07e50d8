"""What commands asked for, read from the store: each document once per revision.

One that makes no sense (another hcctl wrote it, or a program that is none) is noted and set aside:
the service goes on as if it had not been asked for, and so do the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from autoscaler.snapshot import Hold, Wanted
from serving.project import HybridProject, on_declared_sites
from serving.spec import HybridService
from serving.state import Body, Document, Store

NOTE_LIMIT = 300

_WANTED, _HOLD = TypeAdapter(Wanted), TypeAdapter(Hold)
_Read = TypeVar("_Read")


class Intents:
    """Reads the intents of one project.

    Args:
        store: where they stand.
        project: declares the sites that a service may have.
        note: told (service, action, reason) of what is left out, once per revision.
    """

    def __init__(self, store: Store, project: HybridProject, note: Callable[[str, str, str], None]) -> None:
        self._store = store
        self._project = project
        self._note = note
        self._known: dict[tuple[str, str], tuple[int, object]] = {}

    def spec(self, document: Document) -> HybridService | None:
        """The declared service, on the sites that the project has; None when it is set aside."""

        def read(body: Body) -> HybridService | None:
            declared = HybridService.model_validate(body["spec"])
            if declared.name != document.name:
                raise ValueError(f"it is the declaration of {declared.name}")
            spec, lost = on_declared_sites(declared, self._project)
            if lost:
                verb = "set aside" if spec is None else "leave out"
                self._note(document.name, verb, f"hcctl.yaml declares no site {', '.join(lost)}")
            return spec

        return self._once("declaration", document, read)

    def wanted(self, document: Document) -> Wanted | None:
        """The version that was asked for."""

        def read(body: Body) -> Wanted | None:
            return _WANTED.validate_python(body["wanted"]) if body.get("wanted") else None

        return self._once("wanted version", document, read)

    def hold(self, service: str) -> Hold | None:
        """Replica counts set by hand."""
        return self._once("hold", self._store.intent("hold", service), _HOLD.validate_python)

    def abort(self, service: str) -> str | None:
        """The deployment that is to be aborted."""
        return self._once("abort", self._store.intent("abort", service), lambda body: str(body["deployment"]))

    def forget(self, service: str) -> None:
        """Drop what was read of a service that was removed."""
        self._known = {key: value for key, value in self._known.items() if key[1] != service}

    def _once(self, what: str, document: Document | None, read: Callable[[Body], _Read]) -> _Read | None:
        if document is None:
            return None
        revision, value = self._known.get((what, document.name), (0, None))
        if revision != document.revision:
            value = self._readable(what, document, read)
            self._known[what, document.name] = (document.revision, value)
        return value  # type: ignore[return-value]  # `what` names the type

    def _readable(self, what: str, document: Document, read: Callable[[Body], _Read]) -> _Read | None:
        try:
            return read(document.body)
        except (ValueError, KeyError) as error:
            self._note(document.name, "set aside", f"its {what} cannot be read: {_why(error)}")
            return None


def _why(error: ValueError | KeyError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:NOTE_LIMIT]
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
