"""Takes secrets out of texts that leave the machine or stay in logs. Pure.

By form (PEM blocks, authorization values, keys of known makes, passwords in addresses), by the name that
a value is given (`token: ...`), by value for secrets that are known, and home folders. What is a
secret by none of these is not found: texts are kept short and free of bodies in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

REDACTED = "[redacted]"

# Every repetition that may fail after it is bounded: hostile text costs time in proportion to its length.
_WORDS = r"(?:token|secret|passw(?:or)?d|passphrase|credential|(?:api|private|access)[_-]?key)"
_NAMED = rf"{_WORDS}[\w-]{{0,40}}"
_SCHEME = r"\b[a-z][a-z0-9+.-]{0,20}"
_PEM = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]{1,40})-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL)
_PATTERNS = (
    (re.compile(r"(?i)(\bauthorization[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?)[^\r\n\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(\bcookie[\"']?[ \t]{0,8}:[ \t]{0,8}[\"']?)[^\r\n\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b(bearer|basic)[ \t]{1,8}[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (
        re.compile(
            rf"(?i)({_NAMED}[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}})"
            rf"(?:\"[^\"\n]{{0,4000}}\"|'[^'\n]{{0,4000}}'|[^\s,;&\"'}}\]]+)"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(rf"(?i)(-[\w-]{{0,40}}{_NAMED})[ \t]{{1,8}}(?!-)\S+"), rf"\1 {REDACTED}"),
    (re.compile(rf"({_SCHEME}://)[^\s/@\"']{{1,500}}@"), rf"\1{REDACTED}@"),
    (re.compile(r"\bhcctl_[A-Za-z0-9_-]{20,}"), REDACTED),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), REDACTED),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"), REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"(?<![\w.-])/(?:home|Users)/[^/\s\"':,;]+"), "~"),
    (re.compile(r"(?<![\w.-])/root(?=/|\b)"), "~"),
)
_SECRET_FIELD = re.compile(rf"(?i){_WORDS}|authorization|cookie")


def is_secret_name(name: str) -> bool:
    """Whether a field or variable of this name holds a secret."""
    return _SECRET_FIELD.search(name) is not None


def redact(text: str, *, known: Iterable[str] = (), home: str = "") -> str:
    """The text without secrets.

    Args:
        text: any text, of one line or many.
        known: secrets by value; shorter than 8 characters are passed over, as they stand in other words.
        home: this user's home folder, shown as `~`.
    """
    for secret in sorted((one for one in known if len(one) >= 8), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = _PEM.sub(REDACTED, text)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text.replace(home, "~") if len(home) > 1 else text


def redact_value(value: JsonValue, *, known: Iterable[str] = (), home: str = "") -> JsonValue:
    """The value with every text in it redacted, and everything under a secret's name."""
    known = tuple(known)
    if isinstance(value, str):
        return redact(value, known=known, home=home)
    if isinstance(value, list):
        return [redact_value(part, known=known, home=home) for part in value]
    if isinstance(value, Mapping):
        return {
            redact(key, known=known, home=home): REDACTED
            if is_secret_name(key) and isinstance(part, (str, list, dict))
            else redact_value(part, known=known, home=home)
            for key, part in value.items()
        }
    return value
