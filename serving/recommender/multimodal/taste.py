"""Taste for features: lists for users and items that nobody has met yet, from the first request.

A user is what they clicked on, as mean features, and what they told at sign-up; an item is its features, of text,
picture or both. `learning.py` finds which goes with which. A list goes by taste and by popularity, where there is any.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import numpy as safetensors_numpy

from serving.errors import InvalidInput
from serving.recommender import bundle, storage
from serving.recommender.asked import Asked
from serving.recommender.bundle import Strict, corrupt
from serving.recommender.interface import Offer, User
from serving.recommender.method import Settings
from serving.recommender.methods.popularity import Popularity
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Histories, Matrix, Purchases, Vector, index_of
from serving.recommender.training.how import HERE, How

MODEL, PEOPLE, ARRAYS = "model.json", "people.json", "taste.safetensors"
FEATURES, WEIGHTS = "features", "weights"

Features = NDArray[np.float32]
People = Mapping[str, Collection[str]]
"""What users told of themselves, by user id, as `name=value`."""


class Taste(Settings):
    """How taste is learned and how far it is believed."""

    kind: Literal["taste"] = "taste"
    epochs: int = Field(default=7, ge=1, le=1_000)
    batch: int = Field(default=8_192, ge=1, description="Shown items per step.")
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    l2: float = Field(default=1e-3, ge=0)
    prior: float = Field(default=3.0, gt=0, description="Clicks at which a history is half believed.")
    seed: int = Field(default=0, ge=0, lt=1 << 63)


@dataclass(frozen=True, eq=False)
class Shown:
    """What users were shown and whether they clicked, sorted by user, then time."""

    user: Index
    item: Index
    """Into the items that are told of."""
    clicked: NDArray[np.bool_]
    user_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Told:
    """What is known of items and users without any purchase.

    Raises:
        InvalidInput: the features are not one finite vector per item.
    """

    item_ids: tuple[str, ...]
    features: Features
    """[items, width], about 0 and 1 in size; see `features.py`."""
    people: People

    def __post_init__(self) -> None:
        sound = self.features.ndim == 2 and len(self.features) == len(self.item_ids)
        if not sound or not np.isfinite(self.features).all():
            why = f"they are {self.features.shape} for {len(self.item_ids)} items, or not finite"
            raise InvalidInput("no features", where="features", why=why, next_step="give each item a finite vector")

    def traits(self) -> tuple[str, ...]:
        """All that people told, once each."""
        return tuple(sorted({trait for own in self.people.values() for trait in own}))


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the model is fitted by, beside what counts as history."""

    told: Told
    shown: Shown
    taste: Taste
    how: How = HERE


