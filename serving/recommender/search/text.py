"""Text as words and character n-grams, the same for titles and queries. Pure."""

from __future__ import annotations

import unicodedata

WORDS_READ = 32
"""Words of a text that count; a query of a pasted page is answered by its beginning."""
CHARS_READ = 2_000
GRAM = 3
APOSTROPHES = frozenset("'`\u2018\u2019\u02bc")
SELECTORS = range(0xFE00, 0xFE10)
"""Variation selectors: how an emoji is drawn."""


def words(text: str) -> list[str]:
    """The words of `text`, in order, of any script: without case, accents, punctuation and apostrophes.

    An emoji is a word. At most `WORDS_READ`, from the first `CHARS_READ` characters.
    """
    plain = unicodedata.normalize("NFKD", text[:CHARS_READ]).casefold()
    return "".join(map(_sign, plain)).split()[:WORDS_READ]


def grams(text_words: list[str], size: int = GRAM) -> list[str]:
    """Character n-grams of the words with the blanks between and around them, n being `size`; none of no word.

    Those across a blank say which words stand side by side.
    """
    return word_grams(" ".join(text_words), size) if text_words else []


def word_grams(word: str, size: int) -> list[str]:
    """The n-grams of one word with its borders: `mug` gives ` mu`, `mug`, `ug ` for 3."""
    bordered = f" {word} "
    return [bordered[start : start + size] for start in range(len(bordered) - size + 1)]


def _sign(sign: str) -> str:
    kind = unicodedata.category(sign)
    if unicodedata.combining(sign) or kind == "Cf" or sign in APOSTROPHES or ord(sign) in SELECTORS:
        return ""
    if kind[0] in "LNM":
        return sign
    return f" {sign} " if kind == "So" else " "
