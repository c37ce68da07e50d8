"""What is asked of a recommender over HTTP: for whom, how many items, with or without those bought before.

{"user_id": "17850", "k": 5}            what this customer may buy next
{"history": ["85123A", "71053"]}        the same for a customer we do not know
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from serving.errors import InvalidInput
from serving.model import ModelRequest, Result

ROUTE = "/recommend"
DEFAULT_K, MAX_K = 10, 100
MAX_HISTORY = 1_000
BODY_FIELDS = frozenset({"user_id", "history", "k", "exclude_bought"})
QUERY_FIELDS = frozenset({"user_id", "k"})


@dataclass(frozen=True)
class ListRequest:
    """A valid request."""

    who: str | tuple[str, ...]
    """A user's id, or the items that somebody bought, oldest first."""
    k: int
    exclude_bought: bool


def parse(request: ModelRequest) -> ListRequest | Result:
    """The request, or the answer to one that is wrong."""
    if request["path"] != ROUTE:
        return {"status": 404, "error": f"no such path; POST to {ROUTE}"}
    try:
        body = request["body"]
        return _parsed(_from_query(request["query"]) if body is None else body)
    except InvalidInput as error:
        return error


def _parsed(body: JsonValue) -> ListRequest:
    if not isinstance(body, dict):
        raise InvalidInput('the body is not an object with "user_id" or "history"')
    if unknown := sorted(body.keys() - BODY_FIELDS):
        raise InvalidInput("unknown field", where=unknown[0][:64], next_step=f"use {', '.join(sorted(BODY_FIELDS))}")
    if ("user_id" in body) == ("history" in body):
        raise InvalidInput('give either "user_id" or "history"')
    k, exclude = body.get("k", DEFAULT_K), body.get("exclude_bought", False)
    if type(k) is not int or not 1 <= k <= MAX_K:
        raise InvalidInput(f"not a whole number from 1 to {MAX_K}", where="k")
    if type(exclude) is not bool:
        raise InvalidInput("not true or false", where="exclude_bought")
    return ListRequest(_user(body["user_id"]) if "user_id" in body else _history(body["history"]), k, exclude)


def _user(user_id: JsonValue) -> str:
    if not isinstance(user_id, str):
        raise InvalidInput("not a string", where="user_id")
    return user_id


def _history(history: JsonValue) -> tuple[str, ...]:
    if not isinstance(history, list) or len(history) > MAX_HISTORY:
        raise InvalidInput(f"not a list of at most {MAX_HISTORY} item ids", where="history")
    items = []
    for item_id in history:
        if not isinstance(item_id, str):
            raise InvalidInput("an item id is not a string", where="history")
        items.append(item_id)
    return tuple(items)


def _from_query(query: Mapping[str, str]) -> JsonValue:
    """`?user_id=17850&k=5` as the body it stands for."""
    if unknown := sorted(query.keys() - QUERY_FIELDS):
        raise InvalidInput(
            "unknown parameter", where=unknown[0][:64], next_step=f"use {', '.join(sorted(QUERY_FIELDS))}"
        )
    fields: dict[str, JsonValue] = dict(query)
    if "k" in query:
        if not (query["k"].isascii() and query["k"].isdigit() and len(query["k"]) <= 4):
            raise InvalidInput(f"not a whole number from 1 to {MAX_K}", where="k")
        fields["k"] = int(query["k"])
    return fields
