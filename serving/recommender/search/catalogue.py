"""What can be searched for, and which of it a filter lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """An item of the shop. What is not known is None."""

    item_id: str
    title: str
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    """In the shop's currency."""
    in_stock: bool | None = None


@dataclass(frozen=True)
class Filter:
    """What an item must be to be found. An item of which it is not known is not found.

    Raises:
        InvalidInput: a price is not a number from 0, or the lowest is above the highest.
    """

    categories: frozenset[str] | None = None
    brands: frozenset[str] | None = None
    min_price: float | None = None
    max_price: float | None = None
    in_stock: bool = False

    def __post_init__(self) -> None:
        for name, price in (("min_price", self.min_price), ("max_price", self.max_price)):
            if price is not None and not 0 <= price < float("inf"):
                raise InvalidInput("no price", where=name, why=f"{price!r} is not a number from 0")
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            why = f"{self.min_price:g} is above max_price {self.max_price:g}"
            raise InvalidInput("nothing can pass the filter", where="min_price", why=why)

    @property
    def open(self) -> bool:
        """Whether everything passes."""
        return self == Filter()


class Shelf:
    """The items' columns, for filters over the whole catalogue at once."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._category = _Coded([item.category for item in items])
        self._brand = _Coded([item.brand for item in items])
        self._price = np.array([np.nan if item.price is None else item.price for item in items], dtype=np.float64)
        self._in_stock = np.array([item.in_stock is True for item in items], dtype=bool)

    def passing(self, wanted: Filter) -> Mask:
        """Which items pass."""
        passed = np.ones(len(self._price), dtype=bool)
        if wanted.categories is not None:
            passed &= self._category.among(wanted.categories)
        if wanted.brands is not None:
            passed &= self._brand.among(wanted.brands)
        if wanted.min_price is not None:
            passed &= self._price >= wanted.min_price  # NaN, not known, passes neither
        if wanted.max_price is not None:
            passed &= self._price <= wanted.max_price
        if wanted.in_stock:
            passed &= self._in_stock
        return passed


class _Coded:
    """A column of text as numbers."""

    def __init__(self, values: Sequence[str | None]) -> None:
        self._codes: dict[str | None, int] = {}
        self._column = np.array([self._codes.setdefault(value, len(self._codes)) for value in values], dtype=np.int64)

    def among(self, wanted: frozenset[str]) -> Mask:
        codes = [self._codes[value] for value in wanted if value in self._codes]
        return np.isin(self._column, np.array(codes, dtype=np.int64))
