"""Taste for features: lists for users and items that nobody has met yet, from the first request.

A user is what they bought, as mean features, and what they told at sign-up; an item is its features, of text, picture or
both. How much more often than everybody a user buys an item, its lift, is one ridge regression from the one to the other,
in closed form: what users bought later is explained by what they had bought before. A list goes by lift and popularity.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import numpy as safetensors_numpy
from scipy import sparse

from serving.errors import InvalidInput
from serving.recommender import bundle, storage
from serving.recommender.asked import Asked
from serving.recommender.bundle import Strict, corrupt
from serving.recommender.interface import Offer, User
from serving.recommender.lines import Index
from serving.recommender.method import Settings
from serving.recommender.purchases import Histories, Matrix, Purchases, Vector, index_of

MODEL, PEOPLE, FEATURES = "model.json", "people.json", "features.safetensors"
COLUMNS = "features"

Features = NDArray[np.float32]


class Taste(Settings):
    """How much is believed."""

    kind: Literal["taste"] = "taste"
    user_l2: float = Field(default=30.0, gt=0, description="In users: evidence below which a profile says little.")
    item_l2: float = Field(default=0.1, gt=0, description="In variances of the features.")
    prior: float = Field(default=3.0, gt=0, description="Purchases at which a history is half believed.")
    lift: float = Field(default=1.0, ge=0, description="Weight of the lift beside the log of popularity.")


@dataclass(frozen=True, eq=False)
class Told:
    """What is known of items and users without any purchase, and how it is used."""

    item_ids: tuple[str, ...]
    features: Features
    """[items, width]."""
    people: Mapping[str, Collection[str]]
    """What users told of themselves, by user id, as `name=value`."""
    taste: Taste = Taste()

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.item_ids) or not np.isfinite(self.features).all():
            why = f"they are {self.features.shape}, finite or not, for {len(self.item_ids)} items"
            raise InvalidInput("no features", where="features", why=why, next_step="give each item a finite vector")


class TasteModel:
    """Implements `interface.Model`. Items with features are offered whether anybody bought them or not.

    A user who is not among the purchases may still be among the people, and is served by what they told.
    """

    def __init__(self, told: Told, past: Purchases) -> None:
        """Learn.

        Raises:
            InvalidInput: there is no purchase.
        """
        new = tuple(name for name in told.item_ids if name not in index_of(past.item_ids))
        self.told = told
        self.past = Purchases(past.user, past.item, past.day, past.user_ids, past.item_ids + new)
        self._asked = Asked(self.past)
        self._features, described = _standardised(told, self.past.item_ids)
        self._offered = described | (np.bincount(self.past.item, minlength=len(described)) > 0)
        traits = sorted({trait for own in told.people.values() for trait in own})
        self._trait = index_of(tuple(traits))
        sold = np.bincount(self.past.item, minlength=len(described)).astype(np.float64)
        self._share = sold / sold.sum()
        self._log_popularity = np.log(sold + 1.0)
        self._weights = self._learned(self.past.histories())

    @classmethod
    def fit(cls, settings: Told, past: Purchases, /) -> Self:
        return cls(settings, past)

    def update(self, later: Purchases) -> Self:
        return self.fit(self.told, self.past.joined(later))

    @property
    def item_ids(self) -> tuple[str, ...]:
        return self.past.item_ids

    def score(self, users: Sequence[User]) -> Matrix:
        names = [user if isinstance(user, str) else None for user in users]
        profiles = self._profiles(self._asked.histories(users), names)
        scores = self._log_popularity + self.told.taste.lift * (profiles @ self._weights @ self._features.T)
        scores[:, ~self._offered] = -np.inf
        return np.asarray(scores)

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        return self._asked.offers(self.score([user]), user, k, exclude_bought=exclude_bought)

    def save(self, directory: Path) -> None:
        people = {"people": {name: sorted(own) for name, own in self.told.people.items()}, "items": self.told.item_ids}
        contents = {
            **storage.past_files(self.past),
            PEOPLE: json.dumps(people, ensure_ascii=False, separators=(",", ":")).encode(),
            FEATURES: safetensors_numpy.save({COLUMNS: np.ascontiguousarray(self.told.features, dtype=np.float32)}),
        }
        bundle.write(directory, MODEL, lambda files: _Stored(taste=self.told.taste, files=files), contents)

    @classmethod
    def load(cls, directory: Path) -> Self:
        names = {storage.IDS, storage.PURCHASES, PEOPLE, FEATURES}
        stored, contents = bundle.read(directory, MODEL, _Stored, names)
        people = bundle.parsed(PEOPLE, _People, contents[PEOPLE])
        features = bundle.tensors(FEATURES, contents[FEATURES]).get(COLUMNS)
        if features is None or features.dtype != np.float32:
            raise corrupt(FEATURES, f"it has no 32-bit {COLUMNS}")
        try:
            told = Told(people.items, features, people.people, stored.taste)
        except InvalidInput as problem:
            raise corrupt(FEATURES, problem.why) from problem
        return cls(told, storage.past_of(contents))

    def _learned(self, histories: Histories) -> Matrix:
        """[profile, features]: each user twice, by the first half of what they bought and by what they told alone."""
        early, late = _halves(histories)
        names = list(self.past.user_ids)
        alone = np.zeros(0, dtype=np.int64)
        profiles = np.concatenate(
            [self._profiles(_part(histories, early), names), self._profiles(_part(histories, alone), names)]
        )
        targets = sparse.vstack([_shares(_part(histories, late)), _shares(histories)]).tocsr()
        counted = np.asarray(targets.sum(axis=1)).ravel() > 0
        profiles, targets = profiles[counted], targets[counted]
        taste, features = self.told.taste, self._features
        more = targets @ features - (self._share @ features)[None, :]
        of_users = profiles.T @ profiles + taste.user_l2 * np.eye(profiles.shape[1])
        of_items = features.T @ (self._share[:, None] * features) + taste.item_l2 * np.eye(features.shape[1])
        half = np.linalg.solve(of_users, profiles.T @ more)
        return np.asarray(np.linalg.solve(of_items, half.T).T)

    def _profiles(self, histories: Histories, names: Sequence[str | None]) -> Matrix:
        """[users, profile]: mean features so far as they are believed, traits, and 1."""
        count = np.bincount(histories.row, minlength=len(names)).astype(np.float64)
        mean = np.asarray(_shares(histories) @ self._features)
        believed = count / (count + self.told.taste.prior)
        traits = np.zeros((len(names), len(self._trait)))
        for row, name in enumerate(names):
            for trait in self.told.people.get(name, ()) if name is not None else ():
                traits[row, self._trait[trait]] = 1.0
        return np.concatenate([believed[:, None] * mean, traits, np.ones((len(names), 1))], axis=1)


class _Stored(bundle.Head):
    """`model.json`."""

    format: Literal[1] = 1
    taste: Taste


class _People(Strict):
    """`people.json`."""

    people: dict[str, tuple[str, ...]]
    items: tuple[str, ...] = Field(min_length=1)


def _standardised(told: Told, item_ids: tuple[str, ...]) -> tuple[Matrix, NDArray[np.bool_]]:
    """[all items, width] about 0 with variance 1 / width each, 0 where unknown; and which items are known."""
    place = index_of(item_ids)
    rows = np.array([place[name] for name in told.item_ids], dtype=np.int64)
    own = told.features.astype(np.float64)
    spread = own.std(axis=0)
    own = (own - own.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    features = np.zeros((len(item_ids), own.shape[1]))
    features[rows] = own
    described = np.zeros(len(item_ids), dtype=bool)
    described[rows] = True
    return features, described


def _halves(histories: Histories) -> tuple[Index, Index]:
    """The entries of the earlier and of the later half of each row, which are sorted by day."""
    start = np.searchsorted(histories.row, histories.row)
    count = np.bincount(histories.row, minlength=len(histories.user))[histories.row]
    earlier = np.arange(len(histories.row)) - start < count // 2
    return np.flatnonzero(earlier), np.flatnonzero(~earlier)


def _part(histories: Histories, entries: Index) -> Histories:
    return Histories(
        row=histories.row[entries],
        item=histories.item[entries],
        day=histories.day[entries],
        user=histories.user,
        items=histories.items,
        as_of_day=histories.as_of_day,
    )


def _shares(histories: Histories) -> Any:
    """Sparse [rows, items]: share of the row's entries; nothing in an empty row."""
    count = np.bincount(histories.row, minlength=len(histories.user))
    weight: Vector = 1.0 / count[histories.row] if len(histories.row) else np.zeros(0)
    return histories.table(weight)
