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

_NAMED = (
    r"(?:[\w.-]*(?:token|secret|passw(?:or)?d|passphrase|credential|api[_-]?key|private[_-]?key|access[_-]?key)[\w-]*)"
)
_PEM = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]+)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL)
_PATTERNS = (
    (re.compile(r"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(\b(?:set-)?cookie[\"']?\s*:\s*[\"']?)[^\r\n\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (
        re.compile(rf"(?i)(\b{_NAMED}[\"']?\s*[:=]\s*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"'}}\]]+)"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)(--?" + _NAMED + r")\s+(?!-)\S+"), rf"\1 {REDACTED}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"']+@"), rf"\1{REDACTED}@"),
    (re.compile(r"\bhcctl_[A-Za-z0-9_-]{20,}"), REDACTED),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), REDACTED),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"), REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"(?<![\w.-])/(?:home|Users)/[^/\s\"':,;]+"), "~"),
    (re.compile(r"(?<![\w.-])/root(?=/|\b)"), "~"),
)
_WHOLE_NAME = re.compile(rf"(?i){_NAMED}|(?:proxy-)?authorization|(?:set-)?cookie")


def is_secret_name(name: str) -> bool:
    """Whether a field or variable of this name holds a secret."""
    return _WHOLE_NAME.fullmatch(name) is not None


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
