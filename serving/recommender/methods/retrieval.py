"""The items whose vectors are nearest to a user's: exactly in small catalogues, by usearch's graph in large ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.recommender.metrics import NO_ITEM, top
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Histories

VectorTable = NDArray[np.float32]
"""[rows, dimensions]."""

EXACT_BELOW = 30_000
"""Items. Below, comparing with every item is as fast as the graph; measured by `python -m benchmarks deep`."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 32, 128, 256
"""Of the graph: links per item, and how many items are held in view while it is built and searched."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """A model whose score is the product of two vectors."""

    items: VectorTable
    users: Callable[[Histories], VectorTable]


class ItemIndex(Protocol):
    """Finds items by vector."""

    def nearest(self, users: VectorTable, count: int) -> Index:
        """[users, count]: the items with the largest product, best first; `NO_ITEM` fills up a short row."""


class ExactIndex:
    """Compares with every item."""

    def __init__(self, items: VectorTable) -> None:
        self._items = items

    def nearest(self, users: VectorTable, count: int) -> Index:
        return top((users @ self._items.T).astype(np.float64), count)


class GraphIndex:
    """A hierarchical navigable small world graph (Malkov and Yashunin, TPAMI 2020), by usearch.

    Built by one thread in the order of the items: the same vectors, the same graph.
    """

    def __init__(self, items: VectorTable) -> None:
        from usearch.index import Index as Graph

        self._graph = Graph(
            ndim=items.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )
        self._graph.add(np.arange(len(items)), items, threads=1)

    def nearest(self, users: VectorTable, count: int) -> Index:
        found = np.full((len(users), count), NO_ITEM, dtype=np.int64)
        for row, user in enumerate(users):
            keys = self._graph.search(user, count, threads=1).keys
            found[row, : len(keys)] = keys
        return found


def index(items: VectorTable, exact_below: int = EXACT_BELOW) -> ItemIndex:
    """The index for a catalogue of this size."""
    return ExactIndex(items) if len(items) < exact_below else GraphIndex(items)
