"""Content: what somebody bought says which attributes they like, and so which items, sold before or not.

After the user's first document: the interest in an item is its rating over the sum of all ratings, and two items are
as alike as the share of their attributes that is the same. The document's worked figures are tests; one of them, 1/3
for two items that share nothing in its own table, is its error, and here it is 0.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse

from serving.errors import InvalidInput
from serving.recommender import bundle, storage
from serving.recommender.asked import Asked
from serving.recommender.bundle import Strict, corrupt
from serving.recommender.interface import Offer, User
from serving.recommender.method import scaled
from serving.recommender.methods.popularity import Popularity
from serving.recommender.orders.purchases import Matrix, Purchases, index_of

MODEL, ATTRIBUTES = "model.json", "attributes.json"
AT_ONCE = 256
"""Bought items compared with the catalogue at once: bounds memory to this many rows."""
TIE_BREAK = 1e-9

Likeness = Literal["overlap", "jaccard", "cosine"]
Attributes = Mapping[str, Collection[str]]
"""The attributes of each item by its id, as `name=value`; an item may have several of one name."""


@dataclass(frozen=True)
class Content:
    """What the model is fitted by.

    `overlap` is shared attributes over those of the item that has more, the document's; `jaccard` over those of either;
    `cosine` over the geometric mean.
    """

    attributes: Attributes
    likeness: Likeness = "cosine"


def interests(ratings: Mapping[str, float]) -> dict[str, float]:
    """Each item's rating over the sum of ratings; nothing for no rating.

    Raises:
        InvalidInput: a rating is negative or not finite, or none is above 0.
    """
    if any(not 0 <= rating < np.inf for rating in ratings.values()):
        raise InvalidInput("no rating", where="ratings", why="one is negative or not a finite number")
    total = sum(ratings.values())
    if ratings and total <= 0:
        raise InvalidInput("no interest", where="ratings", why="none is above 0")
    return {item: rating / total for item, rating in ratings.items()}


def likeness(ours: Collection[str], theirs: Collection[str], how: Likeness = "overlap") -> float:
    """How alike two items are by their attributes, 0 to 1; 0 if one has none."""
    features = _Features.of(index_of(tuple({*ours, *theirs})), [ours, theirs])
    return float(features.alike(np.array([0]), how)[0, 1])


class ContentModel:
    """Implements `interface.Model`: the sum of likeness to what was bought, weighted by interest.

    How often something was bought is its rating. An item with attributes is offered even if nobody bought it yet, and
    one without attributes only if somebody did.
    """

    def __init__(self, settings: Content, past: Purchases) -> None:
        """Make ready to score.

        Raises:
            InvalidInput: there is no purchase.
        """
        new = tuple(name for name in settings.attributes if name not in index_of(past.item_ids))
        self.settings = settings
        self.past = Purchases(past.user, past.item, past.day, past.user_ids, past.item_ids + new)
        self._asked = Asked(self.past)
        of_items = [settings.attributes.get(name, ()) for name in self.past.item_ids]
        self._features = _Features.of(index_of(tuple(sorted({name for of in of_items for name in of}))), of_items)
        self._popular = scaled(Popularity().counts(self.past)[None, :])[0]
        self._offered = self._features.described | (np.bincount(past.item, minlength=len(of_items)) > 0)

    @classmethod
    def fit(cls, settings: Content, past: Purchases, /) -> Self:
        return cls(settings, past)

    def update(self, later: Purchases) -> Self:
        return self.fit(self.settings, self.past.joined(later))

    @property
    def item_ids(self) -> tuple[str, ...]:
        return self.past.item_ids

    def score(self, users: Sequence[User]) -> Matrix:
        histories = self._asked.histories(users)
        times = histories.table(np.ones(len(histories.row)))
        interest = times.multiply(1 / np.maximum(times.sum(axis=1), 1)).tocsc()
        bought = np.unique(histories.item)
        scores = np.zeros(histories.shape)
        for first in range(0, len(bought), AT_ONCE):
            some = bought[first : first + AT_ONCE]
            scores += interest[:, some] @ self._features.alike(some, self.settings.likeness)
        scores += TIE_BREAK * self._popular
        scores[:, ~self._offered] = -np.inf
        return scores

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        return self._asked.offers(self.score([user]), user, k, exclude_bought=exclude_bought)

    def save(self, directory: Path) -> None:
        described = {"items": {name: sorted(of) for name, of in self.settings.attributes.items()}}
        contents = {**storage.past_files(self.past), ATTRIBUTES: json.dumps(described, ensure_ascii=False).encode()}
        bundle.write(directory, MODEL, lambda files: _Stored(likeness=self.settings.likeness, files=files), contents)

    @classmethod
    def load(cls, directory: Path) -> Self:
        stored, contents = bundle.read(directory, MODEL, _Stored, {storage.IDS, storage.PURCHASES, ATTRIBUTES})
        described = bundle.parsed(ATTRIBUTES, _Described, contents[ATTRIBUTES]).items
        past = storage.past_of(contents)
        if not described.keys() <= set(past.item_ids):
            raise corrupt(ATTRIBUTES, f"it describes items that are not in {storage.IDS}")
        return cls(Content(described, stored.likeness), past)


class _Stored(bundle.Head):
    """`model.json`."""

    format: Literal[1] = 1
    kind: Literal["content"] = "content"
    likeness: Likeness


class _Described(Strict):
    """`attributes.json`."""

    items: dict[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class _Features:
    """Which item has which attribute."""

    table: Any
    """Sparse [items, attributes], 1 where the item has it."""

    @classmethod
    def of(cls, place: Mapping[str, int], items: Sequence[Collection[str]]) -> Self:
        own = [sorted({place[name] for name in names}) for names in items]
        offsets = np.cumsum([0, *map(len, own)])
        columns = np.array([column for line in own for column in line], dtype=np.int64)
        return cls(sparse.csr_matrix((np.ones(len(columns)), columns, offsets), (len(items), len(place))))

    @property
    def described(self) -> Any:
        return np.diff(self.table.indptr) > 0

    def alike(self, some: Any, how: Likeness) -> Matrix:
        """[some, items]."""
        shared = (self.table[some] @ self.table.T).toarray()
        count = np.diff(self.table.indptr).astype(np.float64)
        ours, theirs = count[some][:, None], count[None, :]
        if how == "overlap":
            whole = np.maximum(ours, theirs)
        elif how == "jaccard":
            whole = ours + theirs - shared
        else:
            whole = np.sqrt(ours * theirs)
        return np.asarray(shared / np.maximum(whole, 1))
