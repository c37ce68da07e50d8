"""A small evaluator of IAM policy documents: what AWS would answer, for the part of the language that we use.

An operator that it does not know is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Context = Mapping[str, str]


def allowed(document: Mapping[str, Any], action: str, resource: str, context: Context | None = None) -> bool:
    """Whether an identity with this one policy may do it: some statement allows, none denies."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if _applies(statement, action, resource, context or {})
    }
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    unknown = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if unknown:
        raise NotImplementedError(f"statement with {sorted(unknown)}")
    return (
        any(matches(pattern.lower(), action.lower()) for pattern in as_list(statement["Action"]))
        # A trust policy is bound to its role and names no resource.
        and any(matches(pattern, resource) for pattern in as_list(statement.get("Resource", "*")))
        and _conditions_hold(statement.get("Condition", {}), context)
    )


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """All operators and all keys must hold, for one of the values each. A key that the request lacks does not hold."""
    for operator, keys in conditions.items():
        if operator not in _COMPARE:
            raise NotImplementedError(f"condition operator {operator}")
        for key, wanted in keys.items():
            found = context.get(key)
            if found is None or not any(_COMPARE[operator](value, found) for value in as_list(wanted)):
                return False
    return True


def matches(pattern: str, value: str) -> bool:
    """AWS's wildcards: * for any characters, ? for one."""
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern))
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def as_list(value: str | Sequence[str]) -> list[str]:
    """A field of a statement, which may be one text or several."""
    return [value] if isinstance(value, str) else list(value)


_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, found: wanted == found,
    "ArnEquals": matches,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
}
