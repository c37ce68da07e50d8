"""The click-through ranker: how likely an item that is shown is clicked on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import numpy as safetensors_numpy

from serving.recommender import bundle
from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.clicks.seen import (
    APPEAL,
    SEEN,
    Appeal,
    Index,
    Numbers,
    Seen,
    centred,
    sigmoid,
)
from serving.recommender.method import Arrays, Settings
from serving.recommender.orders.purchases import index_of
from serving.recommender.training.how import HERE, How
from serving.recommender.training.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from serving.recommender.clicks.network import ClickNetwork

MODEL, SHOP, LEARNED = "model.json", "shop.json", "learned.safetensors"
WORDS_PER_ITEM = 24
SCORED_AT_ONCE = 8_192
CONTEXT = 4
"""Numbers of where and when an item was shown."""
STRANGER = 0
"""Index of a user or item that was not there at the fit."""


class ClickSettings(Settings):
    """Of the network and its training."""

    kinds: int = Field(default=12, ge=1, le=256, description="Tastes of which every user is a mixture.")
    dim: int = Field(default=12, ge=1, le=1_024)
    hidden: int = Field(default=32, ge=1, le=4_096)
    word_buckets: int = Field(default=4_096, ge=2, le=1 << 22, description="Words of titles share so many vectors.")
    own_share: float = Field(
        default=0.03, gt=0, le=10, description="Variance of a user's own taste, as a share of that between the kinds."
    )
    item_variance: float = Field(
        default=0.1, gt=0, le=100, description="Of the logit of what pleases everybody alike, which later clicks tell."
    )
    hide: float = Field(default=0.05, ge=0, lt=1, description="Share of the item ids that are hidden in each step.")
    users_per_step: int = Field(default=32, ge=1, le=65_536)
    rows_per_user: int = Field(
        default=400,
        ge=1,
        description="Read in one step: of many more the first guess of a user's kind would be the last.",
    )
    plan: Plan = Plan(epochs=10, learning_rate=1e-2, weight_decay=0.01)


class ClickRanker:
    """A fitted ranker. Immutable: `update` gives another one. Made by `fit` or `load`."""

    def __init__(self, settings: ClickSettings, items: Items, learned: Arrays, seen: Seen, appeal: Appeal) -> None:
        """Make ready to score.

        Raises:
            ValueError: `learned`, `seen` or `appeal` is not of this shop.
        """
        from serving.recommender.training.weights import load_weights

        seen.check(settings.kinds)
        appeal.check(settings.kinds, len(items.item_ids))
        self._settings, self._items, self._learned, self._seen, self._appeal = settings, items, learned, seen, appeal
        self._features = Features(settings, items)
        self._network = self._features.network()
        load_weights(self._network, learned)

    @classmethod
    def fit(cls, settings: ClickSettings, past: Impressions, items: Items, how: How = HERE) -> Self:
        """Learn from what was shown; the same data, the same ranker.

        Raises:
            InvalidInput: the folder for checkpoints holds another training.
            HcctlError: a worker or the disk failed.
        """
        from serving.recommender.training.clicks import train_clicks

        learned = train_clicks(settings, past, items, how)
        nobody, count = Seen.nobody(settings.kinds), len(items.item_ids)
        unseen = Appeal.of(np.empty((0, settings.kinds)), settings.item_variance, count)
        ranker = cls(settings, items, learned, nobody, unseen)
        own = ranker._own_logits(np.unique(ranker._features.of(past)[0].numpy()))
        return ranker._knowing(nobody, Appeal.of(own, settings.item_variance, count)).update(past)

    def update(self, later: Impressions) -> Self:
        """The ranker that also knows what these users did, without another training."""
        return self._knowing(*self._counted(self._seen, later))

    def told(self, later: Impressions, users: NDArray[np.str_] | None = None) -> Self:
        """The ranker for whom users did this, too, for `users` alone if given; what items are liked stays as it was.

        So clicks may be told without what was shown beside them, as purchases are.
        """
        seen = self._seen if users is None else self._seen.of(users)[0]
        return self._knowing(self._counted(seen, later)[0], self._appeal)

    def chances(self, shown: Impressions) -> Numbers:
        """Of a click on each, by what the user did before; whether these were clicked on is not looked at."""
        seen, user = self._seen.of(shown.user)
        weight, own = seen.kinds_of(self._prior), seen.own_tastes(self._settings.own_share)
        found = np.zeros(len(shown))
        for rows, item, logits in self._logits(shown):
            liked = logits + self._appeal.logits(item)
            deviation = (centred(liked) * own[user[rows]]).sum(axis=1)
            found[rows] = (sigmoid(liked + deviation[:, None]) * weight[user[rows]]).sum(axis=1)
        return found

    def shelf(self, users: NDArray[np.str_], items: NDArray[np.str_], timestamp_s: int) -> Numbers:
        """[users, items]: the chance of a click on each item, were it the first of a list that answers no search.

        The network reads each item once, whoever asks: of users it knows nothing.
        """
        seen, user = self._seen.of(users)
        weight, own = seen.kinds_of(self._prior), seen.own_tastes(self._settings.own_share)
        found = np.zeros((len(users), len(items)))
        for rows, item, logits in self._logits(Impressions.first_of_lists(items, items, timestamp_s)):
            liked = logits + self._appeal.logits(item)
            differs = centred(liked)
            for row, at in enumerate(user):
                found[row, rows] = sigmoid(liked + (differs @ own[at])[:, None]) @ weight[at]
        return found

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items that it knows something of."""
        return self._items.item_ids

    @property
    def _prior(self) -> Numbers:
        return self._learned["prior"].astype(np.float64)

    def save(self, directory: Path) -> None:
        """Write into `directory`, which exists: safetensors and JSON.

        Raises:
            HcctlError: the disk is full, read-only or failing.
        """
        arrays = {
            name: np.require(array, requirements="C")
            for name, array in {**self._learned, **self._seen.arrays(), **self._appeal.arrays()}.items()
        }
        shop = _Shop(items=self._items, users=self._seen.user_ids)
        contents = {SHOP: shop.model_dump_json().encode(), LEARNED: safetensors_numpy.save(arrays)}
        bundle.write(directory, MODEL, lambda files: _Head(settings=self._settings, files=files), contents)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CorruptArtefact: a file is missing, damaged or does not fit the other; `where` is its name.
        """
        head, contents = bundle.read(directory, MODEL, _Head, {SHOP, LEARNED})
        shop = bundle.parsed(SHOP, _Shop, contents[SHOP])
        arrays = bundle.tensors(LEARNED, contents[LEARNED])
        try:
            seen = Seen.of_arrays(shop.users, arrays)
            appeal = Appeal.of_arrays(arrays)
            learned = {name: arrays[name] for name in arrays.keys() - SEEN - APPEAL}
            return cls(head.settings, shop.items, learned, seen, appeal)
        except (ValueError, KeyError) as problem:
            raise bundle.corrupt(LEARNED, str(problem)) from problem

    def _knowing(self, seen: Seen, appeal: Appeal) -> Self:
        """The same ranker, which has seen something else."""
        found = copy(self)
        found._seen, found._appeal = seen, appeal
        return found

    def _counted(self, seen: Seen, later: Impressions) -> tuple[Seen, Appeal]:
        """What was seen of users, and of items, with these impressions counted in."""
        seen, user = seen.with_users(later.user)
        batches, appeal = list(self._logits(later)), self._appeal.copy()
        for rows, item, logits in batches:
            seen.add_evidence(user[rows], logits + appeal.logits(item), later.clicked[rows])
        weight = seen.kinds_of(self._prior)
        for rows, item, logits in batches:
            liked, clicked = logits + appeal.logits(item), later.clicked[rows]
            seen.add_deviation(user[rows], liked, clicked, weight)
            appeal.add_clicks(item, liked, clicked, weight[user[rows]])
        return seen, appeal

    def _own_logits(self, item: Index) -> Numbers:
        """[items, kinds]: what is known of listed items beyond their content; none of the stranger."""
        import torch

        listed = torch.from_numpy(item[item != STRANGER])
        context = torch.zeros(len(listed), CONTEXT)
        with torch.inference_mode():
            known, strange = (self._network(listed, own, context) for own in (listed, torch.zeros_like(listed)))
        return np.asarray((known - strange).numpy().astype(np.float64))

    def _logits(self, shown: Impressions) -> Iterator[tuple[Index, Index, Numbers]]:
        """A batch of rows after the other, with their items and logits."""
        import torch

        for first in range(0, len(shown), SCORED_AT_ONCE):
            rows = np.arange(first, min(first + SCORED_AT_ONCE, len(shown)))
            item, context = self._features.of(shown.where(rows))
            with torch.inference_mode():
                yield rows, item.numpy(), self._network(item, item, context).numpy().astype(np.float64)


class _Head(bundle.Head):
    """`model.json`."""

    format: Literal[2] = 2
    settings: ClickSettings


class _Shop(Settings):
    """`shop.json`."""

    items: Items
    users: tuple[str, ...]


class Features:
    """Items and places as the network reads them."""

    def __init__(self, settings: ClickSettings, items: Items) -> None:
        self._settings = settings
        self._items = {name: place + 1 for name, place in index_of(items.item_ids).items()}
        names = sorted(set(items.categories))
        self._categories = len(names) + 1
        place = {name: 1 + at for at, name in enumerate(names)}
        self._category = np.array([0, *(place[name] for name in items.categories)])
        prices = np.log(np.array(items.prices, dtype=np.float64))
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
            categories=self._categories,
            words=self._settings.word_buckets,
            kinds=self._settings.kinds,
            dim=self._settings.dim,
            hidden=self._settings.hidden,
        )

    def of(self, shown: Impressions) -> tuple[Tensor, Tensor]:
        """Item and context of each row."""
        import torch

        context = np.column_stack([np.log1p(shown.position), shown.searched, shown.season]).astype(np.float32)
        return torch.from_numpy(_places(shown.item, self._items)), torch.from_numpy(context)

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
