"""What the meaning says: titles and queries as vectors of one encoder, compared by cosine.

All titles of a shop point into one corner of the encoder's space, and some lie near everything. Both hide what tells
items apart, so the mean of the catalogue is taken out (Mu and Viswanath, "All-but-the-Top", ICLR 2018) and an item
loses a little of how near its neighbours are (Conneau et al., "Word Translation Without Parallel Data", ICLR 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.recommender.search.encoder import Encoder, Vectors
from serving.recommender.search.text import words

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

NEIGHBOURS = 10
CROWDING = 0.15
"""Share of the mean cosine to its nearest neighbours that an item loses."""
COMPARED = 4_096
"""Items whose neighbourhood stands for the catalogue's: bounds the work in a large one."""
AT_ONCE = 1_024
EXACT_UP_TO = 20_000
"""Items up to which all are compared with a query: measured, see docs/decisions/0016-search.md."""
PACKAGING = frozenset({"set", "pack", "s", "asst", "assorted"})
"""What says how something is sold, not what it is."""


def title_vectors(encoder: Encoder, titles: list[str]) -> Vectors:
    """A vector of length 1 for each title: the mean of the title's and of that of its words without packaging."""
    both = encoder.encode([*titles, *map(plain, titles)])
    return unit(both[: len(titles)] + both[len(titles) :])


def plain(title: str) -> str:
    """The title without numbers and words of packaging; as it is if nothing is left."""
    told = [word for word in words(title) if word not in PACKAGING and not any(sign.isdigit() for sign in word)]
    while told and told[0] == "of":
        del told[0]
    return " ".join(told) or title


def unit(vectors: Vectors) -> Vectors:
    """Each row at length 1; a row of zeros stays."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


class Semantic:
    """An index over vectors of titles."""

    def __init__(self, vectors: Vectors, exact_up_to: int = EXACT_UP_TO) -> None:
        self._mean = vectors.mean(axis=0)
        self._vectors = unit(vectors - self._mean)
        self._crowding = CROWDING * _nearness(self._vectors)
        self._nearest = None
        if len(vectors) > exact_up_to:
            from usearch.index import Index

            self._nearest = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
            self._nearest.add(np.arange(len(vectors)), self._vectors, threads=1)

    @property
    def exact(self) -> bool:
        """Whether a query is compared with every item."""
        return self._nearest is None

    def scores(self, query: Vectors, rows: Rows | None = None) -> Scores:
        """Cosine of one vector with each item, or those of `rows` (sorted, each once), less its share for a crowd."""
        towards = unit(query[None, :] - self._mean)[0]
        if rows is None or len(rows) == len(self._vectors):
            return np.asarray(self._vectors @ towards - self._crowding)
        return np.asarray(self._vectors[rows] @ towards - self._crowding[rows])

    def nearest(self, query: Vectors, count: int) -> Rows:
        """About the `count` items nearest to one vector, in no order; by the graph of Malkov and Yashunin (2018)."""
        if self._nearest is None:
            return np.arange(len(self._vectors))
        found = self._nearest.search(unit(query[None, :] - self._mean)[0], min(count, len(self._vectors)))
        return np.sort(np.asarray(found.keys, dtype=np.int64))


def _nearness(vectors: Vectors) -> Scores:
    """The mean cosine of each to its nearest neighbours, among at most `COMPARED` of them."""
    others = vectors[np.unique(np.linspace(0, len(vectors) - 1, min(COMPARED, len(vectors))).astype(np.int64))]
    count = min(NEIGHBOURS, len(others) - 1)
    if count < 1:
        return np.zeros(len(vectors), dtype=np.float32)
    found = []
    for first in range(0, len(vectors), AT_ONCE):
        near = np.partition(vectors[first : first + AT_ONCE] @ others.T, len(others) - count - 1, axis=1)
        nearest = near[:, -count - 1 :]
        # Itself is the nearest where it is among them: the highest one is left out.
        found.append((nearest.sum(axis=1) - nearest.max(axis=1)) / count)
    return np.concatenate(found).astype(np.float32)
