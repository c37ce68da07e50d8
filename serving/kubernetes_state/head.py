"""The head and the pages as ConfigMaps of one namespace, which holds the state of one project.

`hcctl-state` is the head: whose it is, the term and holder of the one writer, the index of the pages, and the entries
since. It is replaced by its `resourceVersion`, so of two writers one is told; a new leader begins its term by replacing
it, and whatever a former one still sends is refused, however late it comes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from serving.errors import HcctlError, InvalidInput
from serving.kubernetes_state.book import Contents, Row, Rows, pack, unpack
from serving.sites.kubernetes.answers import CONFIG_MAPS, Object

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi

HEAD = "hcctl-state"
FORM = "1"
"""Of what is stored here; another one was written by another hcctl."""
CALL_TIMEOUT_S = 5.0
PIECE_BYTES = 700_000
"""Of one ConfigMap; the API server takes 1 MiB of data in it."""
COMPONENT = "app.kubernetes.io/component"


class PageGone(HcctlError):
    """A page was replaced between the reading of the head and of the page."""


@dataclass(frozen=True)
class Head:
    """The head as it stands in the cluster."""

    term: int = 0
    """Grows by one with each leader."""
    holder: str = ""
    """The leader of the term."""
    contents: Contents = field(default_factory=Contents)
    version: str = ""
    """`resourceVersion`; empty if there is none yet."""


def labels(project: str, component: str) -> dict[str, str]:
    """Labels of everything that holds state."""
    return {
        "app.kubernetes.io/managed-by": "hcctl",
        "app.kubernetes.io/part-of": project,
        COMPONENT: component,
    }


class StateObjects:
    """Reads and writes head and pages.

    Args:
        api: access to the cluster.
        namespace: where the state lies.
        project: whose state it is.
    """

    def __init__(self, api: KubernetesApi, namespace: str, project: str) -> None:
        self._api = api
        self._namespace = namespace
        self._project = project
        self._numbers = count(1)

    def version(self) -> str:
        """`resourceVersion` of the head; empty if there is none."""
        found = self._api.get(CONFIG_MAPS, self._namespace, HEAD, timeout_s=CALL_TIMEOUT_S, metadata_only=True)
        return "" if found is None else str(found["metadata"]["resourceVersion"])

    def read(self) -> Head:
        """The head; that of an empty state if there is none.

        Raises:
            InvalidInput: the namespace holds another project's state.
            HcctlError: it is damaged, or of another hcctl.
        """
        found = self._api.get(CONFIG_MAPS, self._namespace, HEAD, timeout_s=CALL_TIMEOUT_S)
        return Head() if found is None else self._parsed(found)

    def write(self, head: Head) -> Head:
        """Put a head in the place of the one at its `version`; returns it with its new one.

        Raises:
            Conflict: another one stands there.
        """
        made = self._object(head)
        if head.version:
            stored = self._api.replace(CONFIG_MAPS, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
        else:
            stored = self._api.create(CONFIG_MAPS, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
        return Head(head.term, head.holder, head.contents, str(stored["metadata"]["resourceVersion"]))

    def write_page(self, rows: Mapping[str, Row], term: int) -> tuple[str, ...]:
        """Store a page under names that nothing else has; returns them."""
        packed = pack(dict(rows))
        names = []
        for start in range(0, len(packed), PIECE_BYTES):
            name = f"{HEAD}-{term}-{next(self._numbers)}"
            made = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "labels": labels(self._project, "state-page")},
                "immutable": True,
                "binaryData": {"rows": _encoded(packed[start : start + PIECE_BYTES])},
            }
            self._api.create(CONFIG_MAPS, self._namespace, made, timeout_s=CALL_TIMEOUT_S)
            names.append(name)
        return tuple(names)

    def read_page(self, names: tuple[str, ...]) -> Rows:
        """The rows of a page.

        Raises:
            PageGone: a piece is not there any more.
        """
        packed = b""
        for name in names:
            found = self._api.get(CONFIG_MAPS, self._namespace, name, timeout_s=CALL_TIMEOUT_S)
            if found is None:
                raise PageGone("a page of the state is gone", where=f"configmap {name}")
            packed += _decoded(found, "rows")
        rows: Rows = unpack(packed, f"configmap {names[0]}")
        return rows

    def remove_pages(self, names: Iterable[str]) -> None:
        """Delete pieces that no head names any more."""
        for name in names:
            self._api.delete(CONFIG_MAPS, self._namespace, name, timeout_s=CALL_TIMEOUT_S)

    def sweep(self, contents: Contents) -> None:
        """Delete the pieces that these contents do not name. Only right after a term has begun: nobody else writes."""
        named = {name for pieces in contents.index.values() for name in pieces}
        selector = ",".join(f"{key}={value}" for key, value in labels(self._project, "state-page").items())
        query = {"labelSelector": selector}
        found, _ = self._api.list_at(CONFIG_MAPS, self._namespace, query, timeout_s=CALL_TIMEOUT_S, metadata_only=True)
        self.remove_pages(sorted({str(item["metadata"]["name"]) for item in found} - named))

    def _object(self, head: Head) -> Object:
        entries = {f"entry-{number:06d}": _encoded(entry) for number, entry in enumerate(head.contents.entries)}
        index = pack({page: list(pieces) for page, pieces in head.contents.index.items()})
        version = {"resourceVersion": head.version} if head.version else {}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": HEAD, "labels": labels(self._project, "state-head"), **version},
            "data": {"form": FORM, "project": self._project, "term": str(head.term), "holder": head.holder},
            "binaryData": {"index": _encoded(index), **entries},
        }

    def _parsed(self, found: Object) -> Head:
        data, where = found.get("data") or {}, f"configmap {HEAD} in namespace {self._namespace}"
        if data.get("project") != self._project:
            raise InvalidInput(
                "the namespace holds the state of another project",
                where=where,
                why=f"it is that of {str(data.get('project'))[:60]!r}",
                next_step="give each project a namespace of its own in state.namespace",
            )
        if data.get("form") != FORM:
            raise HcctlError("the state was written by another hcctl", where=where, why=f"form {data.get('form')}")
        binary = found.get("binaryData") or {}
        index = unpack(_decoded(found, "index"), where)
        entries = tuple(_decoded(found, key) for key in sorted(binary) if key.startswith("entry-"))
        return Head(
            term=int(data["term"]),
            holder=data["holder"],
            contents=Contents({page: tuple(pieces) for page, pieces in index.items()}, entries),
            version=str(found["metadata"]["resourceVersion"]),
        )


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decoded(found: Object, key: str) -> bytes:
    try:
        return base64.b64decode(found["binaryData"][key], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        name = found["metadata"]["name"]
        raise HcctlError("the state in the cluster is damaged", where=f"configmap {name}", why=str(error)) from None
