"""YAML without its surprises: bounded, one document, each key once, and a line for every value.

Readers of YAML 1.1 and 1.2 disagree on what `no`, `012`, `1e3` or `12:30` mean. A file that
says what runs where must not mean two things, so such a value is refused with the way to write
it. Anchors, aliases and tags are refused as well: they are not needed, and aliases can grow
without bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue

from serving.errors import InvalidInput

MAX_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_DIGITS = 30

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the file to a value."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_AMBIGUOUS = (
    (re.compile(r"(?i)yes|no|on|off"), "some readers take it for true or false", 'true, false or "{0}"'),
    (
        re.compile(r"[-+]?0[0-9_]+"),
        "some readers take it for an octal number",
        'it without the zeros, or "{0}"',
    ),
    (
        re.compile(r"[-+]?0(x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+)"),
        "it is not decimal",
        'a decimal number or "{0}"',
    ),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.]*"), "digits are not grouped with _", 'it without _, or "{0}"'),
    (re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+"), "some readers take it for text", 'it in full, or "{0}"'),
    (re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?"), "some readers count it in sixties", '"{0}"'),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "some readers take it for a date", '"{0}"'),
    (re.compile(r"[-+]\.[0-9]+"), "some readers take it for text", 'a 0 before the point, or "{0}"'),
    (re.compile(r"<<|="), "some readers give it a meaning of its own", '"{0}"'),
    (re.compile(r"(?i)[-+]?\.(inf|nan)"), "numbers must be finite", "a finite number"),
)
"""Plain scalars that do not mean the same everywhere: pattern, reason, what to write instead."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass
class Source:
    """A parsed file: its data, and the line on which each value stands."""

    name: str
    """How the file is shown in errors."""
    data: dict[str, JsonValue] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Line of a value, or of the nearest one around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: Path) -> str:
        """`file:line field.path` of a value."""
        return place(self.name, self.line(path), path)


def place(name: str, line: int, path: Path) -> str:
    """`file:line field.path`; list positions count from 0."""
    return f"{name}:{line} {'.'.join(map(str, path))}".rstrip()


def parse(content: bytes, *, name: str) -> Source:
    """Parse one YAML document whose top is a mapping.

    Raises:
        InvalidInput: too large, not UTF-8, not YAML, empty, several documents, or ambiguous.
    """
    if len(content) > MAX_BYTES:
        raise _refused(name, 1, (), f"the file is larger than {MAX_BYTES:,} bytes", "shorten it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(name, line, (), "the text is not UTF-8", "save the file as UTF-8") from None
    builder = _Builder(name)
    try:
        builder.read(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _syntax(name, error) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        why = " ".join(str(error).split())[:200]
        raise _refused(name, 1, (), why, "remove the characters that YAML does not allow") from None
    return builder.source


def _syntax(name: str, error: yaml.MarkedYAMLError) -> InvalidInput:
    """A syntax error at the line to mend: where an open bracket or quote began, else where it broke."""
    opened = error.context_mark if error.context and "block" not in error.context else None
    mark = opened or error.problem_mark
    why = " ".join(str(part) for part in (error.context, error.problem) if part)
    next_step = "correct indentation, quotes or brackets there"
    return _refused(name, mark.line + 1 if mark else 1, (), why, next_step)


def _refused(name: str, line: int, path: Path, why: str, next_step: str) -> InvalidInput:
    return InvalidInput("the file cannot be read", where=place(name, line, path), why=why, next_step=next_step)


class _Builder:
    """Builds data and line numbers from YAML's events, within bounds."""

    def __init__(self, name: str) -> None:
        self.source = Source(name)
        self._values = 0

    def read(self, events: Iterator[yaml.Event]) -> None:
        documents = 0
        for event in events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                raise self._problem(event, (), "the file holds several documents", "keep one; split the file")
            first = next(events)
            data = self._value(first, events, ())
            if data is None:
                raise self._problem(first, (), "the file is empty", "start from `hcctl init`")
            if not isinstance(data, dict):
                raise self._problem(first, (), "the file is not a mapping", "write `field: value` lines")
            self.source.data = data
        if not documents:
            raise _refused(self.source.name, 1, (), "the file is empty", "start from `hcctl init`")

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> JsonValue:
        self._check(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[JsonValue] = []
            for item in events:
                if isinstance(item, yaml.SequenceEndEvent):
                    break
                at = (*path, len(items))
                self.source.lines[at] = _line(item)
                items.append(self._value(item, events, at))
            return items
        if not isinstance(event, yaml.ScalarEvent):
            raise TypeError(f"YAML does not put {event} here")
        return self._scalar(event, path)

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, JsonValue]:
        made: dict[str, JsonValue] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            self._check(event, path)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._problem(event, path, "a key is not a plain word", "write `field: value`")
            key = self._string(event, path)
            at = (*path, key)
            if key == "<<":
                raise self._problem(event, at, "merge keys are not used here", "write the fields out")
            if key in made:
                first = self.source.lines[at]
                raise self._problem(event, at, f"it stands twice, first on line {first}", "keep one of them")
            self.source.lines[at] = _line(event)
            made[key] = self._value(next(events), events, at)
        return made

    def _check(self, event: yaml.Event, path: Path) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._problem(event, path, f"the file holds more than {MAX_VALUES:,} values", "shorten it")
        if len(path) > MAX_DEPTH:
            raise self._problem(event, path[:3], f"values are nested deeper than {MAX_DEPTH} levels", "flatten them")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._problem(
                event,
                path,
                "anchors (&) and aliases (*) are not used here",
                "write the value out, or quote it",
            )
        if getattr(event, "tag", None):
            raise self._problem(event, path, "tags (!) are not used here", "remove it, or quote the value")

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> JsonValue:
        text = self._string(event, path)
        if not event.implicit[0]:
            return text  # Quoted, so text for every reader.
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        for pattern, reason, instead in _AMBIGUOUS:
            if pattern.fullmatch(text) and not _FLOAT.fullmatch(text):
                raise self._problem(
                    event, path, f"{text[:40]} is ambiguous: {reason}", f"write {instead.format(text[:40])}"
                )
        if _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
            return self._number(event, text, path)
        return text

    def _number(self, event: yaml.ScalarEvent, text: str, path: Path) -> int | float:
        if len(text) > MAX_DIGITS:
            raise self._problem(event, path, f"the number is longer than {MAX_DIGITS} characters", "shorten it")
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
        if not math.isfinite(number):
            raise self._problem(event, path, f"{text} is too large", "write a smaller number")
        return number

    def _string(self, event: yaml.ScalarEvent, path: Path) -> str:
        text = str(event.value)
        if _UNPRINTABLE.search(text):
            raise self._problem(event, path, "the text holds a control character", "remove it")
        return text

    def _problem(self, event: yaml.Event, path: Path, why: str, next_step: str) -> InvalidInput:
        return _refused(self.source.name, _line(event), path, why, next_step)


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1
