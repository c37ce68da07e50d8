"""Hostile inputs for a parser: raw bytes, and valid inputs broken in the ways that break parsers.

Seven shapes: bytes of any kind; words of the language in any order; a kept input with bytes overwritten,
with words replaced, with a part of its tree replaced (JSON and YAML), with a span repeated until it is
long or deep, or spliced with another one.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz.target import Target

WORDS = (
    *("", "0", "-1", "1", "00", "-0", "1e309", "1e-320", "0.1", "NaN", "Infinity", "null", "true", "~", "-", "=", "."),
    *("9" * 20, "9" * 400, "9" * 5_000, str(1 << 31), str((1 << 63) - 1), str(1 << 64), "-9223372036854775809"),
    *("a" * 41, "a" * 70_000, "../../etc/passwd", "/", "%00", "%[env(HOME)]", "${HOME}", "$(id)", "`id`", ";", "\\"),
    *(
        "\0",
        "\n",
        "\r\n",
        "\t",
        "\x1b[2J",
        "\ufeff",
        "\u202e",
        "\u0665",
        "\U0001f6d2",
        "é",
        "'",
        '"',
        ",",
        ":",
        "#",
        "{}",
    ),
)
"""Words that parsers of any language stumble over: extreme numbers, long text, control characters, commands."""

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 1.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), 1 << 63, 1 << 64, 10**400),
    *("", "a", "\0", "\ud800", "é" * 50, "a" * 70_000, "NaN", "1", [], {}, [None], {"": None}, [[]] * 300, {"a": {}}),
)

_WORD = re.compile(rb"[A-Za-z0-9_.+-]+")
_LONGEST = 60_000

Place = tuple[str | int, ...]


def hostile(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs for a target, from its corpus and words; short and simple ones first, so that failures shrink."""
    corpus = target.corpus
    kept, number = st.sampled_from(corpus), st.integers(0, 1 << 16)
    words = st.one_of(st.sampled_from([*target.tokens, *WORDS]), st.text(max_size=8)).map(_encoded)
    shapes = [
        st.binary(max_size=200),
        st.lists(words, max_size=12).map(b"".join),
        st.builds(
            _overwritten, kept, st.lists(st.tuples(number, st.integers(0, 8), st.binary(max_size=8)), max_size=4)
        ),
        st.builds(_reworded, kept, st.lists(st.tuples(number, words), min_size=1, max_size=3)),
        st.builds(_repeated, kept, number, st.integers(1, 40), st.sampled_from([2, 17, 300, 5_000])),
        st.builds(_spliced, kept, kept, number, number),
    ]
    trees = [tree for tree in map(_tree, corpus) if tree is not None]
    if trees:
        values = st.one_of(st.sampled_from(VALUES), st.sampled_from(target.tokens or ("",)), st.integers(), st.floats())
        edits = st.lists(
            st.tuples(number, st.sampled_from(["set", "drop", "rename", "twice"]), values), min_size=1, max_size=3
        )
        shapes.append(st.builds(_replanted, st.sampled_from(trees), edits))
    return st.one_of(shapes)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _overwritten(data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    for number, length, new in edits:
        start = number % (len(data) + 1)
        data = data[:start] + new + data[start + length :]
    return data


def _reworded(data: bytes, edits: Sequence[tuple[int, bytes]]) -> bytes:
    for number, word in edits:
        found = list(_WORD.finditer(data))
        if found:
            start, end = found[number % len(found)].span()
            data = data[:start] + word + data[end:]
    return data


def _repeated(data: bytes, number: int, length: int, times: int) -> bytes:
    start = number % (len(data) + 1)
    span = data[start : start + length]
    return data[:start] + span * min(times, _LONGEST // max(1, len(span))) + data[start + length :]


def _spliced(first: bytes, second: bytes, cut: int, begin: int) -> bytes:
    return first[: cut % (len(first) + 1)] + second[begin % (len(second) + 1) :]


def _tree(data: bytes) -> Any:
    """What a JSON or YAML input holds, if that is a list or mapping."""
    try:
        found = yaml.safe_load(data) if b"\0" not in data else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) and found else None


def _replanted(tree: Any, edits: Sequence[tuple[int, str, Any]]) -> bytes:
    made = copy.deepcopy(tree)
    for number, how, value in edits:
        places = list(_places(made, ()))
        if places:
            *above, last = places[number % len(places)]
            here = made
            for part in above:
                here = here[part]
            _edit(here, last, how, value)
    return json.dumps(made).encode("utf-8", "surrogatepass")


def _edit(here: Any, last: str | int, how: str, value: Any) -> None:
    if how == "drop":
        del here[last]
    elif how == "rename" and isinstance(here, dict):
        here[str(value)] = here.pop(last)
    elif how == "twice" and isinstance(here, list):
        here.append(here[int(last)])
    else:
        here[last] = value


def _places(here: Any, above: Place) -> Iterator[Place]:
    inner = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
    for key, value in inner:
        yield (*above, key)
        yield from _places(value, (*above, key))
