"""What every recommendation model can do, whatever it has learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

from serving.recommender.orders.purchases import Matrix, Purchases


@dataclass(frozen=True)
class Bought:
    """One purchase of somebody."""

    item_id: str
    day: int
    """UTC days since the epoch."""


User = str | Sequence[Bought]
"""A user by id, or what somebody bought. One whom the model does not know has an empty history; an item that it does
not know says nothing."""


@dataclass(frozen=True)
class Offer:
    """One line of a list."""

    item_id: str
    score: float


SettingsT_contra = TypeVar("SettingsT_contra", contravariant=True)


class Model(Protocol[SettingsT_contra]):
    """A fitted model. Immutable: `update` gives another one. Made from its settings by `fit`, from files by `load`."""

    @classmethod
    def fit(cls, settings: SettingsT_contra, past: Purchases, /) -> Self:
        """The model of all of `past`, seen from the day after its last purchase; the same data, the same model.

        Raises:
            InvalidInput: there is no purchase, or more than the method can hold.
        """

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items, in the order of the columns of `score`."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; it scores the same.

        Raises:
            CorruptArtefact: a file is missing, damaged or does not fit the others; `where` is its name.
        """

    def update(self, later: Purchases) -> Self:
        """The model that also knows `later`, with new users and items: equal to a fit on all of it."""

    def score(self, users: Sequence[User]) -> Matrix:
        """[users, items], higher is better; equals are told apart by popularity.

        Minus infinity for an item that was never bought, unless the model knows it by its content. Somebody without a
        history gets the popular items.
        """

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        """At most k items, best first; without those in the user's history, if wanted.

        Raises:
            InvalidInput: k is not at least 1.
        """

    def save(self, directory: Path) -> None:
        """Write the model into `directory`, which exists: safetensors and JSON.

        Raises:
            HcctlError: the disk is full, read-only or failing.
        """
