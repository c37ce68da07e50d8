"""Which words of a catalogue a typed word may mean: the word itself, or one that a slip of the finger away is it.

Candidates share character bigrams with the typed word; of the best of them the edit distance is computed, where a
swap of two neighbouring letters is one edit (optimal string alignment, after Damerau, 1964).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.recommender.search.text import word_grams

SHORTLIST = 40
"""Words of the catalogue that are compared letter by letter."""
LEAST_SHARED = 0.2
"""Dice coefficient of bigrams below which a word is not even compared."""
ONE_EDIT, TWO_EDITS = 0.9, 0.7
"""How sure a word is that is so many edits away."""
ONE_EDIT_FROM, TWO_EDITS_FROM = 3, 6
"""Letters that both words need for it: of a shorter one too little is left."""
KNOWN_WORD = 0.8
"""Factor for other words where the typed one is in the catalogue: it may be a slip all the same."""
BIGRAM = 2


class Speller:
    """Knows a vocabulary, whose words are different."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._words = tuple(vocabulary)
        self._place = {word: place for place, word in enumerate(self._words)}
        bigrams = [set(word_grams(word, BIGRAM)) for word in self._words]
        holders: dict[str, list[int]] = {}
        for place, of in enumerate(bigrams):
            for gram in sorted(of):
                holders.setdefault(gram, []).append(place)
        self._holders = {gram: np.array(places) for gram, places in holders.items()}
        self._count = np.array([len(of) for of in bigrams], dtype=np.int64)

    def meant(self, word: str) -> NDArray[np.float32]:
        """How surely each word of the vocabulary is meant by `word`: 1 for itself, 0 for no chance."""
        sure = np.zeros(len(self._words), dtype=np.float32)
        known = self._place.get(word)
        for place in self._shortlist(word):
            sure[place] = _sureness(word, self._words[place]) * (1.0 if known is None else KNOWN_WORD)
        if known is not None:
            sure[known] = 1.0
        return sure

    def _shortlist(self, word: str) -> list[int]:
        own = set(word_grams(word, BIGRAM))
        shared = np.zeros(len(self._words), dtype=np.int64)
        for gram in own:
            if gram in self._holders:
                shared[self._holders[gram]] += 1
        alike = 2 * shared / (len(own) + self._count)
        best = np.argsort(-alike, kind="stable")[:SHORTLIST]
        return [int(place) for place in best if alike[place] > LEAST_SHARED]


def edits(ours: str, theirs: str, most: int) -> int:
    """Letters added, left out, changed or swapped with the next to make one of the other; `most + 1` for more."""
    if abs(len(ours) - len(theirs)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(theirs) + 1))
    for row, sign in enumerate(ours, start=1):
        line = [row]
        for column, other in enumerate(theirs, start=1):
            cost = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + (sign != other))
            if row > 1 and column > 1 and sign == theirs[column - 2] and ours[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        if min(line) > most:
            return most + 1
        before, last = last, line
    return min(last[-1], most + 1)


def _sureness(typed: str, word: str) -> float:
    shorter = min(len(typed), len(word))
    most = (shorter >= ONE_EDIT_FROM) + (shorter >= TWO_EDITS_FROM)
    apart = edits(typed, word, most)
    return (1.0, ONE_EDIT, TWO_EDITS)[apart] if apart <= most else 0.0
