"""PromQL, read by a parser: which metrics an expression asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser

PARTS = ("lhs", "rhs", "expr", "args", "param", "vector_selector", "vs")
"""Attributes of the parser's nodes that hold further nodes."""


def metrics(expression: str) -> set[str]:
    """Names of the metrics in an expression.

    Raises:
        ValueError: it is no PromQL.
    """
    return set(_names(promql_parser.parse(expression)))


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name
    for part in PARTS:
        below = getattr(node, part, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None and not isinstance(each, str | int | float):
                yield from _names(each)
