"""Queries of people who know what they look for: words of a title with one typo, or with one word dropped. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.recommender.search.text import words

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TYPO_FROM = 4
"""Letters that a word needs to be misspelt."""
Slip = Literal["typo", "dropped"]


@dataclass(frozen=True)
class Question:
    """A query, and the items that would answer it."""

    query: str
    answers: frozenset[int]


def known_items(titles: Sequence[str], slip: Slip, count: int, seed: int) -> list[Question]:
    """Queries for titles drawn by the seed: two or three of its words in order, one misspelt; or two of three drawn."""
    rng = random.Random(seed)
    found: list[Question] = []
    while len(found) < count:
        item = rng.randrange(len(titles))
        of_title = words(titles[item])
        drawn = rng.choice((2, 3)) if slip == "typo" else 3
        if len(of_title) < drawn:
            continue
        typed = [of_title[place] for place in sorted(rng.sample(range(len(of_title)), drawn))]
        if slip == "dropped":
            typed.pop(rng.randrange(len(typed)))
        else:
            long = [place for place, word in enumerate(typed) if len(word) >= TYPO_FROM]
            if not long:
                continue
            place = rng.choice(long)
            typed[place] = misspelt(typed[place], rng)
        found.append(Question(" ".join(typed), frozenset({item})))
    return found


def misspelt(word: str, rng: random.Random) -> str:
    """The word with one letter changed, left out or added, or two swapped; never the word itself."""
    while True:
        place, slip = rng.randrange(len(word)), rng.randrange(4)
        head, letter, tail = word[:place], word[place], word[place + 1 :]
        typed = (
            head + rng.choice(LETTERS) + tail,
            head + tail,
            head + rng.choice(LETTERS) + letter + tail,
            head + tail[:1] + letter + tail[1:],
        )[slip]
        if typed != word:
            return typed
