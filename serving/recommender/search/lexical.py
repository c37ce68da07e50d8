"""What the letters say: how much of a query each title has, and BM25 over character n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
from numpy.typing import NDArray

from serving.recommender.search.spelling import Speller
from serving.recommender.search.text import grams, words

Scores = NDArray[np.float32]
UNKNOWN_WEIGHT = 0.8
"""Weight of a query's word that no title has, over that of a word that one title has."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the letters say about each item."""

    coverage: Scores
    """Share of the query's words that the title has, 0 to 1: rare ones weigh more, misspelt ones count a bit less."""
    grams: Scores
    """BM25 over character n-grams, over the best item's; 0 to 1."""


class Lexical:
    """An index over titles."""

    def __init__(self, titles: Sequence[str]) -> None:
        of_titles = [words(title) for title in titles]
        place: dict[str, int] = {}
        rows = [[place.setdefault(word, len(place)) for word in own] for own in of_titles]
        held = np.bincount(np.array([word for row in rows for word in set(row)], dtype=np.int64), minlength=len(place))
        self._rarity = np.log1p((len(titles) - held + 0.5) / (held + 0.5))
        self._unknown = UNKNOWN_WEIGHT * np.log1p((len(titles) - 0.5) / 1.5)
        self._speller = Speller(tuple(place))
        # A title without words has the one that stands behind the vocabulary, which nobody means.
        self._words = np.array([word for row in rows for word in row or [len(place)]], dtype=np.int64)
        self._starts = np.cumsum([0, *(len(row) or 1 for row in rows)])[:-1]
        self._bm25 = bm25s.BM25()
        self._bm25.index([grams(own) or [""] for own in of_titles], show_progress=False)

    def evidence(self, query: Sequence[str]) -> Evidence:
        """What the titles have of the words of a query, of which there is at least one."""
        asked = list(dict.fromkeys(query))
        weights, covered = np.empty(len(asked)), np.zeros(len(self._starts))
        for place, word in enumerate(asked):
            meant = self._speller.meant(word)
            known = meant.size and meant.max() > 0
            weights[place] = self._rarity[meant.argmax()] if known else self._unknown
            if known:
                covered += weights[place] * np.maximum.reduceat(np.append(meant, 0.0)[self._words], self._starts)
        return Evidence((covered / weights.sum()).astype(np.float32), self._grams(list(query)))

    def _grams(self, query: list[str]) -> Scores:
        known = [gram for gram in grams(query) if gram in self._bm25.vocab_dict]
        if not known:
            return np.zeros(len(self._starts), dtype=np.float32)
        scores = self._bm25.get_scores(known)
        return np.asarray(scores / max(float(scores.max()), 1e-9), dtype=np.float32)
