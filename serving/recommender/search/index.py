"""The search of a shop: words and meaning to items, filtered, and ordered for the user if wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from serving.errors import InvalidInput
from serving.recommender.search import storage
from serving.recommender.search.catalogue import Filter, Item, Shelf
from serving.recommender.search.encoder import Encoder, MiniLM, Vectors
from serving.recommender.search.fusion import alike, fused
from serving.recommender.search.lexical import Evidence, Lexical
from serving.recommender.search.personal import Personal
from serving.recommender.search.semantic import EXACT_UP_TO, Rows, Semantic, title_vectors
from serving.recommender.search.text import words

ANYTHING = Filter()
CANDIDATES = 200
"""Of a large catalogue, so many by letters and by meaning are looked at; more if more are asked for."""
PERSONAL_DEPTH = 50
"""So many of the best are put into the user's order; more if more are asked for."""


@dataclass(frozen=True)
class Hit:
    """One line of the list."""

    item_id: str
    score: float
    """Up to 1 by meaning, up to 2 by letters, and up to the weight of the user's order above that."""
    coverage: float
    """Share of the query's words that are in the title, misspelt ones counting less."""


class SearchIndex:
    """Immutable: `with_items` gives another one. Made by `build`, or from files by `load`."""

    def __init__(
        self, items: Sequence[Item], vectors: Vectors, encoder: Encoder, *, exact_up_to: int = EXACT_UP_TO
    ) -> None:
        self.items = tuple(items)
        self.vectors, self._encoder, self._exact_up_to = vectors, encoder, exact_up_to
        self._shelf = Shelf(self.items)
        self._lexical = Lexical([item.title for item in self.items])
        self._semantic = Semantic(vectors, exact_up_to)

    @classmethod
    def build(cls, items: Iterable[Item], encoder: Encoder | None = None, **sizes: Any) -> Self:
        """The index over `items`; `MiniLM` encodes unless another encoder is given.

        Raises:
            InvalidInput: there is no item, or two have one id.
        """
        listed, encoder = tuple(items), encoder or MiniLM()
        _check(listed)
        return cls(listed, title_vectors(encoder, [item.title for item in listed]), encoder, **sizes)

    def with_items(self, items: Iterable[Item]) -> Self:
        """The index that also has `items`, which replace those of the same id; only new titles are encoded.

        Raises:
            InvalidInput: two of them have one id.
        """
        later = tuple(items)
        if not later:
            return self
        _check(later)
        known = {item.title: row for row, item in enumerate(self.items)}
        merged = tuple(({item.item_id: item for item in self.items} | {item.item_id: item for item in later}).values())
        new = sorted({item.title for item in merged} - known.keys())
        place = known | {title: len(self.items) + row for row, title in enumerate(new)}
        vectors = np.concatenate([self.vectors, title_vectors(self._encoder, new)])
        rows = [place[item.title] for item in merged]
        return type(self)(merged, vectors[rows], self._encoder, exact_up_to=self._exact_up_to)

    def search(
        self, query: str, k: int = 10, *, where: Filter = ANYTHING, personal: Personal | None = None
    ) -> list[Hit]:
        """At most k items, best first; equals in the order of the catalogue.

        Raises:
            InvalidInput: the query has no word, or k is not at least 1.
        """
        if k < 1:
            raise InvalidInput("not at least 1", where="k")
        asked = words(query)
        if not asked:
            raise InvalidInput("nothing to search for", where="query", why="it has no word", next_step="type one")
        passing = np.flatnonzero(self._shelf.passing(where))
        letters = self._lexical.evidence(asked)
        vector = self._vector(asked)
        depth = k if personal is None else max(k, PERSONAL_DEPTH)
        rows = self._candidates(letters, vector, passing, depth)
        found = Evidence(letters.coverage[rows], letters.grams[rows])
        meaning = np.zeros(len(rows), dtype=np.float32) if vector is None else self._semantic.scores(vector, rows)
        scores, like = fused(found, meaning), np.flatnonzero(alike(found, meaning))
        best = like[np.argsort(-scores[like], kind="stable")[:depth]]
        hits = [
            Hit(self.items[rows[place]].item_id, float(scores[place]), float(found.coverage[place])) for place in best
        ]
        return (hits if personal is None else personal.ordered(hits))[:k]

    def save(self, directory: Path) -> None:
        """Write the index into `directory`, which exists: safetensors and JSON.

        Raises:
            HcctlError: the disk is full, read-only or failing.
        """
        storage.save(directory, self._encoder.name, self.items, self.vectors)

    @classmethod
    def load(cls, directory: Path, encoder: Encoder | None = None, **sizes: Any) -> Self:
        """Read what `save` wrote; it finds the same.

        Raises:
            CorruptArtefact: a file is missing, damaged or does not fit the others or the encoder; `where` is its name.
        """
        encoder = encoder or MiniLM()
        items, vectors = storage.load(directory, encoder)
        return cls(items, vectors, encoder, **sizes)

    def _vector(self, asked: Sequence[str]) -> Vectors | None:
        """The meaning of a query, if it has a word that is no sign."""
        if not any(word.isalnum() for word in asked):
            return None
        return np.asarray(self._encoder.encode([" ".join(asked)])[0])

    def _candidates(self, letters: Evidence, vector: Vectors | None, passing: Rows, depth: int) -> Rows:
        """The rows worth a score: all that pass where that is cheap, else the best by letters and by meaning."""
        if self._semantic.exact or len(passing) <= self._exact_up_to:
            return passing
        wanted = max(CANDIDATES, 4 * depth)
        strength = letters.coverage[passing] + letters.grams[passing]
        by_letters = passing[np.argpartition(-strength, wanted - 1)[:wanted]]
        if vector is None:
            return np.sort(by_letters)
        share = math.ceil(wanted * len(self.items) / len(passing))  # so that about `wanted` of them pass
        near = self._semantic.nearest(vector, share)
        return np.union1d(by_letters, near[np.isin(near, passing, assume_unique=True)])


def _check(items: Sequence[Item]) -> None:
    if not items:
        raise InvalidInput("nothing to search in", where="items", why="there is none")
    seen: set[str] = set()
    for item in items:
        if item.item_id in seen:
            raise InvalidInput("two items have one id", where="item_id", why=repr(item.item_id[:80]))
        seen.add(item.item_id)
