"""What is asked of a recommender over HTTP: for whom, how many items, with or without those bought before.

{"user_id": "17850", "k": 5}            what this customer may buy next
{"history": ["85123A", "71053"]}        the same for a customer we do not know
"""

from __future__ import annotations

from collections.abc import Mapping, Set
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
        return _parsed(from_query(request["query"], QUERY_FIELDS) if body is None else body)
    except InvalidInput as error:
        return error


def _parsed(body: JsonValue) -> ListRequest:
    if not isinstance(body, dict):
        raise InvalidInput('the body is not an object with "user_id" or "history"')
    if unknown := sorted(body.keys() - BODY_FIELDS):
        raise InvalidInput("unknown field", where=unknown[0][:64], next_step=f"use {', '.join(sorted(BODY_FIELDS))}")
    return ListRequest(who_of(body), k_of(body), flag_of(body, "exclude_bought"))


def who_of(body: Mapping[str, JsonValue]) -> str | tuple[str, ...]:
    """A user's id, or the items that somebody bought.

    Raises:
        InvalidInput: it is not one of the two.
    """
    if ("user_id" in body) == ("history" in body):
        raise InvalidInput('give either "user_id" or "history"')
    return _user(body["user_id"]) if "user_id" in body else _history(body["history"])


def k_of(body: Mapping[str, JsonValue]) -> int:
    """How many items are wanted.

    Raises:
        InvalidInput: it is no such number.
    """
    k = body.get("k", DEFAULT_K)
    if type(k) is not int or not 1 <= k <= MAX_K:
        raise InvalidInput(f"not a whole number from 1 to {MAX_K}", where="k")
    return k


def flag_of(body: Mapping[str, JsonValue], field: str) -> bool:
    """True or false; false if it is not there.

    Raises:
        InvalidInput: it is something else.
    """
    flag = body.get(field, False)
    if type(flag) is not bool:
        raise InvalidInput("not true or false", where=field)
    return flag


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


def from_query(query: Mapping[str, str], known: Set[str]) -> JsonValue:
    """`?user_id=17850&k=5` as the body it stands for.

    Raises:
        InvalidInput: a parameter is not `known`, or k is no number.
    """
    if unknown := sorted(query.keys() - known):
        raise InvalidInput("unknown parameter", where=unknown[0][:64], next_step=f"use {', '.join(sorted(known))}")
    fields: dict[str, JsonValue] = dict(query)
    if "k" in query:
        if not (query["k"].isascii() and query["k"].isdigit() and len(query["k"]) <= 4):
            raise InvalidInput(f"not a whole number from 1 to {MAX_K}", where="k")
        fields["k"] = int(query["k"])
    return fields
