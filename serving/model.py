"""The protocol between a replica and the model it runs. Light: imports neither ray nor torch.

Three kinds of model run behind one service (`HybridService.model.import_path`):

1. A Serve deployment, or an application bound from several: used as it is; it speaks HTTP itself.
2. A `torch.nn.Module` class, built as `Module(**config)`; see `serving.torch_model`.
3. A class with `load` and `predict_batch`, the `BatchModel` below.

`config` is the version's manifest config, overridden by the service's.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

from pydantic import JsonValue

from serving.errors import InvalidInput

VERSION_HEADER = "X-Hcctl-Version"
"""Carried by every answer of a replica: the version that made it."""


class ModelRequest(TypedDict):
    """One request as a model sees it."""

    path: str
    """Path below the service, e.g. `/recommend`."""
    query: dict[str, str]
    """Query parameters; of a repeated one the last."""
    body: JsonValue
    """The JSON body; None without one."""


Result = Mapping[str, JsonValue] | Exception
"""Answer to one request: a JSON object, of which `status` (200 to 599) becomes the HTTP status.

An `InvalidInput` answers 400 with its text; any other exception 500 without it.
"""


class Predictor(Protocol):
    """A loaded model. One instance serves one replica, one batch at a time."""

    def predict_batch(self, requests: list[ModelRequest]) -> Sequence[Result]:
        """Answer all requests, in order, each with its own result.

        Runs in a thread of its own. If it raises with several requests, each of them is tried
        alone, so one bad request does not fail its neighbours.
        """
        ...


class BatchModel(Predictor, Protocol):
    """What a model class offers."""

    @classmethod
    def load(cls, directory: Path, config: dict[str, JsonValue]) -> Predictor:
        """Build the model from the verified files in `directory`.

        An exception fails the version: its text reaches `hcctl status`.
        """
        ...


@dataclass(frozen=True)
class Answer:
    """An HTTP answer with a JSON body."""

    status: int
    body: bytes


def import_target(import_path: str) -> Any:
    """The object at `package.module:attribute`.

    Raises:
        InvalidInput: there is no such module or attribute.
    """
    module_name, _, attribute = import_path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"no module {error.name!r}",
            where=import_path,
            next_step="put it in the project folder or install it; correct model.import_path",
        ) from None
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InvalidInput(
            f"module {module_name!r} has no {attribute!r}",
            where=import_path,
            next_step="correct model.import_path",
        ) from None


def parse_request(path: str, query: Iterable[tuple[str, str]], body: bytes) -> ModelRequest:
    """A request as the model sees it.

    Raises:
        InvalidInput: the body is not JSON. NaN and infinities are not JSON.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant) if body else None
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not valid JSON") from None
    return ModelRequest(path=path, query=dict(query), body=value)


def predict(model: Predictor, requests: list[ModelRequest]) -> list[Result]:
    """Results of a batch: one per request, whatever the model does."""
    try:
        results = list(model.predict_batch(requests))
        if len(results) != len(requests):
            raise ValueError(f"predict_batch gave {len(results)} results for {len(requests)} requests")
    except Exception as error:
        if len(requests) == 1:
            return [error]
        return [predict(model, [request])[0] for request in requests]
    return results


def to_answer(result: Result) -> Answer:
    """The HTTP answer for a result.

    Raises:
        Exception: the result, if it is one.
        TypeError, ValueError: it is no JSON object, or its status no HTTP status.
    """
    if isinstance(result, Exception):
        raise result
    body = dict(result)
    status = body.pop("status", 200)
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError(f"the model gave status {status!r}, which is not 200 to 599")
    return Answer(status, json.dumps(body, allow_nan=False, separators=(",", ":")).encode())


def failure(error: Exception, request_id: str) -> Answer:
    """The HTTP answer for a failure: the text of an `InvalidInput`, of others nothing but the id."""
    status, text = (400, error.one_line()) if isinstance(error, InvalidInput) else (500, "internal error")
    body = json.dumps({"error": text, "request_id": request_id}, separators=(",", ":"))
    return Answer(status, body.encode())


def _refuse_constant(text: str) -> JsonValue:
    raise ValueError(f"{text} is not JSON")
