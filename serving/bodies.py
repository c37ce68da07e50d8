"""Bodies of stored objects as JSON text, bounded; shared by all implementations of `Store`."""

from __future__ import annotations

import json
import math

from pydantic import JsonValue

from serving.errors import InvalidInput, RevisionConflict
from serving.state import Body

BODY_LIMIT_BYTES = 1 << 20
"""Longest body stored, as ASCII JSON. Weights and logs belong in files."""


def encode_body(body: Body, where: str) -> str:
    """The body as ASCII JSON.

    Raises:
        InvalidInput: it is larger than `BODY_LIMIT_BYTES`, or no JSON with finite numbers.
    """
    try:
        text = json.dumps(dict(body), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidInput(
            "only JSON with finite numbers can be stored",
            where=where,
            why=str(problem)[:200],
            next_step="correct the value",
        ) from problem
    if len(text) > BODY_LIMIT_BYTES:
        raise InvalidInput(
            "this is too large to be stored",
            where=where,
            why=f"it has {len(text)} bytes as JSON; at most {BODY_LIMIT_BYTES} are kept",
            next_step="make it smaller",
        )
    return text


def decode_body(text: str) -> dict[str, JsonValue]:
    """The body that `encode_body` wrote, as a new object."""
    body: dict[str, JsonValue] = json.loads(text)
    return body


def finite(value: float, where: str) -> float:
    """The number as a float.

    Raises:
        InvalidInput: it is NaN or infinite.
    """
    if not math.isfinite(value):
        raise InvalidInput(
            "only finite numbers can be stored", where=where, why=str(value), next_step="correct the value"
        )
    return float(value)


def decision_texts(decisions: tuple[tuple[str, Body], ...], *, keep: int) -> list[tuple[str, str]]:
    """(service, text) of decisions that are to be stored.

    Raises:
        InvalidInput: a body cannot be stored, or none of them would be kept.
    """
    if keep < 1:
        raise InvalidInput("at least one decision is kept", where="keep", why=str(keep))
    return [(service, encode_body(body, f"decision of {service}")) for service, body in decisions]


def refuse_changed(kind: str, name: str, revision: int, expected_revision: int | None) -> None:
    """Nothing, unless a document is at another revision than its writer expects.

    Raises:
        RevisionConflict: it is.
    """
    if expected_revision not in {None, revision}:
        raise RevisionConflict(
            "somebody else changed it meanwhile",
            where=f"{kind} {name}",
            why=f"it is at revision {revision}, not {expected_revision}",
            next_step="run the command again",
        )
