"""Several methods in one: what each has learned is stored under its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.recommender.method import Arrays, Method, Scorer
from serving.recommender.orders.purchases import Purchases


def learn_parts(methods: Sequence[Method], past: Purchases) -> dict[str, NDArray[Any]]:
    """What each method learns from `past`, as `PLACE.NAME`."""
    return {
        f"{place}.{name}": array for place, method in enumerate(methods) for name, array in method.learn(past).items()
    }


def part_scorers(methods: Sequence[Method], past: Purchases, learned: Arrays) -> list[Scorer]:
    """The scorer of each method.

    Raises:
        ValueError: `learned` is not what `learn_parts` gives for `past`.
    """
    shares: list[dict[str, NDArray[Any]]] = [{} for _ in methods]
    for label, array in learned.items():
        place, _, name = label.partition(".")
        if not place.isdecimal() or int(place) >= len(shares):
            raise ValueError(f"array {label[:80]} belongs to no part")
        shares[int(place)][name] = array
    return [method.scorer(past, share) for method, share in zip(methods, shares, strict=True)]


def under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Those whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """In the type that is stored."""
    return np.ascontiguousarray(array, dtype=np.float32)
