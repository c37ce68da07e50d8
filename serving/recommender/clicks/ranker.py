"""The click-through ranker: how likely an item that is shown is clicked on."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from serving.recommender import storage
from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.method import Arrays, Settings
from serving.recommender.purchases import index_of
from serving.recommender.training.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from serving.recommender.clicks.network import ClickNetwork
    from serving.recommender.training.loop import Progress

WORDS_PER_ITEM = 24
SCORED_AT_ONCE = 65_536
STRANGER = 0
"""Index of a user or item that was not there at the fit."""

Inputs = tuple["Tensor", ...]


class ClickSettings(Settings):
    """Of the network and its training."""

    kinds: int = Field(default=16, ge=1, le=1_024, description="Tastes of which every user is a mixture.")
    dim: int = Field(default=16, ge=1, le=1_024)
    hidden: int = Field(default=32, ge=1, le=4_096)
    word_buckets: int = Field(default=4_096, ge=2, le=1 << 22, description="Words of titles share so many vectors.")
    hide: float = Field(default=0.1, ge=0, lt=1, description="Share of the ids that are hidden in each step.")
    rows_per_step: int = Field(default=2_048, ge=1, le=1 << 20)
    plan: Plan = Plan(epochs=6, learning_rate=3e-3, weight_decay=0.02)


class ClickRanker:
    """A fitted ranker. Made by `fit` or `load`."""

    def __init__(self, settings: ClickSettings, user_ids: tuple[str, ...], items: Items, learned: Arrays) -> None:
        """Make ready to score.

        Raises:
            ValueError: `learned` is not of this shop.
        """
        from serving.recommender.training.weights import load_weights

        self._settings, self._items, self._user_ids, self._learned = settings, items, user_ids, learned
        self._features = Features(settings, user_ids, items)
        self._network = self._features.network()
        load_weights(self._network, learned)

    @classmethod
    def fit(
        cls,
        settings: ClickSettings,
        past: Impressions,
        items: Items,
        *,
        folder: Path | None = None,
        tell: Callable[[Progress], None] | None = None,
    ) -> Self:
        """Learn from what was shown; the same data, the same ranker. `folder` is for checkpoints.

        Raises:
            InvalidInput: the folder holds another training.
        """
        from serving.recommender.training.clicks import train_clicks

        user_ids = tuple(np.unique(past.user).tolist())
        return cls(settings, user_ids, items, train_clicks(settings, user_ids, past, items, folder=folder, tell=tell))

    def chances(self, shown: Impressions) -> NDArray[np.float64]:
        """Of a click on each. Who or what is not known is judged by what is told of the item and the place."""
        import torch

        found = np.zeros(len(shown))
        for first in range(0, len(shown), SCORED_AT_ONCE):
            rows = np.arange(first, min(first + SCORED_AT_ONCE, len(shown)))
            with torch.inference_mode():
                found[rows] = self._network(*self._features.of(shown.where(rows))).sigmoid().numpy()
        return found

    def save(self, directory: Path) -> None:
        """Write into `directory`, which exists: safetensors and JSON.

        Raises:
            HcctlError: the disk is full, read-only or failing.
        """
        storage.save_ranker(directory, self._settings, self._user_ids, self._items, self._learned)


class Features:
    """Ids and texts as indices, by what was there at the fit."""

    def __init__(self, settings: ClickSettings, user_ids: tuple[str, ...], items: Items) -> None:
        self._settings = settings
        self._users = {name: place + 1 for name, place in index_of(user_ids).items()}
        self._items = {name: place + 1 for name, place in index_of(items.item_ids).items()}
        names = sorted(set(items.categories))
        self._categories = len(names) + 1
        place = {name: 1 + at for at, name in enumerate(names)}
        self._category = np.array([0, *(place[name] for name in items.categories)])
        prices = np.log(np.array(items.prices, dtype=np.float64)) if items.prices else np.zeros(0)
        centre = _means(prices, self._category[1:], self._categories)
        self._price = np.concatenate([[0.0], prices - centre[self._category[1:]]]).astype(np.float32)
        texts = zip(items.titles, items.brands, strict=True)
        self._words = np.array(
            [[0] * WORDS_PER_ITEM, *(self._hashed(f"{title} brand:{brand}") for title, brand in texts)]
        )

    def network(self) -> ClickNetwork:
        """Of random weights, for this shop."""
        import torch

        from serving.recommender.clicks.network import ClickNetwork, Content

        return ClickNetwork(
            Content(*(torch.from_numpy(array) for array in (self._category, self._words, self._price))),
            users=len(self._users) + 1,
            categories=self._categories,
            words=self._settings.word_buckets,
            kinds=self._settings.kinds,
            dim=self._settings.dim,
            hidden=self._settings.hidden,
        )

    def of(self, shown: Impressions) -> Inputs:
        """The network's inputs."""
        import torch

        user, item = _places(shown.user, self._users), _places(shown.item, self._items)
        context = np.column_stack([np.log1p(shown.position), shown.searched, shown.season]).astype(np.float32)
        return tuple(torch.from_numpy(array) for array in (user, item, item, context))

    def _hashed(self, text: str) -> list[int]:
        buckets = self._settings.word_buckets - 1
        found = [1 + zlib.crc32(word.encode()) % buckets for word in text.lower().split()][:WORDS_PER_ITEM]
        return found + [0] * (WORDS_PER_ITEM - len(found))


def _places(names: NDArray[np.str_], place: Mapping[str, int]) -> NDArray[np.int64]:
    unique, inverse = np.unique(names, return_inverse=True)
    found = np.array([place.get(name, STRANGER) for name in unique.tolist()], dtype=np.int64)
    return np.asarray(found[inverse])


def _means(values: NDArray[np.float64], group: NDArray[Any], groups: int) -> NDArray[np.float64]:
    count = np.bincount(group, minlength=groups)
    return np.asarray(np.bincount(group, weights=values, minlength=groups) / np.maximum(count, 1))