class TasteModel:
    """Implements `interface.Model`. Items with features are offered whether anybody bought them or not.

    A user who is not among the purchases may still be among the people, and is served by what they told. The history
    is whatever `past` holds: purchases or clicks.
    """

    def __init__(self, told: Told, taste: Taste, weights: Matrix, past: Purchases) -> None:
        """Make ready to score.

        Raises:
            InvalidInput: there is no purchase.
            ValueError: the weights do not fit what is told.
        """
        traits, width = told.traits(), told.features.shape[1]
        if weights.shape != (width + len(traits) + 1, width) or not np.isfinite(weights).all():
            raise ValueError(f"the weights are {weights.shape}, or not finite")
        new = tuple(name for name in told.item_ids if name not in index_of(past.item_ids))
        self.told, self.taste, self.weights = told, taste, weights
        self.past = Purchases(past.user, past.item, past.day, past.user_ids, past.item_ids + new)
        self._asked = Asked(self.past)
        place = index_of(self.past.item_ids)
        rows = [place[name] for name in told.item_ids]
        self._features = np.zeros((len(place), width))
        self._features[rows] = told.features
        self._offered = np.bincount(self.past.item, minlength=len(place)) > 0
        self._offered[rows] = True
        self._popularity = np.log1p(Popularity().counts(self.past))
        self._trait = index_of(traits)

    @classmethod
    def fit(cls, settings: Lesson, past: Purchases, /) -> Self:
        from serving.recommender.multimodal.learning import learned

        return cls(settings.told, settings.taste, learned(settings), past)

    def update(self, later: Purchases) -> Self:
        return type(self)(self.told, self.taste, self.weights, self.past.joined(later))

    @property
    def item_ids(self) -> tuple[str, ...]:
        return self.past.item_ids

    def score(self, users: Sequence[User]) -> Matrix:
        histories = self._asked.histories(users)
        told = [self.told.people.get(user, ()) if isinstance(user, str) else () for user in users]
        profiles = profile(self._means(histories), clicks(histories), traits(told, self._trait), self.taste.prior)
        scores = profiles @ self.weights @ self._features.T + self._popularity
        scores[:, ~self._offered] = -np.inf
        return np.asarray(scores)

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        return self._asked.offers(self.score([user]), user, k, exclude_bought=exclude_bought)

    def save(self, directory: Path) -> None:
        people = {"people": {name: sorted(own) for name, own in self.told.people.items()}, "items": self.told.item_ids}
        arrays = {FEATURES: np.ascontiguousarray(self.told.features), WEIGHTS: np.ascontiguousarray(self.weights)}
        contents = {
            **storage.past_files(self.past),
            PEOPLE: json.dumps(people, ensure_ascii=False, separators=(",", ":")).encode(),
            ARRAYS: safetensors_numpy.save(arrays),
        }
        bundle.write(directory, MODEL, lambda files: _Stored(taste=self.taste, files=files), contents)

    @classmethod
    def load(cls, directory: Path) -> Self:
        names = {storage.IDS, storage.PURCHASES, PEOPLE, ARRAYS}
        stored, contents = bundle.read(directory, MODEL, _Stored, names)
        people = bundle.parsed(PEOPLE, _People, contents[PEOPLE])
        arrays = bundle.tensors(ARRAYS, contents[ARRAYS])
        kinds = {name: array.dtype for name, array in arrays.items()}
        if kinds != {FEATURES: np.float32, WEIGHTS: np.float64}:
            raise corrupt(ARRAYS, f"its arrays are not {FEATURES} and {WEIGHTS}")
        past = storage.past_of(contents)
        try:
            return cls(Told(people.items, arrays[FEATURES], people.people), stored.taste, arrays[WEIGHTS], past)
        except (InvalidInput, ValueError) as problem:
            raise corrupt(ARRAYS, str(problem)) from problem

    def _means(self, histories: Histories) -> Matrix:
        summed = np.asarray(histories.table(np.ones(len(histories.row))) @ self._features)
        return np.asarray(summed / np.maximum(clicks(histories), 1)[:, None])


def clicks(histories: Histories) -> Vector:
    """How much each row's history holds."""
    return np.bincount(histories.row, minlength=len(histories.user)).astype(np.float64)


def traits(told: Sequence[Collection[str]], place: Mapping[str, int]) -> Matrix:
    """[users, traits], 1 where the user told it; what nobody told before says nothing."""
    found = np.zeros((len(told), len(place)))
    for row, own in enumerate(told):
        found[row, [place[trait] for trait in own if trait in place]] = 1.0
    return found


def profile(means: Matrix, count: Vector, told: Matrix, prior: float) -> Matrix:
    """[users, width + traits + 1]: mean features so far as `count` clicks are believed, traits, and 1."""
    believed = count / (count + prior)
    return np.concatenate([prior * believed[:, None] * means, told, np.ones((len(means), 1))], axis=1)


class _Stored(bundle.Head):
    """`model.json`."""

    format: Literal[1] = 1
    taste: Taste


class _People(Strict):
    """`people.json`."""

    people: dict[str, tuple[str, ...]]
    items: tuple[str, ...] = Field(min_length=1)
