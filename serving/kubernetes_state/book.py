"""Durable rows on top of a store that can replace one object at a time: pages, and what was written since. Pure.

The Kubernetes API changes one object atomically, never two. So one object, the head, names everything that counts: the
pages, which are written once and never changed, and the entries since then, each the rows of one transaction. Replacing
the head is the commit. Now and then the entries are folded: new pages, then a head that names them and has no entries.
A crash between the two leaves pages that no head names, and nothing else.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from serving.errors import HcctlError

Row = list[JsonValue]
Change = tuple[str, str, Row | None]
"""Page, key and row; None: the row goes."""
Rows = Mapping[str, Row]

PAGES_CACHED = 64
"""Pages kept in memory once they were read; the oldest beyond are read again when they are needed."""
_GONE: Row = []
"""In the overlay, of a row that the page still has."""


@dataclass(frozen=True)
class Contents:
    """What a head says, apart from who wrote it."""

    index: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By page, the objects that hold its pieces."""
    entries: tuple[bytes, ...] = ()
    """Changes since the pages were written, packed."""


def pack(value: JsonValue) -> bytes:
    """A value, compressed; `unpack` finds damage by the checksum in it."""
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode("ascii"), 6)


def unpack(packed: bytes, where: str) -> Any:
    """What `pack` was given.

    Raises:
        HcctlError: it is damaged.
    """
    try:
        return json.loads(zlib.decompress(packed))
    except (zlib.error, ValueError) as error:
        raise HcctlError(
            "the state in the cluster is damaged",
            where=where,
            why=str(error)[:200],
            next_step="restore the namespace's ConfigMaps from a backup of the cluster",
        ) from None


class Book:
    """Rows by page and key: the pages of an index, and over them what was changed since.

    Args:
        load: reads a page by the names of its pieces.
    """

    def __init__(self, load: Callable[[tuple[str, ...]], Rows]) -> None:
        self._load = load
        self._index: Mapping[str, tuple[str, ...]] = {}
        self._overlay: dict[str, dict[str, Row]] = {}
        self._cache: OrderedDict[tuple[str, ...], Rows] = OrderedDict()
        self._undo: list[tuple[str, str, Row | None]] = []
        self._pending: list[Change] = []

    def reset(self, contents: Contents) -> None:
        """Show what a head says; pages that did not change stay in memory."""
        self._index, self._overlay = contents.index, {}
        for number, entry in enumerate(contents.entries):
            for page, key, row in unpack(entry, f"entry {number}"):
                self._overlay.setdefault(page, {})[key] = _GONE if row is None else row
        self._undo, self._pending = [], []

    def row(self, page: str, key: str) -> Row | None:
        """A row; None if there is none."""
        found = self._overlay.get(page, {}).get(key)
        if found is None and page in self._index:
            found = self._page(page).get(key)
        return found or None

    def rows(self, page: str) -> dict[str, Row]:
        """All rows of a page."""
        merged = {**(self._page(page) if page in self._index else {}), **self._overlay.get(page, {})}
        return {key: row for key, row in merged.items() if row}

    def pages(self, prefix: str) -> list[str]:
        """Names of the pages that begin so, in order; some may have no row any more."""
        return sorted(page for page in {*self._index, *self._overlay} if page.startswith(prefix))

    def change(self, page: str, key: str, row: Row | None) -> None:
        """Set or remove a row; part of the transaction until `settle` or `undo`."""
        overlay = self._overlay.setdefault(page, {})
        self._undo.append((page, key, overlay.get(key)))
        self._pending.append((page, key, row))
        overlay[key] = _GONE if row is None else row

    @property
    def pending(self) -> tuple[Change, ...]:
        """Changes of the transaction; of several to one row, the last."""
        latest = {(page, key): row for page, key, row in self._pending}
        return tuple((page, key, row) for (page, key), row in latest.items())

    def settle(self, contents: Contents | None = None) -> None:
        """The transaction is on disk; with `contents`, folded into pages."""
        self._undo, self._pending = [], []
        if contents is not None:
            self.reset(contents)

    def undo(self) -> None:
        """The transaction never was."""
        for page, key, former in reversed(self._undo):
            if former is None:
                del self._overlay[page][key]
            else:
                self._overlay[page][key] = former
        self._undo, self._pending = [], []

    def folded(self) -> Iterable[tuple[str, dict[str, Row]]]:
        """The pages that differ from those of the index, with their present rows."""
        return ((page, self.rows(page)) for page in sorted(self._overlay))

    def _page(self, page: str) -> Rows:
        pieces = self._index[page]
        if pieces not in self._cache:
            self._cache[pieces] = self._load(pieces)
            while len(self._cache) > PAGES_CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(pieces)
        return self._cache[pieces]
