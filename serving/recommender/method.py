"""What differs between closed-form models: what is learned from purchases, and how histories are scored with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.artefact import first_problem
from serving.errors import InvalidInput
from serving.recommender.orders.purchases import Histories, Matrix, Purchases

Arrays = Mapping[str, NDArray[Any]]
Scorer = Callable[[Histories], Matrix]
"""Histories to scores [rows, items], not negative where there is nothing to say: 0."""


class Settings(BaseModel):
    """The settings of a method, checked when it is made and stored with what it learned."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Chosen = TypeVar("Chosen", bound=Settings)


def changed(usual: Chosen, settings: Mapping[str, Any]) -> Chosen:
    """The usual settings with some of them changed; `plan.epochs` is a setting of a setting.

    Raises:
        InvalidInput: there is no such setting, or not such a value; names it.
    """
    values = usual.model_dump(mode="json")
    for name, value in settings.items():
        *outer, last = name.split(".")
        inner = values
        for step in outer:
            if not isinstance(inner.get(step), dict):
                raise _no_setting(usual, name, f"{step[:80]} has no settings of its own")
            inner = inner[step]
        inner[last] = value
    try:
        return type(usual).model_validate_json(json.dumps(values))
    except ValidationError as problem:
        raise _no_setting(usual, *first_problem(problem)) from None


def _no_setting(usual: Settings, name: str, why: str) -> InvalidInput:
    known = ", ".join(field for field in type(usual).model_fields if field != "kind")
    return InvalidInput(
        "the model has no such setting",
        where=f"setting {name[:80]}",
        why=why,
        next_step=f"settings are {known}" if known else "leave it out",
    )


class Method(Protocol):
    """A method with its settings. Holds no data."""

    def learn(self, past: Purchases) -> Arrays:
        """What takes long to compute, as arrays to be stored; empty if nothing does."""

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        """Make ready to score.

        Raises:
            ValueError: `learned` is not what `learn` gives for `past`.
        """


def expect(learned: Arrays, shapes: Mapping[str, tuple[type[np.generic], tuple[int, ...]]]) -> None:
    """Check that the arrays are those named, each of its type and shape, and finite.

    Raises:
        ValueError: one is not.
    """
    if learned.keys() != shapes.keys():
        raise ValueError(f"its arrays are not {', '.join(sorted(shapes)) or 'none'}")
    for name, (kind, shape) in shapes.items():
        array = learned[name]
        if array.dtype != kind or array.shape != shape:
            raise ValueError(f"array {name} is {array.dtype} {array.shape}, not {kind.__name__} {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"array {name} is not finite")


def scaled(scores: Matrix) -> Matrix:
    """Each row divided by its largest absolute value; a row of zeros stays."""
    largest = np.abs(scores).max(axis=1, keepdims=True, initial=0.0)
    return np.asarray(scores / np.where(largest > 0, largest, 1.0))
