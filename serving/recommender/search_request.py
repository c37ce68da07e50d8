"""What is asked of a search over HTTP: which words, what must be true of an item, and for whom.

{"query": "tea set", "k": 5}                                          what fits the words
{"query": "tea", "categories": ["kitchen"], "max_price": 10}          only items that pass
{"query": "tea", "user_id": "17850"}                                  in the order of this customer's taste
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from serving.errors import InvalidInput
from serving.model import ModelRequest
from serving.recommender.list_request import flag_of, from_query, k_of, who_of
from serving.recommender.search.catalogue import Filter

ROUTE = "/search"
FIELDS = frozenset({"query", "k", "categories", "brands", "min_price", "max_price", "in_stock", "user_id", "history"})
QUERY_FIELDS = frozenset({"query", "k", "user_id"})
MAX_PRICE = 1e12
MAX_NAMES = 100
"""Categories or brands in one request."""


@dataclass(frozen=True)
class SearchRequest:
    """A valid request."""

    query: str
    k: int
    where: Filter
    who: str | tuple[str, ...] | None
    """A user's id, or what somebody bought; None for nobody's taste."""


def parse(request: ModelRequest) -> SearchRequest | InvalidInput:
    """The request, or what is wrong with it."""
    try:
        body = request["body"]
        return _parsed(from_query(request["query"], QUERY_FIELDS) if body is None else body)
    except InvalidInput as error:
        return error


def _parsed(body: JsonValue) -> SearchRequest:
    if not isinstance(body, dict):
        raise InvalidInput('the body is not an object with "query"')
    if unknown := sorted(body.keys() - FIELDS):
        raise InvalidInput("unknown field", where=unknown[0][:64], next_step=f"use {', '.join(sorted(FIELDS))}")
    query = body.get("query")
    if not isinstance(query, str):
        raise InvalidInput("not a string", where="query")
    where = Filter(
        categories=_names(body, "categories"),
        brands=_names(body, "brands"),
        min_price=_price(body, "min_price"),
        max_price=_price(body, "max_price"),
        in_stock=flag_of(body, "in_stock"),
    )
    who = who_of(body) if body.keys() & {"user_id", "history"} else None
    return SearchRequest(query, k_of(body), where, who)


def _names(body: dict[str, JsonValue], field: str) -> frozenset[str] | None:
    if field not in body:
        return None
    names = body[field]
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_NAMES:
        raise InvalidInput(f"not a list of 1 to {MAX_NAMES} names", where=field)
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) < len(names):
        raise InvalidInput("a name is not a string", where=field)
    return frozenset(texts)


def _price(body: dict[str, JsonValue], field: str) -> float | None:
    if field not in body:
        return None
    price = body[field]
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= MAX_PRICE:
        raise InvalidInput(f"not a number from 0 to {MAX_PRICE:g}", where=field)
    return float(price)
