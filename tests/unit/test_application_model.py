"""The protocol of models: requests in, one answer each out, whatever the model does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.errors import InvalidInput
from serving.model import ModelRequest, Result, failure, import_target, parse_request, predict, to_answer

SECRET = "secret detail"


class Scripted:
    """A model that does what it is told, and counts its calls."""

    def __init__(self, script: Callable[[list[ModelRequest]], Sequence[Result]]) -> None:
        self.script = script
        self.batches: list[int] = []

    def predict_batch(self, requests: list[ModelRequest]) -> Sequence[Result]:
        self.batches.append(len(requests))
        return self.script(requests)


def requests(*paths: str) -> list[ModelRequest]:
    """Requests by path."""
    return [ModelRequest(path=path, query={}, body=None) for path in paths]


def answers(batch: list[ModelRequest]) -> list[Result]:
    """Each path as its answer; `/bad` makes the whole batch raise."""
    if any(request["path"] == "/bad" for request in batch):
        raise RuntimeError(SECRET)
    return [{"path": request["path"]} for request in batch]


def test_one_call_for_a_good_batch() -> None:
    """A batch is one call."""
    model = Scripted(answers)
    assert predict(model, requests("/a", "/b")) == [{"path": "/a"}, {"path": "/b"}]
    assert model.batches == [2]


def test_one_bad_request_fails_alone() -> None:
    """When a batch raises, its requests are tried one by one, and only the guilty one fails."""
    first, bad, last = predict(Scripted(answers), requests("/a", "/bad", "/c"))
    assert (first, last) == ({"path": "/a"}, {"path": "/c"})
    assert isinstance(bad, RuntimeError)


@pytest.mark.parametrize(
    "results", [[], [{}], [{}, {}, {}], None, 5], ids=["none", "too-few", "too-many", "null", "number"]
)
def test_wrong_number_of_results_is_the_models_failure(results: Any) -> None:
    """Results that do not match the requests are given to nobody."""
    found = predict(Scripted(lambda batch: results if len(batch) > 1 else "nonsense!"), requests("/a", "/b"))
    assert [type(result) for result in found] == [ValueError, ValueError]


def test_own_results_stay_in_order() -> None:
    """Exceptions that a model returns belong to their request."""
    results: list[Result] = [{"a": 1}, InvalidInput("no such item"), {"b": 2}]
    assert predict(Scripted(lambda _: results), requests("/a", "/b", "/c")) == results


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [({"a": 1}, 200, {"a": 1}), ({"a": 1, "status": 404}, 404, {"a": 1}), ({}, 200, {}), ({"status": 503}, 503, {})],
)
def test_status_is_taken_from_the_result(result: Result, status: int, body: object) -> None:
    """`status` is the HTTP status, and not part of the body."""
    answer = to_answer(result)
    assert (answer.status, json.loads(answer.body)) == (status, body)


@pytest.mark.parametrize(
    "result",
    [
        {"status": 99},
        {"status": 600},
        {"status": True},
        {"status": "200"},
        {"score": float("nan")},
        {"score": {1}},
        [1],
        "text",
        None,
    ],
    ids=repr,
)
def test_no_answer_is_made_from_nonsense(result: Any) -> None:
    """What is no JSON object with an HTTP status is a failure, never a broken answer."""
    with pytest.raises((TypeError, ValueError)):
        to_answer(result)


def test_failures_tell_only_what_is_meant_for_the_caller() -> None:
    """The caller learns the text of his own mistake; of the service's only an id to ask about."""
    mine = failure(InvalidInput("no such item", where="item 7"), "id-1")
    assert (mine.status, json.loads(mine.body)) == (400, {"error": "no such item: item 7", "request_id": "id-1"})
    ours = failure(RuntimeError(SECRET), "id-2")
    assert (ours.status, json.loads(ours.body)) == (500, {"error": "internal error", "request_id": "id-2"})


@given(st.binary())
@example(b"[" * 100_000)
@example(b"1" * 5_000)
@example(b'{"a": NaN}')
@example(b"-Infinity")
@example(b"\xff\xfe{\x00}\x00")
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    """Every body is JSON, or the caller's mistake; nothing else is raised."""
    try:
        request = parse_request("/", [], body)
    except InvalidInput:
        return
    json.dumps(request["body"], allow_nan=False)


def test_request_as_the_model_sees_it() -> None:
    """Path, query and body arrive; of a repeated parameter the last; no body is None."""
    assert parse_request("/a", [("x", "1"), ("x", "2")], b'{"n": [1]}') == {
        "path": "/a",
        "query": {"x": "2"},
        "body": {"n": [1]},
    }
    assert parse_request("/", [], b"")["body"] is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("no_such_package.module:Model", "no module 'no_such_package'"),
        ("json.no_such:Model", "no module 'json.no_such'"),
        ("json:NoSuch", "has no 'NoSuch'"),
    ],
)
def test_missing_import_is_named(path: str, text: str) -> None:
    """An import path that leads nowhere says which part is missing."""
    with pytest.raises(InvalidInput, match=text) as error:
        import_target(path)
    assert error.value.where == path


def test_import_finds_the_object() -> None:
    """An import path gives what stands there."""
    assert import_target("json:dumps") is json.dumps
